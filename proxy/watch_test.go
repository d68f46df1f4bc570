package proxy

import (
	"fmt"
	"testing"

	"sluice/backend"
	"sluice/internal/testbed"
	"sluice/router"
)

// wantExec asks for a transaction that reads k.
func (c *testClient) wantExec(want string) {
	c.t.Helper()
	if got := c.transact("GET", "k"); got != want {
		c.t.Errorf("EXEC: %q, want %q", got, want)
	}
}

const (
	execDone    = "*1\r\n$-1\r\n"
	execChanged = "*-1\r\n"
)

// Whatever may have changed a watched key unseen makes EXEC fail, and nothing else does.
func TestWatch(t *testing.T) {
	t.Parallel()
	a, b := testbed.Redis(t), testbed.Redis(t)
	specs := evenly(codisModel, a.Addr())
	f := func(what, want string, between func(p *testProxy, c *testClient)) {
		t.Helper()
		a.Do("FLUSHALL")
		b.Do("FLUSHALL")
		p := startProxy(t, codisModel, specs, faultOptions(nil), holding(never))
		c := p.dial(t)
		c.want("+OK\r\n", "WATCH", "k")
		between(p, c)
		if got := c.transact("GET", "k"); got != want {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
		c.wantExec(execDone) // The next one has nothing to do with it.
		p.wantNothingBound(t)
		p.wantPanics(t, 0)
	}
	f("nothing", execDone, func(*testProxy, *testClient) {})
	f("a write of its own", execChanged, func(_ *testProxy, c *testClient) {
		c.want("+OK\r\n", "SET", "k", "v")
		c.want(":1\r\n", "DEL", "k")
	})
	f("a write of another client", execChanged, func(p *testProxy, _ *testClient) {
		other := p.dial(t)
		other.want("+OK\r\n", "SET", "k", "v")
		other.want(":1\r\n", "DEL", "k")
	})
	f("a read", execDone, func(_ *testProxy, c *testClient) { c.want("$-1\r\n", "GET", "k") })
	f("another key", execDone, func(_ *testProxy, c *testClient) { c.want("+OK\r\n", "SET", "other", "v") })
	f("UNWATCH", execDone, func(_ *testProxy, c *testClient) {
		c.want("+OK\r\n", "UNWATCH")
		c.want("+OK\r\n", "SET", "k", "v")
		c.want(":1\r\n", "DEL", "k")
	})
	f("a connection that is lost", execChanged, func(p *testProxy, _ *testClient) {
		a.Do("CLIENT", "KILL", "TYPE", "normal")
		testbed.Eventually(t, func() error {
			if all, _ := p.boundConns(); all != 0 {
				return fmt.Errorf("%d connections", all)
			}
			return nil
		}, replyWait)
	})
	f("a connection that is lost before a second WATCH", execChanged, func(p *testProxy, c *testClient) {
		p.onEachLoop(t.Context(), func(l *loop) {
			for b := range l.conns.All() {
				if b.Kind == backend.Dedicated {
					l.conns.Close(b, backend.ErrClosed)
				}
			}
		})
		c.want("+OK\r\n", "WATCH", "k")
	})
	f("another owner", execChanged, func(p *testProxy, _ *testClient) { p.setTable(t, evenly(codisModel, b.Addr())) })
	f("another owner before a second WATCH", execChanged, func(p *testProxy, c *testClient) {
		p.setTable(t, evenly(codisModel, b.Addr()))
		c.want("+OK\r\n", "WATCH", "k")
	})
	f("a lock", execDone, func(p *testProxy, _ *testClient) {
		p.setTable(t, specs, lock(codisModel, "k"))
		p.wantBarrier(t, a.Addr())
		p.setTable(t, specs)
	})
	f("SELECT", execDone, func(_ *testProxy, c *testClient) {
		c.want("-"+errSelectWatch+"\r\n", "SELECT", "1")
		c.want("+OK\r\n", "SELECT", "0")
	})
	f("HELLO 2", execDone, func(_ *testProxy, c *testClient) { c.do("HELLO", "2") })
	f("another version and back", execChanged, func(_ *testProxy, c *testClient) {
		c.do("HELLO", "3")
		c.do("HELLO", "2")
	})
	f("RESET", execDone, func(_ *testProxy, c *testClient) {
		c.want("+RESET\r\n", "RESET")
		c.want("+OK\r\n", "SET", "k", "v")
		c.want(":1\r\n", "DEL", "k")
	})
	f("an aborted transaction", execDone, func(_ *testProxy, c *testClient) {
		c.want("+OK\r\n", "SET", "k", "v")
		c.want(":1\r\n", "DEL", "k")
		c.want("+OK\r\n", "MULTI")
		c.want("-ERR unknown command 'nosuch', with args beginning with: \r\n", "nosuch")
		c.want("-"+errExecAborted+"\r\n", "EXEC")
	})
}

// EXEC ends a WATCH whatever it answers, also when the transaction has not come to a server.
func TestExecThatIsRefusedEndsTheWatch(t *testing.T) {
	f := func(what string, refuse func(p *testProxy, specs []router.GroupSpec)) {
		t.Helper()
		server := testbed.Redis(t)
		specs := evenly(codisModel, server.Addr())
		p := startProxy(t, codisModel, specs, faultOptions(nil))
		keys := keysApart(codisModel, 2)
		c := p.dial(t)
		c.want("+OK\r\n", "WATCH", keys[0])
		refuse(p, specs)
		if got := c.transact("GET", keys[0]); got[0] != '-' {
			t.Errorf("%s: EXEC: %q, want an error", what, got)
		}
		p.setTable(t, specs)
		p.changeBackend(func(o *backend.Options) { o.MaxQueued = 1 << 20 })
		c.want("+OK\r\n", "WATCH", keys[1])
		if got := c.transact("GET", keys[1]); got != execDone {
			t.Errorf("%s: EXEC of another slot: %q", what, got)
		}
		p.wantNothingBound(t)
	}
	f("locked", func(p *testProxy, specs []router.GroupSpec) {
		p.setTable(t, specs, lock(codisModel, keysApart(codisModel, 1)[0]))
	})
	f("without room", func(p *testProxy, _ []router.GroupSpec) {
		p.changeBackend(func(o *backend.Options) { o.MaxQueued = 0 })
	})
}

func TestWatchIsOfOneSlot(t *testing.T) {
	server := testbed.Redis(t)
	p := startProxy(t, testModel, evenly(testModel, server.Addr()), faultOptions(nil), bySlot)
	keys := keysApart(testModel, 2)
	c := p.dial(t)
	c.want("-"+errCrossSlot+"\r\n", "WATCH", keys[0], keys[1])
	c.want("+OK\r\n", "WATCH", keys[0])
	c.want("-"+errCrossSlot+"\r\n", "WATCH", keys[1])
	c.want("+OK\r\n", "MULTI")
	c.want("-"+errCrossSlot+"\r\n", "GET", keys[1])
	c.want("-"+errExecAborted+"\r\n", "EXEC")
	c.want("+OK\r\n", "WATCH", keys[1])
	c.want("+OK\r\n", "MULTI")
	c.want("+QUEUED\r\n", "GET", keys[1])
	c.want("*1\r\n$-1\r\n", "EXEC")
	p.wantNothingBound(t)
}

// The server changes while EXEC is on its way: nothing was run, and nothing is run elsewhere.
func TestExecWithWatchLosesItsConnection(t *testing.T) {
	f := func(at, line, want string) {
		t.Helper()
		s := startTx(t, nth(1, at, func(c *scriptedConn) {
			if line == "" {
				c.hangUp()
				return
			}
			c.reply("-" + line + "\r\n")
		}))
		p := startProxy(t, testModel, evenly(testModel, s.addr()), faultOptions(nil), holding(never))
		c := p.dial(t)
		c.want("+OK\r\n", "WATCH", "k")
		if got := c.transact("INCR", "k"); len(got) < len(want) || got[:len(want)] != want {
			t.Errorf("%s %q: %q, want %q", at, line, got, want)
		}
		if n := s.store.count("INCR k"); n != 0 {
			t.Errorf("%s %q: run %d times", at, line, n)
		}
		p.wantNothingBound(t)
	}
	f("EXEC", "", unknownText("")[:len("-ERR outcome unknown")])
	f("EXEC", "READONLY You can't write against a read only replica.", execChanged)
	f("EXEC", "EXECABORT Transaction discarded because of previous errors.", "-EXECABORT ")
}

// Between WATCH and EXEC a client reads from the master, whatever its rules: a replica may show what is older than the WATCH.
func TestWatchReadsFromTheMaster(t *testing.T) {
	for _, consistency := range []Consistency{Eventual, Monotonic, ReadYourWrites} {
		x := startReads(t, testModel, 1, 1, reading(ReadPreferReplica, consistency))
		m, r := x.m[0], x.r[0][0]
		for request, reply := range map[string]string{"MULTI": "+OK\r\n", "DISCARD": "+OK\r\n", "WATCH k": "+OK\r\n", "EXEC": "*0\r\n", "UNWATCH": "+OK\r\n"} {
			m.answer(request, reply)
		}
		x.ready(r)
		c := x.p.dial(t)
		c.want(r.at("k"), "GET", "k")
		for _, end := range [][]string{{"UNWATCH"}, {"MULTI", "EXEC"}, {"MULTI", "DISCARD"}, {"RESET"}} {
			c.want("+OK\r\n", "WATCH", "k")
			c.want(m.at("k"), "GET", "k")
			c.want("+OK\r\n", "CLIENT", "SETINFO", "sluice-max-lag", "1h") // Would set the rules anew.
			c.want(m.at("k"), "GET", "k")
			x.p.pool.SetSettings(*x.p.pool.Settings())
			c.want(m.at("k"), "GET", "k")
			for _, name := range end {
				c.do(name)
			}
			x.prove(r)
			c.want(r.at("k"), "GET", "k")
			x.wantNothingCounted()
		}
		c.want("+OK\r\n", "MULTI")
		m.answer("SET k v", "+QUEUED\r\n")
		c.want("+QUEUED\r\n", "SET", "k", "v")
		c.want("*0\r\n", "EXEC")
		if consistency == ReadYourWrites {
			c.want(m.at("k"), "GET", "k")
		}
		x.prove(r)
		c.want(r.at("k"), "GET", "k")
		x.wantNothingCounted()
		x.p.wantNothingBound(t)
	}
}
