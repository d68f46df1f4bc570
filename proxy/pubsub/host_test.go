package pubsub

import (
	"context"
	"errors"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/panjf2000/gnet/v2"

	"sluice/backend"
	"sluice/backend/dialect"
	"sluice/internal/bufpool"
	"sluice/internal/clock"
	"sluice/router"
)

// testHost is the loop and the pool of a hub. The goroutine of the test is the loop: it runs, in until, what others
// give it.
type testHost struct {
	t     *testing.T
	tasks chan func()
	conns *backend.ConnSet
	now   int64
	dirty []*backend.Conn

	masters    []*backend.Node // nil: no topology
	owner      *backend.Node   // of every slot
	maxMessage int
	moved      []string
	troubles   []string
}

// testWait is longer than anything takes that works.
const testWait = 2 * time.Minute

// testMaxWait is the hold.max_wait of a testHost.
const testMaxWait = time.Minute

// newHub makes a hub whose masters are at addrs; the first owns every slot.
func newHub(t *testing.T, model router.Model, opts backend.Options, addrs ...string) (*Hub, *testHost) {
	t.Helper()
	host := &testHost{t: t, tasks: make(chan func(), 1000), now: clock.Now(), maxMessage: 1 << 20} // Nobody queues more.
	host.conns = backend.NewConnSet(host, bufpool.New(1<<20))
	for i, addr := range addrs {
		host.masters = append(host.masters, backend.NewNode(i, addr, &opts))
		host.owner = host.masters[0]
	}
	h := New(Config{
		Loop: host, Conns: host.conns, Pool: host, Model: model, Family: dialect.Redis, Registry: new(Registry),
		Buffers: bufpool.New(1 << 20),
	})
	nodes := host.masters
	t.Cleanup(func() {
		for b := range host.conns.All() {
			host.conns.Close(b, net.ErrClosed)
		}
		for _, node := range nodes {
			node.Retire()
		}
	})
	return h, host
}

func testOptions() backend.Options {
	return backend.Options{
		DialTimeout: testWait, RequestTimeout: time.Second, ReconnectMin: time.Millisecond, ReconnectMax: time.Millisecond,
		ProbeInterval: time.Hour, BreakerFailures: 1, BreakerOpen: time.Hour, MaxQueued: 1 << 20,
	}
}

// until runs the loop until cond holds.
func (l *testHost) until(what string, cond func() bool) {
	l.t.Helper()
	late := time.After(testWait)
	for !cond() {
		select {
		case f := <-l.tasks:
			f()
			l.flush()
		case <-late:
			l.t.Fatalf("not within %s: %s", testWait, what)
		}
	}
}

// flush ends a turn.
func (l *testHost) flush() {
	for _, b := range l.dirty {
		b.Flush()
	}
	l.dirty = nil
}

// Run implements backend.Home.
func (l *testHost) Run(f func()) { l.tasks <- f }

// HangUp implements backend.Home.
func (*testHost) HangUp(gc gnet.Conn) { _ = gc.Close() }

// Enroll implements backend.Home.
func (l *testHost) Enroll(_ context.Context, nc net.Conn, peer any) error {
	l.Run(func() {
		b := peer.(*backend.Dial).Opened(testSocket{nc: nc}, l.now)
		if b == nil {
			_ = nc.Close()
			return
		}
		go l.read(b, nc)
	})
	return nil
}

// read gives the loop what a server sends.
func (l *testHost) read(b *backend.Conn, nc net.Conn) {
	buf := make([]byte, 4096)
	for {
		n, err := nc.Read(buf)
		data := slices.Clone(buf[:n])
		l.Run(func() {
			if b.Closed() {
				return
			}
			if n > 0 && b.Receive(data, l.now) == nil && err == nil {
				return
			}
			b.Close(errors.Join(err, net.ErrClosed))
		})
		if err != nil {
			return
		}
	}
}

func (l *testHost) Now() int64               { return l.now }
func (l *testHost) Wake()                    {}
func (l *testHost) MaxWait() time.Duration   { return testMaxWait }
func (l *testHost) MaxMessage() int          { return l.maxMessage }
func (l *testHost) Trouble(addr string)      { l.troubles = append(l.troubles, addr) }
func (l *testHost) Flush(b *backend.Conn)    { l.dirty = append(l.dirty, b) }
func (l *testHost) Masters() []*backend.Node { return l.masters }

func (l *testHost) Moved(_ router.Slot, addr string) { l.moved = append(l.moved, addr) }

func (l *testHost) Master(router.Slot) *backend.Node { return l.owner }

func (l *testHost) Tick(b *backend.Conn) {
	if !b.Tick(l.now) {
		l.conns.Close(b, net.ErrClosed)
	}
}

func (l *testHost) Topology() Topology {
	if l.masters == nil {
		return nil
	}
	return l
}

func (l *testHost) Named(addr string) *backend.Node {
	at := slices.IndexFunc(l.masters, func(n *backend.Node) bool { return n.Addr == addr })
	if at < 0 {
		return nil
	}
	return l.masters[at]
}

// testSocket is a gnet.Conn that writes to a connection.
type testSocket struct {
	gnet.Conn // nil

	nc net.Conn
}

func (s testSocket) Write(p []byte) (int, error) { return s.nc.Write(p) }
func (s testSocket) Close() error                { return s.nc.Close() }
func (testSocket) OutboundBuffered() int         { return 0 }
func (testSocket) SetLinger(int) error           { return nil }
func (testSocket) Fd() int                       { return -1 }

var (
	_ Loop         = (*testHost)(nil)
	_ Pool         = (*testHost)(nil)
	_ Topology     = (*testHost)(nil)
	_ backend.Home = (*testHost)(nil)
)
