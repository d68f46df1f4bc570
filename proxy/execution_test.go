package proxy

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"sluice/internal/testbed"
)

// What may happen to a transaction on its way, by servers that follow a script.

// txServer is a fake that runs transactions on a fakeStore. on may answer a request in its place.
type txServer struct {
	*fakeBackend
	store *fakeStore

	mu     sync.Mutex // guards the fields below it
	queues map[*scriptedConn][][]string
	on     func(c *scriptedConn, args []string) bool
}

func startTx(t testing.TB, on func(c *scriptedConn, args []string) bool) *txServer {
	s := &txServer{store: newFakeStore(), queues: make(map[*scriptedConn][][]string), on: on}
	s.fakeBackend = startFake(t, s.run)
	return s
}

func (s *txServer) run(c *scriptedConn, args []string) {
	if s.on != nil && s.on(c, args) {
		return
	}
	s.mu.Lock()
	queue, queueing := s.queues[c]
	switch {
	case args[0] == "MULTI":
		s.queues[c] = [][]string{}
	case args[0] == "DISCARD", args[0] == "EXEC":
		delete(s.queues, c)
	case queueing:
		s.queues[c] = append(queue, args)
	}
	s.mu.Unlock()
	switch {
	case args[0] == "EXEC" && !queueing:
		c.reply("-ERR EXEC without MULTI\r\n")
	case args[0] == "EXEC":
		reply := fmt.Sprintf("*%d\r\n", len(queue))
		for _, q := range queue {
			reply += s.store.execute(q)
		}
		c.reply(reply)
	case queueing && args[0] != "DISCARD":
		c.reply("+QUEUED\r\n")
	default:
		c.reply(s.store.execute(args))
	}
}

// nth answers the n-th request that begins with name by itself.
func nth(n int, name string, answer func(c *scriptedConn)) func(c *scriptedConn, args []string) bool {
	var mu sync.Mutex
	seen := 0
	return func(c *scriptedConn, args []string) bool {
		mu.Lock()
		if args[0] == name {
			seen++
		}
		mine := args[0] == name && seen == n
		mu.Unlock()
		if mine {
			answer(c)
		}
		return mine
	}
}

func say(line string) func(c *scriptedConn) {
	return func(c *scriptedConn) { c.reply("-" + line + "\r\n") }
}

// transact asks for a transaction with one command on k and returns the answer of EXEC.
func (c *testClient) transact(args ...string) string {
	c.t.Helper()
	c.request("MULTI")
	c.request(args...)
	c.request("EXEC")
	c.wantReply("+OK\r\n")
	c.wantReply("+QUEUED\r\n")
	return c.reply()
}

// A server that does not know MULTI would run the commands one by one.
func TestServerWithoutTransactionsRunsNothing(t *testing.T) {
	s := startTx(t, func(c *scriptedConn, args []string) bool {
		switch args[0] {
		case "MULTI", "DISCARD", "EXEC":
			c.reply("-ERR unknown command '" + args[0] + "'\r\n")
			return true
		}
		return false
	})
	p := startProxy(t, testModel, evenly(testModel, s.addr()), faultOptions(nil))
	c := p.dial(t)
	for range 2 {
		if got, want := c.transact("SET", "k", "v"), "-EXECABORT Transaction discarded because of: ERR unknown command 'MULTI'\r\n"; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	c.want("-ERR unknown command 'MULTI'\r\n", "WATCH", "k")
	if n := s.store.count("SET k v"); n != 0 {
		t.Errorf("run %d times", n)
	}
	c.want("+OK\r\n", "SET", "k", "1")
}

// A server that has known MULTI and refuses it once, and not what follows, leaves an outcome that nobody knows.
func TestMultiIsRefusedLater(t *testing.T) {
	s := startTx(t, nth(3, "MULTI", say("LOADING Redis is loading the dataset in memory")))
	p := startProxy(t, testModel, evenly(testModel, s.addr()), faultOptions(nil), holding(never))
	c := p.dial(t)
	if got := c.transact("INCR", "k"); got != "*1\r\n:1\r\n" {
		t.Fatalf("%q", got)
	}
	if got := c.transact("INCR", "k"); !strings.HasPrefix(got, "-ERR outcome unknown: ") {
		t.Errorf("%q", got)
	}
	if n := s.store.count("INCR k"); n != 2 {
		t.Errorf("run %d times, want once in each transaction", n)
	}
	if got := c.transact("INCR", "k"); got != "*1\r\n:3\r\n" {
		t.Errorf("%q", got)
	}
}

// An error at queueing, or one in the place of EXEC's answer, proves that nothing was run.
func TestTransactionIsSentAgainWhenNothingWasRun(t *testing.T) {
	f := func(at, line string) {
		t.Helper()
		s := startTx(t, nth(1, at, say(line)))
		if at == "INCR" { // The server refuses the transaction as a whole then.
			refuse := s.on
			s.on = func(c *scriptedConn, args []string) bool {
				if args[0] == "EXEC" && s.count("EXEC") == 1 {
					c.reply("-EXECABORT Transaction discarded because of previous errors.\r\n")
					s.mu.Lock()
					defer s.mu.Unlock()
					delete(s.queues, c)
					return true
				}
				return refuse(c, args)
			}
		}
		p := startProxy(t, testModel, evenly(testModel, s.addr()), faultOptions(nil), holding(never))
		c := p.dial(t)
		if got := c.transact("INCR", "k"); got != "*1\r\n:1\r\n" {
			t.Errorf("%s at %s: %q", line, at, got)
		}
		c.want(bulkReply("1"), "GET", "k")
	}
	for _, line := range []string{
		"READONLY You can't write against a read only replica.", "LOADING Redis is loading the dataset in memory",
		"CLUSTERDOWN The cluster is down", "TRYAGAIN Multiple keys request during rehashing of slot",
		"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
	} {
		f("INCR", line)
		f("EXEC", line)
		f("MULTI", line)
	}
}

// A transaction follows redirects as a whole, ASKING in front of MULTI.
func TestTransactionIsRedirected(t *testing.T) {
	f := func(kind, at string) {
		t.Helper()
		target := startTx(t, nil)
		source := startTx(t, func(c *scriptedConn, args []string) bool {
			switch {
			case at == "INCR" && args[0] == "EXEC":
				c.reply("-EXECABORT Transaction discarded because of previous errors.\r\n")
			case args[0] == at:
				c.reply(redirectLine(kind, "k", target.addr()))
			default:
				return false
			}
			return true
		})
		p := startProxy(t, clusterModel, with(evenly(clusterModel, source.addr()), target.addr()), faultOptions(nil))
		c := p.dial(t)
		if got := c.transact("INCR", "k"); got != "*1\r\n:1\r\n" {
			t.Errorf("%s at %s: %q", kind, at, got)
		}
		want := "[MULTI DISCARD MULTI INCR k EXEC]"
		if kind == "ASK" {
			want = "[MULTI DISCARD ASKING MULTI INCR k EXEC]"
		}
		if got := fmt.Sprint(target.seen()); got != want {
			t.Errorf("%s at %s: the target got %s, want %s", kind, at, got, want)
		}
	}
	for _, at := range []string{"INCR", "EXEC"} {
		f("MOVED", at)
		f("ASK", at)
	}
}

// What was not sent is sent again; what may have run is not.
func TestTransactionLosesItsConnection(t *testing.T) {
	hangUp := func(c *scriptedConn) { c.hangUp() }
	f := func(n int, at string, known bool) {
		t.Helper()
		s := startTx(t, nth(n, at, hangUp))
		p := startProxy(t, testModel, evenly(testModel, s.addr()), faultOptions(nil), holding(never))
		c := p.dial(t)
		switch got := c.transact("INCR", "k"); {
		case known && got != "*1\r\n:1\r\n":
			t.Errorf("lost at %s %d: %q", at, n, got)
		case !known && !strings.HasPrefix(got, unknownText(s.addr())):
			t.Errorf("lost at %s %d: %q", at, n, got)
		}
		if n := s.store.count("INCR k"); n > 1 || known && n != 1 {
			t.Errorf("lost at %s: run %d times", at, n)
		}
		c.want("+OK\r\n", "SET", "k", "2")
	}
	f(1, "MULTI", true)
	f(1, "DISCARD", true)
	f(2, "MULTI", false)
	f(1, "INCR", false)
	f(1, "EXEC", false)
}

// The answer of EXEC breaks off: whoever has got a part of it must not get anything else.
func TestAnswerOfATransactionBreaksOff(t *testing.T) {
	s := startTx(t, nth(1, "EXEC", func(c *scriptedConn) {
		c.reply("*1\r\n$1000000\r\n" + strings.Repeat("x", 300000))
		c.hangUp()
	}))
	p := startProxy(t, testModel, evenly(testModel, s.addr()), faultOptions(nil))
	c := p.dial(t)
	c.request("MULTI")
	c.request("GET", "k")
	c.request("EXEC")
	c.request("PING")
	c.wantReply("+OK\r\n")
	c.wantReply("+QUEUED\r\n")
	if got, err := c.tryReply(); err == nil {
		t.Errorf("%.100q", got)
	}
	if got := p.Stats(); got.InFlight != 0 || got.Panics != 0 {
		t.Errorf("%d in flight, %d panics", got.InFlight, got.Panics)
	}
}

// A timeout on the connection that all share: the late answers of the transaction are nobody else's.
func TestTransactionTimesOut(t *testing.T) {
	answer := make(chan struct{})
	s := startTx(t, func(c *scriptedConn, args []string) bool {
		if args[0] == "INCR" {
			c.wait(answer)
		}
		return false
	})
	p := startProxy(t, testModel, evenly(testModel, s.addr()), faultOptions(nil))
	c, other := p.dial(t), p.dial(t)
	c.want("+OK\r\n", "SET", "v", "value")
	c.request("MULTI")
	c.request("INCR", "k")
	c.request("EXEC")
	c.wantReply("+OK\r\n")
	c.wantReply("+QUEUED\r\n")
	s.await(t, 1, "EXEC")
	p.setTimeout(shortTimeout)
	c.wantReply(writeTimeoutText(s.addr()))
	p.setTimeout(never)
	other.request("GET", "v")
	c.request("GET", "v")
	close(answer)
	other.wantReply(bulkReply("value"))
	c.wantReply(bulkReply("value"))
	if got := c.transact("INCR", "k"); got != "*1\r\n:2\r\n" {
		t.Errorf("%q", got)
	}
}

// A lock that comes while a server is asked whether it knows MULTI stops the transaction, or it would be run behind it.
func TestLockWhileTheServerIsAskedForMulti(t *testing.T) {
	answer := make(chan struct{})
	s := startTx(t, func(c *scriptedConn, args []string) bool {
		if args[0] == "DISCARD" {
			c.wait(answer)
		}
		return false
	})
	specs := evenly(codisModel, s.addr())
	p := startProxy(t, codisModel, specs, faultOptions(nil), holding(never))
	c := p.dial(t)
	c.request("MULTI")
	c.request("INCR", "k")
	c.request("EXEC")
	s.await(t, 1, "DISCARD")
	p.setTable(t, specs, lock(codisModel, "k"))
	close(answer)
	p.wantBarrier(t, s.addr())
	p.awaitHeld(t, 1)
	if n := s.store.count("INCR k"); n != 0 {
		t.Errorf("run %d times behind the lock", n)
	}
	p.setTable(t, specs)
	for _, want := range []string{"+OK\r\n", "+QUEUED\r\n", "*1\r\n:1\r\n"} {
		c.wantReply(want)
	}
}

// However often a transaction is tried, its answer is recognised.
func TestTransactionAfterManyTries(t *testing.T) {
	s := startTx(t, nil)
	specs := evenly(codisModel, s.addr())
	p := startProxy(t, codisModel, specs, faultOptions(nil), holding(never))
	p.setTable(t, specs, lock(codisModel, "k"))
	c := p.dial(t)
	c.request("MULTI")
	c.request("INCR", "k")
	c.request("EXEC")
	p.awaitHeld(t, 1)
	p.onEachLoop(t.Context(), func(l *loop) {
		for _, c := range l.clients {
			for range 1<<12 - 1 {
				c.retries[0].exclusive.abandon() // It forgets the attempt, and no more.
			}
		}
	})
	p.setTable(t, specs)
	for _, want := range []string{"+OK\r\n", "+QUEUED\r\n", "*1\r\n:1\r\n"} {
		c.wantReply(want)
	}
}

// A panic on the connection that a transaction is sent on costs that connection.
func TestPanicNextToATransaction(t *testing.T) {
	s := startTx(t, nil)
	p := startProxy(t, testModel, evenly(testModel, s.addr()), faultOptions(nil))
	c := p.dial(t)
	if got := c.transact("INCR", "k"); got != "*1\r\n:1\r\n" {
		t.Fatalf("%q", got)
	}
	p.panics = true
	p.onEachLoop(p.ctx, func(l *loop) {
		b := l.conns.Shared(p.pool.node(s.addr()), 2, 0)
		_ = b.Send([]byte("*2\r\n$3\r\nGET\r\n$6\r\nbroken\r\n"), brokenOwner{}, 0, l.now)
		l.sent(b)
	})
	testbed.Eventually(t, func() error {
		if p.Stats().Panics != 1 {
			return fmt.Errorf("no panic yet")
		}
		return nil
	}, replyWait)
	if got := c.transact("INCR", "k"); got != "*1\r\n:2\r\n" {
		t.Errorf("%q", got)
	}
}
