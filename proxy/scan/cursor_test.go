package scan

import (
	"strconv"
	"testing"
)

func FuzzCursor(f *testing.F) {
	f.Add(uint64(0), uint32(1))
	f.Add(uint64(1)<<32-1, uint32(1)<<markBits-1)
	f.Add(uint64(1)<<32, uint32(1))
	f.Add(uint64(1)<<63, uint32(1)<<markBits-1)
	f.Fuzz(func(t *testing.T, server uint64, given uint32) {
		m := Mark(given & (1<<markBits - 1))
		if m == 0 || server == 0 {
			return
		}
		var kept Kept
		c := kept.For(m, server)
		text := strconv.FormatUint(uint64(c), 10)
		if c >= 1<<53 {
			t.Fatalf("mark %d, cursor %d: a client that takes %s for a double comes to no end", m, server, text)
		}
		back, ok := ParseCursor([]byte(text))
		if !ok || back != c || !back.Known() || back.Mark() != m || back.kept() != (server >= 1<<serverBits) {
			t.Fatalf("mark %d, cursor %d: %s reads as %d of %d", m, server, text, back.number(), back.Mark())
		}
		if got := kept.Server(back); got != server {
			t.Errorf("mark %d, cursor %d: %s goes on at %d", m, server, text, got)
		}
	})
}

// What is forgotten first is what was used, and then what was given out first.
func TestKeptCursorsAreBounded(t *testing.T) {
	var k Kept
	const server = uint64(1) << 63
	slow, again := k.keep(1, server), k.keep(1, server+1)
	for range 2 {
		if k.use(again) != server+1 {
			t.Error("a cursor can't be used twice")
		}
	}
	if k.use(slow^1<<markBits) != 0 || k.use(slow^3) != 0 {
		t.Error("a cursor that nobody gave out is known")
	}
	// A scan as long as that takes nothing away from a slow one.
	for i := range uint64(3 * MaxKept) {
		if c := k.keep(2, server+i); k.use(c) != server+i {
			t.Fatalf("the cursor of step %d is not known", i)
		}
	}
	if k.use(again) != 0 {
		t.Error("the oldest of those that were used is still known")
	}
	first := k.keep(3, server)
	for i := range uint64(MaxKept - 2) {
		k.keep(4, server+i)
	}
	if n := len(k.known); n != MaxKept || n != k.used.Len()+k.unused.Len() || k.used.Len() != 0 {
		t.Errorf("%d cursors are kept, %d used, %d not", n, k.used.Len(), k.unused.Len())
	}
	k.keep(5, server)
	if k.use(slow) != 0 || k.use(first) != server {
		t.Error("a scan was taken the cursor it goes on with before an older one was")
	}
}
