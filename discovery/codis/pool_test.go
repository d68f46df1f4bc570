package codis

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"sluice/backend"
	"sluice/backend/dialect"
	"sluice/internal/testbed"
	"sluice/internal/testbed/dashboard"
	"sluice/proxy"
	"sluice/proxy/hold"
	"sluice/router"
)

// testPool is a real proxy whose topology comes from a testSource.
type testPool struct {
	*testSource
	pool  *proxy.Pool
	proxy string // where clients connect
}

// startPool runs a proxy and its Source until the test ends.
func startPool(t *testing.T, change ...func(*Config)) *testPool {
	t.Helper()
	server := proxy.New(proxy.Config{
		ID: strings.Repeat("1", 40), Version: "test", Loops: 2, Log: slog.New(slog.DiscardHandler),
		Settings: proxy.Settings{MaxClients: 100, Drain: time.Second, Limits: proxy.Limits{
			MaxPipeline: 1000, MaxUnparsed: 1 << 20, MaxBulk: 1 << 20, MaxArgs: 1000, ClientOutput: 1 << 20,
		}},
	})
	p := &testPool{testSource: &testSource{t: t}}
	cfg := Config{
		Product: "demo", Slots: 1024, Counters: func() Counters { return Counters{} }, Shutdown: func() {},
		AwaitAnswered: func(ctx context.Context, addrs []string) error { return p.pool.AwaitAnswered(ctx, addrs) },
	}
	for _, f := range change {
		f(&cfg)
	}
	p.pool = server.AddPool(proxy.PoolConfig{
		Name: "main", Model: router.CodisModel(1024), Family: dialect.Of("codis"),
		Listen: []proxy.Listen{{Network: "tcp", Address: "127.0.0.1:0"}},
		PoolSettings: proxy.PoolSettings{
			Databases: 16, MoveParallel: 4,
			Backend: backend.Options{
				Name: "sluice:test", Password: cfg.Auth, DialTimeout: 2 * time.Second, RequestTimeout: wait, KeepAlive: wait, UserTimeout: wait,
				ReconnectMin: 5 * time.Millisecond, ReconnectMax: 50 * time.Millisecond, ProbeInterval: 50 * time.Millisecond,
				BreakerFailures: 5, BreakerOpen: 100 * time.Millisecond, MaxQueued: 1 << 20,
			},
			Hold: hold.Settings{
				MaxWait: wait, MaxRequests: 1000, MaxBytes: 1 << 20, SlotRequests: 1000, SlotBytes: 1 << 20,
				ClientRequests: 1000, ClientBytes: 1 << 20,
			},
		},
	})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	p.addr = ln.Addr().String()
	p.run(cfg, ln, func(table *router.Table) {
		p.pool.SetTable(table)
		p.mu.Lock()
		defer p.mu.Unlock()
		p.tables = append(p.tables, table)
	})
	must(t, server.Start())
	t.Cleanup(func() { server.Shutdown(context.Background()) })
	p.proxy = p.pool.Addrs()[0].String()
	return p
}

// client is a connection to the proxy that speaks inline commands.
type client struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

func (p *testPool) dial() *client {
	p.t.Helper()
	conn, err := net.Dial("tcp", p.proxy)
	must(p.t, err)
	p.t.Cleanup(func() { _ = conn.Close() })
	must(p.t, conn.SetDeadline(time.Now().Add(2*wait)))
	return &client{p.t, conn, bufio.NewReader(conn)}
}

func (c *client) send(line string) {
	c.t.Helper()
	if _, err := fmt.Fprintf(c.conn, "%s\r\n", line); err != nil {
		c.t.Fatal(err)
	}
}

// reply is the next line.
func (c *client) reply() string {
	c.t.Helper()
	line, err := c.r.ReadString('\n')
	must(c.t, err)
	return strings.TrimSpace(line)
}

func (c *client) want(reply, line string) {
	c.t.Helper()
	c.send(line)
	if got := c.reply(); got != reply {
		c.t.Errorf("%s: %s, want %s", line, got, reply)
	}
}

// held waits until n requests are held.
func (p *testPool) held(n int) {
	p.t.Helper()
	eventually(p.t, n, func() int {
		now, counts := 0, p.pool.Holds()
		for _, c := range counts.Now {
			now += c
		}
		return now
	})
}

// The slot of "k".
func slotOfK() int { return int(router.CodisModel(1024).Slot([]byte("k"))) }

// A lock is answered when everything is answered that was sent before, and not earlier; the rest of the API is answered
// meanwhile.
func TestLockWaitsForWhatIsInFlight(t *testing.T) {
	server, p := testbed.Redis(t), startPool(t)
	slot := owned(slotOfK(), 1, server.Addr())
	p.fillIn(slot)
	before, after := p.dial(), p.dial()
	before.want("+OK", "SET k 1")
	must(t, server.Stop())
	before.send("INCR k")
	eventually(t, true, func() bool { return p.inFlight(server.Addr()) })

	slot.Locked = true
	done := make(chan answered, 1)
	go func() { done <- p.api(http.MethodPut, "fillslots", "", slotsJSON(t, slot)) }()
	eventually(t, true, func() bool { return strings.Contains(describe(p.table()), "locked") })
	after.send("INCR k")
	p.held(1)
	for range 3 {
		p.api(http.MethodGet, "xping", "", "").is(http.StatusOK)
		p.api(http.MethodGet, "stats", "", "").is(http.StatusOK)
		p.api(http.MethodGet, "slots", "", "").is(http.StatusOK)
	}
	select {
	case a := <-done:
		t.Fatalf("the lock was answered while a command was in flight: %+v", a)
	default:
	}
	must(t, server.Cont())
	a := receive(t, done)
	a.is(http.StatusOK, "OK")
	if got := before.reply(); got != ":2" {
		t.Errorf("the command in flight was answered %s", got)
	}
	if got := server.Do("GET", "k").String(); got != "2" {
		t.Errorf("k is %s: a command went to a locked slot", got)
	}
	slot.Locked = false
	p.fillIn(slot)
	if got := after.reply(); got != ":3" {
		t.Errorf("the held command was answered %s", got)
	}
}

// inFlight reports whether a server owes an answer.
func (p *testPool) inFlight(addr string) bool {
	ctx, cancel := context.WithTimeout(p.t.Context(), 20*time.Millisecond)
	defer cancel()
	return p.pool.AwaitAnswered(ctx, []string{addr}) != nil
}

// The wait for answers has a bound. The dashboard takes the lock back then, and asks again.
func TestLockGivesUpOnAFrozenServer(t *testing.T) {
	t.Parallel()
	server := testbed.Redis(t)
	other := testbed.Redis(t)
	p := startPool(t, func(cfg *Config) {
		await := cfg.AwaitAnswered
		cfg.AwaitAnswered = func(ctx context.Context, addrs []string) error {
			ctx, cancel := context.WithTimeout(ctx, 100*time.Millisecond) // as if fillTime were that
			defer cancel()
			return await(ctx, addrs)
		}
	})
	d := startDashboard(t, nil, dashboard.Group{ID: 1, Servers: []string{server.Addr()}},
		dashboard.Group{ID: 2, Servers: []string{other.Addr()}})
	must(t, d.Assign(t.Context(), 1, dashboard.Slots(0, 1023)...))
	must(t, d.Online(t.Context(), p.addr))
	c := p.dial()
	c.want("+OK", "SET k 1")
	must(t, server.Stop())
	c.send("GET k")
	eventually(t, true, func() bool { return p.inFlight(server.Addr()) })

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	moved := make(chan error, 1)
	go func() {
		_, err := d.Migrate(ctx, []int{slotOfK()}, 2, dashboard.Sync)
		moved <- err
	}()
	testbed.Eventually(t, func() error {
		for _, e := range d.Errors() {
			if strings.Contains(e, "1 slots are changed, but commands sent before are not answered yet: "+server.Addr()) {
				return nil
			}
		}
		return fmt.Errorf("errors %q", d.Errors())
	}, wait)
	cancel()
	_ = receive(t, moved)
	must(t, server.Cont())
	if got := c.reply(); got != "$1" {
		t.Errorf("GET k: %s", got)
	}
}

// A proxy that comes back has the same token: the dashboard puts it online by itself.
func TestRestartedProxyIsPutOnline(t *testing.T) {
	s := startSource(t, "127.0.0.1:0")
	d := startDashboard(t, nil, dashboard.Group{ID: 1, Servers: []string{addrA}})
	must(t, d.Assign(t.Context(), 1, dashboard.Slots(0, 9)...))
	must(t, d.Online(t.Context(), s.addr))
	s.wants("0-9 1:127.0.0.1:1\n10-1023 offline")
	eventually(t, true, func() bool { st, err := d.Proxy(s.addr); return err == nil && st.Online })

	s.stop()
	eventually(t, false, func() bool { _, err := d.Proxy(s.addr); return err == nil })
	again := startSource(t, s.addr)
	if again.model.Token != s.model.Token || again.xauth != s.xauth {
		t.Errorf("token %s became %s", s.model.Token, again.model.Token)
	}
	eventually(t, true, func() bool { st, err := d.Proxy(s.addr); return err == nil && st.Online })
	again.wants("0-9 1:127.0.0.1:1\n10-1023 offline")

	must(t, d.Remove(t.Context(), s.addr, false))
	if again.mu.Lock(); again.ended != 1 {
		t.Errorf("shut down %d times", again.ended)
	}
	again.mu.Unlock()
}
