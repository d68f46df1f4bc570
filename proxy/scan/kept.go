package scan

import (
	"container/list"
	"math/rand/v2"
	"sync"
)

// Kept are the cursors of servers that have no room in those of clients (Kvrocks' have 64 bits). They are
// bounded; a scan whose cursor is gone begins its group anew. A client may send a cursor twice, so one that was used
// is not forgotten then; but those go first, since every step of a scan leaves one behind, and a long scan must not
// take from a slow one the cursor that it goes on with. So the cursor that a client got last is lost only to 16384
// others that nobody has used since.
//
// Safe for concurrent use; its lock is taken for such cursors only. The zero value is ready.
type Kept struct {
	mu     sync.Mutex               // guards what follows
	known  map[Cursor]*list.Element // of *keptCursor, in unused or in used
	unused list.List                // the last given out first
	used   list.List                // the last used first
}

type keptCursor struct {
	cursor Cursor // of the client
	server uint64
	by     *list.List
}

// MaxKept is about 2.5 MiB.
const MaxKept = 16384

// For is the cursor of a client for one of a server, which is not 0.
func (k *Kept) For(m Mark, server uint64) Cursor {
	if server < 1<<serverBits {
		return cursorAt(m, uint32(server))
	}
	return k.keep(m, server)
}

// Server is the server's cursor, 0 if it is not known (any more).
func (k *Kept) Server(c Cursor) uint64 {
	if c.kept() {
		return k.use(c)
	}
	return c.number()
}

// keep gives out a cursor that stands for one of a server. Its number is random, so that another process does not take
// it for one of its own.
func (k *Kept) keep(m Mark, server uint64) Cursor {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.known == nil {
		k.known = make(map[Cursor]*list.Element)
	}
	c := keptBit | cursorAt(m, rand.Uint32())
	for k.known[c] != nil {
		c = keptBit | cursorAt(m, rand.Uint32())
	}
	k.known[c] = k.unused.PushFront(&keptCursor{cursor: c, server: server, by: &k.unused})
	if len(k.known) > MaxKept {
		k.evict()
	}
	return c
}

func (k *Kept) evict() {
	from := &k.used
	if from.Len() == 0 {
		from = &k.unused
	}
	gone := from.Remove(from.Back()).(*keptCursor)
	delete(k.known, gone.cursor)
}

func (k *Kept) use(c Cursor) uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	e := k.known[c]
	if e == nil {
		return 0
	}
	kept := e.Value.(*keptCursor)
	kept.by.Remove(e)
	kept.by = &k.used
	k.known[c] = k.used.PushFront(kept)
	return kept.server
}
