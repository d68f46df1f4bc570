package proxy

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sluice/backend"
	"sluice/internal/clock"
	"sluice/internal/testbed"
)

// Servers that stop answering without closing anything.

// shortTimeout is a request timeout for requests that will not be answered. Tests put it into force when only
// those are in flight, so that no slow machine decides.
const shortTimeout = 50 * time.Millisecond

// setTimeout changes the request timeout, also for the requests in flight.
func (p *testProxy) setTimeout(d time.Duration) {
	p.changeBackend(func(o *backend.Options) { o.RequestTimeout = d })
}

// changeBackend reloads the pool with other backend options.
func (p *testProxy) changeBackend(change func(*backend.Options)) {
	s := *p.pool.Settings()
	change(&s.Backend)
	p.pool.SetSettings(s)
}

func readTimeoutText(addr string) string {
	return fmt.Sprintf("-ERR timeout: backend %s did not answer within %s\r\n", addr, shortTimeout)
}

func writeTimeoutText(addr string) string {
	return fmt.Sprintf("-ERR outcome unknown: backend %s did not answer within %s, the command may have run\r\n", addr, shortTimeout)
}

// A timeout fails the request and not the shared connection; the replies that come late answer nobody.
func TestFrozenServerFailsRequestsAndKeepsTheConnection(t *testing.T) {
	a, b := testbed.Redis(t), testbed.Redis(t)
	p := startProxy(t, testModel, evenly(testModel, a.Addr(), b.Addr()), faultOptions(nil))
	ka, kb := p.keysAt(t, a.Addr(), 40), p.keysAt(t, b.Addr(), 1)[0]
	c, other := p.dial(t), p.dial(t)
	for i, k := range ka {
		c.want("+OK\r\n", "SET", k, fmt.Sprint("old", i))
	}
	c.want("+OK\r\n", "SET", kb, "of b")
	before := p.link(a.Addr())

	stopServer(t, a)
	for i, k := range ka[:20] {
		c.request("GET", k)
		c.request("SET", k, fmt.Sprint("new", i))
		c.request("GET", kb)
	}
	other.want("$4\r\nof b\r\n", "GET", kb) // The server is still frozen.
	p.awaitSent(t, a.Addr(), 40)
	p.awaitSent(t, b.Addr(), 0)
	p.setTimeout(shortTimeout)
	for range 20 {
		c.wantReply(readTimeoutText(a.Addr()))
		c.wantReply(writeTimeoutText(a.Addr()))
		c.wantReply("$4\r\nof b\r\n")
	}
	p.setTimeout(never)
	// Requests behind those that are given up, the connection still silent.
	for _, k := range ka[20:] {
		other.request("GET", k)
	}
	p.awaitSent(t, a.Addr(), 20)
	contServer(t, a)
	for i := range ka[20:] {
		other.wantReply(bulkReply(fmt.Sprint("old", i+20)))
	}
	for i, k := range ka[:20] { // The writes in doubt have run, in their place.
		c.want(bulkReply(fmt.Sprint("new", i)), "GET", k)
	}
	if after := p.link(a.Addr()); after != before {
		t.Errorf("the connection was replaced: %p, then %p", before, after)
	}
	p.onEachLoop(p.ctx, func(*loop) {
		if n, q := before.InFlight(), before.Queued(); n != 0 || q != 0 {
			t.Errorf("%d requests, %d bytes are left on the connection", n, q)
		}
	})
}

// The same with a fake, where the late replies are known to come after newer requests were sent.
func TestLateRepliesAreSwallowed(t *testing.T) {
	thaw := make(chan struct{})
	f := startFake(t, func(c *scriptedConn, args []string) {
		c.wait(thaw)
		echoValue(c, args)
	})
	p := startProxy(t, testModel, evenly(testModel, f.addr()), faultOptions(nil))
	a, b := p.dial(t), p.dial(t)
	for i := range 5 {
		a.request("GET", fmt.Sprint("late", i))
		a.request("SET", "k", "v")
	}
	f.await(t, 1, "GET late4")
	p.setTimeout(shortTimeout)
	for range 5 {
		a.wantReply(readTimeoutText(f.addr()))
		a.wantReply(writeTimeoutText(f.addr()))
	}
	p.setTimeout(never)
	b.request("GET", "b")
	a.request("GET", "a")
	f.await(t, 1, "GET b")
	f.await(t, 1, "GET a")
	close(thaw)
	a.wantReply(bulkReply("a"))
	b.wantReply(bulkReply("b"))
	if n := f.dataConns(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}

// A reply of which a part went to the client can't become an error any more.
func TestTimeoutInTheMiddleOfAReply(t *testing.T) {
	t.Parallel()
	thaw := make(chan struct{})
	big := strings.Repeat("x", 200<<10)
	f := startFake(t, func(c *scriptedConn, args []string) {
		if args[1] != "big" {
			echoValue(c, args)
			return
		}
		c.reply(bulkReply(big)[:100<<10])
		c.wait(thaw)
		c.reply(bulkReply(big)[100<<10:])
	})
	p := startProxy(t, testModel, evenly(testModel, f.addr()), faultOptions(nil))
	first, behind := p.dial(t), p.dial(t)
	first.request("GET", "big")
	first.awaitData()
	p.setTimeout(shortTimeout)
	got, err := first.tryReply()
	if err == nil || !strings.HasPrefix(bulkReply(big), got) || strings.Contains(got, "ERR") {
		t.Errorf("got %d bytes and %v, want the start of the reply and a closed connection", len(got), err)
	}
	behind.request("GET", "small")
	behind.wantReply(readTimeoutText(f.addr()))
	p.setTimeout(never)
	behind.request("GET", "last")
	close(thaw)
	behind.wantReply(bulkReply("last"))
	if n := f.dataConns(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}

// A connection that leaves its oldest request unanswered for Options.HungAfter is given up. The loop's clock
// is turned forward instead of waiting.
func TestHungConnectionIsGivenUp(t *testing.T) {
	var f *fakeBackend
	f = startFake(t, func(c *scriptedConn, args []string) {
		if f.dataConns() == 1 {
			c.hang()
			return
		}
		echoValue(c, args)
	})
	p := startProxy(t, testModel, evenly(testModel, f.addr()), faultOptions(nil))
	c := p.dial(t)
	c.request("GET", "k")
	c.request("SET", "k", "v")
	f.await(t, 1, "SET k v")
	p.setTimeout(shortTimeout)
	c.wantReply(readTimeoutText(f.addr()))
	c.wantReply(writeTimeoutText(f.addr()))
	p.setTimeout(time.Second) // Five times that is less than what HungAfter is at least.
	hung := p.link(f.addr())
	turn := func(d time.Duration) {
		p.onEachLoop(p.ctx, func(l *loop) {
			l.now = clock.Now() + int64(d)
			l.tick()
		})
	}
	after := p.pool.Nodes()[0].Options().HungAfter()
	turn(after / 2)
	if got := p.link(f.addr()); got != hung {
		t.Error("given up too early")
	}
	turn(after)
	if got := p.link(f.addr()); got != nil {
		t.Error("not given up")
	}
	p.setTimeout(never)
	c.want(bulkReply("k"), "GET", "k")
	if n := f.dataConns(); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
}

// awaitData returns when something has come from the server. It stays unread.
func (c *testClient) awaitData() {
	c.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(replyWait))
	if _, err := c.r.Peek(1); err != nil {
		c.t.Fatalf("nothing came: %v", err)
	}
}

func stopServer(t testing.TB, s *testbed.Server) {
	t.Helper()
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
}

func contServer(t testing.TB, s *testbed.Server) {
	t.Helper()
	if err := s.Cont(); err != nil {
		t.Fatal(err)
	}
}
