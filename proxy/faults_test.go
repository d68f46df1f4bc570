package proxy

import (
	"fmt"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"sluice/backend"
	"sluice/internal/testbed"
	"sluice/proxy/resp"
	"sluice/router"
)

// Faults of connections to backends: refused, reset, killed. See also faultsfreeze_test.go (servers that
// stop answering), faultsreply_test.go (replies that are wrong), faultsbreaker_test.go and
// faultsprocess_test.go.

var testModel = router.CodisModel(router.CodisSlots)

// never is a request timeout that no test reaches, and less than a testClient waits for a reply.
const never = replyWait * 3 / 4

// faultOptions are backend options under which nothing happens by itself: neither timeouts nor the breaker
// interfere, unless change says so.
func faultOptions(change func(*backend.Options)) func(*Config, *PoolConfig) {
	return func(_ *Config, pool *PoolConfig) {
		pool.Backend.RequestTimeout, pool.Backend.BreakerFailures = never, 1<<30
		if change != nil {
			change(&pool.Backend)
		}
	}
}

// keysAt returns n keys that the backend at addr owns.
func (p *testProxy) keysAt(t testing.TB, addr string, n int) []string {
	t.Helper()
	var keys []string
	for i := 0; len(keys) < n; i++ {
		if i > 1<<20 {
			t.Fatalf("%s owns no key", addr)
		}
		key := fmt.Sprint("key:", i)
		if g := p.pool.Table().Owner(p.pool.Model.Slot([]byte(key))); g != nil && g.Master.Addr == addr {
			keys = append(keys, key)
		}
	}
	return keys
}

// link is the connection of the only loop to addr for plain clients, nil when there is none.
func (p *testProxy) link(addr string) *backend.Conn {
	var found *backend.Conn
	p.onEachLoop(p.ctx, func(l *loop) {
		for b := range l.conns.All() {
			if b.Node.Addr == addr && b.Kind <= backend.Kill && b.Proto == 2 && b.DB == 0 {
				found = b
			}
		}
	})
	return found
}

// awaitSent returns when n requests to addr wait for their replies and all of their bytes have left.
func (p *testProxy) awaitSent(t testing.TB, addr string, n int) {
	t.Helper()
	testbed.Eventually(t, func() error {
		b, inFlight, unsent, queued := p.link(addr), 0, 0, 0
		p.onEachLoop(p.ctx, func(*loop) {
			if b != nil && b.Up() {
				inFlight, unsent = b.InFlight(), b.Unsent()
				queued = b.GnetConn().OutboundBuffered()
			}
		})
		if inFlight != n || unsent+queued != 0 {
			return fmt.Errorf("%d requests in flight, want %d; %d bytes unsent, %d with gnet", inFlight, n, unsent, queued)
		}
		return nil
	}, replyWait)
}

func bulkReply(s string) string { return string(resp.AppendBulk(nil, s)) }

// wantPrefix reads a reply and checks how it starts.
func (c *testClient) wantPrefix(prefix string) {
	c.t.Helper()
	if got := c.reply(); !strings.HasPrefix(got, prefix) {
		c.t.Errorf("got %.300q, want %q...", got, prefix)
	}
}

// wantHeld reads the reply to a request whose hold ended, and checks it but for how long it was held.
func (c *testClient) wantHeld(slot router.Slot, is string) {
	c.t.Helper()
	got := c.reply()
	if want := fmt.Sprintf("-TRYAGAIN slot %d %s (held ", slot, is); !strings.HasPrefix(got, want) || !heldTime.MatchString(got) {
		c.t.Errorf("got %.300q, want %q, then a time", got, want)
	}
}

// heldTime is how a reply says how long its request was held: at least a tenth of a second here.
var heldTime = regexp.MustCompile(` \(held (0\.[1-9]|[1-9]\d*\.\d)s\)\r\n$`)

// wantReply reads a reply and checks it.
func (c *testClient) wantReply(want string) {
	c.t.Helper()
	if got := c.reply(); got != want {
		c.t.Errorf("got %.300q, want %.300q", got, want)
	}
}

func lostText(addr string) string { return "-ERR connection to backend " + addr + " was lost: " }

func unknownText(addr string) string {
	return "-ERR outcome unknown: connection to backend " + addr + " was lost, the command may have run: "
}

func TestRefusedConnectionsFailRequestsWithTheCause(t *testing.T) {
	addr := fmt.Sprintf("127.0.0.1:%d", testbed.FreePort(t))
	healthy := testbed.Redis(t)
	p := startProxy(t, testModel, evenly(testModel, addr, healthy.Addr()),
		faultOptions(func(o *backend.Options) { o.BreakerFailures = 5 }))
	dead, alive := p.keysAt(t, addr, 1)[0], p.keysAt(t, healthy.Addr(), 1)[0]
	c := p.dial(t)
	c.request("SET", dead, "1")
	c.request("SET", alive, "2")
	c.request("GET", dead)
	c.request("GET", alive)
	refused := fmt.Sprintf("-ERR backend %s is unavailable: dial tcp %s: connect: connection refused\r\n", addr, addr)
	c.wantReply(refused) // And not "outcome unknown": it was never sent.
	c.wantReply("+OK\r\n")
	c.wantReply(refused)
	c.wantReply("$1\r\n2\r\n")
}

// Requests wait for a server that is away for less than their timeout.
func TestRequestsWaitForAServerThatComesBack(t *testing.T) {
	addr := fmt.Sprintf("127.0.0.1:%d", testbed.FreePort(t))
	p := startProxy(t, testModel, evenly(testModel, addr), faultOptions(nil))
	c := p.dial(t)
	for range 100 {
		c.request("INCR", "counter")
	}
	testbed.Eventually(t, func() error {
		if err := p.pool.Nodes()[0].Status().Err; err == "" {
			return fmt.Errorf("the server was not missed yet")
		}
		return nil
	}, replyWait)
	f := startFakeAt(t, addr, func(c *scriptedConn, _ []string) { c.reply(":7\r\n") })
	for range 100 {
		c.wantReply(":7\r\n")
	}
	if n := f.count("INCR counter"); n != 100 {
		t.Errorf("%d requests arrived, want 100", n)
	}
}

func TestResetFailsExactlyTheRequestsOnTheConnection(t *testing.T) {
	var a, b *fakeBackend
	held := make(chan struct{})
	a = startFake(t, func(c *scriptedConn, args []string) {
		switch {
		case args[0] == "GET" && a.count("GET "+args[1]) == 1:
			// The first time it waits until everything is under way.
			c.wait(held)
			c.reset()
		case args[0] == "GET":
			c.reply(bulkReply("of a"))
		default:
			c.reply("+OK\r\n")
		}
	})
	b = startFake(t, func(c *scriptedConn, _ []string) {
		c.wait(held)
		c.reply(bulkReply("of b"))
	})
	p := startProxy(t, testModel, evenly(testModel, a.addr(), b.addr()), faultOptions(nil))
	ka, kb := p.keysAt(t, a.addr(), 3), p.keysAt(t, b.addr(), 2)
	c, other := p.dial(t), p.dial(t)
	c.request("SET", kb[0], "x")
	c.request("GET", ka[0])
	c.request("GET", kb[1])
	a.await(t, 1, "GET "+ka[0]) // What it holds up has to come behind it.
	other.request("INCR", ka[1])
	other.request("GET", kb[1])
	a.await(t, 1, "INCR "+ka[1])
	b.await(t, 2, "GET "+kb[1])
	close(held)
	c.wantReply(bulkReply("of b"))
	c.wantReply(bulkReply("of a"))
	c.wantReply(bulkReply("of b"))
	other.wantPrefix(unknownText(a.addr()))
	other.wantReply(bulkReply("of b"))
	for _, w := range []struct {
		f       *fakeBackend
		request string
		n       int
	}{{a, "GET " + ka[0], 2}, {a, "INCR " + ka[1], 1}, {b, "SET " + kb[0] + " x", 1}, {b, "GET " + kb[1], 2}} {
		if got := w.f.count(w.request); got != w.n {
			t.Errorf("%q was sent %d times, want %d", w.request, got, w.n)
		}
	}
	if got := p.Stats().Retries; got != 1 {
		t.Errorf("%d retries, want 1", got)
	}
}

func TestReadsAreRetriedOnlyOnce(t *testing.T) {
	f := startFake(t, func(c *scriptedConn, _ []string) { c.hangUp() })
	p := startProxy(t, testModel, evenly(testModel, f.addr()), faultOptions(nil))
	c := p.dial(t)
	c.request("GET", "k")
	c.wantPrefix(lostText(f.addr()))
	if n := f.count("GET k"); n != 2 {
		t.Errorf("sent %d times, want 2", n)
	}
	c.request("SET", "k", "v")
	c.wantPrefix(unknownText(f.addr()))
	if n := f.count("SET k v"); n != 1 {
		t.Errorf("the write was sent %d times, want once", n)
	}
}

// Each part of a split read has a retry of its own: all of them may have been on the lost connection.
func TestSplitReadsSurviveALostConnection(t *testing.T) {
	var requests atomic.Int32
	f := startFake(t, func(c *scriptedConn, args []string) {
		switch requests.Add(1) {
		case 1: // Both parts have to be on the connection when it is lost.
		case 2:
			c.hangUp()
		default:
			c.reply("*1\r\n" + bulkReply(args[1]))
		}
	})
	model := router.ClusterModel()
	p := startProxy(t, model, evenly(model, f.addr()), faultOptions(nil))
	p.dial(t).want("*2\r\n$3\r\n{a}\r\n$3\r\n{b}\r\n", "MGET", "{a}", "{b}")
}

// A killed server that comes back: reads in flight are answered, writes that were sent are in doubt and were
// not sent again, and nobody else notices.
func TestKilledServerWithRequestsInFlight(t *testing.T) {
	a, b := testbed.Redis(t), testbed.Redis(t)
	p := startProxy(t, testModel, evenly(testModel, a.Addr(), b.Addr()), faultOptions(nil))
	ka, kb := p.keysAt(t, a.Addr(), 2), p.keysAt(t, b.Addr(), 1)[0]
	c, writer, other := p.dial(t), p.dial(t), p.dial(t)
	c.want("+OK\r\n", "SET", ka[0], "lost with the server")
	other.want("+OK\r\n", "SET", kb, "kept")
	stopServer(t, a)
	c.request("GET", ka[0])
	writer.request("INCR", ka[1])
	writer.request("GET", kb)
	p.awaitSent(t, a.Addr(), 2)
	if err := a.Kill(); err != nil {
		t.Fatal(err)
	}
	other.want("$4\r\nkept\r\n", "GET", kb)
	writer.wantPrefix(unknownText(a.Addr()))
	writer.wantReply("$4\r\nkept\r\n")
	if err := a.Restart(); err != nil {
		t.Fatal(err)
	}
	c.wantReply("$-1\r\n")
	writer.want(":1\r\n", "INCR", ka[1])
}

// What never left is sent again, also when it writes: the server counts one execution of each.
func TestUnsentRequestsAreRetriedAndRunOnce(t *testing.T) {
	t.Parallel()
	s := testbed.Redis(t)
	p := startProxy(t, testModel, evenly(testModel, s.Addr()), faultOptions(nil))
	filler, c := p.dial(t), p.dial(t)
	c.want("$-1\r\n", "GET", "counter")
	stopServer(t, s)
	// More than the sockets' buffers take, so that what comes behind stays with the proxy.
	const fillers = 32
	filled := make(chan struct{})
	go func() {
		defer close(filled)
		for i := range fillers {
			filler.request("SET", fmt.Sprint("filler", i), strings.Repeat("x", 1<<20))
		}
	}()
	<-filled
	const n = 50
	for range n {
		c.request("INCR", "counter")
	}
	b := p.link(s.Addr())
	testbed.Eventually(t, func() error {
		inFlight, unsent := 0, 0
		p.onEachLoop(p.ctx, func(*loop) { inFlight, unsent = b.InFlight(), b.Unsent() })
		if inFlight != fillers+n || unsent < n*len("*2\r\n$4\r\nINCR\r\n$7\r\ncounter\r\n") {
			return fmt.Errorf("%d requests in flight, %d bytes unsent", inFlight, unsent)
		}
		return nil
	}, replyWait)
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		c.wantReply(fmt.Sprintf(":%d\r\n", i+1))
	}
	unknown := 0
	for range fillers {
		switch reply := filler.reply(); {
		case reply == "+OK\r\n":
		case strings.HasPrefix(reply, unknownText(s.Addr())):
			unknown++
		default:
			t.Errorf("%.200q", reply)
		}
	}
	if unknown == 0 || unknown == fillers {
		t.Errorf("%d of %d writes in doubt; the test wants some sent and some not", unknown, fillers)
	}
	if got := s.Do("GET", "counter").Integer(); got != n {
		t.Errorf("counter is %d, want %d", got, n)
	}
}

// A client that goes away takes nobody's replies with it.
func TestRepliesOfAClientThatIsGoneAreSwallowed(t *testing.T) {
	t.Parallel()
	held := make(chan struct{})
	f := startFake(t, func(c *scriptedConn, args []string) {
		c.wait(held)
		echoValue(c, args)
	})
	p := startProxy(t, testModel, evenly(testModel, f.addr()), faultOptions(nil))
	gone, c := p.dial(t), p.dial(t)
	for i := range 10 {
		gone.request("GET", fmt.Sprint("gone", i))
		f.await(t, 1, fmt.Sprint("GET gone", i))
		c.request("GET", fmt.Sprint("kept", i))
		f.await(t, 1, fmt.Sprint("GET kept", i))
	}
	_ = gone.Close()
	testbed.Eventually(t, func() error {
		if n := p.Clients(); n != 1 {
			return fmt.Errorf("%d clients, want 1", n)
		}
		return nil
	}, replyWait)
	close(held)
	for i := range 10 {
		c.wantReply(bulkReply(fmt.Sprint("kept", i)))
	}
}
