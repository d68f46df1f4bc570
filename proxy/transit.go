package proxy

import (
	"errors"
	"fmt"
	"net"
	"slices"

	"sluice/backend"
	"sluice/backend/dialect"
	"sluice/proxy/command"
	"sluice/router"
)

// transit is how far a detour is in finding its keys while their slot moves, in Codis' way: each key is at the source
// still or at the target already, and nobody is told when it goes. What a family allows decides how:
//
//	codis-server, one key        SLOTSMGRT-EXEC-WRAPPER at the source: it runs the command, or says where
//	                             the key is
//	Pika, one key, a read        the read and TYPE at the source: if TYPE finds the key the answer counts
//	anything else                the keys are moved, then the target runs the command:
//	  codis-server                 between two batches, with a fence and SLOTSMGRTTAGONE-ASYNC
//	  codis-server, method sync    with SLOTSMGRTTAGONE, one after the other
//	  Pika                         the same, and then the end of the round is awaited (rounds.go)
//
// Nobody writes to the source of a moving slot, so a key that is not there never comes back: the loop
// remembers it (arrivals), and later commands on it go straight to the target.
type transit struct {
	move      *router.Move
	keys      [][]byte // of the request, views into detour.raw
	asked     [][]byte // those that are looked for now
	moveFirst bool     // the source has refused to run the command
	notThere  bool     // the source does not have the key of a read
	attempt   uint32   // answers to older attempts mean nothing
	reply     []byte   // what has come of an answer that must be whole to be understood
	passing   bool     // the rest of the wrapper's answer is the client's
	begun     bool     // and a part of that was passed on
	failure   string   // why SLOTSMGRTTAGONE did not move the key
	moved     int      // keys that it moved
}

// Tags of what a detour sends: what it is, and above that the attempt.
const (
	tagDirect = iota
	tagWrapped
	tagFence
	tagMoveKey
	tagMoveType // TYPE behind SLOTSMGRTTAGONE
	tagRead
	tagReadType // TYPE behind a read at the source

	tagBits = 3
	tagMask = 1<<tagBits - 1
)

func (t *transit) tag(kind uint32) uint32 { return t.attempt<<tagBits | kind }

// reach takes the next step towards the keys of a slot that moves.
func (d *detour) reach(v *view, m *router.Move) {
	c, t := d.client, &d.transit
	if t.move != m {
		*t = transit{move: m, keys: requestKeys(d.cmd, d.raw), attempt: t.attempt}
	}
	t.attempt++
	t.reply, t.failure, t.moved = t.reply[:0], "", 0
	t.asked = c.loop.arrivals.missing(t.asked[:0], m, t.keys)
	if len(t.asked) == 0 || t.notThere {
		t.notThere = false
		d.send(c.loop.link(v.master(d.slot), c.proto, c.db))
		return
	}
	source := v.nodes[m.From.Index]
	if !source.Available() {
		d.waitFor(v, obstacle{cause: HoldNoMaster, slot: d.slot, node: source, since: source.DownSince()})
		return
	}
	family, single := c.pool.Family, len(t.keys) == 1
	switch {
	case family.Wraps && m.Method == router.SemiAsync && single && !t.moveFirst:
		d.askSource(source)
	case family.ReadsAtSource && single && d.cmd.Is(command.ReadOnly):
		d.readAtSource(source)
	default:
		d.moveKeys(source)
	}
}

// askSource sends the command in a wrapper.
func (d *detour) askSource(source *backend.Node) {
	l := d.client.loop
	l.scratch = dialect.AppendWrapped(l.scratch[:0], d.transit.asked[0], splitRequest(d.raw))
	d.sendStep(l.link(source, d.client.proto, d.client.db), tagWrapped, l.scratch)
}

// readAtSource sends the command and, behind it, TYPE, which proves that the key was there.
func (d *detour) readAtSource(source *backend.Node) {
	l := d.client.loop
	b := l.link(source, d.client.proto, d.client.db)
	if d.sendStep(b, tagRead, d.raw) {
		l.stats.Moves.SourceReads++
		l.scratch = dialect.AppendType(l.scratch[:0], d.transit.asked[0])
		d.sendStep(b, tagReadType, l.scratch)
	}
}

// moveKeys has the source move keys, on a lane of its own, or waits for a lane.
func (d *detour) moveKeys(source *backend.Node) {
	c, l, t := d.client, d.client.loop, &d.transit
	b := l.lane(source, c.db, c.pool.Settings().MoveParallel)
	if b == nil {
		if d.enterHold(HoldMoving, fmt.Sprintf("is %s, and %s is busy with other keys", t.move, source.Addr), true) {
			d.state = detourQueued
			l.waitForLane(source, d)
		}
		return
	}
	host, port, _ := net.SplitHostPort(t.move.To.Addr)
	limit := source.Options().RequestTimeout
	l.stats.Moves.KeyMoves++
	if c.pool.Family.Fences && t.move.Method == router.SemiAsync {
		l.scratch = dialect.AppendMoveKeys(l.scratch[:0], host, port, limit, t.asked)
		if d.sendStep(b, tagFence, dialect.FenceRequest) {
			d.sendStep(b, tagMoveKey, l.scratch)
		}
		return
	}
	t.asked = t.asked[:1]
	l.scratch = dialect.AppendMoveKey(l.scratch[:0], host, port, limit, t.asked[0])
	if d.sendStep(b, tagMoveKey, l.scratch) && c.pool.Family.ProveMoved {
		l.scratch = dialect.AppendType(l.scratch[:0], t.asked[0])
		d.sendStep(b, tagMoveType, l.scratch)
	}
}

// sendStep sends a request of our own. It returns false when the detour has ended because that was not possible.
func (d *detour) sendStep(b *backend.Conn, kind uint32, req []byte) bool {
	l := d.client.loop
	if err := b.Send(req, d, d.transit.tag(kind), l.now); err != nil {
		d.transit.attempt++
		d.give(sendError(b.Node, err))
		return false
	}
	d.state = detourSent
	l.markBackend(b)
	return true
}

// transitReply takes an answer to one of these requests.
func (d *detour) transitReply(tag uint32, r backend.Reply) {
	t := &d.transit
	if tag>>tagBits != t.attempt {
		return
	}
	switch tag & tagMask {
	case tagWrapped:
		d.wrappedReply(r)
	case tagFence:
	case tagRead:
		t.reply = append(t.reply, r.Data...)
	case tagReadType:
		d.readReply(r)
	case tagMoveKey:
		t.reply = append(t.reply, r.Data...)
		if r.Last {
			d.moveReply()
		}
	case tagMoveType:
		t.reply = append(t.reply, r.Data...)
		if r.Last {
			d.moveProof()
		}
	}
}

// wrappedReply takes the wrapper's answer, or a part of it.
func (d *detour) wrappedReply(r backend.Reply) {
	t := &d.transit
	if t.passing {
		first := !t.begun
		t.begun = true
		d.pass(r.Data, first, r.Last)
		return
	}
	t.reply = append(t.reply, r.Data...)
	w, body, ok := dialect.ReadWrapped(t.reply)
	if ok && w == dialect.WrappedRun {
		d.client.loop.stats.Moves.Wrapped[w]++
		t.passing, t.begun = true, len(t.reply) > body
		if t.begun {
			d.pass(t.reply[body:], true, r.Last)
		}
		return
	}
	if !r.Last {
		return
	}
	d.state = detourIdle
	d.notRun(w, r)
}

// notRun does what follows when the source has not run the command.
func (d *detour) notRun(w dialect.Wrapped, r backend.Reply) {
	c, t := d.client, &d.transit
	c.loop.stats.Moves.Wrapped[w&3]++
	switch w {
	case dialect.WrappedGone:
		c.loop.arrivals.add(c.pool, t.move, t.asked)
		c.runDetours()
		return
	case dialect.WrappedMoving:
		if d.wait(HoldMoving, "is "+t.move.String(), false) {
			c.runDetours()
		}
		return
	case dialect.WrappedUnknown, dialect.WrappedError, dialect.WrappedRun:
	}
	if t.reply[0] == '-' {
		if d.judged(t.reply, r.Conn) {
			return
		}
	}
	t.moveFirst = true
	c.runDetours()
}

// judged does what an error reply of the source asks for, if it is one of those that pass by themselves.
func (d *detour) judged(reply []byte, b *backend.Conn) bool {
	v := d.client.judge(reply, b)
	if v.Kind == dialect.Pass {
		return false
	}
	if d.obey(v, backend.Reply{Conn: b, Data: reply}) {
		d.client.runDetours()
	}
	return true
}

// readReply takes the answer of TYPE behind a read.
func (d *detour) readReply(r backend.Reply) {
	c, t := d.client, &d.transit
	switch {
	case dialect.Present(r.Data) && !d.judgedRead(r.Conn):
		d.pass(t.reply, true, true)
	case dialect.Absent(r.Data):
		// This read is the target's. Of the key that says no more: a round may still have to do with it.
		d.state, t.notThere = detourIdle, true
		c.runDetours()
	case d.state == detourSent: // An error.
		d.retryMove(fmt.Sprintf("is %s, and %s answered TYPE with %.80q", t.move, r.Conn.Node.Addr, trimLine(r.Data)))
	}
}

// judgedRead looks at an error that a read at the source was answered with.
func (d *detour) judgedRead(b *backend.Conn) bool {
	t := &d.transit
	if len(t.reply) == 0 || t.reply[0] != '-' {
		return false
	}
	return d.judged(slices.Clone(t.reply), b)
}

// moveReply takes the answer of SLOTSMGRTTAGONE.
func (d *detour) moveReply() {
	t := &d.transit
	n, ok := dialect.KeyMoved(t.reply)
	t.moved = n
	if ok {
		d.client.loop.stats.Moves.KeysMoved += uint64(n)
	} else {
		t.failure = string(trimLine(t.reply))
	}
	t.reply = t.reply[:0]
	if d.client.pool.Family.ProveMoved {
		return
	}
	if ok {
		d.gone()
		return
	}
	d.moveFailed()
}

// moveProof takes the answer of TYPE behind SLOTSMGRTTAGONE.
func (d *detour) moveProof() {
	t := &d.transit
	switch {
	case dialect.Absent(t.reply):
		d.gone()
	case t.failure == "" && dialect.Present(t.reply) && t.moved == 0:
		d.retryMove(fmt.Sprintf("is %s, and %s has the key but does not move it: SLOTSRELOAD there, or the type is one that Pika can't move",
			t.move, t.move.From.Addr))
	case t.failure == "" && dialect.Present(t.reply): // Pika 3.5 lets one key have several types.
		d.retryMove("is " + t.move.String())
	default:
		d.moveFailed()
	}
}

// gone goes on after keys have left the source.
func (d *detour) gone() {
	if d.client.pool.Family.Rounds {
		d.client.loop.awaitRound(d)
		return
	}
	d.arrived()
}

// arrived goes on after keys have reached the target, and nothing of an older copy can.
func (d *detour) arrived() {
	c, t := d.client, &d.transit
	d.state = detourIdle
	c.loop.arrivals.add(c.pool, t.move, t.asked)
	c.runDetours()
}

// moveFailed goes on after SLOTSMGRTTAGONE was answered with an error: the key may be on either side, or on both.
func (d *detour) moveFailed() {
	d.client.loop.stats.Moves.KeyMovesFailed++
	t := &d.transit
	v := d.client.pool.Family.Judge([]byte(t.failure), "")
	if v.Kind == dialect.NoMaster {
		d.client.pool.trouble()
	}
	d.retryMove(fmt.Sprintf("is %s, and %s answered %.120q", t.move, t.move.From.Addr, t.failure))
}

// retryMove holds the request for a moment and tries again.
func (d *detour) retryMove(why string) {
	d.state = detourIdle
	if d.wait(HoldMoving, why, false) {
		d.client.runDetours()
	}
}

// transitFailed looks at a failure of one of these requests. It returns false when it is the command's own
// failure: the source may have run it.
func (d *detour) transitFailed(tag uint32, f backend.Failure) bool {
	t := &d.transit
	kind := tag & tagMask
	if tag>>tagBits != t.attempt {
		return true
	}
	t.attempt++
	if kind == tagWrapped {
		return false
	}
	// Moving a key and reading it can be asked for again as often as one likes.
	if errors.Is(f.Err, backend.ErrTimeout) {
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
}

func (m *MoveStats) merge(o *MoveStats) {
	for i := range o.Wrapped {
		m.Wrapped[i] += o.Wrapped[i]
	}
	m.KeyMoves += o.KeyMoves
	m.KeyMovesFailed += o.KeyMovesFailed
	m.KeysMoved += o.KeysMoved
	m.SourceReads += o.SourceReads
}
