package proxy

import (
	"fmt"
	"sync"
	"time"

	"sluice/backend"
	"sluice/backend/dialect"
	"sluice/proxy/hold"
)

// moveProgress says how far the moves are for which requests of the pool wait, so that these may wait for longer
// (hold.Settings.MaxMoveWait) while keys go. The source is asked how many keys of the slot it has left, by whoever
// waits for one of them. Safe for concurrent use; only requests for keys of moving slots come here.
type moveProgress struct {
	mu    sync.Mutex
	moves map[moveInDB]*movedKeys
}

// movedKeys is how far one move is. Times are of the loop clock.
type movedKeys struct {
	first, left int
	from        int64 // first was seen then
	changed     int64 // keys were seen to have gone then, 0 when none were
	asked       int64
	seen        bool
	warned      bool
}

const (
	// progressPause is the time between two questions about one move.
	progressPause = int64(250 * time.Millisecond)
	// maxProgress bounds the moves that are remembered before those that are over are forgotten.
	maxProgress = 256
)

// due reports whether the source is to be asked now; then the caller asks it.
func (p *moveProgress) due(in moveInDB, v *view, now int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := p.moves[in]
	if m == nil {
		if p.moves == nil {
			p.moves = make(map[moveInDB]*movedKeys)
		}
		for old := range p.moves {
			if len(p.moves) > maxProgress && v.table.Move(old.move.Slot) != old.move {
				delete(p.moves, old)
			}
		}
		m = new(movedKeys)
		p.moves[in] = m
	} else if now-m.asked < progressPause {
		return false
	}
	m.asked = now
	return true
}

// note takes the number of keys that the source has left. It reports once when they are so many that requests will
// wait for longer than they may.
func (p *moveProgress) note(in moveInDB, left int, now int64, limit time.Duration) (tooSlow bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := p.moves[in]
	switch {
	case m == nil:
		return false
	case !m.seen:
		m.seen, m.first, m.left, m.from = true, left, left, now
		return false
	case left < m.left:
		m.changed = now
	}
	m.left = left
	if gone := m.first - left; gone > 0 && !m.warned && now-m.from >= int64(time.Second) {
		m.warned = float64(left)/float64(gone)*float64(now-m.from) > float64(limit)
		return m.warned
	}
	return false
}

// deadline is when a hold that began at since ends: after MaxWait, or as long as keys go, at most after MaxMoveWait.
func (p *moveProgress) deadline(in moveInDB, since int64, s *hold.Settings) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	end := since + int64(s.MaxWait)
	if m := p.moves[in]; m != nil && m.changed != 0 && s.MaxWait > 0 {
		end = max(end, min(since+int64(s.MaxMoveWait), m.changed+int64(s.MaxWait)))
	}
	return end
}

// describe says how far the move is, and which setting ends the wait of a request that has waited for so long.
func (p *moveProgress) describe(in moveInDB, waited time.Duration, s *hold.Settings) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	setting := "hold.max_wait"
	if waited >= s.MaxMoveWait {
		setting = "hold.max_move_wait"
	}
	m := p.moves[in]
	switch {
	case m == nil || !m.seen:
		return ", see " + setting
	case m.changed == 0:
		return fmt.Sprintf(", none of its %d keys has gone meanwhile, see %s", m.left, setting)
	}
	return fmt.Sprintf(", %d of %d keys are left, see %s", m.left, m.first, setting)
}

// askProgress asks the source of the move how far it is, when the request has waited for a while.
func (d *retry) askProgress() {
	c, t := d.client, &d.migration
	l := c.loop
	in := moveInDB{t.move, c.db}
	if !d.hold.active || l.now-d.hold.since < int64(c.pool.Settings().Hold.MaxWait)/4 || !c.pool.progress.due(in, c.pool.view.Load(), l.now) {
		return
	}
	l.scratch = dialect.AppendSlotKeys(l.scratch[:0], t.move.Slot)
	b := l.link(t.source, c.proto, c.db)
	_ = b.Send(l.scratch, &slotKeys{pool: c.pool, in: in}, 0, l.now)
	l.markBackend(b)
}

// slotKeys waits for the answer of askProgress.
type slotKeys struct {
	pool  *Pool
	in    moveInDB
	reply []byte
}

// Reply implements backend.Owner.
func (k *slotKeys) Reply(_ uint32, r backend.Reply) {
	k.reply = append(k.reply, r.Data...)
	if !r.Last {
		return
	}
	left, ok := dialect.SlotKeys(k.reply)
	if !ok {
		return
	}
	now, limit, m := r.Conn.Home().(*loop).now, k.pool.Settings().Hold.MaxMoveWait, k.in.move
	if k.pool.progress.note(k.in, left, now, limit) {
		k.pool.server.log.Warn("a slot has so many keys that requests may wait for longer than hold.max_move_wait while it moves",
			"pool", k.pool.Name, "slot", int(m.Slot), "from", m.From.Addr, "keys_left", left, "max_move_wait", limit)
	}
}

// Fail implements backend.Owner.
func (k *slotKeys) Fail(uint32, backend.Failure) {}

// moveAt is the move that the request waits for.
func (d *retry) moveAt() (in moveInDB, ok bool) {
	m := d.migration.move
	return moveInDB{m, d.client.db}, m != nil && d.hold.active && d.hold.cause == hold.Moving
}
