package proxy

import (
	"bytes"
	"fmt"
	"strings"

	"sluice/backend"
	"sluice/proxy/command"
	"sluice/proxy/hold"
	"sluice/router"
)

// forwardByPolicy is forward for a client whose reads may go to replicas. many says that the command may have several
// keys.
func (c *client) forwardByPolicy(v *view, cmd *command.Command, slot router.Slot, raw []byte, many bool) stall {
	if !cmd.Is(command.ReadOnly) {
		if c.guarantees.reading(bucketOf(slot)) {
			return stallDrain
		}
		seq := c.pipe.tail
		wait := c.forwardToMaster(v, cmd, slot, raw)
		if wait == stallNone && c.pipe.tail != seq && isLock(cmd, raw) {
			c.pipe.at(seq).flags |= observesOthers
		}
		return wait
	}
	g := v.readableGroup(slot)
	if g == nil || !c.mayReadReplica(cmd, many) {
		return c.readMaster(v, cmd, slot, raw)
	}
	if b := c.sameReader(v, g, slot); b != nil {
		c.sendRead(b, cmd, slot, raw)
		return stallNone
	}
	n := need{bucketOf(slot), v.settledAt(slot)}
	if b := c.chooseReader(v, g, n); b != nil {
		c.sendRead(b, cmd, slot, raw)
		return stallNone
	}
	if c.readerOnItsWay(v, g, n) {
		return c.holdBack(v, blockReason{cause: hold.NoReplica, slot: slot}, len(raw))
	}
	if c.reads.Policy == ReadReplica {
		c.replyError(noReader(g))
		return stallNone
	}
	return c.readMaster(v, cmd, slot, raw)
}

// noReader is the answer to a read that only a replica may serve while none is fit.
func noReader(g *router.Group) string {
	return fmt.Sprintf("ERR no replica of group %s may serve this read now; `sluice ctl groups` says why", g.ID)
}

// readMaster sends a read to the master.
func (c *client) readMaster(v *view, cmd *command.Command, slot router.Slot, raw []byte) stall {
	node := v.servingMaster(slot)
	if node == nil {
		return c.readUnsettled(v, cmd, slot, raw)
	}
	if c.reads.Consistency == Monotonic && c.guarantees.readingElsewhere(bucketOf(slot), node) {
		return stallDrain
	}
	c.sendRead(c.loop.conns.Shared(node, c.proto, c.db), cmd, slot, raw)
	return stallNone
}

// readUnsettled is readMaster for a slot that is not simply served by its master.
func (c *client) readUnsettled(v *view, cmd *command.Command, slot router.Slot, raw []byte) stall {
	seq := c.pipe.tail
	if wait := c.forwardToMaster(v, cmd, slot, raw); wait != stallNone {
		return wait
	}
	if c.pipe.tail == seq || c.reads.Consistency != Monotonic {
		return stallNone
	}
	if p := c.pipe.at(seq); p.cmd == cmd && p.flags&answered == 0 {
		p.flags |= countedRead
		c.guarantees.sentSomewhere(bucketOf(slot))
	}
	return stallNone
}

// sendRead sends a read to a node that was chosen for it.
func (c *client) sendRead(b *backend.Conn, cmd *command.Command, slot router.Slot, raw []byte) {
	l := c.loop
	seq := c.begin(cmd, slot)
	p := c.pipe.at(seq)
	switch {
	case b.Replica() && c.reads.Consistency != Monotonic:
		p.flags |= atReplica
		c.guarantees.reads[slot%buckets]++
	case b.Replica():
		p.flags |= atReplica
		c.guarantees.sent(bucketOf(slot), b.Node, true)
	case c.reads.Consistency == Monotonic:
		p.flags |= countedRead
		c.guarantees.sent(bucketOf(slot), b.Node, false)
	}
	b.CountRead()
	if err := b.Send(raw, c, seq, l.now); err != nil {
		c.deliverError(seq, sendError(b.Node, err))
		return
	}
	if b.Replica() && c.reads.Hedge {
		l.await(c, b, seq)
	}
	l.sent(b)
}

// doubtful reports whether a replica's reply must not be believed. In a cluster the keys of a slot may be leaving for
// another group without the proxy knowing yet; a replica follows its master in that, and says of them that they
// don't exist. Their master would redirect. A command here has one key, so that what its reply begins with tells.
func (c *client) doubtful(r backend.Reply) bool {
	return r.Conn.Replica() && r.First && c.pool.Model.Cluster() && (saysNothing(r.Data) || !r.Last && isHeader(r.Data))
}

// isHeader reports whether a part of a reply is only how long it is, or the beginning of what a scan answers that finds
// nothing.
func isHeader(part []byte) bool {
	return strings.IndexByte("*%~", part[0]) >= 0 && bytes.IndexByte(part, '\n') == len(part)-1 ||
		strings.HasPrefix("*2\r\n$1\r\n0\r\n*0\r\n", string(part))
}

// saysNothing reports whether a reply may be about a key that does not exist, or has an element that may be.
func saysNothing(reply []byte) bool {
	if len(reply) == 0 {
		return false
	}
	switch string(reply[:min(len(reply), 8)]) {
	case "*0\r\n", "%0\r\n", "~0\r\n", ":0\r\n", ":-1\r\n", ":-2\r\n", "$0\r\n\r\n", "+none\r\n", "#f\r\n":
		return true
	}
	switch reply[0] {
	case '-', '_':
		return true
	case '*', '%', '~':
	case '$':
		return bytes.HasPrefix(reply, []byte("$-1"))
	default:
		return false
	}
	for _, nothing := range [...]string{"$-1\r\n", "*-1\r\n", "\n_\r\n", "\n:0\r\n", "\n:-2\r\n", "\n*0\r\n"} {
		if bytes.Contains(reply, []byte(nothing)) {
			return true
		}
	}
	return false
}

// unproven drops the proof of a replica that has just shown that it is wrong.
func unproven(b *backend.Conn) {
	if b.Replica() {
		b.Node.SetProof(nil)
		b.Node.LookAgain(lookGap)
		b.Node.Kick()
	}
}
