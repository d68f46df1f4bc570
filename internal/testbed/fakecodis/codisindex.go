package fakecodis

import (
	"maps"
	"slices"
	"sync"
)

// codisIndex finds the keys of a slot and those of a tag. Every write to a key is followed by update of it, which
// looks whether the key is there, so the last of two writers leaves the truth.
type codisIndex struct {
	s *Server

	mu  sync.Mutex
	dbs map[int]*codisDB
}

type codisDB struct {
	slots []map[string]bool
	tags  map[uint32]map[string]bool // By the CRC of the tag: tags that collide move together.
}

func (x *codisIndex) db(db int) *codisDB {
	d, ok := x.dbs[db]
	if !ok {
		d = &codisDB{slots: make([]map[string]bool, x.s.slots), tags: map[uint32]map[string]bool{}}
		x.dbs[db] = d
	}
	return d
}

func (x *codisIndex) exists(db int, key string) bool { return x.s.data.DB(db).Exists(key) }

func (x *codisIndex) update(db int, key string) {
	slot, crc, tagged := slotOf(key, x.s.slots)
	x.mu.Lock()
	defer x.mu.Unlock()
	d := x.db(db)
	if !x.exists(db, key) {
		delete(d.slots[slot], key)
		if tagged {
			delete(d.tags[crc], key)
		}
		return
	}
	if d.slots[slot] == nil {
		d.slots[slot] = map[string]bool{}
	}
	d.slots[slot][key] = true
	if !tagged {
		return
	}
	if d.tags[crc] == nil {
		d.tags[crc] = map[string]bool{}
	}
	d.tags[crc][key] = true
}

func (x *codisIndex) clear(all bool, db int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if all {
		clear(x.dbs)
		return
	}
	delete(x.dbs, db)
}

func (x *codisIndex) size(db, slot int) int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.db(db).slots[slot])
}

// keys returns the keys of a slot in order.
func (x *codisIndex) keys(db, slot int) []string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Sorted(maps.Keys(x.db(db).slots[slot]))
}

// any returns a key of a slot.
func (x *codisIndex) any(db, slot int) (string, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for key := range x.db(db).slots[slot] {
		return key, true
	}
	return "", false
}

// together returns the keys that move with a key: those of its tag, or the key alone; none if there are none.
func (x *codisIndex) together(db int, key string, byTag bool) []string {
	_, crc, tagged := slotOf(key, x.s.slots)
	if !byTag || !tagged {
		if x.exists(db, key) {
			return []string{key}
		}
		return nil
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Sorted(maps.Keys(x.db(db).tags[crc]))
}
