package resp

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var testLimits = Limits{MaxArgs: 1 << 20, MaxBulk: 512 << 20}

// parseAll feeds stream in the given pieces and returns every request as "[arg arg]", then the error.
func parseAll(stream string, cut func(have int) int) []string {
	var (
		p   = Parser{Limits: testLimits}
		at  Partial
		buf []byte
		out []string
	)
	for len(stream) > 0 {
		k := min(max(cut(len(stream)), 1), len(stream))
		buf = append(buf, stream[:k]...)
		stream = stream[k:]
		for len(buf) > 0 {
			n, err := p.Parse(buf, &at, true)
			if err != nil {
				return append(out, err.Error())
			}
			if n == 0 {
				break
			}
			if len(p.Args) > 0 {
				out = append(out, fmt.Sprintf("%q", p.Args))
			}
			buf = buf[n:]
		}
	}
	if len(buf) > 0 {
		out = append(out, fmt.Sprintf("%d bytes left", len(buf)))
	}
	return out
}

func whole(have int) int { return have }

func TestParse(t *testing.T) {
	f := func(stream string, want ...string) {
		t.Helper()
		got := parseAll(stream, whole)
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%.60q: %s", stream, d)
		}
		for size := 1; size < min(len(stream), 200); size++ {
			if got := parseAll(stream, func(int) int { return size }); !cmp.Equal(got, want) {
				t.Errorf("%.60q in pieces of %d: %q", stream, size, got)
			}
		}
	}
	f("*1\r\n$4\r\nPING\r\n", `["PING"]`)
	f("*2\r\n$3\r\nGET\r\n$0\r\n\r\n*1\r\n$1\r\na\r\n", `["GET" ""]`, `["a"]`)
	f("*2\r\n$3\r\nGET\r\n$6\r\na\r\nb\x00c\r\n", `["GET" "a\r\nb\x00c"]`)
	f("*0\r\n*-1\r\n*-15\r\n\r\nPING\r\n", `["PING"]`)
	f("PING\n  SET  a 'b c' \"d\\x41\\n\"\r\n", `["PING"]`, `["SET" "a" "b c" "dA\n"]`)
	f("SET 'it\\'s' \"\"\r\n", `["SET" "it's" ""]`)
	f("*1\r\n$4\r\nPI", "10 bytes left")

	f("*a\r\n", "Protocol error: invalid multibulk length")
	f("*+1\r\n", "Protocol error: invalid multibulk length")
	f("*01\r\n", "Protocol error: invalid multibulk length")
	f("*\r\n", "Protocol error: invalid multibulk length")
	f("*1048577\r\n", "Protocol error: invalid multibulk length")
	f("*100000000\r\n", "Protocol error: invalid multibulk length")
	f("*99999999999999999999999\r\n", "Protocol error: invalid multibulk length")
	f("*1\r\n:4\r\n", "Protocol error: expected '$', got ':'")
	f("*1\r\n$-1\r\n", "Protocol error: invalid bulk length")
	f("*1\r\n$536870913\r\n", "Protocol error: invalid bulk length")
	f("*1\r\n$4x\r\n", "Protocol error: invalid bulk length")
	f("*1\r\n$1\r\nab\r\n", "Protocol error: expected CRLF after an argument")
	f("SET \"a\r\n", "Protocol error: unbalanced quotes in request")
	f("SET \"a\"b\r\n", "Protocol error: unbalanced quotes in request")
}

func TestParseBoundsLines(t *testing.T) {
	f := func(stream, want string) {
		t.Helper()
		if got := parseAll(stream, func(int) int { return 16 << 10 }); len(got) != 1 || got[0] != want {
			t.Errorf("%.10q…: %q, want %s", stream, got, want)
		}
	}
	long := strings.Repeat("1", maxLine+1)
	f(long, "Protocol error: too big inline request")
	f("*"+long, "Protocol error: too big mbulk count string")
	f("*1\r\n$"+long, "Protocol error: too big bulk count string")
}

func TestParseBoundsUnauthenticated(t *testing.T) {
	f := func(stream, want string) {
		t.Helper()
		p := Parser{Limits: testLimits}
		if _, err := p.Parse([]byte(stream), &Partial{}, false); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", stream, err, want)
		}
	}
	f("*11\r\n", "Protocol error: unauthenticated multibulk length")
	f("*1\r\n$16385\r\n", "Protocol error: unauthenticated bulk length")
}

// A request announced with a million arguments must cost memory only as they arrive.
func TestParseTakesNoMemoryInAdvance(t *testing.T) {
	p := Parser{Limits: testLimits}
	stream := []byte("*1048576\r\n$536870912\r\nabc")
	allocs := testing.AllocsPerRun(10, func() {
		if n, err := p.Parse(stream, &Partial{}, true); n != 0 || err != nil {
			t.Fatal(n, err)
		}
	})
	if allocs > 0 {
		t.Errorf("%v allocations", allocs)
	}
}

func TestParseDoesNotAllocate(t *testing.T) {
	p := Parser{Limits: testLimits}
	stream := []byte("*3\r\n$3\r\nSET\r\n$3\r\nfoo\r\n$3\r\nbar\r\n")
	var at Partial
	if n, err := p.Parse(stream, &at, true); n != len(stream) || err != nil {
		t.Fatal(n, err)
	}
	if allocs := testing.AllocsPerRun(100, func() { _, _ = p.Parse(stream, &at, true) }); allocs > 0 {
		t.Errorf("%v allocations", allocs)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("*2\r\n$3\r\nGET\r\n$1\r\na\r\nPING\r\n*0\r\n", uint8(3))
	f.Add("*1\r\n$-1\r\n", uint8(1))
	f.Add("set 'a\\'b' \"\\x00\"\r\n", uint8(2))
	f.Fuzz(func(t *testing.T, stream string, size uint8) {
		want := parseAll(stream, whole)
		got := parseAll(stream, func(int) int { return int(size) })
		if !cmp.Equal(got, want) {
			t.Errorf("in pieces of %d: %q\nwhole: %q", size, got, want)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	p := Parser{Limits: testLimits}
	stream := []byte("*3\r\n$3\r\nSET\r\n$16\r\nkey:000000001234\r\n$3\r\nbar\r\n")
	var at Partial
	for b.Loop() {
		_, _ = p.Parse(stream, &at, true)
	}
}
