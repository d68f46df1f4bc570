package proxy

import "sluice/router"

// migratedKeys are the keys that a loop knows to be at the target of their slot's move. Owned by the loop.
//
// A key stays there: nobody writes to the source of a moving slot. So it holds for as long as the move stays the same
// (router.Move is one pointer for that time), and is forgotten with it.
type migratedKeys struct {
	keys  map[moveInDB]*keysOfMove
	bytes int
}

// arrivedIn is a move of a slot, in one database.
type moveInDB struct {
	move *router.Move
	db   int
}

// arrived are the keys of one move.
type keysOfMove struct {
	pool *Pool
	keys map[string]struct{}
}

// maxArrivals bounds the bytes of keys that a loop remembers. Of others it asks again.
const maxMigratedKeys = 8 << 20

// missing appends those of keys to dst that are not known to have arrived.
func (a *migratedKeys) missing(dst [][]byte, m *router.Move, db int, keys [][]byte) [][]byte {
	known := a.keys[moveInDB{m, db}]
	for _, key := range keys {
		if known != nil {
			if _, ok := known.keys[string(key)]; ok {
				continue
			}
		}
		dst = append(dst, key)
	}
	return dst
}

// add notes that keys have arrived.
func (a *migratedKeys) add(p *Pool, m *router.Move, db int, keys [][]byte) {
	known := a.keys[moveInDB{m, db}]
	if known == nil {
		if a.keys == nil {
			a.keys = make(map[moveInDB]*keysOfMove)
		}
		known = &keysOfMove{pool: p, keys: make(map[string]struct{})}
		a.keys[moveInDB{m, db}] = known
	}
	for _, key := range keys {
		if _, ok := known.keys[string(key)]; ok || a.bytes+len(key) > maxMigratedKeys {
			continue
		}
		known.keys[string(key)] = struct{}{}
		a.bytes += len(key)
	}
}

// prune forgets moves of p that are over.
func (a *migratedKeys) prune(p *Pool, v *view) {
	for in, known := range a.keys {
		if known.pool != p || v.table.Move(in.move.Slot) == in.move {
			continue
		}
		for key := range known.keys {
			a.bytes -= len(key)
		}
		delete(a.keys, in)
	}
}
