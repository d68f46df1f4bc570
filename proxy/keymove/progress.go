package keymove

import (
	"fmt"
	"sync"
	"time"

	"sluice/proxy/hold"
	"sluice/router"
)

// Progress says how far the moves are for which requests of the pool wait, so that these may wait for longer
// (hold.Settings.MaxMoveWait) while keys go. The source is asked how many keys of the slot it has left, by whoever
// waits for one of them. Safe for concurrent use; only requests for keys of moving slots come here.
type Progress struct {
	mu    sync.Mutex
	moves map[In]*slotProgress
}

// slotProgress is how far one move is. Times are of the loop clock.
type slotProgress struct {
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

// Ask reports whether the source is to be asked now, and notes that it is: then the caller asks it.
func (p *Progress) Ask(in In, table *router.Table, now int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := p.moves[in]
	if m == nil {
		if p.moves == nil {
			p.moves = make(map[In]*slotProgress)
		}
		for old := range p.moves {
			if len(p.moves) > maxProgress && table.Move(old.Move.Slot) != old.Move {
				delete(p.moves, old)
			}
		}
		m = new(slotProgress)
		p.moves[in] = m
	} else if now-m.asked < progressPause {
		return false
	}
	m.asked = now
	return true
}

// Note takes the number of keys that the source has left. It reports once when they are so many that requests will
// wait for longer than they may.
func (p *Progress) Note(in In, left int, now int64, limit time.Duration) (tooSlow bool) {
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

// Deadline is when a hold that began at since ends: after MaxWait, or as long as keys go, at most after MaxMoveWait.
func (p *Progress) Deadline(in In, since int64, s *hold.Settings) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	end := since + int64(s.MaxWait)
	if m := p.moves[in]; m != nil && m.changed != 0 && s.MaxWait > 0 {
		end = max(end, min(since+int64(s.MaxMoveWait), m.changed+int64(s.MaxWait)))
	}
	return end
}

// Describe says how far the move is, and which setting ends the wait of a request that has waited for so long.
func (p *Progress) Describe(in In, waited time.Duration, s *hold.Settings) string {
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
