package load

import (
	"strings"
	"testing"
)

// args splits a request into its arguments; a request is framed like an array
// reply.
func args(t *testing.T, request []byte) []string {
	t.Helper()
	n, r, err := Frame(request)
	if err != nil || n != len(request) || r.Kind != '*' {
		t.Fatalf("request %q: %d, %v", request, n, err)
	}
	var list []string
	for rest := r.Body; len(rest) > 0; {
		n, e, err := Frame(rest)
		if err != nil || n == 0 || e.Kind != '$' {
			t.Fatalf("request %q: bad element %q", request, rest)
		}
		list = append(list, string(e.Body))
		rest = rest[n:]
	}
	return list
}

func TestBuilderWritesRequests(t *testing.T) {
	cfg := Default()
	cfg.Keys, cfg.MGetKeys, cfg.ValueBytes = 100_000, 3, 5
	b := newBuilder(&cfg, 0)
	f := func(o op, key uint64, want ...string) {
		t.Helper()
		got := args(t, b.append(nil, o, key))
		if strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	f(opGet, 42, "GET", "key:000000000042")
	f(opGet, 99_999, "GET", "key:000000099999")
	f(opSet, 0, "SET", "key:000000000000", "xxxxx")
	f(opMGet, 99_999, "MGET", "key:000000099999", "key:000000007918", "key:000000015837")
	f(opPing, 1, "PING")
}

func TestBuilderVerifiesWhatItWrote(t *testing.T) {
	cfg := Default()
	cfg.Verify, cfg.ValueBytes, cfg.Keys, cfg.MGetKeys = true, 100, 1000, 2
	b := newBuilder(&cfg, 7)
	value := func(key uint64) string { return args(t, b.append(nil, opSet, key))[2] }
	if first, second := value(5), value(5); first == second {
		t.Error("two writes of a key have the same value")
	}
	bulk := func(s string) string { return string(appendBulk(nil, []byte(s))) }
	f := func(good bool, o op, key uint64, in string) {
		t.Helper()
		_, r, err := Frame([]byte(in))
		if err != nil {
			t.Fatal(err)
		}
		if err := b.check(o, key, r); (err == nil) != good {
			t.Errorf("check of %.60q: %v", in, err)
		}
	}
	second := b.mgetKey(5, 1)
	f(true, opGet, 5, bulk(value(5)))
	f(true, opGet, 5, "$-1\r\n")
	f(false, opGet, 5, bulk(value(6)))
	f(false, opGet, 5, "+OK\r\n")
	f(true, opSet, 5, "+OK\r\n")
	f(false, opSet, 5, "$-1\r\n")
	f(false, opSet, 5, "+PONG\r\n")
	f(true, opPing, 5, "+PONG\r\n")
	f(false, opPing, 5, "+OK\r\n")
	f(true, opMGet, 5, "*2\r\n"+bulk(value(5))+bulk(value(second)))
	f(true, opMGet, 5, "*2\r\n$-1\r\n"+bulk(value(second)))
	f(false, opMGet, 5, "*2\r\n"+bulk(value(second))+bulk(value(5)))
	f(false, opMGet, 5, "*1\r\n"+bulk(value(5)))
	f(false, opMGet, 5, "*2\r\n"+bulk(value(5))+"-ERR no\r\n")
}

func TestBuilderAllocatesNothing(t *testing.T) {
	cfg := Default()
	cfg.Verify, cfg.ValueBytes = true, 64
	b := newBuilder(&cfg, 0)
	buf := make([]byte, 0, 1<<16)
	for _, o := range []op{opGet, opSet, opMGet, opPing} {
		if n := testing.AllocsPerRun(100, func() { buf = b.append(buf[:0], o, 12345) }); n != 0 {
			t.Errorf("command %d: %.1f allocations", o, n)
		}
	}
}
