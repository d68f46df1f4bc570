package proxy

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sluice/internal/testbed"
	"sluice/internal/testbed/fakecodis"
	"sluice/proxy/keymove"
	"sluice/router"
)

// bySlot has requests keep to one slot.
func bySlot(_ *Config, pool *PoolConfig) { pool.MultiKey = MultiKeySlot }

// A pool of one group does what its server does, whatever slots the keys have.
func TestKeysOfOneGroup(t *testing.T) {
	server := testbed.Redis(t)
	p := startProxy(t, testModel, evenly(testModel, server.Addr()), faultOptions(nil))
	k := keysApart(testModel, 4)
	c, other := p.dial(t), p.dial(t)
	c.want(":1\r\n", "MSETNX", k[0], "1", k[1], "2")
	c.want("+OK\r\n", "WATCH", k[0], k[1])
	c.want("+OK\r\n", "WATCH", k[2])
	c.want("+OK\r\n", "MULTI")
	c.want("+QUEUED\r\n", "RENAME", k[0], k[3])
	c.want("+QUEUED\r\n", "GET", k[3])
	c.want("*2\r\n+OK\r\n"+bulkReply("1"), "EXEC")
	for _, watched := range []int{0, 1, 2} { // Whichever changes, EXEC tells.
		c.want("+OK\r\n", "WATCH", k[0], k[1])
		c.want("+OK\r\n", "WATCH", k[2])
		other.want("+OK\r\n", "SET", k[watched], "x")
		c.want("+OK\r\n", "MULTI")
		c.want("+QUEUED\r\n", "SET", k[3], "x")
		c.want("*-1\r\n", "EXEC")
	}
	c.want("$-1\r\n", "EVAL", "redis.call('SET', KEYS[1], ARGV[1]) return redis.call('GET', KEYS[2])", "2", k[0], "none", "v")
	c.want("+OK\r\n", "FLUSHALL")
	c.request("BLPOP", k[0], k[1], k[2], "0")
	p.awaitBlocked(t, server, 1)
	other.want(":1\r\n", "RPUSH", k[2], "job")
	c.wantReply("*2\r\n" + bulkReply(k[2]) + bulkReply("job"))
	p.wantNothingBound(t)
	if got := p.pool.MultiSlot(); got["msetnx"] != 1 || got["blpop"] != 1 || got["exec"] != 4 || got["eval"] != 1 || got["watch"] != 4 {
		t.Errorf("counted: %v", got)
	}
}

// Keys of two groups are refused by name, in a request, in a transaction and behind WATCH, and nothing is run.
func TestKeysOfTwoGroups(t *testing.T) {
	top := codisTopology(t)
	k := top.keysOnEveryNode("k", 1)
	text := fmt.Sprintf("-CROSSSLOT keys of one request are on two groups: %q on 1, %q on 2; "+
		"the same part in braces, as in {user1}:cart, keeps keys together\r\n", k[0], k[1])
	c := top.dial(t)
	c.want(text, "SUNION", k[0], k[1])
	c.want(text, "WATCH", k[0], k[1])
	c.want("+OK\r\n", "WATCH", k[0])
	c.want(text, "WATCH", k[1])
	c.want("+OK\r\n", "MULTI")
	c.want(text, "GET", k[1])
	c.want("-"+errExecAborted+"\r\n", "EXEC")
	c.want(text, "BLPOP", k[0], k[1], "0")
	if got := top.pool.MultiSlot(); len(got) != 0 {
		t.Errorf("refused ones are counted: %v", got)
	}
}

// Requests on one slot and on several keep the order in which a client sends them.
func TestOrderOfRequestsOverSlots(t *testing.T) {
	server := testbed.Redis(t)
	p := startProxy(t, codisModel, evenly(codisModel, server.Addr()), faultOptions(nil))
	k := keysApart(codisModel, 40)
	c := p.dial(t)
	var want []string
	for i := range 40 {
		a, b := k[i], k[(i*7+1)%40]
		c.request("SET", a, fmt.Sprint(i))
		c.request("COPY", a, b, "REPLACE")
		c.request("GET", b)
		want = append(want, "+OK\r\n", ":1\r\n", bulkReply(fmt.Sprint(i)))
	}
	for _, reply := range want {
		c.wantReply(reply)
	}
}

// While a slot moves to the owner of the other keys, the keys go there first.
func TestKeysOfOneGroupWhileASlotMovesToIt(t *testing.T) {
	eachKeyMigration(t, func(x *keyMigrationTest) {
		x.together()
		c := x.p.dial(x)
		for i, send := range []func(a, b string) string{
			func(a, b string) string { return c.do("MSETNX", a, "v", b, "v") },
			func(a, b string) string {
				return c.do("EVAL", "return redis.call('MSETNX', KEYS[1], 'v', KEYS[2], 'v')", "2", a, b)
			},
			func(a, b string) string {
				c.want("+OK\r\n", "MULTI")
				c.want("+QUEUED\r\n", "MSETNX", a, "v", b, "v")
				return strings.TrimPrefix(c.do("EXEC"), "*1\r\n")
			},
		} {
			moves, stays := fmt.Sprint("{t}", i), fmt.Sprint("settled", i)
			if i > 0 && !strings.HasPrefix(x.source.Kind().String(), "codis") {
				break // What the fakes of Pika run in scripts and transactions is less.
			}
			x.source.Do("SET", moves, "old")
			if got := send(moves, stays); got != ":0\r\n" {
				x.Errorf("way %d: %q, as if the key were not there", i, got)
			}
			c.want(bulkReply("old"), "GET", moves)
			c.want("$-1\r\n", "GET", stays)
			x.wantAt(x.target, moves)
		}
	})
}

// together gives all slots to the target but for one other.
func (x *keyMigrationTest) together() {
	x.specs = []router.GroupSpec{
		{ID: "1", Master: x.source.Addr()},
		{ID: "2", Master: x.target.Addr(), Slots: []router.Range{{From: 0, To: router.CodisSlots - 1}}},
	}
	x.moving()
}

// While a slot moves away from the others, a request waits until it is known who has them.
func TestKeysOfTwoGroupsWhileASlotMoves(t *testing.T) {
	x := startKeyMigration(t, fakecodis.CodisServer, router.SemiAsync, never)
	const moves, stays = "{t}a", "settled1"
	c := x.p.dial(x)
	c.request("MSETNX", moves, "v", stays, "v")
	x.p.awaitHeld(x, 1)
	x.p.setTable(x, x.specs)
	c.wantReply(fmt.Sprintf("-CROSSSLOT keys of one request are on two groups: %q on 2, %q on 1; "+
		"the same part in braces, as in {user1}:cart, keeps keys together\r\n", moves, stays))
	x.moving()
	c.request("MSETNX", moves, "v", stays, "v")
	x.p.awaitHeld(x, 1)
	x.p.setTable(x, []router.GroupSpec{ // It goes back.
		{ID: "1", Master: x.source.Addr(), Slots: []router.Range{{From: 0, To: router.CodisSlots - 1}}},
		{ID: "2", Master: x.target.Addr()},
	})
	c.wantReply(":1\r\n")
	x.wantAt(x.source, moves)
	x.wantAt(x.source, stays)
}

// A lock of any of the slots holds the request, and a blocked one comes back.
func TestLockOfOneOfTheSlots(t *testing.T) {
	servers := []*testbed.Server{testbed.Redis(t), testbed.Redis(t)}
	specs := evenly(testModel, servers[0].Addr())
	specs = append(specs, router.GroupSpec{ID: "2", Master: servers[1].Addr()})
	p := startProxy(t, testModel, specs, holding(never))
	k := keysApart(testModel, 2)
	all := specs[0].Slots
	lock := func(key string) {
		slot := testModel.Slot([]byte(key))
		of := func(want bool) []router.Range {
			return router.RangesOf(testModel.Slots(), func(s router.Slot) bool { return (s == slot) == want })
		}
		p.setTable(t, []router.GroupSpec{
			{ID: "1", Master: servers[0].Addr(), Slots: of(false)}, {ID: "2", Master: servers[1].Addr(), Slots: of(true)},
		}, router.MoveSpec{Slots: of(true), Phase: router.Locked, From: servers[0].Addr(), FromID: "1"})
	}
	c, blocked := p.dial(t), p.dial(t)
	for i, key := range k {
		blocked.request("BLPOP", k[0], k[1], "0")
		p.awaitBlocked(t, servers[0], 1)
		lock(key)
		p.awaitHeld(t, 1)
		c.request("RPUSH", k[1-i], "x")
		c.wantReply(":1\r\n") // The other slot is served.
		p.setTable(t, specs)
		blocked.wantReply("*2\r\n" + bulkReply(k[1-i]) + bulkReply("x"))
	}
	// All of them get another owner.
	blocked.request("BLPOP", k[0], k[1], "0")
	p.awaitBlocked(t, servers[0], 1)
	p.setTable(t, []router.GroupSpec{{ID: "2", Master: servers[1].Addr(), Slots: all}})
	p.awaitBlocked(t, servers[1], 1)
	c.want(":1\r\n", "RPUSH", k[1], "y")
	blocked.wantReply("*2\r\n" + bulkReply(k[1]) + bulkReply("y"))
}

// A request over slots that a server was not ready for is sent again, in its place.
func TestRequestOverSlotsIsSentAgain(t *testing.T) {
	fake := fakecodis.StartCodisServer(t, fakecodis.Options{})
	p := startProxy(t, codisModel, evenly(codisModel, fake.Addr()), holding(never), ofFamily("codis"))
	k := keysApart(codisModel, 3)
	fake.Faults.Answer("MSETNX", "-"+loading+"\r\n", 2)
	c := p.dial(t)
	c.request("SET", k[2], "before")
	c.request("MSETNX", k[0], "1", k[1], "1")
	c.request("MGET", k[0], k[1], k[2])
	c.wantReply("+OK\r\n")
	c.wantReply(":1\r\n")
	c.wantReply("*3\r\n" + bulkReply("1") + bulkReply("1") + bulkReply("before"))
}

// What the loop has no room to remember of keys that have arrived, the request remembers.
func TestKeysThatALoopForgets(t *testing.T) {
	t.Parallel()
	x := startKeyMigration(t, fakecodis.CodisServer, router.SemiAsync, never)
	x.together()
	c := x.p.dial(x)
	long := strings.Repeat("x", keymove.MaxArrived+1)
	c.want(":1\r\n", "MSETNX", "{t}"+long, "v", "settled", "v")
	c.want(":1\r\n", "MSETNX", "{t}2"+long, "v", "{t}b", "v")
	c.want("$1\r\nv\r\n", "GET", "{t}"+long)
	if moves := x.p.Stats().Moves; moves.KeyMoves > 4 {
		t.Errorf("the source was asked %d times to move a key", moves.KeyMoves)
	}
}

// A transaction over all slots, all of which move, gets to its end.
func TestTransactionOverSlotsThatAllMove(t *testing.T) {
	x := startKeyMigration(t, fakecodis.CodisServer, router.SemiAsync, never)
	x.together()
	m := x.move(router.Moving)
	m.Slots = x.specs[1].Slots
	x.p.setTable(x, x.specs, m)
	c := x.p.dial(x)
	const n = 5000
	c.want("+OK\r\n", "MULTI")
	for i := range n {
		c.request("SET", fmt.Sprint("key", i), "v")
	}
	for range n {
		c.wantReply("+QUEUED\r\n")
	}
	c.want(fmt.Sprintf("*%d\r\n", n)+strings.Repeat("+OK\r\n", n), "EXEC")
}

// The slots get several owners between WATCH, the queue and EXEC: a watched key may have changed unseen. Without WATCH
// the keys are too far apart.
func TestKeysPartBehindTheQueue(t *testing.T) {
	a, b := testbed.Redis(t), testbed.Redis(t)
	one := append(evenly(codisModel, a.Addr()), router.GroupSpec{ID: "2", Master: b.Addr()})
	two := evenly(codisModel, a.Addr(), b.Addr())
	p := startProxy(t, codisModel, one, holding(never), faultOptions(nil))
	k := []string{"k0", "k10", "k1", "k11"} // Of the first half of the slots and of the second, in turn.
	c := p.dial(t)
	for _, watched := range [][]string{k[:2], nil} {
		if watched != nil {
			c.want("+OK\r\n", append([]string{"WATCH"}, watched...)...)
		}
		c.want("+OK\r\n", "MULTI")
		for _, key := range k {
			c.want("+QUEUED\r\n", "SET", key, "x")
		}
		p.setTable(t, two)
		got := c.do("EXEC")
		if watched != nil && got != "*-1\r\n" || watched == nil && !strings.HasPrefix(got, "-CROSSSLOT keys of one request are on two groups: ") {
			t.Errorf("watching %v: %q", watched, got)
		}
		p.setTable(t, one)
		c.want(":0\r\n", append([]string{"EXISTS"}, k...)...)
	}
	p.wantNothingBound(t)
}

// What can't be run any more is not kept.
func TestAbortedTransactionKeepsNothing(t *testing.T) {
	top := codisTopology(t)
	k := top.keysOnEveryNode("k", 1)
	c := top.dial(t)
	c.want("+OK\r\n", "MULTI")
	c.want("+QUEUED\r\n", "GET", k[0])
	if got := c.do("GET", k[1]); !strings.HasPrefix(got, "-CROSSSLOT ") {
		t.Error(got)
	}
	for range 100 {
		c.want("+QUEUED\r\n", "GET", k[0])
	}
	if !top.onlyClient(func(c *client) bool { return len(c.tx.sizes) == 1 }, func(*client) {}) {
		t.Error("commands are kept")
	}
	c.want("-"+errExecAborted+"\r\n", "EXEC")
}

// A request that is too long on its way through slots that move ends, and none of it is run.
func TestSlotsThatMoveTakeTooLong(t *testing.T) {
	x := startKeyMigration(t, fakecodis.CodisServer, router.SemiAsync, time.Nanosecond)
	x.together()
	m := x.move(router.Moving)
	m.Slots = x.specs[1].Slots
	x.p.setTable(x, x.specs, m)
	c := x.p.dial(x)
	if got := c.do("MSETNX", "a", "v", "b", "v", "c", "v"); !strings.HasPrefix(got, "-TRYAGAIN slot ") || !strings.Contains(got, "see hold.max_move_wait") {
		t.Errorf("%q", got)
	}
	if keys := x.target.Keys(); len(keys) != 0 {
		t.Errorf("keys at the target: %v", keys)
	}
}
