package proxy

import (
	"slices"

	"sluice/backend"
	"sluice/router"
)

// watch is what a client's WATCH has left at a server: a connection of its own, on which EXEC will be sent. All
// keys are of one slot. Meanwhile the client's reads go to masters: what a replica shows may be older than the
// WATCH, and EXEC would not notice.
//
// Owned by the client's event loop.
type watch struct {
	conn  *backend.Conn
	slots []router.Slot // of the keys, in order
	key   []byte        // one of them
	lost  bool
}

// holds is the connection if it still watches, at the node that the slot belongs to.
func (w *watch) holds(node *backend.Node) *backend.Conn {
	if w.lost || w.conn == nil || !w.conn.Up() || w.conn.Node != node {
		return nil
	}
	return w.conn
}

func cmdWatch(c *client, q request) stall {
	if c.is(modeQueueing) {
		c.replyError("ERR WATCH inside MULTI is not allowed")
		return stallNone
	}
	k, refusal := c.slotsOf(q)
	if refusal == "" {
		refusal = c.goesWith(q, k)
	}
	if refusal != "" {
		c.replyError(refusal)
		return stallNone
	}
	if !c.awaitSettled() {
		return stallDrain
	}
	return c.runExclusive(q.cmd, k, q.raw, nil, func(d *retry) exclusive { return &watching{d: d} })
}

// cmdUnwatch needs no server where nothing is watched.
func cmdUnwatch(c *client, _ request) stall {
	c.unwatch()
	c.replyOK()
	return stallNone
}

var unwatchRequest = []byte("*1\r\n$7\r\nUNWATCH\r\n")

// unwatch ends what WATCH began.
func (c *client) unwatch() {
	w := c.watch
	if w == nil {
		return
	}
	clean := w.conn != nil && w.conn.Up() && !w.conn.Waiting() && w.conn.Send(unwatchRequest, nil, 0, c.loop.now) == nil
	if clean {
		c.loop.markBackend(w.conn)
	}
	c.endWatch(clean)
}

// endWatch gives the connection back. clean says that the server watches nothing on it any more, or is about to.
func (c *client) endWatch(clean bool) {
	w := c.watch
	c.watch = nil
	if w.conn != nil {
		c.loop.conns.GiveBack(w.conn, clean, c.loop.now)
	}
	if !c.closed {
		c.setReads()
	}
}

// watching is the exclusive request of WATCH. In front of the first one on a connection goes the question whether
// the server knows MULTI, which can't be asked later: DISCARD would end the watch.
type watching struct {
	d        *retry
	conn     *backend.Conn
	attempt  uint32
	refused  []byte
	newWatch bool
}

// Tags of a watching, above them the attempt.
const (
	watchTagMulti = iota
	watchTagDiscard
	watchTagWatch

	watchTagBits = 2
	watchTagMask = 1<<watchTagBits - 1
)

func (x *watching) send(node *backend.Node, ask bool) (refusal string) {
	c := x.d.client
	l := c.loop
	x.attempt++
	x.refused = nil
	if w := c.watch; w != nil {
		if x.conn = w.holds(node); x.conn == nil {
			w.lost = true // EXEC will say that a key has changed.
			x.d.sink.deliver(x.d.tag, okReply, true, true)
			x.d.done()
			return ""
		}
	} else {
		b, refusal, away := l.lease(node, c.proto, c.db)
		if b == nil {
			return x.d.notLeased(node, refusal, away)
		}
		x.conn = b
		x.newWatch = true
	}
	b, tag := x.conn, x.attempt<<watchTagBits
	var err error
	if !b.Transacts {
		try := append(append([]byte(nil), multiRequest...), discardRequest...)
		err = b.SendAll(nil, try, []int{len(multiRequest), len(discardRequest)}, x, tag, l.now)
	}
	if err == nil && ask {
		err = b.SendAsking(x.d.raw, x, tag|watchTagWatch, l.now)
	} else if err == nil {
		err = b.Send(x.d.raw, x, tag|watchTagWatch, l.now)
	}
	if err != nil {
		x.release(false)
		return sendError(node, err)
	}
	b.Until = l.now + int64(node.Options().RequestTimeout)
	l.markBackend(b)
	return ""
}

// Reply implements backend.Owner.
func (x *watching) Reply(tag uint32, r backend.Reply) {
	c := x.d.client
	if c.closed || tag>>watchTagBits != x.attempt {
		return
	}
	if r.First && r.Data[0] == '-' && x.refused == nil {
		x.refused = append([]byte(nil), r.Data...)
	}
	if tag&watchTagMask != watchTagWatch || !r.Last {
		return
	}
	if x.refused != nil {
		x.release(false) // Something may be watched all the same.
		x.d.Reply(tagDirect, backend.Reply{Conn: r.Conn, Data: x.refused, Request: x.d.raw, First: true, Last: true})
		return
	}
	r.Conn.Transacts = true
	r.Conn.Until = 0
	if x.newWatch {
		c.watch = &watch{conn: x.conn, key: slices.Clone(x.d.keys[0])}
		c.reads = nil
		x.conn, x.newWatch = nil, false
	}
	for _, key := range x.d.keys {
		c.watch.slots = addSlot(c.watch.slots, c.pool.Model.Slot(key))
	}
	x.d.Reply(tagDirect, r)
}

// Fail implements backend.Owner.
func (x *watching) Fail(tag uint32, f backend.Failure) {
	c := x.d.client
	if c.closed || tag>>watchTagBits != x.attempt || tag&watchTagMask != watchTagWatch {
		return
	}
	x.attempt++
	x.release(false)
	if f.Conn.OpenedAt() == 0 {
		x.d.unreached(f.Conn.Node, f.Err)
		return
	}
	f.Sent = false // A WATCH that was lost with its connection has left nothing behind.
	x.d.failed(f)
}

// release gives the connection of a WATCH that did not succeed back. An earlier one of the client is lost with it.
func (x *watching) release(clean bool) {
	c := x.d.client
	if !x.newWatch {
		if c.watch != nil {
			c.watch.lost = true
		}
		return
	}
	c.loop.conns.GiveBack(x.conn, clean, c.loop.now)
	x.conn, x.newWatch = nil, false
}

func (x *watching) abandon() {
	x.attempt++
	if x.newWatch {
		l := x.d.client.loop
		l.conns.GiveBack(x.conn, false, l.now)
	}
}

var (
	_ exclusive     = (*watching)(nil)
	_ backend.Owner = (*watching)(nil)
)
