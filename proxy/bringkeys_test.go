package proxy

import (
	"strings"
	"testing"
	"time"

	"sluice/backend/dialect"
	"sluice/internal/testbed"
	"sluice/router"
)

// bringTest is a proxy in front of two real redis-servers that know nothing of slots, and one slot that moves from the
// first to the second.
type bringTest struct {
	*testing.T
	source, target *testbed.Server
	p              *testProxy
	specs          []router.GroupSpec
	moving         router.MoveSpec
}

const bringToken = 7

func startBring(t *testing.T, wait time.Duration) *bringTest {
	t.Helper()
	x := &bringTest{T: t, source: testbed.Redis(t), target: testbed.Redis(t)}
	slot := codisModel.Slot([]byte("{t}"))
	x.specs = []router.GroupSpec{
		{ID: "1", Master: x.source.Addr(), Slots: []router.Range{{From: 0, To: slot - 1}, {From: slot + 1, To: router.CodisSlots - 1}}},
		{ID: "2", Master: x.target.Addr(), Slots: []router.Range{{From: slot, To: slot}}},
	}
	x.moving = router.MoveSpec{
		Slots: []router.Range{{From: slot, To: slot}}, Phase: router.Moving, From: x.source.Addr(), FromID: "1", Token: bringToken,
	}
	x.p = startProxy(t, codisModel, x.specs, holding(wait), ofFamily("redis"))
	for _, s := range []*testbed.Server{x.source, x.target} {
		s.Do("HSET", dialect.BringMarker(bringToken), "", "")
	}
	x.p.setTable(t, x.specs, x.moving)
	return x
}

// at counts which of some keys each side has.
func (x *bringTest) at(keys string, source, target int) {
	x.Helper()
	exists := append([]string{"EXISTS"}, strings.Fields(keys)...)
	if a, b := x.source.Do(exists...).Integer(), x.target.Do(exists...).Integer(); a != source || b != target {
		x.Errorf("of %s the source has %d and the target %d, want %d and %d", keys, a, b, source, target)
	}
}

// Every kind of request has its keys brought first: one key, several, none that exist, a transaction, a script, a blocking
// one; in both versions of the protocol, and in another database.
func TestBroughtKeys(t *testing.T) {
	t.Parallel()
	x := startBring(t, never)
	for _, args := range [][]string{
		{"SET", "{t}string", "v"}, {"SET", "{t}ends", "v", "PX", "500000"}, {"RPUSH", "{t}list", "a", "b"},
		{"HSET", "{t}hash", "f", "v"}, {"SADD", "{t}set", "m"}, {"ZADD", "{t}zset", "1.5", "m"}, {"SET", "{t}count", "41"},
		{"SET", "{t}other", "o"}, {"SET", "{t}stays", "s"},
	} {
		x.source.Do(args...)
	}
	c := x.p.dial(t)
	c.want("$1\r\nv\r\n", "GET", "{t}string")
	c.want(":2\r\n", "HSET", "{t}hash", "g", "w", "f2", "x")
	c.want("*3\r\n$1\r\nv\r\n$1\r\no\r\n$-1\r\n", "MGET", "{t}string", "{t}other", "{t}none")
	if got := c.do("PTTL", "{t}ends"); got < ":4" || len(got) != len(":400000\r\n") {
		t.Errorf("a key that ends has %q left", got)
	}
	c.want("+OK\r\n", "MULTI")
	c.want("+QUEUED\r\n", "INCR", "{t}count")
	c.want("+QUEUED\r\n", "SCARD", "{t}set")
	c.want("*2\r\n:42\r\n:1\r\n", "EXEC")
	c.want("$3\r\n1.5\r\n", "EVAL", "return redis.call('ZSCORE', KEYS[1], 'm')", "1", "{t}zset")
	c.want("*2\r\n$7\r\n{t}list\r\n$1\r\na\r\n", "BLPOP", "{t}list", "1")
	x.at("{t}string {t}ends {t}list {t}hash {t}set {t}zset {t}count {t}other", 0, 8)
	x.at("{t}stays", 1, 0)
	c.want(":1\r\n", "DEL", "{t}string")
	c.want("$-1\r\n", "GET", "{t}string")

	three := x.p.dial(t)
	three.do("HELLO", "3")
	three.want("_\r\n", "GET", "{t}none")
	three.want("$1\r\ns\r\n", "GETDEL", "{t}stays")
	x.at("{t}stays", 0, 0)

	x.source.Do("EVAL", "redis.call('SELECT', 3) redis.call('SET', '{t}string', 'in 3')", "0")
	three.want("+OK\r\n", "SELECT", "3")
	three.want("$4\r\nin 3\r\n", "GET", "{t}string")
	three.want("+OK\r\n", "SELECT", "0")
	three.want("_\r\n", "GET", "{t}string")
}

// A command that writes to another database waits until the move is over: its key there was not brought.
func TestMoveToAnotherDatabaseIsHeld(t *testing.T) {
	t.Parallel()
	x := startBring(t, 50*time.Millisecond)
	x.source.Do("SET", "{t}key", "v")
	c := x.p.dial(t)
	for _, args := range [][]string{{"MOVE", "{t}key", "1"}, {"COPY", "{t}key", "{t}other", "DB", "1"}} {
		if got := c.do(args...); !strings.HasPrefix(got, "-TRYAGAIN slot ") {
			t.Errorf("%q: %q", args, got)
		}
	}
	c.want("$1\r\nv\r\n", "GET", "{t}key")
}

// A key that a client has deleted does not come back, whoever asks for it: another proxy has seen it at the source before.
func TestBroughtKeyIsNotBroughtAgain(t *testing.T) {
	t.Parallel()
	x := startBring(t, never)
	x.source.Do("SET", "{t}key", "old")
	other := startProxy(t, codisModel, x.specs, holding(never), ofFamily("redis"))
	other.setTable(t, x.specs, x.moving)
	x.p.dial(t).want(":1\r\n", "DEL", "{t}key")
	x.source.Do("SET", "{t}key", "old") // As if it had been read there before.
	other.dial(t).want("$-1\r\n", "GET", "{t}key")
	x.at("{t}key", 0, 0)
}

// Servers that were not made ready, or have lost that, are waited for, in words; without a token the whole slot is.
func TestBringWithoutAMarker(t *testing.T) {
	t.Parallel()
	x := startBring(t, 50*time.Millisecond)
	x.source.Do("SET", "{t}key", "v")
	c := x.p.dial(t)
	refused := func(want string) {
		t.Helper()
		if got := c.do("GET", "{t}key"); !strings.HasPrefix(got, "-TRYAGAIN slot ") || !strings.Contains(got, want) {
			t.Errorf("the answer is %q, want one that says %q", got, want)
		}
	}
	x.target.Do("FLUSHALL")
	refused("NOMOVE " + dialect.BringMarker(bringToken) + " is missing")
	x.target.Do("HSET", dialect.BringMarker(bringToken), "", "")
	x.source.Do("DEL", dialect.BringMarker(bringToken))
	refused("NOMOVE")
	x.at("{t}key", 1, 1)
	x.source.Do("HSET", dialect.BringMarker(bringToken), "", "")
	c.want("$1\r\nv\r\n", "GET", "{t}key")
	x.at("{t}key", 0, 1)
	bare := x.moving
	bare.Token = 0
	x.p.setTable(t, x.specs, bare)
	refused("is moving from group 1 to group 2 (held")
}
