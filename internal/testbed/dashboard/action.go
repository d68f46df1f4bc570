package dashboard

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
)

// Assign gives slots to a group without moving a key, 0 takes them offline, and fills them in.
func (d *Dashboard) Assign(ctx context.Context, id int, slots ...int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if id != 0 && d.groups[id].master() == "" {
		return fmt.Errorf("group %d has no server", id)
	}
	changed := make([]mapping, len(slots))
	for i, slot := range slots {
		if slot < 0 || slot >= len(d.slots) || d.slots[slot].action != nothing {
			return fmt.Errorf("slot %d does not exist or has an action", slot)
		}
		changed[i] = mapping{id: slot, group: id}
	}
	for _, m := range changed {
		d.slots[m.id] = m
	}
	return d.resync(ctx, changed)
}

// Slots lists the slots from first to last.
func Slots(first, last int) []int {
	slots := make([]int, 0, last-first+1)
	for s := first; s <= last; s++ {
		slots = append(slots, s)
	}
	return slots
}

// plan makes actions for slots and returns their number. Slots that are there already are left out.
func (d *Dashboard) plan(slots []int, target int, method Method) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.groups[target].master() == "" {
		return 0, fmt.Errorf("group %d has no server", target)
	}
	last := 0
	for _, m := range d.slots {
		last = max(last, m.index)
	}
	for _, slot := range slots {
		if slot < 0 || slot >= len(d.slots) || d.slots[slot].action != nothing {
			return 0, fmt.Errorf("slot %d does not exist or has an action", slot)
		}
	}
	d.method = method
	planned := 0
	for _, slot := range slots {
		m := &d.slots[slot]
		if m.group == target {
			continue
		}
		last++
		planned++
		m.action, m.index, m.target = pending, last, target
	}
	return planned, nil
}

// processSlots works until no slot has an action, in rounds: up to Parallel slots, each group in at most one of them.
// A round ends when all its slots are done.
func (d *Dashboard) processSlots(ctx context.Context) error {
	for ctx.Err() == nil {
		taken, busy := make(map[int]bool), make(map[int]bool) // slots and groups of the round
		for len(taken) < d.opts.Parallel {
			slot, ok, err := d.prepare(ctx, func(m *mapping) bool { return !taken[m.id] && !busy[m.group] && !busy[m.target] },
				func(m *mapping) { taken[m.id], busy[m.group], busy[m.target] = true, m.group != 0, true })
			if err != nil {
				return fmt.Errorf("slot %d: %w", slot, err)
			}
			if !ok {
				break
			}
		}
		if len(taken) == 0 {
			return nil
		}
		var (
			all   sync.WaitGroup
			mu    sync.Mutex
			first error
		)
		for slot := range taken {
			all.Go(func() {
				if err := d.migrate(ctx, slot); err != nil {
					mu.Lock()
					defer mu.Unlock()
					first = fmt.Errorf("slot %d: %w", slot, err)
				}
			})
		}
		all.Wait()
		if first != nil {
			return first
		}
		pause(ctx, d.opts.SlotPause)
	}
	return nil
}

// prepare takes the next slot that may be taken, those begun first, and brings it to where keys can move.
func (d *Dashboard) prepare(ctx context.Context, may func(*mapping) bool, take func(*mapping)) (slot int, ok bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	m := d.next(func(m *mapping) bool { return m.action != pending && may(m) })
	if m == nil {
		m = d.next(func(m *mapping) bool { return m.action == pending && may(m) })
	}
	if m == nil {
		return 0, false, nil
	}
	take(m)
	if m.action == pending {
		m.action = preparing
	}
	if m.action == preparing {
		m.action = prepared
		if err := d.resync(ctx, []mapping{*m}); err != nil {
			m.action = preparing
			_ = d.resync(ctx, []mapping{*m})
			return m.id, false, err
		}
	}
	if m.action == prepared {
		told := *m
		told.action = migrating
		if err := d.resync(ctx, []mapping{told}); err != nil {
			return m.id, false, err
		}
		m.action = migrating
	}
	return m.id, true, nil
}

// next finds the oldest action that fits.
func (d *Dashboard) next(fits func(*mapping) bool) *mapping {
	var found *mapping
	for i := range d.slots {
		if m := &d.slots[i]; m.action != nothing && (found == nil || m.index < found.index) && fits(m) {
			found = m
		}
	}
	return found
}

// migrate moves the keys of a slot, database by database, and completes its action.
func (d *Dashboard) migrate(ctx context.Context, slot int) error {
	for db := 0; ctx.Err() == nil; {
		from, to, method, ready, done := d.enter(slot)
		if done {
			break
		}
		if !ready {
			pause(ctx, d.opts.IdlePause)
			continue
		}
		moved, more, next, err := d.step(ctx, slot, db, from, to, method)
		d.leave()
		d.progress.moved(moved)
		if err != nil {
			return err
		}
		if !more && next < 0 {
			break
		}
		if !more {
			db = next
		}
		if d.opts.Interval > 0 {
			pause(ctx, d.opts.Interval)
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return d.complete(ctx, slot)
}

// enter begins a step of a slot's migration, which leave ends, unless a group that is concerned promotes a server now
// (not ready) or there is no key left to move (done).
func (d *Dashboard) enter(slot int) (from, to string, method Method, ready, done bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	m := &d.slots[slot]
	own, target := d.groups[m.group], d.groups[m.target]
	if m.action == finished || own.master() == "" {
		return "", "", 0, false, true
	}
	if own.promoting != nothing || target.promoting != nothing {
		return "", "", 0, false, false
	}
	d.running++
	return own.master(), target.master(), d.method, true, false
}

func (d *Dashboard) leave() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.running--
}

// step is one command that moves keys. When the database has none left it finds the next one, -1 when there is none.
func (d *Dashboard) step(
	ctx context.Context, slot, db int, from, to string, method Method,
) (moved int, more bool, next int, err error) {
	s, err := d.idle.take(ctx, from, d.opts.Auth, d.opts.Timeout)
	if err != nil {
		return 0, false, -1, err
	}
	defer func() { d.idle.put(from, s, err) }()
	if _, err := s.do(ctx, "SELECT", strconv.Itoa(db)); err != nil {
		return 0, false, -1, err
	}
	if moved, more, err = s.moveSlot(ctx, &d.opts, method, slot, to); err != nil || more {
		return moved, more, -1, err
	}
	next, err = s.nextDatabase(ctx, db)
	return moved, false, next, err
}

// complete ends the action of a slot: the group that the keys have moved to owns it.
func (d *Dashboard) complete(ctx context.Context, slot int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	m := &d.slots[slot]
	m.action = finished
	if err := d.resync(ctx, []mapping{*m}); err != nil {
		return err
	}
	*m = mapping{id: m.id, group: m.target}
	d.progress.completed()
	return nil
}

// Actions counts the slots that have an action.
func (d *Dashboard) Actions() int { return d.unfinished(Slots(0, d.opts.Slots-1)) }

// unfinished counts those of the slots that have an action.
func (d *Dashboard) unfinished(slots []int) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(slices.DeleteFunc(slices.Clone(slots), func(slot int) bool { return d.slots[slot].action == nothing }))
}
