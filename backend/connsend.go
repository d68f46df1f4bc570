package backend

import "sluice/internal/rawio"

// How requests are queued on a Conn, alone or so that nothing parts them, and written.

// Send queues a copy of req; the loop flushes the Conn later. A nil owner drops the reply. now is the loop
// clock. An error means that nothing was queued.
func (c *Conn) Send(req []byte, owner Owner, tag uint32, now int64) error {
	if c.Queued() >= c.Node.Options().MaxQueued {
		return ErrQueueFull
	}
	if c.state == stateNew {
		c.dial()
	}
	c.queue(req, owner, tag, now)
	c.echoBehind(now)
	return nil
}

// echoBehind checks the order of replies behind a request, in a build that does so each time.
func (c *Conn) echoBehind(now int64) {
	if echoEach && c.echo.on && c.state == stateUp && c.Kind != Dedicated && c.pushes == nil {
		c.sendEcho(now)
	}
}

// SendAll is Send for several requests that must not be parted: batch holds them, one behind the other, and sizes says
// how long each is. Their tags count up from tag. Other requests go directly before them, as with SendBehind. All
// are queued or none is.
func (c *Conn) SendAll(first [][]byte, batch []byte, sizes []int, owner Owner, tag uint32, now int64) error {
	if err := c.queueFirst(first, now); err != nil {
		return err
	}
	for i, size := range sizes {
		c.queue(batch[:size], owner, tag+uint32(i), now)
		batch = batch[size:]
	}
	c.echoBehind(now)
	return nil
}

// SendAsking is Send with ASKING directly before the request: both are queued or neither is, because ASKING
// alone would be taken for the next command's (Redis cluster specification, "ASK redirection").
func (c *Conn) SendAsking(req []byte, owner Owner, tag uint32, now int64) error {
	return c.SendBehind([][]byte{AskingRequest}, req, owner, tag, now)
}

// AskingRequest is ASKING in wire form. Immutable.
var AskingRequest = []byte("*1\r\n$6\r\nASKING\r\n")

// SendBehind is Send with other requests, whose replies are dropped, directly before the request: all are queued or
// none is.
func (c *Conn) SendBehind(first [][]byte, req []byte, owner Owner, tag uint32, now int64) error {
	if err := c.queueFirst(first, now); err != nil {
		return err
	}
	c.queue(req, owner, tag, now)
	c.echoBehind(now)
	return nil
}

// queueFirst queues requests whose replies are dropped, if there is room for them and for what follows.
func (c *Conn) queueFirst(first [][]byte, now int64) error {
	size := 0
	for _, f := range first {
		size += len(f)
	}
	if c.Queued()+size >= c.Node.Options().MaxQueued {
		return ErrQueueFull
	}
	if c.state == stateNew {
		c.dial()
	}
	for _, f := range first {
		c.queue(f, nil, 0, now)
	}
	return nil
}

func (c *Conn) queue(req []byte, owner Owner, tag uint32, now int64) {
	c.log.add(req)
	c.fifo.push(entry{owner: owner, start: now, tag: tag, size: len(req)})
}

// Flush hands queued bytes to gnet as long as it takes them without buffering. What does not fit stays in
// the send log and goes out when replies show that the server drains its socket.
func (c *Conn) Flush() {
	for c.state == stateUp && c.gc.OutboundBuffered() == 0 {
		piece := c.log.unsent()
		if piece == nil {
			return
		}
		// A failing Write closes the Conn before it returns, and then these bytes count as sent.
		c.log.markSent(len(piece))
		if _, err := rawio.Write(c.gc, piece); err != nil {
			return
		}
	}
}
