package proxy

import (
	"fmt"
	"slices"
	"time"

	"sluice/backend"
	"sluice/backend/dialect"
)

// rounds are those who wait for the end of a round at one source: Pika's background migration reads some hundred keys,
// sends them, awaits the replies and deletes them, and does not know of keys that SLOTSMGRTTAGONE has
// moved in the meantime. What it has sent, or will still send, for such a key would overwrite or delete
// what the target has by then. So a key counts as arrived only when every round has ended that was under way when the key
// left the source; later rounds do not know the key any more.
//
// The source is asked on a connection of its own, by one question at a time for all who wait. Owned by the loop.
type rounds struct {
	loop    *loop
	node    *backend.Node
	conn    *backend.Conn
	waiting []roundWait
	attempt uint32 // of the question that is out
	asking  bool
	status  []byte // the first half of its answer
	info    []byte // the second
}

// roundWait is a detour that waits.
type roundWait struct {
	d       *detour
	attempt uint32 // of d, which may have been given up
	asked   uint32 // the first question that was sent after its key had left the source
	seen    bool
	moved   string // dialect.Round.Moved in the answer to that
}

// roundPause is the time between two questions.
const roundPause = int64(time.Millisecond)

// awaitRound lets d go on when the rounds under way at its source have ended.
func (l *loop) awaitRound(d *detour) {
	source := d.client.pool.view.Load().nodes[d.transit.move.From.Index]
	n := l.lanes[source]
	if n == nil {
		d.retryMove("is " + d.transit.move.String()) // The lanes were closed in the meantime.
		return
	}
	if !d.enterHold(HoldMoving, fmt.Sprintf("is %s, and a round of %s takes long", d.transit.move, source.Addr), true) {
		return
	}
	d.state = detourQueued
	r := &n.rounds
	r.loop, r.node = l, source
	r.waiting = append(r.waiting, roundWait{d: d, attempt: d.transit.attempt, asked: r.attempt + 1})
	if !r.asking {
		r.ask()
	}
}

// ask sends the question.
func (r *rounds) ask() {
	if r.conn == nil || r.conn.Closed() {
		r.conn = backend.NewConn(r.node, 2, 0, r.loop.el, r.loop.pool, r.loop)
		r.conn.Aside = true
	}
	r.attempt++
	r.asking, r.status, r.info = true, r.status[:0], r.info[:0]
	for half, q := range dialect.RoundQueries {
		if err := r.conn.Send(q, r, r.attempt<<1|uint32(half), r.loop.now); err != nil {
			r.failed(err)
			return
		}
	}
	r.loop.markBackend(r.conn)
}

// Reply implements backend.Owner.
func (r *rounds) Reply(tag uint32, reply backend.Reply) {
	if tag>>1 != r.attempt || !r.asking {
		return
	}
	if tag&1 == 0 {
		r.status = append(r.status, reply.Data...)
		return
	}
	r.info = append(r.info, reply.Data...)
	if !reply.Last {
		return
	}
	r.asking = false
	round, ok := dialect.ReadRound(r.status, r.info)
	if !ok {
		r.failed(fmt.Errorf("it answered SLOTSMGRT-ASYNC-STATUS with %.80q", trimLine(r.status)))
		return
	}
	r.answered(round)
}

// answered lets those go whose rounds have ended.
func (r *rounds) answered(round dialect.Round) {
	waiting := r.waiting
	r.waiting = nil
	for _, w := range waiting {
		switch {
		case !w.current():
		case w.asked > r.attempt:
			r.waiting = append(r.waiting, w)
		case round.Idle, w.seen && w.moved != round.Moved:
			w.d.arrived()
		case w.d.overdue():
		default:
			w.seen, w.moved = true, round.Moved
			r.waiting = append(r.waiting, w)
		}
	}
	r.again()
}

// current reports whether the detour still waits for this.
func (w *roundWait) current() bool {
	return !w.d.client.closed && w.d.state == detourQueued && w.d.transit.attempt == w.attempt
}

// again asks once more after a pause if somebody waits.
func (r *rounds) again() {
	if len(r.waiting) == 0 || r.asking {
		return
	}
	r.asking = true
	r.loop.roundsDue = append(r.loop.roundsDue, r)
	r.loop.wakeAt(r.loop.now + roundPause)
}

// askRounds sends the questions whose pause is over.
func (l *loop) askRounds() {
	due := l.roundsDue
	l.roundsDue = nil
	for _, r := range due {
		r.ask()
	}
}

// Fail implements backend.Owner.
func (r *rounds) Fail(tag uint32, f backend.Failure) {
	if tag>>1 == r.attempt && r.asking {
		r.failed(f.Err)
	}
}

// failed lets everybody try again from the start: the key may have to be moved once more.
func (r *rounds) failed(err error) {
	r.asking = false
	r.attempt++
	waiting := r.waiting
	r.waiting = nil
	for _, w := range waiting {
		if w.current() {
			w.d.retryMove(fmt.Sprintf("is %s, and %s does not tell its progress: %v", w.d.transit.move, r.node.Addr, err))
		}
	}
}

// close ends the connection if nobody waits.
func (r *rounds) close() {
	if r.conn != nil && !r.conn.Closed() && len(r.waiting) == 0 && !r.conn.Waiting() {
		r.loop.closeBackend(r.conn, errClosed)
	}
}

var _ backend.Owner = (*rounds)(nil)

// all are the connections of a source besides the shared ones.
func (n *lanes) all() []*backend.Conn {
	if n.rounds.conn == nil {
		return n.conns
	}
	return append(slices.Clone(n.conns), n.rounds.conn)
}
