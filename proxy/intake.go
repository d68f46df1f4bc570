package proxy

// A client that sends faster than its requests can be run is not read meanwhile: its bytes stay in its socket, the
// kernel's window closes, and it waits, as it would with a slow server. So what Sluice keeps of it does not depend on
// how much it has to send (`redis-cli --pipe` with a file of any size).
//
//	read --more than maxIntake bytes of a client that is stalled--> left in the socket
//	  ^                                                              |
//	  +------fewer than half of them, no stall, or it is closing-----+
//
// Only what waits for its turn stops a client: one request may be larger than maxIntake, up to Limits.MaxBulk. A
// client that waits for others (for data, for messages) is read all the same, since the end of its connection shows
// behind its bytes. For these, and where there is no epoll, Limits.MaxUnparsed is the end.
//
// gnet waits for bytes again whenever it has written all replies. Then one more read is taken in, which stops it again.
const maxIntake = 1 << 20

// limitIntake stops or starts reading from the client. It is called when bytes were added or taken away.
func (c *client) limitIntake() {
	if c.lost || c.half != nil || !c.loop.poller.Valid() {
		return
	}
	waiting, most := len(c.in)-c.inOff, min(maxIntake, c.inputLimit()/2)
	stalled := c.stall != stallNone && !c.closing && !c.waitsForOthers()
	switch {
	case stalled && waiting > most:
		if !c.unread {
			c.loop.stats.IntakeStops++
		}
		c.unread = c.readable(false)
	case c.unread && (!stalled || waiting < most/2):
		c.unread = !c.readable(true)
	}
}

// readable says whether gnet is to read what comes, and reports whether that could be done.
func (c *client) readable(yes bool) bool {
	err := c.loop.poller.Wait(c.conn.Fd(), yes, c.conn.OutboundBuffered() > 0)
	if err != nil {
		c.loop.server.often.Error("cannot say whether a client is read", "client", c.id, "addr", c.addr, "read", yes,
			"err", err)
	}
	return err == nil
}
