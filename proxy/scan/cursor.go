// Package scan has the cursors of SCAN over several servers: what a client gets for the cursor of one of them, and
// the order in which they are scanned.
package scan

import "strconv"

// Cursor is what a client gets: the mark of a place, and above it the cursor of its server, if that is below 2^32. A
// greater one stays here, and what stands in its place is a random number by which it is found.
//
//	52     51                      20 19     0
//	kept | cursor of the server, or  | mark of
//	     | the number of one kept    | a place
//
// So all are below 2^53: there are clients that take a cursor for a double, and one that is rounded is another cursor,
// with which a scan never ends. 0 begins a scan and ends it; no place has the mark 0.
type Cursor uint64

const (
	markBits   = 20
	serverBits = 32

	keptBit Cursor = 1 << (markBits + serverBits)
)

// Mark stands for a place in the cursors of clients, see Places.
type Mark uint32

// ParseCursor reads what a client sent: a number, as in Redis, if not one that was ever given out.
func ParseCursor(arg []byte) (Cursor, bool) {
	n, err := strconv.ParseUint(string(arg), 10, 64)
	return Cursor(n), err == nil
}

// Start is the cursor with which a place begins.
func Start(m Mark) Cursor { return cursorAt(m, 0) }

func cursorAt(m Mark, number uint32) Cursor { return Cursor(number)<<markBits | Cursor(m) }

// Known reports whether there are cursors like that.
func (c Cursor) Known() bool { return c < keptBit<<1 }

func (c Cursor) kept() bool { return c&keptBit != 0 }

// Mark is that of the place.
func (c Cursor) Mark() Mark { return Mark(c & (1<<markBits - 1)) }

func (c Cursor) number() uint64 { return uint64(c >> markBits & (1<<serverBits - 1)) }
