package proxy

import (
	"sluice/backend"
	"sluice/proxy/command"
	"sluice/proxy/hold"
	"sluice/router"
)

// How requests with keys in several slots go by the policy for reads. They need what the strictest of their slots
// needs.

// forwardMultiByPolicy is forwardByPolicy for keys in several slots.
func (c *client) forwardMultiByPolicy(q request, slots []router.Slot) stall {
	n := need{buckets: bucketsOf(slots)}
	if !q.cmd.Is(command.ReadOnly) {
		if c.guarantees.reading(n.buckets) {
			return stallDrain
		}
		return c.forwardMulti(q, slots)
	}
	g := q.v.readableGroup(slots[0])
	for _, slot := range slots {
		n.since = max(n.since, q.v.settledAt(slot))
		if q.v.readableGroup(slot) != g {
			g = nil
		}
	}
	if g == nil || !c.mayReadReplica(q.cmd, true) {
		return c.readMultiAtMaster(q, slots)
	}
	if b := c.chooseReader(q.v, g, n); b != nil {
		c.sendMulti(b, q, slots)
		return stallNone
	}
	if c.readerOnItsWay(q.v, g, n) {
		return c.holdBack(q.v, blockReason{cause: hold.NoReplica, slot: slots[0]}, len(q.raw))
	}
	if c.reads.Policy == ReadReplica {
		c.replyError(noReader(g))
		return stallNone
	}
	return c.readMultiAtMaster(q, slots)
}

// readMultiAtMaster sends such a read to the master.
func (c *client) readMultiAtMaster(q request, slots []router.Slot) stall {
	mask := bucketsOf(slots)
	if c.reads.Consistency != Monotonic {
		return c.forwardMulti(q, slots)
	}
	if master := q.v.master(slots[0]); master != nil && c.guarantees.readingElsewhere(mask, master) {
		return stallDrain
	}
	seq := c.pipe.tail
	if wait := c.forwardMulti(q, slots); wait != stallNone {
		return wait
	}
	if c.pipe.tail == seq {
		return stallNone
	}
	if p := c.pipe.at(seq); p.cmd == q.cmd && p.flags&(answered|countedRead) == 0 { // It is being retried.
		c.guarantees.sentSomewhere(mask)
		c.guarantees.countMulti(p, seq, mask, countedRead)
	}
	return stallNone
}

// countMultiRead counts such a read, which goes to a node.
func (c *client) countMultiRead(b *backend.Conn, seq uint32, mask uint64) {
	b.CountRead()
	what := countedRead
	if b.Replica() {
		what = atReplica
	} else if c.reads.Consistency != Monotonic {
		return
	}
	c.guarantees.sent(mask, b.Node, b.Replica())
	c.guarantees.countMulti(c.pipe.at(seq), seq, mask, what)
}

// countMulti keeps the buckets of request seq, p, until it is answered, and how it is counted.
func (r *sessionGuarantees) countMulti(p *pending, seq uint32, mask uint64, what pendingFlags) {
	p.flags |= what
	if what == countedWrite {
		each(mask, func(b int) { r.writes[b]++ })
	}
	if r.multi == nil {
		r.multi = make(map[uint32]uint64)
	}
	r.multi[seq] = mask
}

// answeredMulti notes the end of such a request.
func (r *sessionGuarantees) answeredMulti(seq uint32, what pendingFlags) {
	mask := r.multi[seq]
	delete(r.multi, seq)
	r.answered(mask, what)
}

func bucketsOf(slots []router.Slot) (mask uint64) {
	for _, slot := range slots {
		mask |= bucketOf(slot)
	}
	return mask
}
