package resp

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// frameAll feeds stream in pieces, keeping what the framer leaves, and returns every reply, then the error.
func frameAll(stream string, cut func(have int) int) []string {
	var (
		f     Framer
		tail  []byte
		reply []byte
		out   []string
	)
	for len(stream) > 0 {
		k := min(max(cut(len(stream)), 1), len(stream))
		buf := append(tail, stream[:k]...)
		stream = stream[k:]
		for {
			n, done, err := f.Next(buf)
			if err != nil {
				return append(out, err.Error())
			}
			reply = append(reply, buf[:n]...)
			buf = buf[n:]
			if !done {
				break
			}
			if f.Push() {
				reply = append([]byte("push "), reply...)
			}
			out = append(out, string(reply))
			reply = reply[:0]
		}
		tail = append([]byte(nil), buf...)
	}
	if len(reply)+len(tail) > 0 {
		out = append(out, fmt.Sprintf("%d bytes left", len(reply)+len(tail)))
	}
	return out
}

var replies = []string{
	"+OK\r\n", "-ERR no\r\n", ":-12\r\n", "$-1\r\n", "$0\r\n\r\n", "$5\r\na\r\nbc\r\n", "*-1\r\n", "*0\r\n",
	"*3\r\n:1\r\n*2\r\n$1\r\na\r\n$-1\r\n+x\r\n", "+a\rb\r\n",
	"_\r\n", ",3.140\r\n", "#t\r\n", "!5\r\nERR x\r\n", "=7\r\ntxt:abc\r\n", "(123456789012345678901\r\n",
	"%2\r\n+a\r\n:1\r\n+b\r\n*1\r\n_\r\n", "~2\r\n:1\r\n:2\r\n", "%0\r\n", "~0\r\n",
	"|1\r\n+ttl\r\n:9\r\n$1\r\nv\r\n", "*2\r\n|1\r\n+a\r\n+b\r\n:1\r\n:2\r\n",
}

func TestFramerSurvivesEveryCut(t *testing.T) {
	stream := strings.Join(replies, "")
	for size := 1; size <= len(stream); size++ {
		if d := cmp.Diff(replies, frameAll(stream, func(int) int { return size })); d != "" {
			t.Fatalf("in pieces of %d: %s", size, d)
		}
	}
	for at := 1; at < len(stream); at++ {
		first := at
		cut := func(have int) int { k := first; first = have; return k }
		if d := cmp.Diff(replies, frameAll(stream, cut)); d != "" {
			t.Fatalf("cut at %d: %s", at, d)
		}
	}
}

func TestFramerTellsPushes(t *testing.T) {
	got := frameAll(">2\r\n+invalidate\r\n*1\r\n$1\r\na\r\n+OK\r\n", whole)
	want := []string{"push >2\r\n+invalidate\r\n*1\r\n$1\r\na\r\n", "+OK\r\n"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestFramerRefuses(t *testing.T) {
	f := func(stream, want string) {
		t.Helper()
		for _, size := range []int{1, 2, 3, len(stream)} {
			got := frameAll(stream, func(int) int { return size })
			if len(got) != 1 || got[0] != "Protocol error: "+want {
				t.Errorf("%q in pieces of %d: %q, want %s", stream, size, got, want)
			}
		}
	}
	f("hello\r\n", "unknown reply type 'h'")
	f("$1x\r\n", "invalid bulk length in a reply")
	f("$-2\r\n", "invalid bulk length in a reply")
	f("$99999999999999\r\n", "invalid bulk length in a reply")
	f("*x\r\n", "invalid multibulk length in a reply")
	f("$1\r\nabc\r\n", "bulk of a reply is not followed by CRLF")
	f("$1\r\na\rc", "bulk of a reply is not followed by CRLF")

	long := frameAll("+"+strings.Repeat("x", maxReplyLine+1), whole)
	if len(long) != 1 || long[0] != "Protocol error: reply line too long" {
		t.Errorf("endless line: %.80q", long)
	}
}

func TestFramerDoesNotAllocate(t *testing.T) {
	var f Framer
	reply := []byte("*2\r\n$3\r\nabc\r\n:1\r\n")
	if allocs := testing.AllocsPerRun(100, func() { _, _, _ = f.Next(reply) }); allocs > 0 {
		t.Errorf("%v allocations", allocs)
	}
}

func FuzzFramer(f *testing.F) {
	f.Add(strings.Join(replies, ""), uint8(1))
	f.Add("$-1\r\n$-", uint8(2))
	f.Add(">1\r\n+x\r\n", uint8(7))
	f.Fuzz(func(t *testing.T, stream string, size uint8) {
		want := frameAll(stream, whole)
		got := frameAll(stream, func(int) int { return int(size) })
		if !cmp.Equal(got, want) {
			t.Errorf("in pieces of %d: %q\nwhole: %q", size, got, want)
		}
	})
}

func BenchmarkFramer(b *testing.B) {
	var f Framer
	reply := []byte("$16\r\n0123456789abcdef\r\n")
	for b.Loop() {
		_, _, _ = f.Next(reply)
	}
}

// TestLengthsBeyond32Bits: their lower half is that of a whole reply, or of a request.
func TestLengthsBeyond32Bits(t *testing.T) {
	f := func(stream, want string) {
		t.Helper()
		if got := frameAll(stream, whole); len(got) != 1 || got[0] != want {
			t.Errorf("%q: %q, want %q", stream, got, want)
		}
	}
	rest := func(stream string) { t.Helper(); f(stream, fmt.Sprintf("%d bytes left", len(stream))) }
	rest("$4294967297\r\na\r\n")
	rest("*4294967297\r\n+a\r\n")
	rest("%2147483649\r\n+a\r\n+b\r\n")
	rest("*2\r\n*4294967295\r\n+a\r\n")
	rest("$4294967295\r\n")
	f("$1099511627776\r\n", "Protocol error: invalid bulk length in a reply")
	g := func(stream, want string) {
		t.Helper()
		if got := parseAll(stream, whole); len(got) != 1 || got[0] != want {
			t.Errorf("%q: %q, want %q", stream, got, want)
		}
	}
	g("*4294967297\r\n$4\r\nPING\r\n", "Protocol error: invalid multibulk length")
	g("*1\r\n$4294967300\r\nPING\r\n", "Protocol error: invalid bulk length")
}
