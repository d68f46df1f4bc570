package proxy

import (
	"sluice/backend"
	"sluice/proxy/command"
	"sluice/proxy/hold"
	"sluice/proxy/pubsub"
	"sluice/proxy/resp"
	"sluice/router"
)

// cmdPublish is PUBLISH. Immutable.
var cmdPublish = command.Lookup([]byte("publish"))

// publish sends PUBLISH or SPUBLISH to the owner of its channel's slot, on the connection of the client's other
// commands. A slot that is locked or moves is no reason to: no key is
// touched, and of a channel that is subscribed at every master any may tell.
func (c *client) publish(q request) stall {
	channel := q.args[1]
	slot := c.pool.Model.Slot(channel)
	if !c.takeView(q.v, slot) {
		return stallDrain
	}
	o, blocked := c.pool.blockReason(q.v, slot)
	if blocked && (o.cause == hold.Locked || o.cause == hold.Moving) {
		node := q.v.master(slot)
		blocked = node == nil || !node.Serves()
	}
	if blocked {
		return c.holdBack(q.v, o, len(q.raw))
	}
	node := q.v.master(slot)
	if !c.pool.subscribers.Busy() {
		c.sendTo(node, q.cmd, slot, q.raw)
		return stallNone
	}
	l := c.loop
	kind := pubsub.Channel
	if q.cmd != cmdPublish {
		kind = pubsub.Shard
	}
	p := &publication{client: c, slot: slot, node: node}
	p.receivers = c.pool.subscribers.Receivers(kind, string(channel), node, c.pool.Model.Cluster())
	p.seq = c.begin(q.cmd, slot)
	b := l.conns.Shared(node, c.proto, c.db)
	if err := b.Send(q.raw, p, p.seq, l.now); err != nil {
		c.deliverError(p.seq, sendError(node, err))
		return stallNone
	}
	l.sent(b)
	return stallNone
}

// publication is a PUBLISH whose reply has to be corrected: the server has counted loops where there are clients.
type publication struct {
	client    *client
	seq       uint32
	slot      router.Slot
	node      *backend.Node // that has it
	receivers pubsub.Receivers
}

// Reply implements backend.Owner.
func (p *publication) Reply(seq uint32, r backend.Reply) {
	c := p.client
	if c.closed || r.First && r.Data[0] == '-' && c.retryRejected(p, seq, seq, p.slot, r) {
		return
	}
	p.node = r.Conn.Node
	if r.Last && c.slow(seq) {
		c.noteSlow(seq, c.answeredBy(seq, r.Conn, r.Request))
	}
	p.deliver(seq, r.Data, r.First, r.Last)
	if r.Last {
		c.runRetries()
	}
}

// Fail implements backend.Owner.
func (p *publication) Fail(seq uint32, f backend.Failure) {
	c := p.client
	if c.closed || c.retryLost(p, seq, seq, p.slot, f) {
		return
	}
	if c.slow(seq) {
		c.noteSlow(seq, c.answeredBy(seq, f.Conn, f.Request))
	}
	c.deliverFailure(seq, f)
	c.runRetries()
}

// deliver implements sink.
func (p *publication) deliver(seq uint32, data []byte, first, last bool) {
	c := p.client
	if n, ok := resp.Integer(data); ok && first && last {
		data = resp.AppendInt(c.loop.scratch[:0], p.receivers.Count(p.node, n))
		c.loop.scratch = data
	}
	c.deliver(seq, data, first, last)
}

// deliverFailure implements sink.
func (p *publication) deliverFailure(seq uint32, f backend.Failure) { p.client.deliverFailure(seq, f) }

// again implements sink.
func (p *publication) beginAgain(seq uint32) bool { return p.client.beginAgain(seq) }

var (
	_ backend.Owner = (*publication)(nil)
	_ sink          = (*publication)(nil)
)
