package discovery

import (
	"slices"
	"time"

	"sluice/router"
)

// moveLog makes one line of the three or more tables that the move of a slot brings. Owned by the Keeper's goroutine.
type moveLog struct {
	last  *router.Table
	began map[router.Slot]time.Time
}

// endedMoves are slots whose moves have ended in the same way at the same time.
type endedMoves struct {
	from, to string
	owner    string // "" for nobody
	slots    []router.Range
	took     time.Duration // of the slowest
}

// note takes the next table. It returns the moves that are over, and whether nothing has changed but moves, and the
// owners of slots that had one.
func (l *moveLog) note(t *router.Table, now time.Time) (ended []endedMoves, onlyMoves bool) {
	last := l.last
	l.last = t
	if l.began == nil {
		l.began = make(map[router.Slot]time.Time)
	}
	for _, m := range t.Moves() {
		if _, ok := l.began[m.Slot]; !ok {
			l.began[m.Slot] = now
		}
	}
	if last == nil {
		return nil, false
	}
	onlyMoves = slices.EqualFunc(last.Groups, t.Groups, sameGroup)
	for slot := range router.Slot(t.Model.Slots()) {
		before, m := last.Move(slot), t.Move(slot)
		switch {
		case before == nil && m == nil:
			onlyMoves = onlyMoves && ownerOf(last, slot) == ownerOf(t, slot)
		case m == nil:
			ended = addEnded(ended, before, ownerOf(t, slot), now.Sub(l.began[slot]))
			delete(l.began, slot)
		}
	}
	return ended, onlyMoves
}

func addEnded(ended []endedMoves, m *router.Move, owner string, took time.Duration) []endedMoves {
	e := endedMoves{from: string(m.FromID), to: string(m.ToID), owner: owner}
	i := slices.IndexFunc(ended, func(o endedMoves) bool { return o.from == e.from && o.to == e.to && o.owner == e.owner })
	if i < 0 {
		i, ended = len(ended), append(ended, e)
	}
	ended[i].took = max(ended[i].took, took)
	if n := len(ended[i].slots); n > 0 && ended[i].slots[n-1].To+1 == m.Slot {
		ended[i].slots[n-1].To = m.Slot
		return ended
	}
	ended[i].slots = append(ended[i].slots, router.Range{From: m.Slot, To: m.Slot})
	return ended
}

func ownerOf(t *router.Table, slot router.Slot) string {
	if g := t.Owner(slot); g != nil {
		return string(g.ID)
	}
	return ""
}

// sameGroup reports whether a group has the same servers in two tables.
func sameGroup(a, b *router.Group) bool {
	return a.ID == b.ID && a.Master.Addr == b.Master.Addr &&
		slices.EqualFunc(a.Replicas, b.Replicas, func(x, y *router.Node) bool { return x.Addr == y.Addr })
}
