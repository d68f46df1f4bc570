package proxy

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"sluice/backend"
	"sluice/internal/testbed"
)

// Clients that need a connection of their own to a server that lets nobody in any more. The shared connection lives.

// lockedOut is a proxy whose server has changed its password since the shared connection came up.
func lockedOut(t *testing.T, change ...func(*Config, *PoolConfig)) (*testbed.Server, *testProxy) {
	t.Helper()
	s := testbed.Redis(t, "--requirepass", "secret")
	p := startProxy(t, testModel, evenly(testModel, s.Addr()), append([]func(*Config, *PoolConfig){
		faultOptions(func(o *backend.Options) { o.Password = "secret" }),
	}, change...)...)
	p.awaitStatus(t, "probed", func(st *backend.Status) bool { return st.Version != "" })
	p.dial(t).want("+OK\r\n", "SET", "k", "v")
	setPassword(t, s, "other")
	return s, p
}

func setPassword(t testing.TB, s *testbed.Server, password string) {
	t.Helper()
	if err := s.Do("CONFIG", "SET", "requirepass", password).Error(); err != nil {
		t.Fatal(err)
	}
}

// stat is a number of INFO stats.
func stat(t testing.TB, s *testbed.Server, name string) (n int) {
	t.Helper()
	_, rest, ok := strings.Cut(s.Do("INFO", "stats").String(), "\r\n"+name+":")
	if _, err := fmt.Sscan(rest, &n); !ok || err != nil {
		t.Fatalf("INFO stats has no %s", name)
	}
	return n
}

// rarelyDialled has servers dialled again when the test makes the probe ask, and not before.
func rarelyDialled(_ *Config, pool *PoolConfig) {
	pool.Backend.ReconnectMin, pool.Backend.ReconnectMax, pool.Backend.ProbeInterval = time.Hour, time.Hour, time.Hour
}

// However many wait for a server that takes no connections, one dial tells all of them, and one more whether it does
// again.
func TestClientsThatWaitDoNotDialInAStorm(t *testing.T) {
	s, p := lockedOut(t, holding(never), rarelyDialled)
	const n = 20
	var clients []*testClient
	block := func() {
		c := p.dial(t)
		c.request("BLPOP", fmt.Sprint("list", len(clients)), "0")
		clients = append(clients, c)
	}
	unavailable := "-ERR backend " + s.Addr() + " is unavailable: dial "
	p.dial(t).wantPrefixOf(unavailable, "WAIT", "0", "0")
	before := stat(t, s, "total_connections_received")
	for range n {
		block()
	}
	watches := p.dial(t)
	watches.request("WATCH", "k")
	p.awaitHeld(t, n+1)
	p.dial(t).wantPrefixOf(unavailable, "WAIT", "0", "0")
	for range 10 {
		p.hurry(t)
		p.onEachLoop(t.Context(), (*loop).tick)
	}
	if got := stat(t, s, "total_connections_received"); got != before {
		t.Errorf("%d dials before their time", got-before)
	}

	node := p.pool.Nodes()[0]
	askProbe := func() {
		t.Helper()
		last := node.AnsweredAt()
		node.Kick()
		testbed.Eventually(t, func() error {
			if node.AnsweredAt() == last {
				return errors.New("the probe was not answered yet")
			}
			return nil
		}, replyWait)
	}
	askProbe()
	testbed.Eventually(t, func() error {
		p.hurry(t)
		if got := stat(t, s, "total_connections_received"); got == before {
			return errors.New("not dialled again")
		}
		return nil
	}, replyWait)
	for range 10 {
		p.hurry(t)
	}
	if got := stat(t, s, "total_connections_received"); got != before+1 {
		t.Errorf("%d dials to see whether it takes connections, want 1", got-before)
	}

	setPassword(t, s, "secret")
	askProbe()
	watches.wantReply("+OK\r\n")
	p.awaitBlocked(t, s, n)
	p.awaitHeld(t, 0)
	for i, c := range clients {
		key := fmt.Sprint("list", i)
		s.Do("RPUSH", key, "v")
		c.wantReply("*2\r\n" + bulkReply(key) + bulkReply("v"))
	}
	watches.want("+OK\r\n", "UNWATCH")
	p.wantNothingBound(t)
}

// A blocking command that can't reach its server ends with its own time, or with the hold in the server's words.
func TestBlockingAtAServerThatLetsNobodyIn(t *testing.T) {
	t.Parallel()
	s, p := lockedOut(t, holding(never))
	for _, r := range []string{
		"BLPOP l 0.01", "BLMOVE {l}a {l}b LEFT RIGHT 0.01", "BZPOPMIN z 0.01", "XREAD BLOCK 10 STREAMS s $", "XREAD BLOCK 10 STREAMS s 0",
	} {
		c := p.dial(t)
		c.want("*-1\r\n", strings.Fields(r)...)
		c.want(bulkReply("v"), "GET", "k")
	}
	resp3 := p.dial(t)
	resp3.wantPrefixOf("%", "HELLO", "3")
	resp3.want("_\r\n", "BLPOP", "l", "0.01")

	settings := *p.pool.Settings()
	settings.Hold.MaxWait = 200 * time.Millisecond
	p.pool.SetSettings(settings)
	words := fmt.Sprintf("is not served: backend %s: dial %s: greeting refused: AUTH: WRONGPASS invalid username-password pair or user is disabled.", s.Addr(), s.Addr())
	for _, r := range []string{"BLPOP k 0", "BLPOP k 60", "XREAD BLOCK 0 STREAMS k $", "WATCH k"} {
		c := p.dial(t)
		c.request(strings.Fields(r)...)
		c.wantHeld(testModel.Slot([]byte("k")), words)
		c.want(bulkReply("v"), "GET", "k")
	}

	settings.Hold.MaxWait = 0
	p.pool.SetSettings(settings)
	for _, r := range []string{"BLPOP k 0", "XREAD BLOCK 0 STREAMS k $", "WATCH k"} {
		c := p.dial(t)
		c.wantPrefixOf(fmt.Sprintf("-ERR backend %s is unavailable: dial %s: greeting refused: AUTH: WRONGPASS", s.Addr(), s.Addr()), strings.Fields(r)...)
		c.want(bulkReply("v"), "GET", "k")
	}
	p.wantNothingBound(t)
	p.wantPanics(t, 0)
	p.onEachLoop(t.Context(), func(l *loop) {
		l.now += int64(time.Minute)
		if l.tick(); l.conns.Dials(p.pool.Node(s.Addr())) != nil {
			t.Error("what dials have shown is never forgotten")
		}
	})
}

// wantPrefixOf sends a request and checks how the reply starts.
func (c *testClient) wantPrefixOf(prefix string, args ...string) {
	c.t.Helper()
	c.request(args...)
	c.wantPrefix(prefix)
}

// Where nothing is held, too, a client waits for a server that is started again, as it does on the shared connection.
func TestNoConnectionBeforeTheServerIsBack(t *testing.T) {
	t.Parallel()
	s := testbed.Redis(t)
	p := startProxy(t, testModel, evenly(testModel, s.Addr()), faultOptions(nil), holding(0))
	for request, reply := range map[string]string{"BLPOP l 0": "*2\r\n$1\r\nl\r\n$1\r\nv\r\n", "WATCH k": "+OK\r\n"} {
		if err := s.Kill(); err != nil {
			t.Fatal(err)
		}
		c := p.dial(t)
		c.request(strings.Fields(request)...)
		p.awaitFailedDials(t, 4)
		if err := s.Restart(); err != nil {
			t.Fatal(err)
		}
		s.Do("RPUSH", "l", "v")
		c.wantReply(reply)
		_ = c.Close()
	}
}

// awaitFailedDials returns when n dials of dedicated connections have failed, one after the other.
func (p *testProxy) awaitFailedDials(t testing.TB, n int) {
	t.Helper()
	seen := make(map[int64]bool)
	testbed.Eventually(t, func() error {
		p.onEachLoop(p.ctx, func(l *loop) {
			for _, node := range p.pool.Nodes() {
				if d := l.conns.Dials(node); d != nil && d.Err() != nil {
					seen[d.FailedAt()] = true
				}
			}
		})
		if len(seen) < n {
			return fmt.Errorf("%d dials have failed, want %d", len(seen), n)
		}
		return nil
	}, replyWait)
}

// However long a client has waited for data, when it is sent elsewhere its patience with the new server begins.
func TestRedirectToAServerThatIsAway(t *testing.T) {
	away, redirected := fmt.Sprintf("127.0.0.1:%d", testbed.FreePort(t)), make(chan struct{})
	source := startFake(t, func(c *scriptedConn, args []string) {
		c.wait(redirected)
		c.reply(redirectLine("MOVED", args[1], away))
	})
	p := startProxy(t, clusterModel, with(evenly(clusterModel, source.addr()), away), holding(never), faultOptions(nil))
	c := p.dial(t)
	c.request("BLPOP", "k", "0")
	source.await(t, 1, "BLPOP k 0")
	p.onEachLoop(t.Context(), func(l *loop) {
		for _, c := range l.clients {
			c.pipe.at(c.pipe.head).start -= int64(2 * never)
		}
	})
	close(redirected)
	p.awaitHeld(t, 1)
	for range 10 {
		p.hurry(t)
	}
	if n := source.count("BLPOP k 0"); n != 1 {
		t.Errorf("the server that knows better was asked %d times", n)
	}
	startFakeAt(t, away, func(c *scriptedConn, args []string) { c.reply("*2\r\n" + bulkReply(args[1]) + bulkReply("v")) })
	c.wantReply("*2\r\n$1\r\nk\r\n$1\r\nv\r\n")
}

// A server that has no room for one more connection serves those that it has, and is not taken from their clients.
func TestServerWithoutRoomForBlockedClients(t *testing.T) {
	t.Parallel()
	s := testbed.Redis(t)
	const failures = 3
	p := startProxy(t, testModel, evenly(testModel, s.Addr()), holding(never), faultOptions(func(o *backend.Options) {
		o.BreakerFailures, o.BreakerOpen, o.ProbeInterval = failures, time.Hour, time.Hour
	}))
	p.awaitStatus(t, "probed", func(st *backend.Status) bool { return st.Version != "" })
	c := p.dial(t)
	c.want("+OK\r\n", "SET", "k", "v")
	if err := s.Do("CONFIG", "SET", "maxclients", "1").Error(); err != nil {
		t.Fatal(err)
	}
	var blocked []*testClient
	for range 5 {
		b := p.dial(t)
		b.request("BLPOP", "l", "0")
		blocked = append(blocked, b)
	}
	testbed.Eventually(t, func() error {
		if n := stat(t, s, "rejected_connections"); n <= 5+failures {
			return fmt.Errorf("%d dials were refused", n)
		}
		return nil
	}, replyWait)
	c.want(bulkReply("v"), "GET", "k")
	if node := p.pool.Nodes()[0]; !node.Available() || node.DownSince() != 0 {
		t.Errorf("%s is unavailable", node)
	}
	if err := s.Do("CONFIG", "SET", "maxclients", "100").Error(); err != nil {
		t.Fatal(err)
	}
	p.awaitBlocked(t, s, len(blocked))
	for range blocked {
		s.Do("RPUSH", "l", "v")
	}
	for _, b := range blocked {
		b.wantReply("*2\r\n$1\r\nl\r\n$1\r\nv\r\n")
	}
}

// A server that gives a blocking command back at once is waited for as long as for any other command, with pauses.
func TestBlockingAtAServerThatRefusesIt(t *testing.T) {
	t.Parallel()
	for _, refusal := range []string{
		"-READONLY You can't write against a read only replica.\r\n", "-LOADING Redis is loading the dataset in memory\r\n",
	} {
		f := startFake(t, func(c *scriptedConn, _ []string) { c.reply(refusal) })
		p := startProxy(t, testModel, evenly(testModel, f.addr()), faultOptions(nil), holding(200*time.Millisecond))
		c := p.dial(t)
		c.request("BLPOP", "q", "0")
		c.wantPrefix("-TRYAGAIN slot ")
		if n := f.count("BLPOP q 0"); n < 2 || n > 100 {
			t.Errorf("it was sent %d times", n)
		}
	}
}
