package proxy

import (
	"slices"
	"time"

	"sluice/backend"
	"sluice/router"
)

// A read that its replica leaves unanswered for unusually long may be sent to a second node; the first answer
// counts. Off by default (reads.hedge). Unusual is what 99 of 100 reads are faster than, as measured, and no more
// than one read in fifty is sent twice however slow all of them are, so that a slow group does not get twice the
// work.
//
//	sendRead --await--> line of reads by time --due, unanswered--> hedge: owner of both requests
type hedging struct {
	line   []awaited // oldest first
	p99    float64   // nanoseconds
	tokens float64   // hedges that may be made
}

// awaited is a read that may become a hedge.
type awaited struct {
	client *client
	conn   *backend.Conn
	seq    uint32
	due    int64 // loop clock
}

const (
	hedgeShare = 0.02 // of all reads at replicas
	hedgeBurst = 10
	// hedgeSoonest is the least time to wait: below, the alarm of a loop is not exact enough.
	hedgeSoonest = int64(time.Millisecond)
)

// delay is how long a read is awaited.
func (h *hedging) delay() int64 { return max(int64(h.p99), hedgeSoonest) }

// observe takes the time of an answered read into p99. The estimate moves up 99 times as fast as down, so it rests
// where one in a hundred is above it.
func (h *hedging) observe(took int64) {
	step := max(h.p99/50, 1000)
	if float64(took) > h.p99 {
		h.p99 += 0.99 * step
	} else {
		h.p99 = max(0, h.p99-0.01*step)
	}
}

// await notes a read that was just sent.
func (l *loop) await(c *client, b *backend.Conn, seq uint32) {
	h := &l.hedging
	h.tokens = min(h.tokens+hedgeShare, hedgeBurst)
	h.line = append(h.line, awaited{c, b, seq, l.now + h.delay()})
	if len(h.line) == 1 {
		l.wakeAt(h.line[0].due)
	}
}

// runHedges sends reads that are due to a second node.
func (l *loop) runHedges() {
	h := &l.hedging
	n := 0
	for n < len(h.line) && h.line[n].due <= l.now {
		h.line[n].hedge(l)
		n++
	}
	// Most are answered long since: there is no need to wake up for those.
	for n < len(h.line) && !h.line[n].open() {
		n++
	}
	h.line = slices.Delete(h.line, 0, n) // It clears what it leaves behind: no client that has gone is kept.
	if len(h.line) > 0 {
		l.wakeAt(h.line[0].due)
	}
}

// open reports whether the read still waits for its replica.
func (a *awaited) open() bool {
	c := a.client
	if c.closed || a.conn.Closed() || a.seq-c.pipe.head >= c.pipe.tail-c.pipe.head {
		return false
	}
	p := c.pipe.at(a.seq)
	return p.flags&atReplica != 0 && p.flags&(answered|passedPart|retried) == 0 && len(p.stored()) == 0
}

// hedge sends the read to another reader, if there is one.
func (a *awaited) hedge(l *loop) {
	c := a.client
	if !a.open() || l.hedging.tokens < 1 || c.reads == nil {
		return
	}
	v, slot := c.pool.view.Load(), c.pipe.at(a.seq).slot
	b := c.otherReader(v, slot, a.conn.Node)
	if b == nil {
		return
	}
	h := &hedge{client: c, seq: a.seq, left: 2}
	raw := a.conn.TakeOver(c, a.seq, h, hedgeFirst)
	if raw == nil {
		return
	}
	if b.Send(raw, h, hedgeSecond, l.now) != nil {
		h.left--
		return
	}
	b.CountRead()
	l.hedging.tokens--
	l.stats.Hedges++
	c.strayed(a.seq)
	l.sent(b)
}

// otherReader is the connection to a node that may serve a read as well as that one, the master in the end. Whoever may
// not go back in time is bound to the node that it reads from while a read is in flight there.
func (c *client) otherReader(v *view, slot router.Slot, not *backend.Node) *backend.Conn {
	if v == nil || c.reads.Policy == ReadMaster || c.reads.Consistency == Monotonic {
		return nil
	}
	g := v.readableGroup(slot)
	if g == nil || c.guarantees.writing(bucketOf(slot)) {
		return nil
	}
	n := need{bucketOf(slot), v.settledAt(slot)}
	if c.reads.Consistency == ReadYourWrites {
		n.since = max(n.since, c.guarantees.ackedIn(n.buckets))
	}
	for i := range v.readers[g.Index] {
		s := &v.readers[g.Index][i]
		if s.node == not || !s.replica {
			continue
		}
		if b := c.fitConn(s, n); b != nil {
			return b
		}
	}
	if node := v.servingMaster(slot); node != nil && c.reads.Policy != ReadReplica {
		return c.loop.conns.Shared(node, c.proto, c.db)
	}
	return nil
}

// Tags of the two requests of a hedge.
const (
	hedgeFirst = iota
	hedgeSecond
)

// hedge owns both requests for one read until one of them is answered.
type hedge struct {
	client *client
	seq    uint32
	left   int  // requests without an outcome
	chosen bool // one has begun to answer: winner
	winner uint32
}

// Reply implements backend.Owner.
func (h *hedge) Reply(tag uint32, r backend.Reply) {
	if h.chosen && h.winner != tag {
		return
	}
	if !h.chosen {
		h.chosen, h.winner = true, tag
		if tag == hedgeSecond {
			h.client.loop.stats.HedgesWon++
		}
	}
	h.client.Reply(h.seq, r)
}

// Fail implements backend.Owner.
func (h *hedge) Fail(tag uint32, f backend.Failure) {
	h.left--
	if h.chosen && h.winner != tag || !h.chosen && h.left > 0 {
		return
	}
	h.client.Fail(h.seq, f)
}

var _ backend.Owner = (*hedge)(nil)
