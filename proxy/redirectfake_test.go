package proxy

import (
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/backend"
	"sluice/internal/testbed"
	"sluice/proxy/hold"
	"sluice/proxy/redispatch"
	"sluice/router"
)

// Redirects by fakes: nodes that disagree, addresses that need thought, and ASKING on a busy connection.

// redirectTo answers every request with a redirect of its first key.
func redirectTo(kind string, addr func() string) answerFunc {
	return func(c *scriptedConn, args []string) {
		if args[0] == "ASKING" {
			c.reply("+OK\r\n")
			return
		}
		c.reply(redirectLine(kind, args[1], addr()))
	}
}

func redirectLine(kind, key, addr string) string {
	return fmt.Sprintf("-%s %d %s\r\n", kind, clusterModel.Slot([]byte(key)), addr)
}

// asking checks that ASKING and its command are neighbours: every ASKING is followed by a request that
// needs it, and every request that needs it comes behind an ASKING.
type asking struct {
	needs func(args []string) bool

	mu       sync.Mutex // guards the fields below it
	pending  map[*scriptedConn]bool
	askings  int
	mistakes []string
}

func newAsking(needs func(args []string) bool) *asking {
	return &asking{needs: needs, pending: make(map[*scriptedConn]bool)}
}

func (a *asking) check(c *scriptedConn, args []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	asked := a.pending[c]
	a.pending[c] = args[0] == "ASKING"
	switch {
	case args[0] == "ASKING" && asked:
		a.mistakes = append(a.mistakes, "ASKING behind ASKING")
	case args[0] == "ASKING":
		a.askings++
	case asked != a.needs(args):
		a.mistakes = append(a.mistakes, fmt.Sprintf("%v: behind ASKING: %v", args, asked))
	}
}

func (a *asking) report(t testing.TB, atLeast int) {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.mistakes) > 0 {
		t.Errorf("%d mistakes with ASKING, the first: %s", len(a.mistakes), a.mistakes[0])
	}
	if a.askings < atLeast {
		t.Errorf("ASKING came %d times, want at least %d", a.askings, atLeast)
	}
}

func TestAskingStaysNextToItsCommandUnderLoad(t *testing.T) {
	t.Parallel()
	check := newAsking(func(args []string) bool { return strings.HasPrefix(args[1], "ask") })
	target := startFake(t, func(c *scriptedConn, args []string) {
		check.check(c, args)
		echoValue(c, args)
	})
	source := startFake(t, redirectTo("ASK", target.addr))
	p := startProxy(t, clusterModel, evenly(clusterModel, source.addr(), target.addr()), faultOptions(nil))
	var bounce, direct []string
	for i := 0; len(bounce) < 50 || len(direct) < 50; i++ {
		key := fmt.Sprint("ask", i)
		if p.pool.Table().Owner(clusterModel.Slot([]byte(key))).Master.Addr == source.addr() {
			bounce = append(bounce, key)
		}
		if key = fmt.Sprint("own", i); p.pool.Table().Owner(clusterModel.Slot([]byte(key))).Master.Addr == target.addr() {
			direct = append(direct, key)
		}
	}
	const clients, rounds, depth = 20, 20, 10
	var work sync.WaitGroup
	for i := range clients {
		c := p.dial(t)
		rng := rand.New(rand.NewPCG(1, uint64(i)))
		work.Go(func() {
			for range rounds {
				var keys []string
				for range depth {
					from := bounce
					if rng.IntN(2) == 0 {
						from = direct
					}
					keys = append(keys, from[rng.IntN(50)])
					c.request("GET", keys[len(keys)-1])
				}
				for _, key := range keys {
					if got, err := c.tryReply(); got != bulkReply(key) {
						t.Errorf("GET %s: %q, %v", key, got, err)
						return
					}
				}
			}
		})
	}
	work.Wait()
	check.report(t, clients*rounds)
}

// When there is room for ASKING but not for its command, both are sent or neither is.
func TestAskingIsNotLeftAlone(t *testing.T) {
	var ks string
	check := newAsking(func(args []string) bool { return args[1] == ks })
	held := make(chan struct{})
	target := startFake(t, func(c *scriptedConn, args []string) {
		check.check(c, args)
		c.wait(held)
		echoValue(c, args)
	})
	source := startFake(t, redirectTo("ASK", target.addr))
	p := startProxy(t, clusterModel, evenly(clusterModel, source.addr(), target.addr()), faultOptions(nil))
	ks = p.keysAt(t, source.addr(), 1)[0]
	kt := p.keysAt(t, target.addr(), 2)
	c, other := p.dial(t), p.dial(t)
	other.request("GET", kt[0])
	target.await(t, 1, "GET "+kt[0])
	// The limit is one byte further than what is queued now.
	limit := p.queued(target.addr()) + 1
	p.changeBackend(func(o *backend.Options) { o.MaxQueued = limit })
	c.request("GET", ks)
	testbed.Eventually(t, func() error {
		if n := p.Stats().Redirects[RedirectAsk]; n != 1 {
			return fmt.Errorf("%d redirects", n)
		}
		return nil
	}, replyWait)
	p.changeBackend(func(o *backend.Options) { o.MaxQueued = testBackend.MaxQueued })
	other.request("GET", kt[1])
	target.await(t, 1, "GET "+kt[1])
	close(held)
	overloaded := fmt.Sprintf("-ERR backend %s is overloaded: %d bytes of requests are queued for it\r\n", target.addr(), limit)
	if got := c.reply(); got != bulkReply(ks) && got != overloaded {
		t.Errorf("%q", got)
	}
	other.wantReply(bulkReply(kt[0]))
	other.wantReply(bulkReply(kt[1]))
	check.report(t, 0)
}

// queued is the number of request bytes on the connection to addr.
func (p *testProxy) queued(addr string) int {
	b, n := p.link(addr), 0
	p.onEachLoop(p.ctx, func(*loop) { n = b.Queued() })
	return n
}

func TestRedirectAddresses(t *testing.T) {
	target := startFake(t, echoValue)
	_, port, err := net.SplitHostPort(target.addr())
	if err != nil {
		t.Fatal(err)
	}
	f := func(kind, addr string) {
		t.Helper()
		source := startFake(t, redirectTo(kind, func() string { return addr }))
		var log movedLog
		p := startProxy(t, clusterModel, with(evenly(clusterModel, source.addr()), target.addr(), "localhost:"+port), faultOptions(nil), log.hook)
		p.dial(t).want(bulkReply("k"), "GET", "k")
		moved, calls := log.get(clusterModel.Slot([]byte("k")))
		if kind == "MOVED" && moved != target.addr() && moved != "localhost:"+port || kind == "ASK" && calls != 0 {
			t.Errorf("%s %s: Moved was told %q, %d calls", kind, addr, moved, calls)
		}
	}
	for _, kind := range []string{"MOVED", "ASK"} {
		f(kind, target.addr())
		f(kind, ":"+port) // No host: the one that was asked.
		f(kind, "?:"+port)
		f(kind, "localhost:"+port)
	}
}

// A redirect to a node that is not there ends with the cause, also for writes: nothing has run.
func TestRedirectToADeadNode(t *testing.T) {
	t.Parallel()
	dead := fmt.Sprintf("127.0.0.1:%d", testbed.FreePort(t))
	f := func(kind string) {
		t.Helper()
		source := startFake(t, redirectTo(kind, func() string { return dead }))
		p := startProxy(t, clusterModel, with(evenly(clusterModel, source.addr()), dead),
			faultOptions(func(o *backend.Options) { o.BreakerFailures = 5 }))
		p.dial(t).want(fmt.Sprintf("-ERR backend %s is unavailable: dial tcp %s: connect: connection refused\r\n", dead, dead),
			"SET", "k", "v")
	}
	f("MOVED")
	f("ASK")
}

// Two nodes that each say that the other owns the slot.
func TestRedirectLoopEnds(t *testing.T) {
	t.Parallel()
	f := func(kind string) {
		t.Helper()
		var a, b *fakeBackend
		a = startFake(t, redirectTo(kind, func() string { return b.addr() }))
		b = startFake(t, redirectTo(kind, func() string { return a.addr() }))
		p := startProxy(t, clusterModel, with(evenly(clusterModel, a.addr()), b.addr()), faultOptions(nil))
		c := p.dial(t)
		c.request("SET", "k", "v")
		c.request("PING")
		slot := clusterModel.Slot([]byte("k"))
		c.wantReply(fmt.Sprintf("-TRYAGAIN slot %d was redirected %d times, last to %s: the nodes disagree about its owner\r\n",
			slot, redispatch.MaxHops, b.addr()))
		c.wantReply("+PONG\r\n")
		if n := a.count("SET k v") + b.count("SET k v"); n != redispatch.MaxHops+1 {
			t.Errorf("%s: sent %d times, want %d", kind, n, redispatch.MaxHops+1)
		}
	}
	f("MOVED")
	f("ASK")
}

// Where requests may be held, the loop ends when the hold does.
func TestRedirectLoopIsHeld(t *testing.T) {
	var a, b *fakeBackend
	a = startFake(t, redirectTo("MOVED", func() string { return b.addr() }))
	b = startFake(t, redirectTo("ASK", func() string { return a.addr() }))
	p := startProxy(t, clusterModel, with(evenly(clusterModel, a.addr()), b.addr()), faultOptions(nil), holding(100*time.Millisecond))
	c := p.dial(t)
	reply := c.do("SET", "k", "v")
	prefix := fmt.Sprintf("-TRYAGAIN slot %d is redirected from node to node, last to ", clusterModel.Slot([]byte("k")))
	if !strings.HasPrefix(reply, prefix) || !heldTime.MatchString(reply) {
		t.Errorf("reply %q", reply)
	}
	if n := a.count("SET k v") + b.count("SET k v"); n <= redispatch.QuickHops {
		t.Errorf("sent %d times", n)
	}
	if ended := p.pool.Holds().Ended[hold.TimedOut]; ended != 1 {
		t.Errorf("%d holds timed out, want 1", ended)
	}
}

// In a pool of the Codis model no server redirects; what looks like it is the client's.
func TestMovedInACodisPoolIsPassedOn(t *testing.T) {
	other := startFake(t, echoValue)
	f := startFake(t, redirectTo("MOVED", other.addr))
	var log movedLog
	p := startProxy(t, testModel, evenly(testModel, f.addr()), faultOptions(nil), log.hook)
	p.dial(t).want(redirectLine("MOVED", "k", other.addr()), "GET", "k")
	if _, calls := log.get(router.Slot(0)); calls != 0 || len(other.seen()) != 0 {
		t.Errorf("the redirect was followed: %d calls of Moved, %v", calls, other.seen())
	}
}

// A request on its second way that loses its connection: a read goes again, a write that was sent does not.
func TestRedirectedRequestLosesItsConnection(t *testing.T) {
	target := startFake(t, func(c *scriptedConn, args []string) {
		if c.fake.dataConns() == 1 && args[0] != "ASKING" {
			c.hangUp()
			return
		}
		echoValue(c, args)
	})
	source := startFake(t, redirectTo("ASK", target.addr))
	p := startProxy(t, clusterModel, with(evenly(clusterModel, source.addr()), target.addr()), faultOptions(nil))
	p.dial(t).want(bulkReply("k"), "GET", "k")
	if got := fmt.Sprint(target.seen()); got != "[ASKING GET k ASKING GET k]" {
		t.Errorf("the target got %s", got)
	}
	second := startFake(t, func(c *scriptedConn, args []string) {
		if args[0] != "ASKING" {
			c.hangUp()
		}
	})
	source = startFake(t, redirectTo("ASK", second.addr))
	p = startProxy(t, clusterModel, with(evenly(clusterModel, source.addr()), second.addr()), faultOptions(nil))
	c := p.dial(t)
	c.request("INCR", "k")
	c.wantPrefix(unknownText(second.addr()))
	if n := second.count("INCR k"); n != 1 {
		t.Errorf("sent %d times, want once", n)
	}
}

// A node redirects to itself and resets the connection, which shows when the request is written again: large
// enough to be written at once, in the middle of the reply to its first try. It has one outcome, not two.
func TestConnectionBreaksWhileARedirectIsFollowed(t *testing.T) {
	f := func(name string, allowed ...string) {
		t.Helper()
		armed, gone := make(chan struct{}), make(chan struct{})
		var node *fakeBackend
		node = startFake(t, func(c *scriptedConn, args []string) {
			if len(args[1]) < earlyFlush || node.dataConns() > 1 {
				echoValue(c, args)
				return
			}
			c.wait(armed)
			c.reply(redirectLine("MOVED", args[1], node.addr()))
			c.reset()
			close(gone)
		})
		p := startProxy(t, clusterModel, evenly(clusterModel, node.addr()), faultOptions(nil))
		c := p.dial(t)
		key := strings.Repeat("k", 2*earlyFlush)
		request := []string{name, key}
		if name == "SET" {
			request = append(request, "v")
		}
		c.request(request...)
		node.await(t, 1, strings.Join(request, " "))
		blocked, release := make(chan struct{}), make(chan struct{})
		go p.onEachLoop(p.ctx, func(*loop) {
			close(blocked)
			<-release
		})
		<-blocked
		close(armed)
		<-gone
		close(release)
		got := c.reply()
		if !slices.ContainsFunc(append(allowed, unknownText(node.addr())), func(want string) bool { return strings.HasPrefix(got, want) }) {
			t.Errorf("%s: %.100q", name, got)
		}
		// Were there a second outcome, it would stand in the place of another reply.
		const after = 8
		c.send(strings.Repeat("*2\r\n$3\r\nGET\r\n$5\r\nafter\r\n", after) + "PING\r\n")
		for range after {
			c.wantReply(bulkReply("after"))
		}
		c.wantReply("+PONG\r\n")
	}
	f("SET", "+OK\r\n")
	f("GET", "$"+fmt.Sprint(2*earlyFlush)+"\r\n")
}
