package proxy

import (
	"fmt"
	"time"

	"sluice/backend"
	"sluice/proxy/hold"
)

// The waits of a retry: the holds that it begins, moves the ends of, and gives up at.

// wait holds the request for a moment; why is what is in the way. With free it waits also where nothing may
// be held. It returns false when the client was answered instead.
func (d *retry) wait(cause hold.Cause, why string, free bool) bool {
	if !d.enterHold(cause, why, free) {
		return false
	}
	c := d.client
	d.next.Pause(c.loop.now, len(c.loop.delayed))
	if d.hold.active {
		d.next.After = min(d.next.After, d.hold.deadline)
	}
	if x, ok := d.exclusive.(*blocking); ok && x.until > c.loop.now {
		d.next.After = min(d.next.After, x.until)
	}
	return true
}

// enterHold begins a hold of the request, or notes what is in the way now. It returns false when the client was
// answered instead.
func (d *retry) enterHold(cause hold.Cause, why string, free bool) bool {
	c := d.client
	d.why = why
	if c.pool.Settings().Hold.MaxWait > 0 {
		if !d.hold.active {
			if limit := c.beginHold(&d.hold, d.slot, cause, len(d.raw)); limit != "" {
				d.give(notHeld(d.slot, why, limit))
				return false
			}
			if x, ok := d.exclusive.(*blocking); ok {
				x.continueHold()
			}
		}
		if d.hold.cause != cause {
			c.changeHold(&d.hold, d.hold.slot, cause)
		}
		d.renewDeadline()
	} else if !free {
		d.give(notHeld(d.slot, why, "hold.max_wait is 0"))
		return false
	}
	return true
}

// renewDeadline moves the end of a hold: forward when max_wait has become shorter, back while the keys of its slot go.
func (d *retry) renewDeadline() {
	if !d.hold.active {
		return
	}
	s := &d.client.pool.Settings().Hold
	if in, ok := d.moveAt(); ok {
		d.hold.deadline = d.client.pool.progress.Deadline(in, d.hold.since, s)
		return
	}
	d.hold.deadline = min(d.hold.deadline, d.hold.since+int64(s.MaxWait))
}

// overdue gives a retry up that waits for something else than a time, when its own is over.
func (d *retry) overdue() bool {
	c := d.client
	if !d.hold.active {
		patience := 2 * int64(c.pool.Settings().Backend.RequestTimeout)
		if d.state == retryIdle || c.loop.now-c.pipe.at(d.seq).start < patience {
			return false
		}
		d.giveUp(hold.TimedOut, notHeld(d.slot, d.why, "hold.max_wait is 0"))
		return true
	}
	if x, ok := d.exclusive.(*blocking); ok && d.hold.cause == hold.NoMaster && x.timedOut() {
		return true
	}
	in, moving := d.moveAt()
	if moving {
		d.renewDeadline()
	}
	if c.loop.now < d.hold.deadline {
		return false
	}
	why, waited := d.why, time.Duration(c.loop.now-d.hold.since)
	if moving {
		why += c.pool.progress.Describe(in, waited, &c.pool.Settings().Hold)
	}
	d.giveUp(hold.TimedOut, heldFor(d.slot, why, waited))
	return true
}

// waitFor is wait for a block reason; then the retry is run again.
func (d *retry) waitFor(v *view, o blockReason) {
	c := d.client
	if o.fence != "" {
		d.give(o.fence)
		return
	}
	s := &c.pool.Settings().Hold
	since := c.loop.now
	if d.hold.active {
		since = d.hold.since
	}
	deadline := o.deadline(since, s)
	if deadline <= c.loop.now && !d.hold.active {
		d.give(o.refusal(v))
		return
	}
	if !d.wait(o.cause, o.String(), false) {
		return
	}
	d.hold.deadline = deadline
	d.next.After = min(d.next.After, deadline)
	c.runRetries()
}

// retryLater sends a lost request once more, after a moment.
func (d *retry) retryLater(f backend.Failure) {
	c := d.client
	c.loop.stats.Retries++
	d.state = retryIdle
	d.next.ToOwner()
	why := fmt.Sprintf("is not served: backend %s: %v", f.Conn.Node.Addr, f.Err)
	if f.Conn.Node.Paused() {
		why = "is not served: " + paused(f.Conn.Node)
	}
	if d.wait(hold.NoMaster, why, true) {
		c.runRetries()
	}
}
