package proxy

import (
	"fmt"
	"net"
	"time"

	"sluice/backend"
	"sluice/backend/dialect"
	"sluice/proxy/hold"
	"sluice/proxy/resp"
	"sluice/router"
)

// How keys are moved on access, with SLOTSMGRTTAGONE. The migration that the dashboard drives in the background
// does not know of it, and must not be under way for a key that is moved:
//
//	codis-server      fence, SLOTSMGRTTAGONE for each key, fence: the first lets the batch that runs end, the second
//	                  one that was started in between (method sync has no batches)
//	Pika, semi-async  not at all: the key is left to the background, and held until EXISTS says that it has gone.
//	                  Pika sends a DEL for a key that vanishes while it copies it, and an older value after a newer.
//	                  Who has waited for long asks for a round of the background (requestRound)
//	Pika, sync        SLOTSMGRTTAGONE and EXISTS, key by key, and none twice at once (keymoves.go)

// lookForKey asks a Pika whether a key has gone.
func (d *retry) lookForKey() {
	c, t := d.client, &d.migration
	t.asked = t.asked[:1]
	t.startAttempt(tagLength, (*retry).lookReply)
	d.askExists(c.loop.link(t.source, c.proto, c.db))
}

// lookReply concludes lookForKey.
func (d *retry) lookReply(r backend.Reply) {
	t := &d.migration
	switch {
	case t.absent():
		d.arrived()
	case t.present():
		d.requestRound()
		d.retryMove(fmt.Sprintf("is %s, and the background migration of %s has not come to the key", t.move, t.source.Addr))
	default:
		d.existsRefused(r)
	}
}

const (
	// roundAfter is how long a request waits for the background before that is asked for a round, and roundEvery the
	// time between two such rounds.
	roundAfter = time.Second
	roundEvery = int64(100 * time.Millisecond)
	// roundKeys is the size of a round, the default of a dashboard.
	roundKeys = 500
)

// requestRound asks the source for a round of the background migration, as the dashboard does, when a request has
// waited for long: the dashboard pauses for six seconds when one of its batches was refused. While it does not
// pause nobody waits that long, and it is better left alone: two who ask at the same moment refuse each other.
func (d *retry) requestRound() {
	c, t := d.client, &d.migration
	l := c.loop
	after := min(roundAfter, c.pool.Settings().Hold.MaxWait/2)
	if !d.hold.active || l.now-d.hold.since < int64(after) || l.now-l.roundAsked[t.source] < roundEvery {
		return
	}
	if l.roundAsked == nil {
		l.roundAsked = make(map[*backend.Node]int64)
	}
	l.roundAsked[t.source] = l.now
	l.stats.Moves.Nudges++
	host, port, _ := net.SplitHostPort(t.move.To.Addr)
	l.scratch = dialect.AppendMoveSlot(l.scratch[:0], host, port, t.source.Options().RequestTimeout, t.move.Slot,
		roundKeys)
	b := l.link(t.source, c.proto, c.db)
	_ = b.Send(l.scratch, nil, 0, l.now) // Whether it was refused shows in the keys.
	l.markBackend(b)
}

// moveKeys has the source move keys, on a migration connection of its own, or waits for a migration connection.
func (d *retry) moveKeys() {
	c, l, t := d.client, d.client.loop, &d.migration
	b := l.migrationConn(t.source, c.db, c.pool.Settings().MoveParallel)
	if b == nil {
		if d.enterHold(hold.Moving, fmt.Sprintf("is %s, and %s is busy with other keys", t.move, t.source.Addr), true) {
			d.state = retryQueued
			l.waitForMigrationConn(t.source, d)
		}
		return
	}
	if c.pool.Family.Fences {
		t.startAttempt(tagFenceEnd, (*retry).moveReply)
		ok := t.move.Method == router.Sync || d.sendStep(b, tagFence, dialect.FenceRequest)
		for i := 0; ok && i < len(t.asked); i++ {
			ok = d.sendMove(b, t.asked[i])
		}
		if ok {
			d.sendStep(b, tagFenceEnd, dialect.FenceRequest)
		}
		return
	}
	d.moveAlone(b)
}

// moveAlone has a Pika move one key, unless it does already, or the target may still be at work on it.
func (d *retry) moveAlone(b *backend.Conn) {
	c, t := d.client, &d.migration
	t.asked = t.asked[:1]
	key := movedKey{c.db, string(t.asked[0])}
	switch c.pool.keyMoves.begin(key) {
	case moveRunning:
		d.retryMove(fmt.Sprintf("is %s, and %s is moving the key", t.move, t.source.Addr))
		return
	case moveFailed:
		d.askTarget()
		return
	case moveBegun:
	}
	b.Patience = patientMigration
	t.moving = key
	t.startAttempt(tagLength, (*retry).moveProof)
	if !d.sendMove(b, t.asked[0]) {
		d.endMove(true) // Nothing was sent.
		return
	}
	conns := c.loop.migrationConns[t.source]
	conns.running = append(conns.running, d)
	d.askExists(b)
}

// endMove notes that a move that moveAlone has begun is over. With ok the target is quiet.
func (d *retry) endMove(ok bool) {
	if t := &d.migration; t.moving.key != "" {
		d.client.pool.keyMoves.end(t.moving, ok)
		t.moving = movedKey{}
	}
}

// moveAnswered takes the answer to a move that nobody waits for any more.
func (d *retry) moveAnswered(tag uint32, r backend.Reply) {
	if tag&tagMask == tagMoveKey && r.Last {
		_, ok := dialect.KeyMoved(r.Data)
		d.endMove(ok && r.First)
	}
}

// moveOverdue gives a request up whose key takes too long to move. The move goes on.
func (d *retry) moveOverdue() {
	c, t := d.client, &d.migration
	if d.state != retrySent || c.closed || t.moving.key == "" {
		return
	}
	what := ""
	if size := dialect.Size(t.answers[tagSize]); size != "" {
		what = ", " + size
	}
	why := fmt.Sprintf("is %s, and %s has been moving the key %.100q%s for %.1fs",
		t.move, t.source.Addr, t.moving.key, what, time.Duration(c.loop.now-d.sentAt).Seconds())
	if !d.enterHold(hold.Moving, why, true) || d.overdue() {
		return
	}
	d.askProgress()
	if !t.sizing {
		t.sizing = true
		d.askSize(t.source, tagSize)
	}
}

// askSize asks how large the key is.
func (d *retry) askSize(node *backend.Node, kind uint32) {
	c, t := d.client, &d.migration
	b := c.loop.link(node, c.proto, c.db)
	for i := range dialect.SizeQuestions() {
		c.loop.scratch = dialect.AppendSizeQuestion(c.loop.scratch[:0], i, t.asked[0])
		if err := b.Send(c.loop.scratch, d, t.attempt<<tagBits|kind, c.loop.now); err != nil {
			return // It will not be known, or asked for again.
		}
	}
	c.loop.markBackend(b)
}

// askTarget looks at what the target has of a key whose move has failed.
func (d *retry) askTarget() {
	c, t := d.client, &d.migration
	t.startAttempt(tagTarget, (*retry).targetReply)
	node := c.pool.view.Load().master(d.slot)
	d.state, d.sentTo, d.sentAt = retrySent, node, c.loop.now
	d.askSize(node, tagTarget)
}

// targetReply concludes it.
func (d *retry) targetReply(r backend.Reply) {
	c, t := d.client, &d.migration
	answer := t.answers[tagTarget]
	if d.judged(answer, r.Conn) {
		return
	}
	c.pool.keyMoves.look(movedKey{c.db, string(t.asked[0])}, string(answer), c.loop.now)
	d.state = retryIdle
	if d.wait(hold.Moving, fmt.Sprintf("is %s, a move of the key has failed, and %s may still be at work on it",
		t.move, r.Conn.Node.Addr), true) {
		d.after = max(d.after, c.loop.now+quietPause)
		if d.hold.active {
			d.after = min(d.after, d.hold.deadline)
		}
		c.runRetries()
	}
}

// sendMove sends SLOTSMGRTTAGONE.
func (d *retry) sendMove(b *backend.Conn, key []byte) bool {
	l, t := d.client.loop, &d.migration
	l.stats.Moves.KeyMoves++
	host, port, _ := net.SplitHostPort(t.move.To.Addr)
	l.scratch = dialect.AppendMoveKey(l.scratch[:0], host, port, d.moveLimit(), key)
	return d.sendStep(b, tagMoveKey, l.scratch)
}

// moveLimit is how long the source may wait for an answer of the target, of which a Pika gets many for a key. A
// source that does nothing else meanwhile must not keep the requests of others waiting until they time out.
func (d *retry) moveLimit() time.Duration {
	if !d.client.pool.Family.OneAtATime {
		return patientMove
	}
	limit := d.migration.source.Options().RequestTimeout
	return max(limit/time.Duration(2*len(d.migration.asked)*max(1, d.client.pool.Settings().MoveParallel)),
		minMoveLimit)
}

const (
	minMoveLimit = 20 * time.Millisecond
	// patientMove is how long a Pika waits for one answer of its target: what it gives up, the target still runs.
	patientMove = 30 * time.Second
	// patientLane is how long a Pika may take to move one key.
	patientMigration = 10 * time.Minute
)

// keyReply takes the answer of one SLOTSMGRTTAGONE.
func (d *retry) keyReply() {
	t, stats := &d.migration, &d.client.loop.stats.Moves
	n, ok := dialect.KeyMoved(t.answers[tagMoveKey])
	d.endMove(ok)
	if ok {
		t.moved += n
		stats.KeysMoved += uint64(n)
	} else {
		stats.KeyMovesFailed++
		t.failure = string(resp.TrimLine(t.answers[tagMoveKey]))
	}
	t.answers[tagMoveKey] = t.answers[tagMoveKey][:0]
}

// moveReply concludes moves at a codis-server.
func (d *retry) moveReply(backend.Reply) {
	if d.migration.failure == "" {
		d.arrived()
		return
	}
	d.moveFailed()
}

// moveProof concludes a move at a Pika: the key must be gone.
func (d *retry) moveProof(backend.Reply) {
	t := &d.migration
	switch {
	case t.absent():
		d.arrived()
	case t.failure == "" && t.present() && t.moved == 0:
		d.retryMove(fmt.Sprintf("is %s, and %s has the key but does not move it: SLOTSRELOAD there, or the type is one that Pika can't move",
			t.move, t.source.Addr))
	case t.failure == "" && t.present(): // Pika 3.5 lets one key have several types.
		d.retryMove("is " + t.move.String())
	default:
		d.moveFailed()
	}
}

// moveFailed goes on after SLOTSMGRTTAGONE was answered with an error: the key may be on either side, or on both.
func (d *retry) moveFailed() {
	c, t := d.client, &d.migration
	if v := c.pool.Family.Judge([]byte(t.failure), ""); v.Kind == dialect.NoMaster {
		c.pool.trouble(t.source.Addr)
	}
	d.retryMove(fmt.Sprintf("is %s, and %s answered %.120q", t.move, t.source.Addr, t.failure))
}
