package backend

import "time"

// What depends on time: requests that are not answered, and a Conn that is given up.

// Tick fails requests that are older than the request timeout, dials when a dial is due and gives idle
// memory back. It returns false when the server left a request unanswered for so long that the connection
// must be closed.
func (c *Conn) Tick(now int64) bool {
	opts := c.Node.Options()
	c.publishReads()
	if c.state == stateDialing && c.Waiting() && c.dials.Due(c.Node, now) {
		c.dial()
	}
	if c.state == stateUp {
		left := c.gc.OutboundBuffered()
		if left < c.buffered {
			c.drainedAt = now
		}
		c.buffered = left
	}
	if c.stuck(now - int64(c.timeout(opts))) {
		return false
	}
	late := c.expireLate(now, opts)
	c.echo.wanted = c.echo.wanted || late > 0
	c.checkOrder(now)
	if late > 0 && c.state == stateUp && !c.Kind.aside() {
		c.Node.Report(ErrTimeout)
	}
	if c.fifo.len() == 0 {
		c.fifo.idle()
		c.log.idle()
		return true
	}
	if c.Kind == Dedicated && c.state == stateUp {
		return late == 0
	}
	oldest := max(c.fifo.at(0).start, c.lastReply)
	return c.state != stateUp || now-oldest < int64(max(c.Node.hungAfter(), c.Patience))
}

// stuck reports whether a request from before the given time has not left yet, though the Conn is up: the server
// takes nothing in. Nothing of it may leave any more, because its client is about to be told that its time is over;
// and whatever was sent is older, and its time is over too. So the Conn is given up.
func (c *Conn) stuck(before int64) bool {
	if c.state != stateUp || c.Unsent() == 0 || c.pushes != nil || c.moving(before) {
		return false
	}
	at, i := c.log.consumed, 0
	for ; at < c.log.sent; i++ {
		at += uint64(c.fifo.at(i).size)
	}
	return c.fifo.at(i).start < before
}

// expireLate fails the requests that have waited for too long and returns how many.
func (c *Conn) expireLate(now int64, opts *Options) int {
	timeout := int64(c.timeout(opts))
	if c.Kind == Dedicated && c.state != stateUp && c.fifo.len() > 0 && c.fifo.at(0).start < now-timeout {
		c.dials.failed(c.timeoutError(), c.fifo.at(0).start, now, opts) // Its owner gives it up.
	}
	if c.Kind != Dedicated || c.state != stateUp {
		return c.expire(now - timeout)
	}
	if c.Until == 0 || now <= c.Until || c.moving(now-timeout) {
		return 0
	}
	return c.expire(now + 1)
}

// timeout is how long a request on the Conn may take.
func (c *Conn) timeout(opts *Options) time.Duration {
	if c.Patience > 0 && c.state == stateUp {
		return c.Patience
	}
	if c.Kind.aside() {
		return 2 * opts.RequestTimeout
	}
	return opts.RequestTimeout
}

// expire fails every request queued before the given time and returns how many. The entries of requests
// that may have been sent stay, so that late replies find their place; the others are forgotten.
func (c *Conn) expire(before int64) int {
	if c.moving(before) || c.pushes != nil {
		return 0
	}
	late := 0
	for c.expired < c.fifo.len() && c.fifo.at(c.expired).start < before {
		if e := c.fifo.at(c.expired); e.owner == &c.echo && c.state == stateUp {
			c.expired++ // Its answer is looked at, however late.
			c.echo.late++
			c.expiredBytes += e.size
			continue
		}
		late++
		if c.state != stateUp {
			c.failOldest(c.timeoutError())
			continue
		}
		e := c.fifo.at(c.expired)
		owner, tag := e.owner, e.tag
		e.owner = nil
		f := Failure{
			Conn: c, Err: ErrTimeout, Sent: true, Cut: c.inPart && c.expired == 0,
			Request: c.log.at(c.expiredBytes, e.size),
		}
		c.expired++
		c.expiredBytes += e.size
		if owner != nil {
			owner.Fail(tag, f)
		}
	}
	return late
}

// GiveUp fails the requests that were queued before the given time, as if their time was over: whoever asked knows a
// better server. It returns how many.
func (c *Conn) GiveUp(before int64) int { return c.expire(before) }

// moving reports whether the server has answered anything, or taken in anything, since the given time: then the
// requests wait in line, and not for a server that does not answer. So the time of a request begins when it is the
// oldest one.
func (c *Conn) moving(since int64) bool {
	return c.state == stateUp && (c.lastReply >= since && c.lastReply > c.openedAt || c.drainedAt >= since && c.drainedAt != 0)
}

func (c *Conn) timeoutError() error {
	if err := c.dials.Err(); err != nil {
		return err
	}
	return ErrTimeout
}
