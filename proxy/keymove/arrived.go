package keymove

import "sluice/router"

// Arrived are the keys that a loop knows to be at the target of their slot's move. Owned by the loop; the zero value is
// empty.
//
// A key stays there: nobody writes to the source of a moving slot. So it holds for as long as the move stays the same
// (router.Move is one pointer for that time), and is forgotten with it.
type Arrived struct {
	keys  map[In]*keysOfMove
	bytes int
}

// In is a move of a slot, in one database.
type In struct {
	Move *router.Move
	DB   int
}

// keysOfMove are the keys of one move.
type keysOfMove struct {
	pool string
	keys map[string]struct{}
}

// MaxArrived bounds the bytes of keys that a loop remembers. Of others it asks again.
const MaxArrived = 8 << 20

// Missing appends those of keys to dst that are not known to have arrived.
func (a *Arrived) Missing(dst [][]byte, in In, keys [][]byte) [][]byte {
	known := a.keys[in]
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

// Add notes that keys have arrived by a move of a pool.
func (a *Arrived) Add(pool string, in In, keys [][]byte) {
	known := a.keys[in]
	if known == nil {
		if a.keys == nil {
			a.keys = make(map[In]*keysOfMove)
		}
		known = &keysOfMove{pool: pool, keys: make(map[string]struct{})}
		a.keys[in] = known
	}
	for _, key := range keys {
		if _, ok := known.keys[string(key)]; ok || a.bytes+len(key) > MaxArrived {
			continue
		}
		known.keys[string(key)] = struct{}{}
		a.bytes += len(key)
	}
}

// Prune forgets moves of a pool that are over.
func (a *Arrived) Prune(pool string, table *router.Table) {
	for in, known := range a.keys {
		if known.pool != pool || table.Move(in.Move.Slot) == in.Move {
			continue
		}
		for key := range known.keys {
			a.bytes -= len(key)
		}
		delete(a.keys, in)
	}
}
