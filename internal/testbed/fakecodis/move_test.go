package fakecodis

import (
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/tidwall/resp"

	"sluice/internal/testbed"
	"sluice/internal/testbed/fake"
)

// doer is what fakes and real servers have in common.
type doer interface {
	Do(args ...string) resp.Value
	Port() int
}

var (
	_ doer = (*Server)(nil)
	_ doer = (*testbed.Server)(nil)
)

// TestMoveEveryType moves keys of every type, with and without time to live, and some of more than one command's
// size, in every way, to fakes and to a real server.
func TestMoveEveryType(t *testing.T) {
	redis := testbed.Redis(t)
	f := func(kind Kind, way string) {
		t.Helper()
		t.Run(kind.String()+"/"+way, func(t *testing.T) {
			targets := map[string]doer{"redis": redis, "codis": StartCodisServer(t, Options{}), "pika": StartPika(t, Pika40, Options{})}
			for name, target := range targets {
				t.Run(name, func(t *testing.T) {
					s := start(t, kind, Options{})
					fillTypes(t, s)
					target.Do("FLUSHALL")
					moveTypes(t, s, target, way)
					checkTypes(t, s, target, kind)
				})
			}
		})
	}
	for _, kind := range []Kind{CodisServer, Pika35, Pika40, PikaFixed} {
		f(kind, "SLOTSMGRTTAGONE")
		f(kind, "SLOTSMGRTTAGSLOT")
		f(kind, "SLOTSMGRTTAGSLOT-ASYNC")
	}
	f(CodisServer, "SLOTSMGRTTAGONE-ASYNC")
}

const bigSize = 1300 // More than two commands of maxMembers.

func fillTypes(t *testing.T, s *Server) {
	t.Helper()
	f := func(args ...string) {
		t.Helper()
		if v := s.Do(args...); v.Type() == resp.Error {
			t.Fatalf("%s: %s", args[0], v)
		}
	}
	f("SET", "{a}text", "v\r\n\x00")
	f("SET", "{a}empty", "")
	f("SET", "{a}lives", "v", "EX", "1000")
	f("RPUSH", "{a}list", "1", "2", "3")
	f("EXPIRE", "{a}list", "1000")
	f("HSET", "{a}hash", "f", "v")
	f("SADD", "{a}set", "m", "n")
	f("ZADD", "{a}zset", "1.5", "m", "inf", "n", "0.0000001", "tiny")
	for i := range bigSize {
		n := strconv.Itoa(i)
		f("RPUSH", "{a}biglist", n)
		f("HMSET", "{a}bighash", n, n)
		f("ZADD", "{a}bigzset", n, n)
	}
}

func moveTypes(t *testing.T, s *Server, target doer, way string) {
	t.Helper()
	c := connect(t, s)
	to := []string{way, host, strconv.Itoa(target.Port()), "5000"}
	slot := strconv.Itoa(s.SlotOf("{a}"))
	switch way {
	case "SLOTSMGRTTAGONE":
		c.expect(t, fake.Int(10), append(to, "{a}set")...)
	case "SLOTSMGRTTAGONE-ASYNC":
		c.expect(t, fake.Int(10), append(to, "200", "1000000", "{a}set")...)
	case "SLOTSMGRTTAGSLOT":
		c.expect(t, pairReply(10, 0), append(to, slot)...)
	default:
		first := 0
		if s.Kind() == CodisServer {
			first = 10
		}
		c.expect(t, pairReply(first, 10), append(to, "200", "1000000", slot, "100")...)
	}
	testbed.Eventually(t, func() error {
		if left := s.Keys(); len(left) > 0 {
			return fmt.Errorf("left: %q", left)
		}
		return nil
	}, 10*time.Second)
}

func checkTypes(t *testing.T, s *Server, target doer, kind Kind) {
	t.Helper()
	f := func(want string, args ...string) {
		t.Helper()
		if got := target.Do(args...).String(); got != want {
			t.Errorf("%q: got %q, want %q", args, got, want)
		}
	}
	f("v\r\n\x00", "GET", "{a}text")
	f("1", "EXISTS", "{a}empty")
	f("1000", "TTL", "{a}lives")
	f("1000", "TTL", "{a}list")
	f("-1", "TTL", "{a}text")
	f("[1 2 3]", "LRANGE", "{a}list", "0", "-1")
	f("[f v]", "HGETALL", "{a}hash")
	f("2", "SCARD", "{a}set")
	f("inf", "ZSCORE", "{a}zset", "n")
	f("1.5", "ZSCORE", "{a}zset", "m")
	tiny, err := strconv.ParseFloat(target.Do("ZSCORE", "{a}zset", "tiny").String(), 64)
	if want := map[bool]float64{true: 0.0000001, false: 0}[kind == CodisServer]; err != nil || tiny != want {
		t.Errorf("score %v, want %v: %v", tiny, want, err)
	}
	f(strconv.Itoa(bigSize), "LLEN", "{a}biglist")
	f(strconv.Itoa(bigSize), "HLEN", "{a}bighash")
	f(strconv.Itoa(bigSize), "ZCARD", "{a}bigzset")
	f("1299", "LINDEX", "{a}biglist", "-1")
}

// TestIndexFollowsWrites compares the index with the keys after writes of every shape.
func TestIndexFollowsWrites(t *testing.T) {
	s := StartCodisServer(t, Options{Slots: 16})
	c := connect(t, s)
	f := func(args ...string) {
		t.Helper()
		c.mustAsk(t, args...)
		var indexed []string
		for slot := range 16 {
			indexed = append(indexed, s.codis.index.keys(0, slot)...)
		}
		slices.Sort(indexed)
		if keys := s.Keys(); !slices.Equal(indexed, keys) {
			t.Fatalf("after %q the index has %q, the data %q", args, indexed, keys)
		}
	}
	f("SET", "a", "1")
	f("MSET", "b", "1", "{t}c", "1")
	f("RPUSH", "l", "1", "2")
	f("RPOPLPUSH", "l", "m")
	f("LPOP", "l")
	f("RENAME", "a", "z")
	f("SADD", "s1", "x")
	f("SUNIONSTORE", "s2", "s1")
	f("SMOVE", "s1", "s3", "x")
	f("SPOP", "s3")
	f("EVAL", "return redis.call('SET', KEYS[1], 'v')", "1", "scripted")
	f("MULTI")
	for _, args := range [][]string{{"SET", "q", "1"}, {"DEL", "z"}} {
		c.expect(t, "+QUEUED\r\n", args...)
	}
	f("EXEC")
	f("DEL", "b", "{t}c", "nosuch")
	if got := s.Keys(); fmt.Sprint(got) != "[m q s2 scripted]" {
		t.Errorf("keys %q", got)
	}
	f("FLUSHALL")
}
