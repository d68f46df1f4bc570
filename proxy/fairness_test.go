package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"sluice/internal/testbed"
	"sluice/proxy/resp"
)

// onlyClient runs f with the client that fulfils cond, on its loop. It reports whether there is one.
func (p *testProxy) onlyClient(cond func(c *client) bool, f func(c *client)) bool {
	found := false
	p.onEachLoop(p.ctx, func(l *loop) {
		for _, c := range l.clients {
			if cond(c) {
				found = true
				f(c)
			}
		}
	})
	return found
}

// A client with much to be parsed at once, such as what it has sent behind a request that waited, gives way to others.
func TestGreedyClientGivesWay(t *testing.T) {
	d := newDataPath(t)
	l, greedy := d.loop, d.client
	const n = 200_000 // More than any machine does in parseTime.
	greedy.in = bytes.Repeat([]byte("PING\r\n"), n)
	before := l.stats.Requests
	turns := 0
	for greedy.resume(); greedy.stall == stallTurn; turns++ {
		if len(l.patient) != 1 {
			t.Fatalf("%d clients wait for their turn", len(l.patient))
		}
		l.nextTurn()
		l.flush()
	}
	if done := l.stats.Requests - before; done != n || turns < 2 || len(greedy.in) > 0 {
		t.Errorf("%d of %d requests in %d turns, %d bytes left", done, n, turns, len(greedy.in))
	}
}

// Several of them have a turn each, and those that have gone none.
func TestGreedyClientsTakeTurns(t *testing.T) {
	d := newDataPath(t)
	l := d.loop
	var clients []*client
	for i := range 3 {
		c := &client{loop: l, pool: d.client.pool, id: uint64(i + 2), session: newSession(d.client.pool, "", "")}
		c.opened(new(handConn))
		c.in = bytes.Repeat([]byte("PING\r\n"), 200_000)
		c.resume()
		clients = append(clients, c)
	}
	clients[1].closing = true // It has said QUIT.
	clients[1].onClose(nil)
	for _, want := range []*client{clients[0], clients[2], clients[0], clients[2]} {
		l.nextTurn()
		if len(l.ready) != 1 || l.ready[0] != want {
			t.Fatal("not the one whose turn it is")
		}
		l.flush()
	}
}

// A client that does not read is not parsed any further while many bytes wait for it; when it reads it gets everything.
func TestClientMustReadBeforeItGoesOn(t *testing.T) {
	t.Parallel()
	top := codisTopology(t)
	c := top.dial(t)
	const n, size = 40_000, 1000
	var requests []byte
	for i := range n {
		requests = resp.AppendCommand(requests, "PING", fmt.Sprintf("%*d", size, i))
	}
	go c.send(string(requests))
	waiting := 0
	testbed.Eventually(t, func() error {
		if !top.onlyClient(func(c *client) bool { return c.stall == stallOutput && c.unread }, func(c *client) {
			waiting = c.waitingOutput()
		}) {
			return errors.New("it is parsed on")
		}
		return nil
	}, replyWait)
	if most := maxOutputMark + parseCheck*(size+20) + earlyFlush + 64<<10; waiting > most {
		t.Errorf("%d bytes wait, want at most %d", waiting, most)
	}
	for i := range n {
		if got, want := c.reply(), bulkReply(fmt.Sprintf("%*d", size, i)); got != want {
			t.Fatalf("reply %d: %.50q", i, got)
		}
	}
}

// unreadConn is a connection whose other end may not read.
type unreadConn struct {
	handConn
	reads bool
}

func (c *unreadConn) OutboundBuffered() int {
	if c.reads {
		return 0
	}
	return c.written
}

// Whoever has not authenticated makes Sluice keep a few KiB at most.
func TestUnauthenticatedClientsAreKeptShort(t *testing.T) {
	withPassword := func(_ *Config, pool *PoolConfig) {
		pool.Users = []User{{Name: "default", Passwords: []PasswordHash{HashPassword("sesame")}}}
	}
	get := resp.AppendCommand(nil, "GET", "k")
	f := func(name string, reads bool, traffic []byte) {
		t.Helper()
		d := newDataPath(t)
		stuck := &unreadConn{reads: reads}
		pool := d.client.pool
		settings := *pool.Settings()
		settings.Users = []User{{Name: "default", Passwords: []PasswordHash{HashPassword("sesame")}}}
		pool.SetSettings(settings)
		c := &client{loop: d.loop, pool: pool, id: 2, session: newSession(pool, "", "")}
		c.opened(stuck)
		sent := 0
		for ; !c.closed && !c.closing && sent < 100; sent++ {
			c.traffic(traffic)
			d.loop.flush()
			if c.closed {
				break
			}
			if kept := len(c.in) + c.waitingOutput(); kept > unauthenticatedInput+unauthenticatedOutput+len(traffic) {
				t.Fatalf("%s: %d bytes are kept", name, kept)
			}
		}
		if sent == 100 {
			t.Errorf("%s: still there after %d bytes", name, sent*len(traffic))
		}
	}
	f("unread errors", false, bytes.Repeat(get, readBuffer/len(get)))
	f("a few long errors", false, []byte(strings.Repeat("nosuch"+strings.Repeat("y", 100)+"\r\n", 20)))
	f("a request without end", true, bytes.Repeat([]byte{'y'}, readBuffer/4))
	top := codisTopology(t, withPassword)
	c := top.dial(t)
	c.send(string(resp.AppendCommand(nil, "AUTH", "sesame")) + strings.Repeat(string(get), 50_000)) // It is no stranger any more.
	c.wantReply("+OK\r\n")
	for range 50_000 {
		c.wantReply("$-1\r\n")
	}
}
