package proxy

import (
	"errors"
	"testing"

	"sluice/backend"
	"sluice/internal/testbed"
)

// A connection that is to be replaced is left alone until what is in flight on it is answered. What is sent meanwhile
// is not run before that.
func TestReplacedConnectionKeepsOrder(t *testing.T) {
	gate := make(chan struct{})
	f := startFake(t, func(c *scriptedConn, args []string) {
		if args[0] == "SET" {
			c.wait(gate)
		}
		c.reply(bulkReply(args[0]))
	})
	p := startProxy(t, testModel, evenly(testModel, f.addr()), faultOptions(nil))
	c := p.dial(t)
	c.want(bulkReply("GET"), "GET", "k")
	c.request("SET", "k", "v")
	f.await(t, 1, "SET k v")
	node := p.pool.Node(f.addr())
	var old, next *backend.Conn
	p.onEachLoop(t.Context(), func(l *loop) {
		old = l.conns.Shared(node, 2, 0)
		l.conns.Retire(old)
		l.conns.Retire(old)
		next = l.conns.Shared(node, 2, 0)
	})
	c.request("GET", "k2")
	c.request("GET", "k")
	testbed.Eventually(t, func() error {
		queued := 0
		p.onEachLoop(t.Context(), func(*loop) { queued = next.Queued() })
		if queued == 0 {
			return errors.New("nothing is queued")
		}
		return nil
	}, replyWait)
	p.onEachLoop(t.Context(), func(l *loop) {
		l.tick()
		if old == next || !old.Up() || next.Up() || next.UnderWay() != nil {
			t.Error("the connection was replaced with a request in flight")
		}
	})
	close(gate)
	for _, want := range []string{"SET", "GET", "GET"} {
		c.wantReply(bulkReply(want))
	}
	p.onEachLoop(t.Context(), func(l *loop) {
		if !old.Closed() || !next.Up() || l.conns.Shared(node, 2, 0) != next {
			t.Errorf("closed is %v, up is %v, in use is %v", old.Closed(), next.Up(), l.conns.Shared(node, 2, 0) == next)
		}
		if n := l.conns.Renewals(); n != 1 {
			t.Errorf("%d renewals", n)
		}
	})
	if n := f.dataConns(); n != 2 {
		t.Errorf("%d connections", n)
	}
}
