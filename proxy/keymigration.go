package proxy

import (
	"fmt"
	"slices"

	"sluice/backend"
	"sluice/backend/dialect"
	"sluice/proxy/command"
	"sluice/proxy/hold"
	"sluice/proxy/resp"
	"sluice/router"
)

// keyMigration is how far a retry is in finding its keys while their slot moves, in Codis' way: each key is at the
// source still or at the target already, and nobody is told when it goes. What a family allows decides how:
//
//	codis-server, one key    SLOTSMGRT-EXEC-WRAPPER at the source: it runs the command, or says where the key is
//	Pika, one key, a read    the read and EXISTS at the source: if that finds the key the answer counts, else the
//	                         target is asked
//	anything else            the keys are moved, or awaited (movekeys.go), then the target runs the command
//
// Nobody writes to the source of a moving slot, so a key that is not there never comes back: the loop
// remembers it (migratedKeys), and later commands on it go straight to the target.
//
// Each attempt sends one or more requests and draws its conclusion when the last is answered.
type keyMigration struct {
	move      *router.Move
	source    *backend.Node
	asked     [][]byte // those that are looked for now
	moveFirst bool     // the source has refused to run the command
	notThere  bool     // the source does not have the key of a read
	passing   bool     // the rest of the wrapper's answer is the client's
	begun     bool     // and a part of that was passed on

	attempt  uint32 // answers to older attempts mean nothing
	last     uint32 // the kind of its last request
	conclude func(d *retry, r backend.Reply)
	answers  [tagKinds][]byte // by kind
	failure  string           // why a key was not moved
	moving   movedKey         // that a Pika was asked to move, and has not answered
	sizing   bool             // the source was asked how large it is
	sizes    int              // answers of the target to that
	moved    int              // keys that were
}

// Tags of what a retry sends: the kind, and above that the attempt.
const (
	tagDirect   = iota // the request itself
	tagWrapped         // the request in a wrapper
	tagRead            // the request, a read, at the source
	tagExists          // EXISTS
	tagLength          // XLEN
	tagFence           // before keys are moved
	tagMoveKey         // SLOTSMGRTTAGONE
	tagFenceEnd        // after keys were moved
	tagSize            // how large the key is that is being moved
	tagTarget          // how large the target says that it is
	tagKinds

	tagBits = 4
	tagMask = 1<<tagBits - 1
)

// reach takes the next step towards the keys of a slot that moves.
func (d *retry) reach(v *view, m *router.Move) {
	c, t := d.client, &d.migration
	if t.move != m {
		*t = keyMigration{move: m, attempt: t.attempt}
	}
	t.asked = d.missing(t.asked[:0], m)
	if len(t.asked) == 0 || t.notThere {
		t.notThere = false
		d.sendTo(v.master(d.slot))
		return
	}
	t.source = v.nodes[m.From.Index]
	if !t.source.Available() {
		d.waitFor(v, blockReason{cause: hold.NoMaster, slot: d.slot, node: t.source, since: t.source.DownSince()})
		return
	}
	family, single := c.pool.Family, len(d.keys) == 1 && d.exclusive == nil
	switch {
	case family.Wraps && m.Method == router.SemiAsync && single && !t.moveFirst:
		d.askSource()
	case family.ReadsAtSource && single && d.cmd.Is(command.ReadOnly):
		d.readAtSource()
	case family.Background && m.Method == router.SemiAsync:
		d.lookForKey()
	default:
		d.moveKeys()
	}
}

// startAttempt forgets the last attempt. conclude is called when the request of kind last is answered.
func (t *keyMigration) startAttempt(last uint32, conclude func(d *retry, r backend.Reply)) {
	t.attempt++
	t.last, t.conclude = last, conclude
	t.failure, t.moved = "", 0
	t.passing, t.begun, t.sizing, t.sizes = false, false, false, 0
	for i := range t.answers {
		t.answers[i] = t.answers[i][:0]
	}
}

// sendStep sends a request of our own. It returns false when the retry has ended because that was not possible.
func (d *retry) sendStep(b *backend.Conn, kind uint32, req []byte) bool {
	l, t := d.client.loop, &d.migration
	if err := b.Send(req, d, t.attempt<<tagBits|kind, l.now); err != nil {
		t.attempt++
		d.give(sendError(b.Node, err))
		return false
	}
	d.state, d.sentTo, d.sentAt = retrySent, b.Node, l.now
	l.markBackend(b)
	return true
}

// transitReply takes an answer to one of these requests, or a part of it.
func (d *retry) migrationReply(tag uint32, r backend.Reply) {
	t, kind := &d.migration, tag&tagMask
	if tag>>tagBits != t.attempt {
		d.moveAnswered(tag, r)
		return
	}
	if kind == tagWrapped {
		d.wrappedReply(r)
		return
	}
	t.answers[kind] = append(t.answers[kind], r.Data...)
	if limit := d.client.loop.server.limits().ClientOutput; len(t.answers[kind]) > limit {
		d.client.loop.stats.Overflows[OverflowOutput]++
		d.client.close()
		return
	}
	if !r.Last {
		return
	}
	switch kind {
	case tagMoveKey:
		d.keyReply()
	case tagTarget:
		if t.sizes++; t.sizes < dialect.SizeQuestions() {
			return
		}
	}
	if kind == t.last {
		t.conclude(d, r)
	}
}

// askSource sends the command in a wrapper.
func (d *retry) askSource() {
	c, t := d.client, &d.migration
	t.startAttempt(tagWrapped, nil)
	b := c.loop.link(t.source, c.proto, c.db)
	if d.script != nil {
		if load := d.script.check.loadFor(b); load != nil {
			_ = b.Send(load, nil, 0, c.loop.now) // What follows fails too, then.
		}
	}
	c.loop.scratch = dialect.AppendWrapped(c.loop.scratch[:0], t.asked[0], splitRequest(d.raw))
	d.sendStep(b, tagWrapped, c.loop.scratch)
}

// wrappedReply takes the wrapper's answer, or a part of it.
func (d *retry) wrappedReply(r backend.Reply) {
	t := &d.migration
	if t.passing {
		first := !t.begun
		t.begun = true
		d.pass(r.Data, first, r.Last)
		return
	}
	answer := append(t.answers[tagWrapped], r.Data...)
	t.answers[tagWrapped] = answer
	w, body, ok := dialect.ReadWrapped(answer)
	if ok && w == dialect.WrappedRun {
		d.client.loop.stats.Moves.Wrapped[w]++
		if r.Last && d.healNoScript(backend.Reply{Conn: r.Conn, Data: answer[body:]}) {
			return
		}
		t.passing, t.begun = true, len(answer) > body
		if t.begun {
			d.pass(answer[body:], true, r.Last)
		}
		return
	}
	if r.Last {
		if !ok {
			w = dialect.WrappedUnknown
		}
		d.state = retryIdle
		d.notRun(w, r)
	}
}

// notRun does what follows when the source has not run the command.
func (d *retry) notRun(w dialect.Wrapped, r backend.Reply) {
	c, t := d.client, &d.migration
	c.loop.stats.Moves.Wrapped[w&3]++ // -1 and what is no answer of a wrapper are counted together.
	switch w {
	case dialect.WrappedGone:
		d.arrived()
		return
	case dialect.WrappedMoving:
		d.retryMove("is " + t.move.String())
		return
	case dialect.WrappedUnknown, dialect.WrappedError, dialect.WrappedRun:
	}
	if d.judged(t.answers[tagWrapped], r.Conn) {
		return
	}
	t.moveFirst = true
	c.runRetries()
}

// judged does what an error reply of the source asks for, if it is one of those that pass by themselves.
func (d *retry) judged(reply []byte, b *backend.Conn) bool {
	if len(reply) == 0 || reply[0] != '-' {
		return false
	}
	v := d.client.judge(d.cmd, d.slot, reply, b)
	if v.Kind == dialect.Pass {
		return false
	}
	if d.obey(v, backend.Reply{Conn: b, Data: slices.Clone(reply)}) {
		d.client.runRetries()
	}
	return true
}

// readAtSource sends the command and, behind it, the question whether the key is there, which proves that it was.
func (d *retry) readAtSource() {
	c, t := d.client, &d.migration
	l := c.loop
	t.startAttempt(tagLength, (*retry).readReply)
	b := l.link(t.source, c.proto, c.db)
	if d.sendStep(b, tagRead, d.raw) {
		l.stats.Moves.SourceReads++
		d.askExists(b)
	}
}

// askExists asks whether the source has the key, see dialect.AppendExists.
func (d *retry) askExists(b *backend.Conn) {
	l, key := d.client.loop, d.migration.asked[0]
	l.scratch = dialect.AppendExists(l.scratch[:0], key)
	if d.sendStep(b, tagExists, l.scratch) {
		l.scratch = dialect.AppendLength(l.scratch[:0], key)
		d.sendStep(b, tagLength, l.scratch)
	}
}

func (t *keyMigration) present() bool {
	return dialect.Present(t.answers[tagExists], t.answers[tagLength])
}
func (t *keyMigration) absent() bool {
	return dialect.Absent(t.answers[tagExists], t.answers[tagLength])
}

// existsRefused goes on when the source did not say whether it has the key.
func (d *retry) existsRefused(r backend.Reply) {
	t := &d.migration
	reply := t.answers[tagExists]
	if !d.judged(reply, r.Conn) {
		d.retryMove(fmt.Sprintf("is %s, and %s answered EXISTS with %.80q", t.move, r.Conn.Node.Addr,
			resp.TrimLine(reply)))
	}
}

// readReply concludes a read at the source.
func (d *retry) readReply(r backend.Reply) {
	t := &d.migration
	switch {
	case t.absent():
		// This read is the target's. Of the key that says no more: it may be on its way.
		d.state, t.notThere = retryIdle, true
		d.client.runRetries()
	case t.present():
		if !d.judged(t.answers[tagRead], r.Conn) {
			d.pass(t.answers[tagRead], true, true)
		}
	default:
		d.existsRefused(r)
	}
}

// arrived goes on after keys have reached the target, and nothing of an older copy can any more.
func (d *retry) arrived() {
	c, t := d.client, &d.migration
	d.state = retryIdle
	c.loop.migratedKeys.add(c.pool, t.move, c.db, t.asked)
	if d.found == nil {
		d.found = make(map[foundKey]bool)
	}
	for _, key := range t.asked {
		d.found[foundKey{t.move, string(key)}] = true
	}
	c.runRetries()
}

// retryMove holds the request for a moment and tries again.
func (d *retry) retryMove(why string) {
	d.state = retryIdle
	if d.wait(hold.Moving, why, false) {
		d.askProgress()
		d.client.runRetries()
	}
}

// transitFailed looks at a failure of one of these requests. It returns false when it is the command's own
// failure: the source may have run it.
func (d *retry) migrationFailed(tag uint32, f backend.Failure) bool {
	t := &d.migration
	if tag>>tagBits != t.attempt || tag&tagMask == tagSize {
		return true
	}
	t.attempt++
	if tag&tagMask == tagWrapped {
		return false
	}
	// Moving a key and reading it can be asked for again as often as one likes.
	if tag&tagMask == tagMoveKey {
		d.client.loop.stats.Moves.KeyMovesFailed++
	}
	d.retryMove(fmt.Sprintf("is %s, and %s failed: %v", t.move, t.move.From.Addr, f.Err))
	return true
}

// MoveStats count what it took to find keys in moving slots.
type MoveStats struct {
	Wrapped        [4]uint64 // answers of SLOTSMGRT-EXEC-WRAPPER: 0, 1, 2, and -1 or anything else
	KeyMoves       uint64    // SLOTSMGRTTAGONE sent
	KeyMovesFailed uint64    // of them not answered with a number
	KeysMoved      uint64    // keys that they moved
	SourceReads    uint64    // reads tried at the source
	Nudges         uint64    // rounds of a background migration asked for
}

func (m *MoveStats) merge(o *MoveStats) {
	for i := range o.Wrapped {
		m.Wrapped[i] += o.Wrapped[i]
	}
	m.KeyMoves += o.KeyMoves
	m.KeyMovesFailed += o.KeyMovesFailed
	m.KeysMoved += o.KeysMoved
	m.SourceReads += o.SourceReads
	m.Nudges += o.Nudges
}
