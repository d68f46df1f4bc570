package proxy

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sluice/backend"
	"sluice/internal/testbed"
)

// The breaker as clients see it, and servers that are reached but do not let Sluice in.

// awaitAvailable returns when the breaker of the pool's only node is closed, or is not.
func (p *testProxy) awaitAvailable(t testing.TB, want bool) *backend.Node {
	t.Helper()
	n := p.pool.Nodes()[0]
	testbed.Eventually(t, func() error {
		if n.Available() != want {
			return fmt.Errorf("%s: available %v, want %v; status %+v", n, !want, want, n.Status())
		}
		return nil
	}, replyWait)
	return n
}

func (p *testProxy) awaitStatus(t testing.TB, what string, ok func(*backend.Status) bool) {
	t.Helper()
	testbed.Eventually(t, func() error {
		for _, n := range p.pool.Nodes() {
			if !ok(n.Status()) {
				return fmt.Errorf("%s: %s: %+v", n, what, *n.Status())
			}
		}
		return nil
	}, replyWait)
}

// A frozen server opens the breaker, requests fail at once and do not reach it; the probe closes the breaker
// when the server is back, without any request being tried on it.
func TestBreakerFailsFastAndClosesByTheProbe(t *testing.T) {
	t.Parallel()
	s := testbed.Redis(t)
	p := startProxy(t, testModel, evenly(testModel, s.Addr()), faultOptions(nil))
	c := p.dial(t)
	c.want(":1\r\n", "INCR", "k")
	stopServer(t, s)
	p.changeBackend(func(o *backend.Options) { o.BreakerFailures, o.DialTimeout = 3, shortTimeout })
	n := p.awaitAvailable(t, false)
	testbed.Eventually(t, func() error {
		if n.Status().Err == "" {
			return fmt.Errorf("no cause known yet")
		}
		return nil
	}, replyWait)
	for range 10 { // The request timeout is far away, so these are answered without the server.
		c.request("INCR", "k")
		c.wantPrefix(fmt.Sprintf("-ERR backend %s is unavailable: ", s.Addr()))
	}
	p.changeBackend(func(o *backend.Options) { o.DialTimeout = never })
	contServer(t, s)
	p.awaitAvailable(t, true)
	c.want(":2\r\n", "INCR", "k") // None of the ten has run.
}

// Requests that time out count as failures, also while the probe is content.
func TestTimeoutsOpenTheBreaker(t *testing.T) {
	t.Parallel()
	f := startFake(t, answerFirst(func(c *scriptedConn, _ []string) {
		c.reply("+OK\r\n")
		c.hang()
	}))
	p := startProxy(t, testModel, evenly(testModel, f.addr()), faultOptions(func(o *backend.Options) {
		// One probe, at the start; what comes later would set the count back.
		o.ProbeInterval, o.BreakerOpen = time.Hour, time.Hour
	}))
	p.awaitStatus(t, "probed", func(st *backend.Status) bool { return st.Version != "" })
	c := p.dial(t)
	c.want("+OK\r\n", "SET", "k", "first")
	const failures = 3
	p.changeBackend(func(o *backend.Options) { o.RequestTimeout, o.BreakerFailures = shortTimeout, failures })
	for i := range failures {
		if !p.pool.Nodes()[0].Available() {
			t.Errorf("open after %d timeouts, want %d", i, failures)
		}
		c.request("SET", "k", "v")
		c.wantReply(writeTimeoutText(f.addr()))
	}
	c.want(fmt.Sprintf("-ERR backend %s is unavailable: its requests time out\r\n", f.addr()), "SET", "k", "v")
	if n := f.count("SET k v"); n != failures {
		t.Errorf("%d requests were sent, want the %d before the breaker opened", n, failures)
	}
}

// A server that has no room says so to whoever connects, and hangs up. That is what a client is told, in the same words
// each time, and nothing of its request was run.
func TestServerWithoutRoom(t *testing.T) {
	t.Parallel()
	s := testbed.Redis(t, "--maxclients", "1")
	s.Do("PING") // The only one.
	p := startProxy(t, testModel, evenly(testModel, s.Addr()), holding(0), faultOptions(func(o *backend.Options) { o.RequestTimeout = shortTimeout }))
	c := p.dial(t)
	want := fmt.Sprintf("-ERR backend %s is unavailable: dial %s: ERR max number of clients reached", s.Addr(), s.Addr())
	for range 5 {
		c.request("SET", "k", "v")
		if got := c.reply(); !strings.HasPrefix(got, want) || strings.Count(got, "127.0.0.1:") != 2 {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if got := s.Do("EXISTS", "k").Integer(); got != 0 {
		t.Error("it was run")
	}
}

func TestBackendPassword(t *testing.T) {
	t.Parallel()
	s := testbed.Redis(t, "--requirepass", "secret")
	if err := s.Do("ACL", "SETUSER", "app", "on", ">app-secret", "~*", "+@all").Error(); err != nil {
		t.Fatal(err)
	}
	f := func(user, password, want string) {
		t.Helper()
		p := startProxy(t, testModel, evenly(testModel, s.Addr()), faultOptions(func(o *backend.Options) {
			o.User, o.Password, o.Name = user, password, "as:"+user
		}))
		c := p.dial(t)
		c.request("SET", "k", "v")
		c.wantPrefix(want)
		if want == "+OK\r\n" {
			p.awaitStatus(t, "speaks RESP3", func(st *backend.Status) bool { return st.RESP3 == backend.Supported })
			if hello := c.do("HELLO", "3"); hello[0] != '%' {
				t.Errorf("HELLO 3: %q", hello)
			}
			c.want("+OK\r\n", "SET", "k", "v3")
			list := s.Do("CLIENT", "LIST").String()
			wantUser := "user=" + user
			if user == "" {
				wantUser = "user=default"
			}
			for line := range strings.Lines(list) {
				if strings.Contains(line, "name=as:"+user+"#") && !strings.Contains(line, wantUser) {
					t.Errorf("connected as another user than %s: %s", wantUser, line)
				}
			}
		}
	}
	f("", "secret", "+OK\r\n")
	f("app", "app-secret", "+OK\r\n")
	refused := fmt.Sprintf("-ERR backend %s is unavailable: dial %s: greeting refused: AUTH: WRONGPASS", s.Addr(), s.Addr())
	f("", "wrong", refused)
	f("app", "secret", refused)
	f("nobody", "secret", refused)
}

// With the wrong password nothing hangs and nothing is in doubt; with the right one it goes on by itself.
func TestWrongBackendPasswordIsRepaired(t *testing.T) {
	t.Parallel()
	s := testbed.Redis(t, "--requirepass", "secret")
	p := startProxy(t, testModel, evenly(testModel, s.Addr()), faultOptions(func(o *backend.Options) {
		o.Password, o.BreakerFailures = "wrong", 3
	}))
	c := p.dial(t)
	for range 20 {
		c.request("INCR", "k")
		c.wantPrefix(fmt.Sprintf("-ERR backend %s is unavailable: ", s.Addr()))
	}
	p.awaitAvailable(t, false)
	settings := *p.pool.Settings()
	settings.Backend.Password = "secret"
	p.pool.SetSettings(settings)
	p.awaitAvailable(t, true)
	c.want(":1\r\n", "INCR", "k")
}

// A server that knows no HELLO: RESP3 is refused as soon as the probe knows, and RESP2 works.
func TestServerWithoutRESP3(t *testing.T) {
	f := func(refusal string) {
		t.Helper()
		b := startFake(t, echoValue, func(f *fakeBackend) { f.greetings["HELLO"] = refusal })
		p := startProxy(t, testModel, evenly(testModel, b.addr()), faultOptions(nil))
		p.awaitStatus(t, "RESP3 refused", func(st *backend.Status) bool { return st.RESP3 == backend.Unsupported })
		c := p.dial(t)
		c.want("-NOPROTO unsupported protocol version\r\n", "HELLO", "3")
		c.want(bulkReply("k"), "GET", "k")
		if hello := c.do("HELLO", "2"); !strings.HasPrefix(hello, "*14\r\n") || !strings.Contains(hello, "5.0.14") {
			t.Errorf("HELLO 2: %q", hello)
		}
	}
	f("-ERR unknown command 'HELLO'\r\n")
	f("-ERR unknown command `HELLO`, with args beginning with: `3`, \r\n")
	f("-NOPROTO unsupported protocol version\r\n")
}

// A client that chose RESP3 before the probe knew better gets an error that says why, and is not closed.
func TestServerLosesRESP3(t *testing.T) {
	t.Parallel()
	b := startFake(t, echoValue, func(f *fakeBackend) { f.greetings["HELLO"] = resp3Greeting })
	p := startProxy(t, testModel, evenly(testModel, b.addr()), faultOptions(nil))
	c := p.dial(t)
	if hello := c.do("HELLO", "3"); hello[0] != '%' {
		t.Fatalf("HELLO 3: %q", hello)
	}
	c.want(bulkReply("k"), "GET", "k")
	b.stop()
	startFakeAt(t, b.addr(), echoValue)
	p.awaitStatus(t, "RESP3 refused", func(st *backend.Status) bool { return st.RESP3 == backend.Unsupported })
	p.awaitNoRESP3Link(t)
	c.want(fmt.Sprintf("-ERR backend %s is unavailable: dial %s: greeting refused: the server does not speak RESP3\r\n",
		b.addr(), b.addr()), "GET", "k")
	c.want("-NOPROTO unsupported protocol version\r\n", "HELLO", "3")
	if hello := c.do("HELLO", "2"); hello[0] != '*' {
		t.Errorf("HELLO 2: %q", hello)
	}
	c.want(bulkReply("k"), "GET", "k")
}

// awaitNoRESP3Link returns when the loss of the RESP3 connections was noticed.
func (p *testProxy) awaitNoRESP3Link(t testing.TB) {
	t.Helper()
	testbed.Eventually(t, func() error {
		up := 0
		p.onEachLoop(p.ctx, func(l *loop) {
			for b := range l.conns.All() {
				if b.Proto == 3 && b.Up() {
					up++
				}
			}
		})
		if up > 0 {
			return fmt.Errorf("%d connections are up", up)
		}
		return nil
	}, replyWait)
}
