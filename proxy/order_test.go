package proxy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"sluice/internal/testbed"
)

// The guarantees Order and At most once, each with the faults that threaten it. orderchaos_test.go has them
// all at once on a real cluster.

// fakeStore is the memory of one or more fakes: GET, SET and INCR are executed when they arrive.
type fakeStore struct {
	mu       sync.Mutex // guards the fields below it
	values   map[string]string
	executed []string
}

func newFakeStore() *fakeStore { return &fakeStore{values: make(map[string]string)} }

// execute runs a request and returns its reply.
func (s *fakeStore) execute(args []string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.executed = append(s.executed, strings.Join(args, " "))
	switch args[0] {
	case "GET":
		return bulkReply(s.values[args[1]])
	case "SET":
		s.values[args[1]] = args[2]
		return "+OK\r\n"
	case "INCR":
		n := 0
		_, _ = fmt.Sscan(s.values[args[1]], &n)
		s.values[args[1]] = fmt.Sprint(n + 1)
		return fmt.Sprintf(":%d\r\n", n+1)
	}
	return "+OK\r\n"
}

func (s *fakeStore) count(request string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, e := range s.executed {
		if e == request {
			n++
		}
	}
	return n
}

// A read is retried after its connection was lost. But when a write of the same client came behind it and
// may have run, the read would see what was written after it.
func TestOrderReadIsNotRetriedBehindALaterWrite(t *testing.T) {
	f := func(behind ...[]string) {
		t.Helper()
		store := newFakeStore()
		store.values["k"] = "old"
		b := startFake(t, func(c *scriptedConn, args []string) {
			reply := store.execute(args)
			if c.fake.dataConns() > 1 {
				c.reply(reply)
				return
			}
			if slices.Equal(args, behind[len(behind)-1]) {
				c.hangUp() // All have run, and nobody will know.
			}
		})
		p := startProxy(t, testModel, evenly(testModel, b.addr()), faultOptions(nil))
		c := p.dial(t)
		c.request("GET", "k")
		for _, args := range behind {
			c.request(args...)
		}
		c.wantPrefix(lostText(b.addr()))
		for _, args := range behind {
			switch got := c.reply(); {
			case args[0] == "SET" && strings.HasPrefix(got, unknownText(b.addr())):
			case args[0] == "GET" && got == bulkReply(""):
			default:
				t.Errorf("%q answers %q", args, got)
			}
		}
		c.want(bulkReply("new"), "GET", "k")
	}
	f([]string{"SET", "k", "new"})
	f([]string{"GET", "x"}, []string{"SET", "k", "new"}, []string{"GET", "y"})
}

// The reverse stays allowed: a write in doubt, then a read of the same key.
func TestOrderReadBehindAWriteInDoubtSeesOneOfBoth(t *testing.T) {
	store := newFakeStore()
	store.values["k"] = "old"
	b := startFake(t, func(c *scriptedConn, args []string) {
		if c.fake.dataConns() > 1 {
			c.reply(store.execute(args))
			return
		}
		if args[0] == "GET" {
			c.hangUp()
		}
	})
	p := startProxy(t, testModel, evenly(testModel, b.addr()), faultOptions(nil))
	c := p.dial(t)
	c.request("SET", "k", "new")
	c.request("GET", "k")
	c.wantPrefix(unknownText(b.addr()))
	c.wantReply(bulkReply("old"))
	if n := store.count("SET k new"); n != 0 {
		t.Errorf("the write in doubt was sent again: it ran %d times", n)
	}
}

// Every command of a pipeline is redirected; they run at the new owner in their order, each once.
func TestOrderIsKeptWhenAWholePipelineIsRedirected(t *testing.T) {
	t.Parallel()
	f := func(kind string) {
		t.Helper()
		store := newFakeStore()
		target := startFake(t, func(c *scriptedConn, args []string) { c.reply(store.execute(args)) })
		source := startFake(t, redirectTo(kind, target.addr))
		p := startProxy(t, clusterModel, with(evenly(clusterModel, source.addr()), target.addr()), faultOptions(nil))
		const clients, depth = 10, 100
		var work sync.WaitGroup
		for i := range clients {
			c, key := p.dial(t), fmt.Sprint("k", i)
			work.Go(func() {
				var all strings.Builder
				for n := range depth {
					v := fmt.Sprint(n)
					fmt.Fprintf(&all, "*3\r\n$3\r\nSET\r\n%s%s*2\r\n$3\r\nGET\r\n%s", bulkReply(key), bulkReply(v), bulkReply(key))
				}
				c.send(all.String())
				for n := range depth {
					set, err1 := c.tryReply()
					get, err2 := c.tryReply()
					if set != "+OK\r\n" || get != bulkReply(fmt.Sprint(n)) {
						t.Errorf("%s %d: %q, %q, %v", key, n, set, get, errors.Join(err1, err2))
						return
					}
				}
			})
		}
		work.Wait()
		for i := range clients {
			for n := range depth {
				if got := store.count(fmt.Sprintf("SET k%d %d", i, n)); got != 1 {
					t.Fatalf("SET k%d %d ran %d times", i, n, got)
				}
			}
		}
	}
	f("MOVED")
	f("ASK")
}

// While a bounced command is on its second way nothing of its client is sent, though the node that it bounced
// from would take it by now: it would overtake. What was in flight already keeps its place in the replies.
func TestOrderIsKeptBehindARedirectThatTakesLong(t *testing.T) {
	held := make(chan struct{})
	store := newFakeStore()
	target := startFake(t, func(c *scriptedConn, args []string) {
		c.wait(held)
		c.reply(store.execute(args))
	})
	var bounced atomic.Bool
	source := startFake(t, func(c *scriptedConn, args []string) {
		if args[1] == "moved" && !bounced.Swap(true) {
			c.reply(redirectLine("MOVED", args[1], target.addr()))
			return
		}
		c.reply(store.execute(args))
	})
	p := startProxy(t, clusterModel, with(evenly(clusterModel, source.addr()), target.addr()), faultOptions(nil))
	c := p.dial(t)
	c.request("SET", "moved", "1")
	c.request("INCR", "here")
	target.await(t, 1, "SET moved 1")
	c.request("INCR", "moved")
	c.request("INCR", "here")
	c.request("GET", "moved")
	testbed.Eventually(t, func() error {
		waiting := 0
		p.onEachLoop(p.ctx, func(l *loop) {
			for _, c := range l.clients {
				if c.stall == stallRetry {
					waiting = len(c.in) - c.inOff
				}
			}
		})
		if want := 3*len("*2\r\n$4\r\nINCR\r\n$5\r\nmoved\r\n") - 2; waiting < want {
			return fmt.Errorf("%d bytes wait, want at least %d", waiting, want)
		}
		return nil
	}, replyWait)
	close(held)
	for _, want := range []string{"+OK\r\n", ":1\r\n", ":2\r\n", ":2\r\n", bulkReply("2")} {
		c.wantReply(want)
	}
}

// Writes that time out have their place before what the client writes next.
func TestOrderIsKeptAcrossATimeout(t *testing.T) {
	thaw := make(chan struct{})
	store := newFakeStore()
	b := startFake(t, func(c *scriptedConn, args []string) {
		c.wait(thaw)
		c.reply(store.execute(args))
	})
	p := startProxy(t, testModel, evenly(testModel, b.addr()), faultOptions(nil))
	c := p.dial(t)
	c.request("SET", "k", "1")
	b.await(t, 1, "SET k 1")
	p.setTimeout(shortTimeout)
	c.wantReply(writeTimeoutText(b.addr()))
	p.setTimeout(never)
	c.request("SET", "k", "2")
	c.request("GET", "k")
	b.await(t, 1, "GET k")
	close(thaw)
	c.wantReply("+OK\r\n")
	c.wantReply(bulkReply("2"))
}

// Whatever happens to a write, the server has received it once.
func TestAtMostOnceWhateverTheFault(t *testing.T) {
	f := func(name string, fault answerFunc) {
		t.Helper()
		b := startFake(t, answerFirst(fault))
		p := startProxy(t, testModel, evenly(testModel, b.addr()), faultOptions(nil))
		c := p.dial(t)
		c.request("INCR", "k")
		b.await(t, 1, "INCR k")
		if name == "hang" {
			p.setTimeout(shortTimeout)
		}
		if got := c.reply(); !strings.HasPrefix(got, "-ERR outcome unknown: ") {
			t.Errorf("%s: %q", name, got)
		}
		p.setTimeout(never)
		if name != "hang" { // What was sent again would be before this.
			p.dial(t).want(bulkReply("fence"), "GET", "fence")
		}
		if n := b.count("INCR k"); n != 1 {
			t.Errorf("%s: the server received it %d times", name, n)
		}
	}
	f("close", func(c *scriptedConn, _ []string) { c.hangUp() })
	f("reset", func(c *scriptedConn, _ []string) { c.reset() })
	f("cut", breakOff(":1"))
	f("garbage", func(c *scriptedConn, _ []string) { c.reply("?\r\n") })
	f("hang", func(c *scriptedConn, _ []string) { c.hang() })
}

// A server that is away while requests wait for it gets each of them once when it is back.
func TestAtMostOnceForRequestsThatWaitForAConnection(t *testing.T) {
	s := testbed.Redis(t)
	p := startProxy(t, testModel, evenly(testModel, s.Addr()), faultOptions(nil))
	c := p.dial(t)
	c.want(":1\r\n", "INCR", "warm")
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	p.awaitNoUpLink(t, s.Addr())
	const n = 200
	for range n {
		c.request("INCR", "k")
	}
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		c.wantReply(fmt.Sprintf(":%d\r\n", i+1))
	}
	if got := s.Do("GET", "k").Integer(); got != n {
		t.Errorf("counter is %d, want %d", got, n)
	}
}

// awaitNoUpLink returns when the loss of the connection to addr was noticed.
func (p *testProxy) awaitNoUpLink(t testing.TB, addr string) {
	t.Helper()
	testbed.Eventually(t, func() error {
		b, up := p.link(addr), false
		p.onEachLoop(p.ctx, func(*loop) { up = b != nil && b.Up() })
		if up {
			return fmt.Errorf("still connected to %s", addr)
		}
		return nil
	}, replyWait)
}
