package proxy

import (
	"fmt"
	"net"
	"sync"
	"time"

	"sluice/backend"
	"sluice/backend/dialect"
)

// How keys are moved on access, with SLOTSMGRTTAGONE. The migration that the dashboard drives in the background does not
// know of it, and what that has read and sent of a key may reach the target after the key was moved and
// written there. So it must not be under way for a key that is moved:
//
//	codis-server    fence, SLOTSMGRTTAGONE for each key, fence: the first lets the batch that runs end, the second one
//	                that was started in between
//	Pika            semi-async: TYPE and INFO. While the background migration has its thread the key is left to it
//	                and held; otherwise, as in method sync:
//	                SLOTSMGRTTAGONE, TYPE, INFO: the key must be gone, and the background idle, else the key is unproven
//	                until it is idle once
//
// Other proxies do the same; between them, what one has moved in the moment in which the background starts is
// unproven to that one alone.

// lookForKey asks a Pika where a key is, and whether its background migration runs.
func (d *detour) lookForKey() {
	c, t := d.client, &d.transit
	l := c.loop
	t.asked = t.asked[:1]
	t.startAttempt(tagIdle, (*detour).lookReply)
	b := l.link(t.source, c.proto, c.db)
	l.scratch = dialect.AppendType(l.scratch[:0], t.asked[0])
	if d.sendStep(b, tagType, l.scratch) {
		d.sendStep(b, tagIdle, dialect.BackgroundRequest)
	}
}

// lookReply concludes lookForKey.
func (d *detour) lookReply(r backend.Reply) {
	c, t := d.client, &d.transit
	typ, idle := t.answers[tagType], dialect.BackgroundIdle(t.answers[tagIdle])
	switch {
	case dialect.Present(typ) && idle:
		d.state = detourIdle
		d.moveKeys()
	case dialect.Present(typ):
		d.retryMove(fmt.Sprintf("is %s, and the background migration of %s has not come to the key", t.move, t.source.Addr))
	case dialect.Absent(typ) && c.pool.unproven.clear(t.source, c.tagOf(t.asked[0]), idle):
		d.arrived()
	case dialect.Absent(typ):
		d.retryMove(fmt.Sprintf("is %s, and the background migration of %s was started beside the key", t.move, t.source.Addr))
	case !d.judged(typ, r.Conn):
		d.retryMove(fmt.Sprintf("is %s, and %s answered TYPE with %.80q", t.move, t.source.Addr, trimLine(typ)))
	}
}

// moveKeys has the source move keys, on a lane of its own, or waits for a lane.
func (d *detour) moveKeys() {
	c, l, t := d.client, d.client.loop, &d.transit
	parallel := c.pool.Settings().MoveParallel
	if c.pool.Family.OneAtATime {
		parallel = 1
	}
	b := l.lane(t.source, c.db, parallel)
	if b == nil {
		if d.enterHold(HoldMoving, fmt.Sprintf("is %s, and %s is busy with other keys", t.move, t.source.Addr), true) {
			d.state = detourQueued
			l.waitForLane(t.source, d)
		}
		return
	}
	if c.pool.Family.Fences {
		t.startAttempt(tagFenceEnd, (*detour).moveReply)
		ok := d.sendStep(b, tagFence, dialect.FenceRequest)
		for i := 0; ok && i < len(t.asked); i++ {
			ok = d.sendMove(b, t.asked[i])
		}
		if ok {
			d.sendStep(b, tagFenceEnd, dialect.FenceRequest)
		}
		return
	}
	t.asked = t.asked[:1]
	t.startAttempt(tagIdle, (*detour).moveProof)
	d.takeOffGuard()
	if !d.sendMove(b, t.asked[0]) {
		return
	}
	l.scratch = dialect.AppendType(l.scratch[:0], t.asked[0])
	if d.sendStep(b, tagType, l.scratch) {
		d.sendStep(b, tagIdle, dialect.BackgroundRequest)
	}
}

// sendMove sends SLOTSMGRTTAGONE.
func (d *detour) sendMove(b *backend.Conn, key []byte) bool {
	l, t := d.client.loop, &d.transit
	l.stats.Moves.KeyMoves++
	host, port, _ := net.SplitHostPort(t.move.To.Addr)
	l.scratch = dialect.AppendMoveKey(l.scratch[:0], host, port, d.moveLimit(), key)
	return d.sendStep(b, tagMoveKey, l.scratch)
}

// moveLimit is how long the source may wait for the target. One that does nothing else meanwhile must not keep the
// requests of others waiting until they time out.
func (d *detour) moveLimit() time.Duration {
	limit := d.transit.source.Options().RequestTimeout
	if d.client.pool.Family.OneAtATime {
		limit /= time.Duration(2 * len(d.transit.asked))
	}
	return max(limit, minMoveLimit)
}

const minMoveLimit = 20 * time.Millisecond

// keyReply takes the answer of one SLOTSMGRTTAGONE.
func (d *detour) keyReply() {
	t, stats := &d.transit, &d.client.loop.stats.Moves
	n, ok := dialect.KeyMoved(t.answers[tagMoveKey])
	if ok {
		t.moved += n
		stats.KeysMoved += uint64(n)
	} else {
		stats.KeyMovesFailed++
		t.failure = string(trimLine(t.answers[tagMoveKey]))
	}
	t.answers[tagMoveKey] = t.answers[tagMoveKey][:0]
}

// moveReply concludes moves at a codis-server.
func (d *detour) moveReply(backend.Reply) {
	if d.transit.failure == "" {
		d.arrived()
		return
	}
	d.moveFailed()
}

// moveProof concludes a move at a Pika.
func (d *detour) moveProof(backend.Reply) {
	c, t := d.client, &d.transit
	d.landGuard()
	typ, idle := t.answers[tagType], dialect.BackgroundIdle(t.answers[tagIdle])
	switch {
	case dialect.Absent(typ) && c.pool.unproven.clear(t.source, c.tagOf(t.asked[0]), idle):
		d.arrived()
	case dialect.Absent(typ):
		d.retryMove(fmt.Sprintf("is %s, and the background migration of %s was started beside the key", t.move, t.source.Addr))
	case t.failure == "" && dialect.Present(typ) && t.moved == 0:
		d.retryMove(fmt.Sprintf("is %s, and %s has the key but does not move it: SLOTSRELOAD there, or the type is one that Pika can't move",
			t.move, t.source.Addr))
	case t.failure == "" && dialect.Present(typ): // Pika 3.5 lets one key have several types.
		d.retryMove("is " + t.move.String())
	default:
		d.moveFailed()
	}
}

// moveFailed goes on after SLOTSMGRTTAGONE was answered with an error: the key may be on either side, or on both.
func (d *detour) moveFailed() {
	c, t := d.client, &d.transit
	if v := c.pool.Family.Judge([]byte(t.failure), ""); v.Kind == dialect.NoMaster {
		c.pool.trouble()
	}
	d.retryMove(fmt.Sprintf("is %s, and %s answered %.120q", t.move, t.source.Addr, t.failure))
}

func (c *client) tagOf(key []byte) string { return string(c.pool.Model.Tag(key)) }

// takeOffGuard notes that a key is being moved.
func (d *detour) takeOffGuard() {
	d.transit.guarded = true
	d.client.pool.unproven.begin(d.transit.source, d.client.tagOf(d.transit.asked[0]))
}

// landGuard notes that the source has done with it.
func (d *detour) landGuard() {
	if t := &d.transit; t.guarded {
		t.guarded = false
		d.client.pool.unproven.end(t.source, d.client.tagOf(t.asked[0]))
	}
}

// unproven are the hash tags that SLOTSMGRTTAGONE was sent for and of which it is not yet proven that the background
// migration had nothing to do with them. Shared by the loops.
type unproven struct {
	mu   sync.Mutex
	tags map[unprovenTag]int // how many SLOTSMGRTTAGONE are out
}

type unprovenTag struct {
	source *backend.Node
	tag    string
}

func (u *unproven) begin(source *backend.Node, tag string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.tags == nil {
		u.tags = make(map[unprovenTag]int)
	}
	u.tags[unprovenTag{source, tag}]++
}

func (u *unproven) end(source *backend.Node, tag string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.tags[unprovenTag{source, tag}]--
}

// clear reports whether nothing of an older copy of a key that has left source can reach the target any more. idle says
// that the background was found idle after the key had left.
func (u *unproven) clear(source *backend.Node, tag string, idle bool) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	key := unprovenTag{source, tag}
	flying, there := u.tags[key]
	if !there {
		return true
	}
	if !idle || flying > 0 {
		return false
	}
	delete(u.tags, key)
	return true
}

// forget is for when no slot moves any more.
func (u *unproven) forget() {
	u.mu.Lock()
	defer u.mu.Unlock()
	clear(u.tags)
}
