package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/panjf2000/gnet/v2"

	"sluice/backend"
	"sluice/internal/bufpool"
	"sluice/internal/testbed"
	"sluice/proxy/resp"
	"sluice/router"
)

// handConn is a connection of gnet whose socket takes everything.
type handConn struct {
	gnet.Conn
	written int
}

func (c *handConn) Write(p []byte) (int, error) { c.written += len(p); return len(p), nil }

func (*handConn) OutboundBuffered() int { return 0 }

func (*handConn) Fd() int { return -1 }

// handLoop runs nothing: the test itself is the loop.
type handLoop struct{ gnet.EventLoop }

func (handLoop) Execute(context.Context, gnet.Runnable) error { return nil }

func (handLoop) Enroll(context.Context, net.Conn) (<-chan gnet.RegisteredResult, error) {
	return nil, errors.New("nothing is enrolled here")
}

// Close panics where gnet does (v2.10, eventloop_unix.go).
func (handLoop) Close(c gnet.Conn) error {
	if c == nil {
		panic("interface conversion: gnet.Conn is nil")
	}
	return nil
}

// dataPath is a loop with one client and one backend, driven by hand: everything between gnet's callbacks and
// gnet's writes.
type dataPath struct {
	loop    *loop
	client  *client
	server  *backend.Conn
	in, out *handConn // of the client, of the backend
}

func newDataPath(t *testing.T) *dataPath {
	t.Helper()
	s := New(Config{Loops: 1, Settings: Settings{MaxClients: 1, Limits: testLimits}})
	const nowhere = "127.0.0.1:0" // Dialling it fails; the test says that the connection is up.
	pool := s.AddPool(PoolConfig{Name: "test", Model: codisModel, PoolSettings: PoolSettings{Backend: testBackend}})
	table, err := router.NewBuilder(codisModel).Build(router.Spec{Groups: evenly(codisModel, nowhere)})
	if err != nil {
		t.Fatal(err)
	}
	pool.SetTable(table)
	d := &dataPath{in: new(handConn), out: new(handConn)}
	d.loop = newLoop(s, 0, handLoop{})
	d.loop.pool, d.loop.alarmAt = bufpool.New(maxFree), 1 // The alarm does not ring.
	d.client = &client{loop: d.loop, pool: pool, id: 1, session: newSession(pool, "", "")}
	d.client.opened(d.in)
	d.server = d.loop.conns.Shared(pool.node(nowhere), 2, 0)
	d.request([]byte("GET x\r\n")) // Makes it dial.
	if d.server.UnderWay().Opened(d.out, d.loop.now) == nil {
		t.Fatal("the backend connection does not take to being opened")
	}
	d.loop.markBackend(d.server)
	d.loop.flush()
	d.reply(t, []byte("$-1\r\n"))
	s.stop() // No goroutine is left that allocates.
	pool.stop()
	return d
}

// request is a read from the client, reply one from the server.
func (d *dataPath) request(buf []byte) {
	d.loop.clientTraffic(d.client, buf)
	d.loop.flush()
	for d.client.stall == stallTurn { // A slow machine.
		d.loop.nextTurn()
		d.loop.flush()
	}
}

func (d *dataPath) reply(t *testing.T, buf []byte) {
	d.loop.begin()
	if err := d.loop.backendTraffic(d.server, buf); err != nil {
		t.Fatal(err)
	}
	d.loop.flush()
}

// A plain GET or SET allocates nothing on its way, alone or in a pipeline.
func TestDataPathDoesNotAllocate(t *testing.T) {
	testbed.Quiet(t)
	f := func(name string, depth int, request, reply string) {
		t.Helper()
		depth = min(depth, readBuffer/len(request)) // More does not come at once.
		d := newDataPath(t)
		requests, replies := []byte(strings.Repeat(request, depth)), []byte(strings.Repeat(reply, depth))
		turn := func() { d.request(requests); d.reply(t, replies) }
		turn() // Rings and buffers grow to their sizes.
		in, out := d.in.written, d.out.written
		const runs = 200
		if n := testing.AllocsPerRun(runs, turn); n > 0 {
			t.Errorf("%s, %d at once: %v allocations", name, depth, n)
		}
		if got, want := d.in.written-in, (runs+1)*len(replies); got != want {
			t.Errorf("%s, %d at once: the client got %d bytes, want %d", name, depth, got, want)
		}
		if got, want := d.out.written-out, (runs+1)*len(requests); got != want {
			t.Errorf("%s, %d at once: the server got %d bytes, want %d", name, depth, got, want)
		}
	}
	get := string(resp.AppendCommand(nil, "GET", "key:000000000042"))
	for _, depth := range []int{1, 16, 64, 500} {
		for _, size := range []int{3, 100, 1000} {
			value := strings.Repeat("v", size)
			f(fmt.Sprintf("GET of %d bytes", size), depth, get, string(resp.AppendBulk(nil, value)))
			f(fmt.Sprintf("SET of %d bytes", size), depth, string(resp.AppendCommand(nil, "SET", "key:000000000042", value)), "+OK\r\n")
		}
		f("GET of nothing", depth, get, "$-1\r\n")
		f("INCR", depth, string(resp.AppendCommand(nil, "INCR", "n")), ":12345\r\n")
	}
	f("GET of 20000 bytes", 4, get, string(resp.AppendBulk(nil, strings.Repeat("v", 20000))))
}

// The same over sockets, with gnet and the scheduler in it, for one client and for several. The count is of the
// whole process, so it can't be exactly zero:
//
//	the ticker makes a few objects per tick, however many requests there are;
//	gnet makes two for each task, a closure and a node of its queue;
//	a client that gives way to others comes back through the alarm, with two tasks (fairness.go);
//	a turn that is longer than any before it makes a buffer grow.
func TestPlainRequestsDoNotAllocate(t *testing.T) {
	testbed.Quiet(t)
	s := testbed.Redis(t)
	p := startProxyTo(t, s, func(cfg *Config, pool *PoolConfig) {
		pool.Backend.ProbeInterval, cfg.SlowlogSlowerThan = time.Hour, -1 // What is slow, as on a busy machine, is noted.
	})
	const perTick, perYield = 10, 6
	f := func(name string, clients, depth, n int, request, reply string) {
		t.Helper()
		load := newAllocLoad(t, p, clients, depth, request, reply)
		defer load.close()
		load.run(t, 2000/clients/depth+10)
		yields := p.Stats().Yields
		start, before := time.Now(), mallocs()
		load.run(t, n/clients/depth)
		got := float64(mallocs() - before)
		allowed := 0.01*float64(n) + perTick*float64(time.Since(start)/paceSoon.interval()+1)
		allowed += perYield * float64(p.Stats().Yields-yields)
		if got > allowed {
			t.Errorf("%s, %d clients, %d at once: %.0f allocations for %d requests, want at most %.0f", name, clients, depth, got, n, allowed)
		}
	}
	value := strings.Repeat("v", 100)
	set, get := string(resp.AppendCommand(nil, "SET", "k", value)), string(resp.AppendCommand(nil, "GET", "k"))
	for _, load := range []struct{ clients, depth, n int }{{1, 1, 20000}, {1, 64, 200000}, {8, 16, 100000}, {8, 64, 200000}} {
		f("SET", load.clients, load.depth, load.n, set, "+OK\r\n")
		f("GET", load.clients, load.depth, load.n, get, string(resp.AppendBulk(nil, value)))
	}
}

// allocLoad is clients that ask and read without allocating anything themselves.
type allocLoad struct {
	conns             []*testClient
	requests, replies []byte
	bufs              [][]byte
}

func newAllocLoad(t *testing.T, p *testProxy, clients, depth int, request, reply string) *allocLoad {
	l := &allocLoad{requests: []byte(strings.Repeat(request, depth)), replies: []byte(strings.Repeat(reply, depth))}
	for range clients {
		c := p.dial(t)
		c.SetDeadline(time.Now().Add(2 * time.Minute))
		l.conns = append(l.conns, c)
		l.bufs = append(l.bufs, make([]byte, len(l.replies)))
	}
	return l
}

func (l *allocLoad) close() {
	for _, c := range l.conns {
		c.Close()
	}
}

// run makes every client go through its requests that many times. It allocates a few objects per client.
func (l *allocLoad) run(t *testing.T, turns int) {
	t.Helper()
	var work sync.WaitGroup
	for i, c := range l.conns {
		work.Go(func() {
			buf := l.bufs[i]
			for range turns {
				_, err := c.Conn.Write(l.requests)
				if err == nil {
					_, err = io.ReadFull(c.Conn, buf)
				}
				if err != nil || !bytes.Equal(buf, l.replies) {
					t.Errorf("%.100q, %v", buf, err)
					return
				}
			}
		})
	}
	work.Wait()
}

func mallocs() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.Mallocs
}
