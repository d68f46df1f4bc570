package proxy

import (
	"container/list"
	"math/rand/v2"
	"strconv"
	"sync"
)

// cursor is what a client gets: the mark of a place, and above it the cursor of its server, if that is below 2^32. A
// greater one stays here, and what stands in its place is a random number by which it is found.
//
//	52     51                      20 19     0
//	kept | cursor of the server, or  | mark of
//	     | the number of one kept    | a place
//
// So all are below 2^53: there are clients that take a cursor for a double, and one that is rounded is another cursor,
// with which a scan never ends. 0 begins a scan and ends it; no place has the mark 0.
type cursor uint64

const (
	markBits   = 20
	serverBits = 32

	keptBit cursor = 1 << (markBits + serverBits)
)

// mark stands for a place in the cursors of clients, see places.
type mark uint32

// parseCursor reads what a client sent: a number, as in Redis, if not one that was ever given out.
func parseCursor(arg []byte) (cursor, bool) {
	n, err := strconv.ParseUint(string(arg), 10, 64)
	return cursor(n), err == nil
}

func cursorAt(m mark, number uint32) cursor { return cursor(number)<<markBits | cursor(m) }

// known reports whether there are cursors like that.
func (c cursor) known() bool { return c < keptBit<<1 }

func (c cursor) kept() bool { return c&keptBit != 0 }

func (c cursor) mark() mark { return mark(c & (1<<markBits - 1)) }

func (c cursor) number() uint64 { return uint64(c >> markBits & (1<<serverBits - 1)) }

// keptCursors are the cursors of servers that have no room in those of clients (Kvrocks' have 64 bits). They are
// bounded; a scan whose cursor is gone begins its group anew. A client may send a cursor twice, so one that was used
// is not forgotten then; but those go first, since every step of a scan leaves one behind, and a long scan must not
// take from a slow one the cursor that it goes on with. So the cursor that a client got last is lost only to 16384
// others that nobody has used since.
//
// Safe for concurrent use. SCAN comes here, and only with such cursors.
type keptCursors struct {
	mu     sync.Mutex               // guards what follows
	known  map[cursor]*list.Element // of *keptCursor, in unused or in used
	unused list.List                // the last given out first
	used   list.List                // the last used first
}

type keptCursor struct {
	cursor cursor // of the client
	server uint64
	by     *list.List
}

// maxKeptCursors is about 2.5 MiB.
const maxKeptCursors = 16384

// keep gives out a cursor that stands for one of a server. Its number is random, so that another process does not take
// it for one of its own.
func (k *keptCursors) keep(m mark, server uint64) cursor {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.known == nil {
		k.known = make(map[cursor]*list.Element)
	}
	c := keptBit | cursorAt(m, rand.Uint32())
	for k.known[c] != nil {
		c = keptBit | cursorAt(m, rand.Uint32())
	}
	k.known[c] = k.unused.PushFront(&keptCursor{cursor: c, server: server, by: &k.unused})
	if len(k.known) > maxKeptCursors {
		k.evict()
	}
	return c
}

func (k *keptCursors) evict() {
	from := &k.used
	if from.Len() == 0 {
		from = &k.unused
	}
	gone := from.Remove(from.Back()).(*keptCursor)
	delete(k.known, gone.cursor)
}

// use is the server's cursor, 0 if it is not known (any more).
func (k *keptCursors) use(c cursor) uint64 {
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
