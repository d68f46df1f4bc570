package proxy

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/backend"
	"sluice/internal/leaktest"
	"sluice/internal/testbed"
	"sluice/proxy/hold"
	"sluice/proxy/resp"
	"sluice/router"
)

func TestMain(m *testing.M) { leaktest.Main(testbed.RunWithSpares{M: m}) }

// testLimits are far from what a test that is not about limits reaches.
var testLimits = Limits{
	MaxPipeline: 10000, MaxUnparsed: 1 << 30, MaxBulk: 512 << 20, MaxArgs: 1 << 20, ClientOutput: 1 << 30, PubSubOutput: 1 << 30,
}

// testBackend are options for servers on this machine.
var testBackend = backend.Options{
	Name: "sluice:test", DialTimeout: 2 * time.Second, RequestTimeout: 5 * time.Second,
	KeepAlive: 30 * time.Second, UserTimeout: 10 * time.Second,
	ReconnectMin: 5 * time.Millisecond, ReconnectMax: 50 * time.Millisecond, ProbeInterval: 50 * time.Millisecond,
	BreakerFailures: 5, BreakerOpen: 100 * time.Millisecond, MaxQueued: 256 << 20, MaxDedicated: 1000,
}

// testProxy is a Server with one pool on a free port of this machine.
type testProxy struct {
	*Server
	pool    *Pool
	builder *router.Builder
	addr    string
	logs    *lockedBuffer
	panics  bool // the test causes them
}

// startProxy runs a Server for specs in front of whatever listens at their addresses. change may alter the
// configuration first. The Server is shut down when the test ends.
func startProxy(t testing.TB, model router.Model, specs []router.GroupSpec, change ...func(*Config, *PoolConfig)) *testProxy {
	t.Helper()
	logs, level := new(lockedBuffer), new(slog.LevelVar)
	cfg := Config{
		ID: strings.Repeat("1", 40), Version: "test", Loops: 1,
		Log: slog.New(slog.NewTextHandler(logs, &slog.HandlerOptions{Level: level})), Level: level,
		Settings: Settings{
			MaxClients: 1000, Limits: testLimits, Drain: 2 * time.Second, SlowlogSlowerThan: 10 * time.Millisecond, SlowlogMaxLen: 128,
		},
	}
	pool := PoolConfig{
		Name: "test", Model: model, Listen: []Listen{{Network: "tcp", Address: "127.0.0.1:0"}},
		PoolSettings: PoolSettings{Databases: 16, Backend: testBackend},
	}
	for _, f := range change {
		f(&cfg, &pool)
	}
	p := &testProxy{Server: New(cfg), builder: router.NewBuilder(model), logs: logs}
	p.pool = p.AddPool(pool)
	p.setTable(t, specs)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Shutdown(context.Background())
		counts := p.pool.Holds()
		if err := counts.Check(); err != nil {
			t.Errorf("the holds do not balance: %v", err)
		}
		if n := p.Stats().Panics; n > 0 && !p.panics {
			t.Errorf("%d panics", n)
		}
		if t.Failed() {
			t.Logf("log of the proxy:\n%s", logs)
		}
	})
	p.addr = p.pool.Addrs()[0].String()
	return p
}

// holding lets requests wait, without other limits.
func holding(wait time.Duration) func(*Config, *PoolConfig) {
	return func(_ *Config, pool *PoolConfig) {
		pool.Hold = hold.Settings{
			MaxWait: wait, MaxRequests: 1 << 20, MaxBytes: 1 << 30, SlotRequests: 1 << 20, SlotBytes: 1 << 30,
			ClientRequests: 1 << 20, ClientBytes: 1 << 30,
		}
		pool.MoveParallel = 4
	}
}

func (p *testProxy) setTable(t testing.TB, specs []router.GroupSpec, moves ...router.MoveSpec) {
	t.Helper()
	table, err := p.builder.Build(router.Spec{Groups: specs, Moves: moves})
	if err != nil {
		t.Fatal(err)
	}
	p.pool.SetTable(table)
}

// evenly divides the slots of model among masters, in order.
func evenly(model router.Model, masters ...string) []router.GroupSpec {
	specs := make([]router.GroupSpec, len(masters))
	per := model.Slots() / len(masters)
	for i, addr := range masters {
		to := (i+1)*per - 1
		if i == len(masters)-1 {
			to = model.Slots() - 1
		}
		specs[i] = router.GroupSpec{
			ID: router.GroupID(fmt.Sprint(i + 1)), Master: addr,
			Slots: []router.Range{{From: router.Slot(i * per), To: router.Slot(to)}},
		}
	}
	return specs
}

// with adds nodes that own nothing yet, which servers may redirect to.
func with(specs []router.GroupSpec, masters ...string) []router.GroupSpec {
	for _, addr := range masters {
		specs = append(specs, router.GroupSpec{ID: router.GroupID(addr), Master: addr})
	}
	return specs
}

// keysApart returns n keys of different slots.
func keysApart(model router.Model, n int) []string {
	var keys []string
	seen := make(map[router.Slot]bool)
	for i := 0; len(keys) < n; i++ {
		key := fmt.Sprint("k", i)
		if slot := model.Slot([]byte(key)); !seen[slot] {
			seen[slot] = true
			keys = append(keys, key)
		}
	}
	return keys
}

// startMove runs a Server of a Codis pool in which the slot of key moves from one server to another.
func startMove(t testing.TB, key string, source, target *fakeBackend, change ...func(*Config, *PoolConfig)) *testProxy {
	t.Helper()
	slot := codisModel.Slot([]byte(key))
	moving := []router.Range{{From: slot, To: slot}}
	p := startProxy(t, codisModel, nil, append([]func(*Config, *PoolConfig){holding(never), ofFamily("codis"), faultOptions(nil)}, change...)...)
	p.setTable(t, []router.GroupSpec{
		{ID: "1", Master: source.addr(), Slots: []router.Range{{From: 0, To: slot - 1}, {From: slot + 1, To: router.CodisSlots - 1}}},
		{ID: "2", Master: target.addr(), Slots: moving},
	}, router.MoveSpec{Slots: moving, Phase: router.Moving, From: source.addr(), FromID: "1"})
	return p
}

// hurry lets the oldest retry of every client run that waits for nothing but its time.
func (p *testProxy) hurry(t testing.TB) {
	t.Helper()
	p.onEachLoop(t.Context(), func(l *loop) {
		for _, c := range l.clients {
			if len(c.retries) > 0 {
				c.retries[0].next.After = 0
				c.runRetries()
			}
		}
	})
}

// testClient speaks RESP by hand, so that tests see every byte.
type testClient struct {
	t testing.TB
	net.Conn
	r      *bufio.Reader
	framer resp.Framer
}

func dial(t testing.TB, network, addr string) *testClient {
	t.Helper()
	conn, err := net.Dial(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &testClient{t: t, Conn: conn, r: bufio.NewReader(conn)}
}

func (p *testProxy) dial(t testing.TB) *testClient {
	t.Helper()
	return dial(t, "tcp", p.addr)
}

// send writes raw bytes.
func (c *testClient) send(raw string) {
	c.t.Helper()
	if _, err := io.WriteString(c.Conn, raw); err != nil {
		c.t.Fatal(err)
	}
}

// request writes one request.
func (c *testClient) request(args ...string) {
	c.t.Helper()
	c.send(string(resp.AppendCommand(nil, args...)))
}

// do sends a request and returns the raw reply.
func (c *testClient) do(args ...string) string {
	c.t.Helper()
	c.request(args...)
	return c.reply()
}

// want sends a request and checks the raw reply.
func (c *testClient) want(reply string, args ...string) {
	c.t.Helper()
	if got := c.do(args...); got != reply {
		c.t.Errorf("%.80q: %.200q, want %.200q", args, got, reply)
	}
}

// reply reads one raw reply.
func (c *testClient) reply() string {
	c.t.Helper()
	reply, err := c.tryReply()
	if err != nil {
		c.t.Fatalf("no reply: %v", err)
	}
	return reply
}

// replyWait bounds every read of a test; nothing that works takes that long, on a busy machine either.
const replyWait = 2 * time.Minute

func (c *testClient) tryReply() (string, error) {
	if err := c.SetReadDeadline(time.Now().Add(replyWait)); err != nil {
		return "", err
	}
	var reply bytes.Buffer
	for {
		line, err := c.r.ReadBytes('\n')
		if err != nil {
			return reply.String(), err
		}
		reply.Write(line)
		n, done, err := c.framer.Next(line)
		if err != nil || n != len(line) && !done {
			return reply.String(), fmt.Errorf("bad reply %q: %w", reply.String(), err)
		}
		if done {
			return reply.String(), nil
		}
	}
}

// wantClosed checks that the server closes the connection without sending anything more.
func (c *testClient) wantClosed() {
	c.t.Helper()
	reply, err := c.tryReply()
	if err == nil || reply != "" || os.IsTimeout(err) {
		c.t.Errorf("connection not closed: %q, %v", reply, err)
	}
}

// lockedBuffer collects the log.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
