package proxy

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"sluice/backend"
	"sluice/internal/testbed"
	"sluice/router"
)

// Changes from above while requests are in flight: the end of the process and another topology.

func TestShutdownAnswersWhatIsInFlight(t *testing.T) {
	held := make(chan struct{})
	f := startFake(t, func(c *scriptedConn, args []string) {
		c.wait(held)
		echoValue(c, args)
	})
	p := startProxy(t, testModel, evenly(testModel, f.addr()), faultOptions(nil), func(cfg *Config, _ *PoolConfig) {
		cfg.Drain = replyWait
	})
	one, many, idle := p.dial(t), p.dial(t), p.dial(t)
	idle.want("+PONG\r\n", "PING")
	one.request("SET", "k", "v")
	for i := range 100 {
		many.request("GET", fmt.Sprint("key", i))
	}
	f.await(t, 1, "SET k v")
	f.await(t, 1, "GET key99")
	left := make(chan int)
	go func() { left <- p.Shutdown(context.Background()) }()
	idle.wantClosed() // It has nothing to wait for.
	if conn, err := net.Dial("tcp", p.addr); err == nil {
		_ = conn.Close()
		t.Error("a new client was let in")
	}
	close(held)
	one.wantReply("+OK\r\n")
	one.wantClosed()
	for i := range 100 {
		many.wantReply(bulkReply(fmt.Sprint("key", i)))
	}
	many.wantClosed()
	if n := <-left; n != 0 {
		t.Errorf("%d requests were cut off", n)
	}
}

func TestShutdownEndsInTime(t *testing.T) {
	f := startFake(t, func(c *scriptedConn, _ []string) { c.hang() })
	p := startProxy(t, testModel, evenly(testModel, f.addr()), faultOptions(nil), func(cfg *Config, _ *PoolConfig) {
		cfg.Drain = shortTimeout
	})
	c := p.dial(t)
	for range 3 {
		c.request("GET", "k")
	}
	f.await(t, 3, "GET k")
	if n := p.Shutdown(t.Context()); n != 3 {
		t.Errorf("%d requests were cut off, want 3", n)
	}
}

// The time may be over before the drain begins, as with a second signal: still no loop sends anything again, and what is in flight
// is counted on all of them.
func TestShutdownWithoutTimeStopsAllLoops(t *testing.T) {
	const loops = 4
	f := startFake(t, func(c *scriptedConn, _ []string) { c.hang() })
	p := startProxy(t, testModel, evenly(testModel, f.addr()), faultOptions(nil), func(cfg *Config, _ *PoolConfig) { cfg.Loops = loops })
	for i := range 2 * loops {
		key := fmt.Sprint("k", i)
		p.dial(t).request("GET", key)
		f.await(t, 1, "GET "+key)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if n := p.Shutdown(ctx); n != 2*loops {
		t.Errorf("%d requests were cut off, want %d", n, 2*loops)
	}
	for i, l := range p.loops {
		if !l.stopping {
			t.Errorf("loop %d might have sent something again", i)
		}
	}
}

// One client has requests in flight to the old owner of its slots when the table changes, another has none.
// The first one's next request waits; no reply is lost and none is out of order.
func TestTableChangeWithRequestsInFlight(t *testing.T) {
	held := make(chan struct{})
	a := startFake(t, func(c *scriptedConn, args []string) {
		c.wait(held)
		c.reply(bulkReply("a:" + args[1]))
	})
	b := startFake(t, func(c *scriptedConn, args []string) { c.reply(bulkReply("b:" + args[1])) })
	p := startProxy(t, testModel, evenly(testModel, a.addr(), b.addr()), faultOptions(nil))
	ka, kb := p.keysAt(t, a.addr(), 3), p.keysAt(t, b.addr(), 2)
	c, other := p.dial(t), p.dial(t)
	c.request("GET", ka[0])
	c.request("GET", kb[0])
	c.request("GET", ka[1])
	a.await(t, 1, "GET "+ka[1])
	p.setTable(t, evenly(testModel, b.addr()))
	other.request("GET", ka[0])
	other.wantReply(bulkReply("b:" + ka[0])) // The new table is in force.
	c.request("GET", kb[1])                  // This slot stays where it is, so it does not wait.
	b.await(t, 1, "GET "+kb[1])
	c.request("GET", ka[1])
	c.request("GET", ka[2])
	testbed.Eventually(t, func() error {
		stalled := 0
		p.onEachLoop(p.ctx, func(l *loop) {
			for _, c := range l.clients {
				if c.stall == stallDrain {
					stalled++
				}
			}
		})
		if stalled != 1 {
			return fmt.Errorf("%d clients wait, want 1", stalled)
		}
		return nil
	}, replyWait)
	if n := b.count("GET " + ka[1]); n != 0 {
		t.Error("a request overtook the one before it on the same key")
	}
	close(held)
	for _, want := range []string{"a:" + ka[0], "b:" + kb[0], "a:" + ka[1], "b:" + kb[1], "b:" + ka[1], "b:" + ka[2]} {
		c.wantReply(bulkReply(want))
	}
}

// As Pool.SetTable says: a node that no table names keeps its connections until they are idle, no longer.
func TestNodeThatNoTableNamesIsLeft(t *testing.T) {
	t.Parallel()
	a, b := startFake(t, echoValue), startFake(t, echoValue)
	p := startProxy(t, testModel, evenly(testModel, a.addr(), b.addr()), faultOptions(nil))
	c := p.dial(t)
	for _, addr := range []string{a.addr(), b.addr()} {
		k := p.keysAt(t, addr, 1)[0]
		c.want(bulkReply(k), "GET", k)
	}
	p.setTable(t, evenly(testModel, b.addr()))
	p.awaitGone(t, a.addr())
}

// The same for a node that was never reached: what waits for it goes to the new owner, and nobody goes on
// dialling it.
func TestUnreachedNodeThatNoTableNamesIsLeft(t *testing.T) {
	t.Parallel()
	// The kernel accepts for it; the greeting is never answered.
	hole, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", testbed.FreePort(t)))
	if err != nil {
		t.Fatal(err)
	}
	defer hole.Close()
	b := startFake(t, echoValue)
	p := startProxy(t, testModel, evenly(testModel, hole.Addr().String(), b.addr()),
		faultOptions(func(o *backend.Options) { o.DialTimeout, o.BreakerFailures = never, 5 }))
	k := p.keysAt(t, hole.Addr().String(), 1)[0]
	c := p.dial(t)
	c.request("SET", k, "v")
	testbed.Eventually(t, func() error {
		if p.link(hole.Addr().String()) == nil {
			return fmt.Errorf("not asked for yet")
		}
		return nil
	}, replyWait)
	p.setTable(t, evenly(testModel, b.addr()))
	c.wantReply("+OK\r\n")
	if n := b.count("SET " + k + " v"); n != 1 {
		t.Errorf("the new owner got it %d times, want once", n)
	}
	p.awaitGone(t, hole.Addr().String())
}

// awaitGone returns when neither the pool nor a loop knows the node at addr.
func (p *testProxy) awaitGone(t testing.TB, addr string) {
	t.Helper()
	testbed.Eventually(t, func() error {
		for _, n := range p.pool.Nodes() {
			if n.Addr == addr {
				return fmt.Errorf("the pool has %s still, with %d connections", addr, n.Conns())
			}
		}
		if b := p.link(addr); b != nil {
			return fmt.Errorf("a loop has a connection to %s still", addr)
		}
		return nil
	}, 5*time.Second)
}

// A topology that comes late, and slots that nobody owns.
func TestRequestsWithoutAnOwner(t *testing.T) {
	f := startFake(t, echoValue)
	p := startProxy(t, testModel, []router.GroupSpec{{ID: "1", Master: f.addr(), Slots: []router.Range{{From: 0, To: 511}}}},
		faultOptions(nil))
	c := p.dial(t)
	for i := range 20 {
		key := fmt.Sprint("key", i)
		want := "-CLUSTERDOWN Hash slot not served\r\n"
		if p.pool.Model.Slot([]byte(key)) <= 511 {
			want = bulkReply(key)
		}
		c.want(want, "GET", key)
	}
}
