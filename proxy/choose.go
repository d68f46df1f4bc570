package proxy

import (
	"time"

	"sluice/backend"
	"sluice/router"
	"sluice/router/lag"
)

// need is what a read asks of the node that serves it.
type need struct {
	buckets uint64 // of the slots that its keys are in
	since   int64  // all that was acknowledged before has to be there
}

// restTime is how long ago a slot must have changed hands before replicas without a watermark are read.
const restTime = int64(10 * time.Second)

// evidencePace is how much faster than usual nodes are probed while reads have to go to the master for want of newer
// evidence.
const evidencePace = 5

// chooseReader finds the connection that a read on a group goes to; nil when none of its readers is fit.
func (c *client) chooseReader(v *view, g *router.Group, n need) *backend.Conn {
	l, r := c.loop, c.guarantees
	if c.reads.Policy == ReadMaster || r.writing(n.buckets) {
		return nil // Behind those writes the read has to come at the master.
	}
	if c.reads.Consistency == ReadYourWrites {
		n.since = max(n.since, r.ackedIn(n.buckets))
	}
	readers := v.readers[g.Index]
	if i := l.turnReaderIndex(v, g, c.reads); i >= 0 && c.mayUse(&readers[i]) {
		if b := c.fitConn(&readers[i], n); b != nil {
			l.stick(v, g, i, c, b)
			return b
		}
	}
	var found candidates
	for i := range readers {
		if c.mayUse(&readers[i]) {
			if b := c.fitConn(&readers[i], n); b != nil {
				found.add(i, &readers[i], b)
			}
		}
	}
	if found.n == 0 {
		if c.reads.Consistency != Eventual {
			master := v.nodes[g.Master.Index]
			master.KickSpaced(l.now, int64(master.Options().ProbeInterval/evidencePace))
		}
		return nil
	}
	best := found.choose(l, c.reads.Policy == ReadNearest)
	l.stick(v, g, best.index, c, best.conn)
	return best.conn
}

// mayUse reports whether the client's policy has the reader.
func (c *client) mayUse(s *reader) bool {
	return s.replica || c.reads.Policy != ReadReplica && (s.given || c.reads.Policy == ReadNearest)
}

// fitConn is the connection to a reader if that may serve a read now, else nil.
func (c *client) fitConn(s *reader, n need) *backend.Conn {
	l := c.loop
	if !s.node.Serves() {
		return nil
	}
	if !s.replica {
		if c.reads.Consistency == Monotonic && c.guarantees.readingElsewhere(n.buckets, s.node) {
			return nil
		}
		return l.conns.Shared(s.node, c.proto, c.db)
	}
	p := c.fitProof(s, n)
	if p == nil {
		return nil
	}
	b := l.conns.Replica(s.node, c.proto, c.db)
	if c.reads.Consistency == Monotonic && !c.guarantees.mayGoOnAt(n.buckets, b, p.CaughtUpTo) {
		return nil
	}
	if !b.Up() {
		b.Connect()
		return nil
	}
	if !counts(p, b) {
		return nil
	}
	return b
}

// counts reports whether a proof is about the process that a connection leads to. One that is younger may lead to a
// process that has given no evidence yet, where servers don't tell who they are.
func counts(p *lag.Proof, b *backend.Conn) bool {
	return b.Process() == p.Process && b.OpenedAt() <= p.Asked
}

// fitProof is the proof of a replica if it is good enough for a read, else nil. It was compared with one process at the
// master's address: while connections there lead to others too, what is written through those is not in it.
func (c *client) fitProof(s *reader, n need) *lag.Proof {
	now, p := c.loop.now, s.node.Proof()
	if p == nil || now > p.ValidUntil || c.reads.MaxBehind > 0 && p.Behind > c.reads.MaxBehind && !p.Orphan {
		return nil
	}
	if s.master.Process() != p.Master {
		return nil
	}
	switch {
	case p.CaughtUpTo == 0:
		// Nothing is proven about time: it will do for those who ask for nothing, once a slot has rested.
		if c.reads.Consistency != Eventual || now-n.since < restTime {
			return nil
		}
	case now-p.CaughtUpTo > int64(c.reads.MaxLag) && !p.Orphan || p.CaughtUpTo < n.since:
		return nil
	}
	return p
}

// readerOnItsWay reports whether a replica is fit for a read that no other node may serve, and only the connection to
// it is not: it is being made, no evidence was asked for since, or it leads to another process and will be replaced.
// A first read of a client may come so early.
func (c *client) readerOnItsWay(v *view, g *router.Group, n need) bool {
	if c.reads.Policy != ReadReplica {
		return false
	}
	readers := v.readers[g.Index]
	for i := range readers {
		s := &readers[i]
		if !s.replica || !s.node.Available() {
			continue
		}
		p := c.fitProof(s, n)
		if p == nil {
			continue
		}
		if b := c.loop.conns.Replica(s.node, c.proto, c.db); !b.Up() || !counts(p, b) {
			s.node.KickSpaced(c.loop.now, int64(s.node.Options().ProbeInterval/evidencePace))
			return true
		}
	}
	return false
}

// connectReaders dials the replicas that may be read, in the version that most clients speak: evidence counts only for
// connections that are older.
func (l *loop) connectReaders(v *view) {
	for _, readers := range v.readers {
		for i := range readers {
			if readers[i].replica {
				l.conns.Replica(readers[i].node, 2, 0).Connect()
			}
		}
	}
}

// candidates are readers that are fit for a read.
type candidates struct {
	list [8]candidate // more than these are not looked at
	n    int
}

type candidate struct {
	index int // in view.readers
	*reader
	conn *backend.Conn
}

func (c *candidates) add(index int, s *reader, b *backend.Conn) {
	if c.n < len(c.list) {
		c.list[c.n] = candidate{index, s, b}
		c.n++
	}
}

// choose takes the one with less in flight, for its weight, of two that are drawn by weight. Of two that are idle
// it is the first: the weight has counted in the draw.
func (c *candidates) choose(l *loop, nearest bool) candidate {
	if nearest {
		c.keepNearest()
	}
	if c.n == 1 {
		return c.list[0]
	}
	a, b := c.draw(l), c.draw(l)
	if a.conn.InFlight()*b.weight <= b.conn.InFlight()*a.weight {
		return a
	}
	return b
}

func (c *candidates) draw(l *loop) candidate {
	total := 0
	for i := range c.n {
		total += c.list[i].weight
	}
	at := l.rng.IntN(total)
	for i := range c.n {
		if at -= c.list[i].weight; at < 0 {
			return c.list[i]
		}
	}
	panic("BUG: drawn beyond the total")
}

// keepNearest drops those that are in another zone, if any is in this one, and then those that are slower by more than
// latency varies.
func (c *candidates) keepNearest() {
	near, best := false, time.Duration(1<<62)
	for i := range c.n {
		near = near || c.list[i].near
	}
	kept := 0
	for i := range c.n {
		if c.list[i].near == near {
			c.list[kept] = c.list[i]
			best = min(best, c.list[i].latency())
			kept++
		}
	}
	c.n, kept = kept, 0
	for i := range c.n {
		if c.list[i].latency() <= best+best/2+latencyNoise {
			c.list[kept] = c.list[i]
			kept++
		}
	}
	c.n = kept
}

// latency is that of the node's probes. One that was not probed yet is not the nearest.
func (c *candidate) latency() time.Duration {
	if d := c.node.Latency(); d > 0 {
		return d
	}
	return time.Hour
}

// latencyNoise is a difference of latencies that means nothing: within a zone two hosts differ by this much.
const latencyNoise = 200 * time.Microsecond

// turnReader is the reader of a group that was chosen last in a turn. The reads of a turn go together, so that they
// leave in one write, and what was found about the reader need not be looked at again.
type turnReader struct {
	turn  uint64
	view  *view
	index int // in view.readers

	// For whom conn was found fit, and how far its node is.
	conn       *backend.Conn
	rules      *ReadRules
	proto, db  int
	caughtUpTo int64
}

// sameReader is the connection that was found fit in this turn for a read by the same rules, if it is for this one too.
func (c *client) sameReader(v *view, g *router.Group, slot router.Slot) *backend.Conn {
	l := c.loop
	if g.Index >= len(l.turnReaders) {
		return nil
	}
	s := &l.turnReaders[g.Index]
	if s.turn != l.number || s.view != v || s.rules != c.reads || s.proto != c.proto || s.db != c.db || !s.conn.Up() {
		return nil
	}
	b := slot % buckets
	since := v.settledAt(slot)
	switch c.reads.Consistency {
	case Eventual:
	case ReadYourWrites:
		since = max(since, c.guarantees.acked[b], c.guarantees.taken)
	case Monotonic:
		return nil
	}
	if s.caughtUpTo < since || c.guarantees.writes[b] != 0 {
		return nil
	}
	return s.conn
}

// turnReaderIndex is the reader of g that was chosen in this turn by the same policy, -1 when none was.
func (l *loop) turnReaderIndex(v *view, g *router.Group, by *ReadRules) int {
	if g.Index < len(l.turnReaders) {
		if s := &l.turnReaders[g.Index]; s.turn == l.number && s.view == v && s.rules.Policy == by.Policy {
			return s.index
		}
	}
	return -1
}

func (l *loop) stick(v *view, g *router.Group, index int, c *client, b *backend.Conn) {
	for g.Index >= len(l.turnReaders) {
		l.turnReaders = append(l.turnReaders, turnReader{})
	}
	s := turnReader{turn: l.number, view: v, index: index, conn: b, rules: c.reads, proto: c.proto, db: c.db}
	if p := b.Node.Proof(); b.Replica() && p != nil {
		s.caughtUpTo = p.CaughtUpTo
	} else if !b.Replica() {
		s.caughtUpTo = 1<<63 - 1
	}
	l.turnReaders[g.Index] = s
}
