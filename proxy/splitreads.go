package proxy

import (
	"fmt"

	"sluice/backend"
	"sluice/proxy/command"
	"sluice/router"
)

// How the parts of a split command go by the policy for reads. Each part has needs of its own, those of the
// strictest of its keys.

// mustWait reports whether a command on slot has to wait for reads in flight, see sessionGuarantees.
func (c *client) mustWait(v *view, cmd *command.Command, slot router.Slot) bool {
	if !cmd.Is(command.ReadOnly) {
		return c.guarantees.reading(bucketOf(slot))
	}
	if c.reads.Consistency != Monotonic {
		return false
	}
	node := v.servingMaster(slot)
	return node != nil && c.guarantees.readingElsewhere(bucketOf(slot), node)
}

// hasReader reports whether a replica may serve a read of keys in slot now.
func (c *client) hasReader(v *view, cmd *command.Command, slot router.Slot) bool {
	if v == nil || !servedByReplicas(cmd) {
		return false
	}
	g := v.readableGroup(slot)
	return g != nil && c.chooseReader(v, g, need{bucketOf(slot), v.settledAt(slot)}) != nil
}

// waitsForReader reports whether a read of keys in slot has to wait for the connection to a replica, see
// readerOnItsWay.
func (c *client) waitsForReader(v *view, cmd *command.Command, slot router.Slot) bool {
	g := v.readableGroup(slot)
	if g == nil || !c.mayReadReplica(cmd, false) {
		return false
	}
	n := need{bucketOf(slot), v.settledAt(slot)}
	return c.reads.Policy == ReadReplica && c.chooseReader(v, g, n) == nil && c.readerOnItsWay(v, g, n)
}

// countWrites notes the writes of the parts.
func (s *split) countWrites() {
	r := s.client.guarantees
	if r == nil || s.cmd.Is(command.ReadOnly) {
		return
	}
	for i := range s.parts {
		s.writes |= s.parts[i].need.buckets
	}
	each(s.writes, func(b int) { r.writes[b]++ })
}

// connFor is the connection that a part goes to; nil with the error to answer when no node may serve it.
func (s *split) connFor(part *splitPart) (b *backend.Conn, refusal string) {
	c := s.client
	if s.atOnce() {
		return c.loop.conns.Kill(part.node, c.proto), ""
	}
	master := c.loop.conns.Shared(part.node, c.proto, c.db)
	if c.reads == nil || !s.cmd.Is(command.ReadOnly) {
		return master, ""
	}
	v := c.pool.view.Load()
	g := v.readableGroup(part.slot)
	if g != nil && v.master(part.slot) == part.node && c.mayReadReplica(s.cmd, false) {
		b = c.chooseReader(v, g, part.need)
		if b == nil && c.reads.Policy == ReadReplica {
			return nil, noReader(g)
		}
	}
	if b == nil {
		b = master
	}
	switch {
	case b.Replica():
		part.count = atReplica
	case c.reads.Consistency == Monotonic:
		part.count = countedRead
	}
	if part.count != 0 {
		c.guarantees.sent(part.need.buckets, b.Node, b.Replica())
	}
	b.CountRead()
	return b, ""
}

// doubtful is client.doubtful for a part, which may have several keys: it is judged when all of its reply is there.
// A number of keys that leaves some out counts, too.
func (s *split) doubtful(tag uint32, r backend.Reply) bool {
	if !r.Conn.Replica() || !r.Last || !s.client.pool.Model.Cluster() {
		return false
	}
	if s.kind == splitCount {
		return string(r.Data) != fmt.Sprintf(":%d\r\n", s.parts[tag].args-1)
	}
	return saysNothing(s.replies[tag]) || saysNothing(r.Data)
}
