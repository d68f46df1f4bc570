package proxy

import (
	"fmt"
	"testing"
	"time"

	"sluice/backend"
	"sluice/internal/testbed"
)

// boundConns counts the dedicated connections of all loops, and those of them that no client has.
func (p *testProxy) boundConns() (all, free int) {
	seen := make(map[*backend.Node]bool)
	p.onEachLoop(p.ctx, func(l *loop) {
		for b := range l.conns.All() {
			if b.Kind != backend.Dedicated {
				continue
			}
			if all++; !seen[b.Node] {
				seen[b.Node] = true
				free += b.Node.FreeDedicated()
			}
		}
	})
	return all, free
}

// connsTo are the connections of the loop to a node that are of a kind.
func (l *loop) connsTo(node *backend.Node, kind backend.Kind) (conns []*backend.Conn) {
	for b := range l.conns.All() {
		if b.Node == node && b.Kind == kind {
			conns = append(conns, b)
		}
	}
	return conns
}

// wantNothingBound checks that no client keeps a dedicated connection, or anything else of the kind.
func (p *testProxy) wantNothingBound(t testing.TB) {
	t.Helper()
	testbed.Eventually(t, func() error {
		if all, free := p.boundConns(); all != free {
			return fmt.Errorf("%d of %d dedicated connections are free", free, all)
		}
		if s := p.Stats(); s.Blocked != 0 || s.InFlight != 0 || s.HeldReplies != 0 {
			return fmt.Errorf("%d blocked, %d in flight, %d bytes of replies held", s.Blocked, s.InFlight, s.HeldReplies)
		}
		return nil
	}, replyWait)
	p.onEachLoop(p.ctx, func(l *loop) {
		for _, c := range l.clients {
			if c.alone || c.watch != nil || c.waiting != nil || len(c.retries)+len(c.retriedKeys) != 0 || c.held != 0 {
				t.Errorf("client %d: alone %v, watch %v, waiting %v, %d retries, %d keys of them, %d bytes held",
					c.id, c.alone, c.watch, c.waiting, len(c.retries), len(c.retriedKeys), c.held)
			}
		}
		if len(l.waits) != 0 || len(l.blocked) != 0 {
			t.Errorf("%d WAITs, %d blocked", len(l.waits), len(l.blocked))
		}
	})
}

// One client at a time has a dedicated connection, and the next one gets the same.
func TestDedicatedConnectionsAreUsedAgain(t *testing.T) {
	t.Parallel()
	server := testbed.Redis(t)
	p := startProxy(t, testModel, evenly(testModel, server.Addr()), faultOptions(nil))
	c, other := p.dial(t), p.dial(t)
	for range 5 {
		c.want("+OK\r\n", "WATCH", "k")
		c.want("+OK\r\n", "UNWATCH")
		c.want("*-1\r\n", "BLPOP", "l", "0.001")
		c.want(":0\r\n", "WAIT", "0", "0")
		other.want("+OK\r\n", "WATCH", "k")
		other.want("+OK\r\n", "MULTI")
		other.want("*0\r\n", "EXEC")
	}
	if all, free := p.boundConns(); all != 1 || free != 1 {
		t.Errorf("%d of %d connections are free, want one", free, all)
	}
	// What one client watches must not show in another one's EXEC.
	c.want("+OK\r\n", "WATCH", "k")
	c.want("+OK\r\n", "MULTI")
	c.want("+OK\r\n", "DISCARD")
	other.want("+OK\r\n", "WATCH", "l")
	c.want("+OK\r\n", "SET", "k", "v")
	other.want("+OK\r\n", "MULTI")
	other.want("*0\r\n", "EXEC")
	p.wantNothingBound(t)
}

func TestDedicatedConnectionsAreBounded(t *testing.T) {
	server := testbed.Redis(t)
	p := startProxy(t, testModel, evenly(testModel, server.Addr()), faultOptions(func(o *backend.Options) { o.MaxDedicated = 2 }))
	a, b, c := p.dial(t), p.dial(t), p.dial(t)
	a.want("+OK\r\n", "WATCH", "k")
	b.request("BLPOP", "l", "0")
	p.awaitBlocked(t, server, 1)
	taken := fmt.Sprintf("-ERR 2 connections to backend %s are taken by WATCH and blocking commands, see max_dedicated\r\n", server.Addr())
	c.want(taken, "WATCH", "k")
	c.want(taken, "BLPOP", "l", "0")
	c.want(taken, "WAIT", "0", "0")
	c.want("$-1\r\n", "GET", "k")
	a.want("+OK\r\n", "UNWATCH")
	// One that is free and of no use makes room: this is another database.
	c.want("+OK\r\n", "SELECT", "1")
	c.want("+OK\r\n", "WATCH", "k")
	a.want(taken, "WATCH", "k")
	_ = c.Close()
	testbed.Eventually(t, func() error {
		if got := a.do("WATCH", "k"); got != "+OK\r\n" {
			return fmt.Errorf("%q", got)
		}
		return nil
	}, replyWait)
	server.Do("RPUSH", "l", "v")
	b.wantReply("*2\r\n$1\r\nl\r\n$1\r\nv\r\n")
	a.want("+OK\r\n", "UNWATCH")
	p.wantNothingBound(t)
}

// The loops share the bound: each may have all of it, and what is free on one makes room for another.
func TestLoopsShareDedicatedConnections(t *testing.T) {
	server := testbed.Redis(t)
	const bound, loops = 4, 3
	p := startProxy(t, testModel, evenly(testModel, server.Addr()), holding(never), faultOptions(func(o *backend.Options) { o.MaxDedicated = bound }),
		func(cfg *Config, _ *PoolConfig) { cfg.Loops = loops })
	for db := range 3 { // Connections of another database are of no use.
		for range loops { // Clients are dealt to the loops in turn.
			var clients []*testClient
			for i := range bound * loops {
				c := p.dial(t)
				c.want("+OK\r\n", "SELECT", fmt.Sprint(db))
				if i%loops == 0 { // All on one loop.
					c.request("BLPOP", "l", "0")
					clients = append(clients, c)
				}
			}
			p.awaitBlocked(t, server, bound)
			p.dial(t).want(fmt.Sprintf("-ERR %d connections to backend %s are taken by WATCH and blocking commands, see max_dedicated\r\n",
				bound, server.Addr()), "WATCH", "k")
			push := p.dial(t)
			push.want("+OK\r\n", "SELECT", fmt.Sprint(db))
			for range clients {
				push.do("RPUSH", "l", "v")
			}
			for _, c := range clients {
				c.wantReply("*2\r\n$1\r\nl\r\n$1\r\nv\r\n")
			}
		}
	}
	p.wantNothingBound(t)
}

// A connection that nobody needs for a while is closed, and so is one to a server that is not used any more.
func TestFreeDedicatedConnectionsAreClosed(t *testing.T) {
	a, b := testbed.Redis(t), testbed.Redis(t)
	p := startProxy(t, testModel, evenly(testModel, a.Addr()), faultOptions(nil))
	c := p.dial(t)
	c.want("*-1\r\n", "BLPOP", "l", "0.001")
	p.onEachLoop(t.Context(), func(l *loop) {
		l.now += int64(10 * time.Second) // One is kept for thrice that.
		l.trim()
	})
	if all, _ := p.boundConns(); all != 1 {
		t.Errorf("%d connections, want 1", all)
	}
	p.onEachLoop(t.Context(), func(l *loop) {
		l.now += int64(time.Minute)
		l.trim()
		l.tick()
		if l.conns.Dials(p.pool.Node(a.Addr())) != nil {
			t.Error("something is left of the connections")
		}
	})
	c.want("*-1\r\n", "BLPOP", "l", "0.001")
	p.setTable(t, evenly(testModel, b.Addr()))
	p.onEachLoop(t.Context(), (*loop).trim)
	if all, _ := p.boundConns(); all != 0 {
		t.Errorf("%d connections to a server that no topology names", all)
	}
}

// Without a number of its own a process takes a quarter of what the server allows.
func TestDedicatedConnectionsByTheServersLimit(t *testing.T) {
	server := testbed.Redis(t, "--maxclients", "400")
	byTheServer := faultOptions(func(o *backend.Options) { o.MaxDedicated = 0 })
	p := startProxy(t, testModel, evenly(testModel, server.Addr()), byTheServer)
	node := p.pool.Node(server.Addr())
	testbed.Eventually(t, func() error {
		if n := node.MaxDedicated(); n != 100 {
			return fmt.Errorf("%d connections", n)
		}
		return nil
	}, replyWait)
	s := *p.pool.Settings()
	s.Backend.MaxDedicated = 7
	p.pool.SetSettings(s)
	if n := node.MaxDedicated(); n != 7 {
		t.Errorf("%d connections, 7 were set", n)
	}
	silent := startFake(t, func(c *scriptedConn, _ []string) { c.reply("+OK\r\n") })
	p = startProxy(t, testModel, evenly(testModel, silent.addr()), byTheServer)
	p.dial(t).want("+OK\r\n", "SET", "k", "v")
	if n := p.pool.Node(silent.addr()).MaxDedicated(); n != 1000 {
		t.Errorf("%d connections to a server that tells no limit", n)
	}
}
