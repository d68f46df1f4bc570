package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/panjf2000/gnet/v2"
	"pgregory.net/rapid"

	"sluice/backend"
	"sluice/internal/bufpool"
	"sluice/router"
)

// lifeLoop keeps what is to be run on the loop until the test runs it, in any order.
type lifeLoop struct {
	gnet.EventLoop

	mu    sync.Mutex
	tasks []gnet.Runnable
	close func(gnet.Conn)
}

func (l *lifeLoop) Execute(_ context.Context, r gnet.Runnable) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tasks = append(l.tasks, r)
	return nil
}

func (l *lifeLoop) Close(c gnet.Conn) error {
	l.close(c)
	return nil
}

// lifeSocket is a socket of the model, with a server at its other end that answers each request with its own bytes.
type lifeSocket struct {
	gnet.Conn

	fd     int // is of no real one
	ctx    any
	open   bool
	reset  bool
	asked  []byte // requests that were not answered
	arrive []byte // during OnTraffic
}

func (s *lifeSocket) Context() any          { return s.ctx }
func (s *lifeSocket) SetContext(ctx any)    { s.ctx = ctx }
func (*lifeSocket) OutboundBuffered() int   { return 0 }
func (s *lifeSocket) Fd() int               { return s.fd }
func (s *lifeSocket) SetLinger(n int) error { s.reset = n == 0; return nil }
func (s *lifeSocket) Next(int) ([]byte, error) {
	return s.arrive, nil
}

func (s *lifeSocket) Write(p []byte) (int, error) {
	if !s.open {
		return 0, errors.New("written to a socket that is closed")
	}
	s.asked = append(s.asked, p...)
	return len(p), nil
}

// lifeRequest is a request of the model: "+<number>", which the server sends back.
type lifeRequest struct {
	model *connLife
	text  string
	ends  int
}

func (r *lifeRequest) Reply(_ uint32, got backend.Reply) {
	if want := r.text + "\r\n"; string(got.Data) != want {
		r.model.fault("%q was answered with %q", want, got.Data)
	}
	r.ends++
}

func (r *lifeRequest) Fail(uint32, backend.Failure) { r.ends++ }

// connLife drives one Conn through gnet's callbacks and the ticker, in any order.
type connLife struct {
	h        handler
	loop     *loop
	el       *lifeLoop
	node     *backend.Node
	conn     *backend.Conn
	dials    []*backend.Dial // seen, not registered yet
	seen     map[*backend.Dial]bool
	sockets  []*lifeSocket
	requests []*lifeRequest
	faults   []string
}

func newConnLife(t *testing.T) *connLife {
	s := New(Config{Loops: 1, Log: slog.New(slog.DiscardHandler), Settings: Settings{MaxClients: 1, Limits: testLimits}})
	pool := s.AddPool(PoolConfig{Name: "test", Model: codisModel, PoolSettings: PoolSettings{Backend: testBackend}})
	table, err := router.NewBuilder(codisModel).Build(router.Spec{Groups: evenly(codisModel, "127.0.0.1:0")})
	if err != nil {
		t.Fatal(err)
	}
	pool.SetTable(table)
	m := &connLife{el: new(lifeLoop), node: pool.node("127.0.0.1:0"), seen: make(map[*backend.Dial]bool)}
	m.el.close = func(c gnet.Conn) { m.closeSocket(c.(*lifeSocket), nil) }
	m.loop = newLoop(s, 0, m.el)
	m.loop.pool = bufpool.New(maxFree)
	s.stop()
	pool.stop() // Every dial fails at once, unless the model says that it has not.
	return m
}

func (m *connLife) fault(format string, args ...any) {
	m.faults = append(m.faults, fmt.Sprintf(format, args...))
}

// closeSocket does what gnet's loop does when a connection ends.
func (m *connLife) closeSocket(s *lifeSocket, err error) {
	if s.open {
		_ = m.h.OnClose(s, err)
		s.open = false
	}
}

// look notes a dial that has begun, and waits until its goroutine has said how it ended.
func (m *connLife) look() {
	m.node.Retire()
	if m.loop.begun {
		m.fault("a turn goes on for ever, and the clock stands")
	}
	for _, s := range m.sockets {
		var peer any
		if s.fd < len(m.loop.peers) {
			peer = m.loop.peers[s.fd]
		}
		if b, up := s.ctx.(*backend.Conn); peer != nil && (!s.open || peer != s.ctx) || up && s.open && peer != b {
			m.fault("the loop takes socket %d, open %v, for that of %v", s.fd, s.open, peer)
		}
	}
	if m.conn == nil {
		return
	}
	if d := m.conn.UnderWay(); d != nil && !m.seen[d] {
		m.seen[d] = true
		m.dials = append(m.dials, d)
	}
}

func (m *connLife) send(t *rapid.T) {
	m.conn = m.loop.conns.Shared(m.node, 2, 0)
	r := &lifeRequest{model: m, text: fmt.Sprintf("+%d", len(m.requests))}
	if err := m.conn.Send([]byte(r.text+"\r\n"), r, 0, m.loop.now); err != nil {
		t.Fatal(err)
	}
	m.requests = append(m.requests, r)
	m.loop.markBackend(m.conn)
	m.look()
}

func (m *connLife) flush(*rapid.T) {
	m.loop.flush()
	m.look()
}

func (m *connLife) tick(t *rapid.T) {
	m.loop.now += int64(rapid.SampledFrom([]time.Duration{0, time.Millisecond, time.Second, 20 * time.Second}).Draw(t, "time"))
	m.loop.tick()
	m.look()
}

// task runs something that waits in the queue of the loop, such as the news of a dial that has ended.
func (m *connLife) task(t *rapid.T) {
	m.look()
	if len(m.el.tasks) == 0 {
		return
	}
	i := rapid.IntRange(0, len(m.el.tasks)-1).Draw(t, "task")
	task := m.el.tasks[i]
	m.el.tasks = slices.Delete(m.el.tasks, i, i+1)
	now := m.loop.now
	_ = task.Run(context.Background())
	m.loop.now = max(now, m.loop.now)
	m.look()
}

// register lets gnet report a connection as open, of any dial that has begun, however old.
func (m *connLife) register(t *rapid.T) {
	if len(m.dials) == 0 {
		return
	}
	i := rapid.IntRange(0, len(m.dials)-1).Draw(t, "dial")
	s := &lifeSocket{fd: 1<<14 + len(m.sockets), ctx: m.dials[i], open: true}
	m.dials = slices.Delete(m.dials, i, i+1)
	m.sockets = append(m.sockets, s)
	if _, action := m.h.OnOpen(s); action == gnet.Close {
		m.closeSocket(s, nil)
	}
	m.look()
}

// traffic brings some of the replies that a server owes, on any socket.
func (m *connLife) traffic(t *rapid.T) {
	if len(m.sockets) == 0 {
		return
	}
	s := rapid.SampledFrom(m.sockets).Draw(t, "socket")
	n := rapid.IntRange(0, len(s.asked)).Draw(t, "bytes")
	if !s.open || n == 0 {
		return
	}
	s.arrive = bytes.Clone(s.asked[:n])
	s.asked = s.asked[n:]
	if m.h.OnTraffic(s) == gnet.Close {
		m.closeSocket(s, nil)
	}
	m.look()
}

// lose ends any socket from outside.
func (m *connLife) lose(t *rapid.T) {
	if len(m.sockets) > 0 {
		m.closeSocket(rapid.SampledFrom(m.sockets).Draw(t, "socket"), errors.New("lost"))
		m.look()
	}
}

func (m *connLife) check(t *rapid.T) {
	if len(m.faults) > 0 {
		t.Fatal(m.faults)
	}
	open := 0
	for _, s := range m.sockets {
		if s.open {
			open++
		}
		if s.open && m.conn.GnetConn() != gnet.Conn(s) {
			t.Fatal("a socket is open that no connection uses")
		}
	}
	if open > 1 {
		t.Fatalf("one connection has %d sockets", open)
	}
	if m.conn != nil && m.conn.Up() && (m.conn.UnderWay() != nil || open == 0) {
		t.Fatal("a connection that is up dials, or has no socket")
	}
	for _, r := range m.requests {
		if r.ends > 1 {
			t.Fatalf("%q has ended %d times", r.text, r.ends)
		}
	}
}

// Whatever the order in which dials end, gnet reports connections as open and closed, bytes arrive and the ticker
// runs: a reply goes to the request that it answers or to nobody, each connection has one socket, and none is left
// behind.
func TestConnLife(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := newConnLife(t)
		rt.Repeat(map[string]func(*rapid.T){
			"send": m.send, "flush": m.flush, "tick": m.tick, "task": m.task, "register": m.register,
			"traffic": m.traffic, "lose": m.lose, "": m.check,
		})
	})
}
