package proxy

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sluice/backend"
	"sluice/internal/testbed"
	"sluice/proxy/command"
	"sluice/proxy/resp"
)

// A blocking command answers what it answers on a server: at once when there is data, and when its time is over.
func TestBlockingCommandsAnswerAsRedisDoes(t *testing.T) {
	t.Parallel()
	direct := testbed.Redis(t)
	list := statements(t, `
BLPOP {b}l 0.01; BRPOP {b}l {b}m 0.01; BLMOVE {b}l {b}m LEFT RIGHT 0.01; BLMPOP 0.01 2 {b}l {b}m LEFT; BRPOPLPUSH {b}l {b}m 0.01; BZPOPMIN {b}z 0.01; BZPOPMAX {b}z 0.01; BZMPOP 0.01 1 {b}z MIN
BLPOP {b}l -1; BLPOP {b}l x; BLPOP {b}l; BLPOP; BLPOP {b}l 1e400; BLPOP {b}l nan; BLMPOP -1 1 {b}l LEFT; BLMPOP 0.01 0 {b}l LEFT; BLMPOP 0.01 1 {b}l UP; SET {b}s x; BLPOP {b}s 0; BLPOP {b}s {b}l 0.01; BZPOPMIN {b}s 0
RPUSH {b}l 1 2 3 4 5 6; BLPOP {b}l 0; BRPOP {b}x {b}l 0; BLMOVE {b}l {b}m LEFT RIGHT 0; BLMPOP 0 1 {b}l LEFT COUNT 2; BRPOPLPUSH {b}l {b}m 0; EXISTS {b}l; LRANGE {b}m 0 -1; ZADD {b}z 1 a 2.5 b; BZPOPMIN {b}z 0; BZPOPMAX {b}z 0
XADD {b}x 1-1 f v; XREAD BLOCK 0 STREAMS {b}x 0; XREAD BLOCK 10 STREAMS {b}x $; XREAD BLOCK 10 COUNT 1 STREAMS {b}x {b}y $ $; XREAD BLOCK 0 COUNT 1 BLOCK 10 STREAMS {b}x $; XREAD BLOCK x STREAMS {b}x $; XREAD BLOCK -1 STREAMS {b}x $; XREAD BLOCK 10 STREAMS {b}s $
XREAD BLOCK 10 STREAMS {b}x 1-1; XREAD BLOCK 10 STREAMS {b}x; XGROUP CREATE {b}x g $; XREADGROUP GROUP g c BLOCK 10 STREAMS {b}x >; XREADGROUP GROUP g c BLOCK 0 STREAMS {b}x 0; XREADGROUP GROUP nog c BLOCK 10 STREAMS {b}x >
WAIT 0 0; WAIT 0 10; WAIT x 0; WAIT 0 x; WAIT 0 -1; WAIT 1 10; CLIENT UNBLOCK 99999999; CLIENT UNBLOCK x; CLIENT UNBLOCK 1 foo; GET {b}s
`)
	compareWith(t, direct, list)
}

// Nothing overtakes a blocked command, and nothing of its client is looked at before it is answered.
func TestBlockedClientIsAnsweredInOrder(t *testing.T) {
	server := testbed.Redis(t)
	p := startProxy(t, testModel, evenly(testModel, server.Addr()), faultOptions(nil), limited(func(l *Limits) { l.MaxPipeline = 2 }))
	c, other := p.dial(t), p.dial(t)
	for range 3 {
		for _, r := range [][]string{{"SET", "k", "1"}, {"INCR", "k"}, {"BLPOP", "l", "0"}, {"GET", "k"}, {"BLPOP", "l", "0"}, {"PING"}, {"GET", "k"}} {
			c.request(r...)
		}
		p.awaitBlocked(t, server, 1)
		other.want("+OK\r\n", "SET", "k", "3")
		other.want(":1\r\n", "RPUSH", "l", "a")
		p.awaitBlocked(t, server, 1)
		other.want("+OK\r\n", "SET", "k", "4")
		other.want(":1\r\n", "RPUSH", "l", "b")
		for _, want := range []string{"+OK\r\n", ":2\r\n", "*2\r\n$1\r\nl\r\n$1\r\na\r\n", bulkReply("3"), "*2\r\n$1\r\nl\r\n$1\r\nb\r\n", "+PONG\r\n", bulkReply("4")} {
			c.wantReply(want)
		}
	}
	if s := p.Stats(); s.Blocked != 0 || s.InFlight != 0 {
		t.Errorf("%d blocked, %d in flight", s.Blocked, s.InFlight)
	}
}

// Waiting for data is not a request that takes too long, and costs no ticks.
func TestBlockingOutlastsTheRequestTimeout(t *testing.T) {
	server := testbed.Redis(t)
	p := startProxy(t, testModel, evenly(testModel, server.Addr()), faultOptions(nil))
	c := p.dial(t)
	c.request("BLPOP", "l", "0")
	p.awaitBlocked(t, server, 1)
	var wants pace
	p.onEachLoop(t.Context(), func(l *loop) {
		l.now += int64(10 * never)
		l.tick()
		wants = pace(l.wants.Load())
	})
	if wants != paceRest {
		t.Errorf("a blocked client wants pace %d", wants)
	}
	server.Do("RPUSH", "l", "v")
	c.wantReply("*2\r\n$1\r\nl\r\n$1\r\nv\r\n")

	c.request("BLPOP", "l", "60")
	p.awaitBlocked(t, server, 1)
	stopServer(t, server)
	p.onEachLoop(t.Context(), func(l *loop) { // Its time is over, and that of the server, too.
		l.now += int64(time.Minute + 2*never)
		l.tick()
	})
	c.wantPrefix("-ERR outcome unknown: backend " + server.Addr() + " did not answer within ")
	contServer(t, server)
	c.want("$-1\r\n", "GET", "k")
}

// What an element was popped for is not known; a read is sent again.
func TestServerOfABlockedClientIsKilled(t *testing.T) {
	server := testbed.Redis(t)
	p := startProxy(t, testModel, evenly(testModel, server.Addr()), faultOptions(nil), holding(never))
	pop, read := p.dial(t), p.dial(t)
	pop.request("BLPOP", "l", "0")
	read.request("XREAD", "BLOCK", "0", "STREAMS", "s", "$")
	p.awaitBlocked(t, server, 2)
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	pop.wantPrefix(unknownText(server.Addr()))
	if err := server.Restart(); err != nil {
		t.Fatal(err)
	}
	p.awaitBlocked(t, server, 1)
	server.Do("XADD", "s", "1-1", "f", "v")
	read.wantReply("*1\r\n*2\r\n$1\r\ns\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n")
	pop.want("$-1\r\n", "GET", "k")
}

// A server that is no master any more lets its blocked clients go; they wait at the next one.
func TestServerOfABlockedClientIsDemoted(t *testing.T) {
	a, b := testbed.Redis(t), testbed.Redis(t)
	p := startProxy(t, testModel, evenly(testModel, a.Addr()), faultOptions(nil), holding(never))
	c := p.dial(t)
	c.request("BLPOP", "l", "0")
	p.awaitBlocked(t, a, 1)
	if err := a.ReplicaOf(b.Addr()); err != nil {
		t.Fatal(err)
	}
	p.awaitHeld(t, 1)
	p.setTable(t, evenly(testModel, b.Addr()))
	p.awaitBlocked(t, b, 1)
	p.dial(t).want(":1\r\n", "RPUSH", "l", "v")
	c.wantReply("*2\r\n$1\r\nl\r\n$1\r\nv\r\n")
}

// A server that can't be reached fails a blocking command like any other, once.
func TestBlockingAtAServerThatIsNotThere(t *testing.T) {
	addr := fmt.Sprintf("127.0.0.1:%d", testbed.FreePort(t))
	p := startProxy(t, testModel, evenly(testModel, addr), func(_ *Config, pool *PoolConfig) { pool.Backend.BreakerFailures = 2 })
	c := p.dial(t)
	for _, r := range [][]string{{"BLPOP", "k", "0"}, {"WATCH", "k"}, {"XREAD", "BLOCK", "0", "STREAMS", "s", "$"}, {"WAIT", "0", "0"}} {
		c.request(r...)
		c.wantPrefix("-ERR ")
		c.want("$1\r\nx\r\n", "ECHO", "x")
	}
	c.request("MULTI")
	c.request("GET", "k")
	c.request("EXEC")
	c.wantReply("+OK\r\n")
	c.wantReply("+QUEUED\r\n")
	c.wantPrefix("-ERR backend " + addr + " is unavailable: ")
	p.wantPanics(t, 0)
	p.wantNothingBound(t)
}

// A family whose keys are moved on access: keys that are waited for, or part of a transaction, are moved first.
func TestExclusiveRequestsOnAMovingSlot(t *testing.T) {
	eachKeyMigration(t, func(x *keyMigrationTest) {
		c := x.p.dial(x)
		keys := x.keys(3)
		for _, key := range keys[:2] {
			if got := x.source.Do("SET", key, "5").String(); got != "OK" {
				x.Fatal(got)
			}
		}
		c.request("MULTI")
		c.request("INCR", keys[0])
		c.request("GET", keys[1])
		c.request("INCR", keys[0])
		c.request("EXEC")
		for _, want := range []string{"+OK\r\n", "+QUEUED\r\n", "+QUEUED\r\n", "+QUEUED\r\n", "*3\r\n:6\r\n$1\r\n5\r\n:7\r\n"} {
			c.wantReply(want)
		}
		x.wantAt(x.target, keys[0])
		x.wantAt(x.target, keys[1])
	})
}

// The answer that says where a stream ends comes in pieces.
func TestEndOfAStreamComesInPieces(t *testing.T) {
	b := new(backend.Conn)
	x := &blocking{d: &retry{client: &client{}}, conn: b, args: splitRequest([]byte("*6\r\n$5\r\nXREAD\r\n$5\r\nBLOCK\r\n$1\r\n0\r\n$7\r\nSTREAMS\r\n$1\r\ns\r\n$1\r\n$\r\n"))}
	x.tails.find(x.args)
	x.tails.left = 2
	o := tailOwner{x, b}
	for i, part := range []string{"*1\r\n", "*2\r\n$3\r\n", "7-1\r\n*2\r\n$1\r\nf\r\n$300\r\n", strings.Repeat("x", 300) + "\r\n"} {
		o.Reply(0, backend.Reply{Conn: b, Data: []byte(part), First: i == 0, Last: i == 3})
	}
	if got := string(x.args[5]); got != "7-1" {
		t.Errorf("the stream ends at %q, want 7-1", got)
	}
}

func TestLastBlockOptionCounts(t *testing.T) {
	args := splitRequest(resp.AppendCommand(nil, "XREAD", "BLOCK", "10", "COUNT", "1", "BLOCK", "0", "STREAMS", "block", "$"))
	if got := blockTimeOf(command.Lookup([]byte("xread")), args); got.at != 6 || got.time != 0 {
		t.Errorf("block time %v at %d, want none at 6", got.time, got.at)
	}
}

// Where the block time is depends on the command, and options may follow it or come before.
func TestWhereTheBlockTimeIs(t *testing.T) {
	f := func(request string, at int, want time.Duration) {
		t.Helper()
		var args [][]byte
		for _, word := range strings.Fields(request) {
			args = append(args, []byte(word))
		}
		if got := blockTimeOf(command.Lookup(args[0]), args); got.at != at || got.time != want {
			t.Errorf("%s: at %d, %s", request, got.at, got.time)
		}
	}
	f("BLPOP a b 2", 3, 2*time.Second)
	f("BLMOVE a b LEFT LEFT 0.5", 5, time.Second/2)
	f("BLMOVEM a b LEFT LEFT 0.5", 5, time.Second/2)
	f("BLMOVEM a b LEFT LEFT 0.5 COUNT 9 OBO", 5, time.Second/2)
	f("BZMOVE a b MIN 2", 4, 2*time.Second)
	f("BZMOVE a b MIN 2 COUNT 9", 4, 2*time.Second)
	f("BZMPOP 2 1 a MIN", 1, 2*time.Second)
	f("XREADGROUP GROUP g c CLAIM 9 BLOCK 7 STREAMS a >", 7, 7*time.Millisecond)
	f("XREAD MAXCOUNT 9 BLOCK 7 MAXSIZE 9 STREAMS a 0", 4, 7*time.Millisecond)
}

// What may wait has a connection of its own: on one that is shared others would wait behind it.
func TestNothingThatWaitsIsPassedOn(t *testing.T) {
	for id := range command.Count {
		cmd := command.At(id)
		if cmd.Is(command.Blocking) && plans[id].kind == planForward && !blockByOption[cmd.Name] {
			t.Errorf("%s may wait, and is sent on a shared connection", cmd.Name)
		}
	}
}
