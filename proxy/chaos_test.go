package proxy

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice/backend"
	"sluice/internal/testbed"
	"sluice/router"
)

// Chaos: clients of every kind whose replies carry what they must be, while loops stall, sockets are reset, frozen and
// delayed, servers pause, refuse connections and forget their clients, and settings and topologies are loaded anew. One
// reply that went to another client, one acknowledged write that is lost, one that came back or ran twice ends the
// test.
//
// `make chaos` runs it for ten minutes and counts to 10^8; `make test` for two seconds. The seed is printed; SEED
// repeats the plan, not the timing.

// chaosTime is how long the clients are at it.
func chaosTime() time.Duration {
	if d, err := time.ParseDuration(os.Getenv("CHAOS")); err == nil {
		return d
	}
	return 2 * time.Second
}

// mayhem is the world that goes wrong. Its goroutine is the test's; clients read it and count.
type mayhem struct {
	t       *testing.T
	p       *testProxy
	rng     *rand.Rand
	servers []*testbed.Server
	ways    []*testbed.Relay // in front of all servers but the last
	specs   []router.GroupSpec
	stalls  sync.WaitGroup

	replies  atomic.Int64 // requests that were answered and judged
	unknown  atomic.Int64 // writes with an outcome unknown
	refused  atomic.Int64 // requests that were not run
	lost     atomic.Int64 // connections that the proxy has closed
	stop     atomic.Bool
	mistakes atomic.Int64
	events   map[string]int
}

// mistake says what must never happen.
func (m *mayhem) mistake(format string, args ...any) {
	if m.mistakes.Add(1) <= 20 {
		m.t.Errorf(format, args...)
	}
	m.stop.Store(true)
}

func startMayhem(t *testing.T, seed uint64) *mayhem {
	m := &mayhem{t: t, rng: rand.New(rand.NewPCG(seed, 0)), events: make(map[string]int)}
	var masters []string
	for i := range 3 {
		s := testbed.Redis(t)
		m.servers = append(m.servers, s)
		addr := s.Addr()
		if i < 2 {
			way := testbed.StartRelay(t, addr)
			m.ways = append(m.ways, way)
			addr = way.Addr()
		}
		masters = append(masters, addr)
	}
	m.specs = evenly(codisModel, masters...)
	m.p = startProxy(t, codisModel, m.specs, holding(500*time.Millisecond), func(cfg *Config, pool *PoolConfig) {
		cfg.Loops = 2
		cfg.Limits.MaxPipeline = 1000
		pool.Backend = chaosBackend(300 * time.Millisecond)
	})
	return m
}

// chaosBackend are options under which everything that is given up is given up soon.
func chaosBackend(timeout time.Duration) backend.Options {
	o := testBackend
	o.DialTimeout, o.RequestTimeout, o.UserTimeout = 100*time.Millisecond, timeout, time.Second
	o.BreakerFailures, o.BreakerOpen = 5, 50*time.Millisecond
	o.MaxQueued = 8 << 20
	return o
}

// wait lets the clients go on for a while.
func (m *mayhem) wait(least, most time.Duration) {
	timer := time.NewTimer(least + time.Duration(m.rng.Int64N(int64(most-least))))
	defer timer.Stop()
	<-timer.C
}

// stall keeps a loop from doing anything.
func (m *mayhem) stall(d time.Duration) {
	l := m.p.loops[m.rng.IntN(len(m.p.loops))]
	m.stalls.Add(1)
	if !l.execute(func() { defer m.stalls.Done(); pass(d) }) {
		m.stalls.Done()
	}
}

// describe says what the proxy knows of a client.
func (m *mayhem) describe(addr string) string {
	text := "the proxy does not know the client"
	m.p.onEachLoop(m.p.ctx, func(l *loop) {
		for _, c := range l.clients {
			if c.addr != addr {
				continue
			}
			text = fmt.Sprintf("stall %d, queued %v, %d bytes in, %d in flight, alone %v, %d in doubt, hold %v; turns: %d patient, %d full",
				c.stall, c.queued, len(c.in)-c.inOff, c.pipe.len(), c.alone, len(c.doubts), c.hold.active, len(l.patient), len(l.full))
			text += fmt.Sprintf("; %d bytes out, dirty %v, %d with gnet, listed %v, loop scheduled %v, mode %b, tx %d",
				len(c.out), c.dirty, c.conn.OutboundBuffered(), slices.Contains(l.dirtyClients, c), l.queued, c.mode, len(c.tx.sizes))
			for seq := c.pipe.head; seq != c.pipe.tail; seq++ {
				text += fmt.Sprintf("; request %+v", *c.pipe.at(seq))
			}
			for _, d := range c.retries {
				text += fmt.Sprintf("; retry of %.80q, state %d, confirming %v, script %v, hold %v, why %q, sent to %v",
					d.raw, d.state, d.confirming, d.script.waits(), d.hold.active, d.why, d.sentTo)
				if x, ok := d.exclusive.(*blocking); ok && x.conn != nil {
					text += fmt.Sprintf(", blocking on %p up %v closed %v until %d of %d, recalled %v, id %d", x.conn, x.conn.Up(), x.conn.Closed(), x.conn.Until, l.now, x.recalled, x.conn.ServerID)
				}
			}
		}
	})
	return text
}

// pass returns when a time has passed: it stands for a turn that takes that long.
func pass(d time.Duration) { <-time.After(d) }

func (m *mayhem) way() *testbed.Relay     { return m.ways[m.rng.IntN(len(m.ways))] }
func (m *mayhem) server() *testbed.Server { return m.servers[m.rng.IntN(len(m.servers))] }
func (m *mayhem) direction() []testbed.Direction {
	return [][]testbed.Direction{nil, {testbed.ToTarget}, {testbed.FromTarget}}[m.rng.IntN(3)]
}

// mischief is one thing that goes wrong, and ends when its do returns.
type mischief struct {
	name   string
	weight int
	do     func(m *mayhem)
}

var mischiefs = []mischief{
	{"loop stalls", 6, func(m *mayhem) { m.stall(time.Duration(20+m.rng.IntN(400)) * time.Millisecond) }},
	// Longer than a dial may take, with a dial under way.
	{"loop stalls while it dials", 3, func(m *mayhem) {
		m.way().Cut()
		m.wait(time.Millisecond, 20*time.Millisecond)
		m.stall(2300 * time.Millisecond)
		m.way().Cut()
		m.wait(2300*time.Millisecond, 2500*time.Millisecond)
	}},
	{"sockets reset", 6, func(m *mayhem) { m.way().Cut() }},
	{"way frozen", 6, func(m *mayhem) {
		way, d := m.way(), m.direction()
		way.Stall(d...)
		m.wait(50*time.Millisecond, 1500*time.Millisecond)
		way.Resume()
	}},
	{"way slow", 3, func(m *mayhem) {
		way := m.way()
		way.SetDelay(time.Duration(1+m.rng.IntN(100)) * time.Millisecond)
		m.wait(50*time.Millisecond, 500*time.Millisecond)
		way.SetDelay(0)
	}},
	{"server paused", 6, func(m *mayhem) {
		s := m.server()
		_ = s.Stop()
		m.wait(50*time.Millisecond, 1500*time.Millisecond)
		_ = s.Cont()
	}},
	{"clients killed at the server", 4, func(m *mayhem) { m.server().Do("CLIENT", "KILL", "TYPE", "normal") }},
	{"dials refused", 3, func(m *mayhem) {
		s := m.server()
		s.Do("CONFIG", "SET", "maxclients", "1")
		s.Do("CLIENT", "KILL", "TYPE", "normal")
		m.wait(50*time.Millisecond, 600*time.Millisecond)
		s.Do("CONFIG", "SET", "maxclients", "10000")
	}},
	{"scripts forgotten", 2, func(m *mayhem) { m.server().Do("SCRIPT", "FLUSH") }},
	{"settings loaded", 4, func(m *mayhem) {
		s := *m.p.pool.Settings()
		s.Backend = chaosBackend(time.Duration(100+m.rng.IntN(500)) * time.Millisecond)
		m.p.pool.SetSettings(s)
	}},
	{"topology loaded", 4, func(m *mayhem) { m.p.setTable(m.t, m.specs) }},
	{"slots locked", 4, func(m *mayhem) {
		m.p.setTable(m.t, m.specs, router.MoveSpec{Slots: []router.Range{{From: 0, To: 511}}, Phase: router.Locked})
		m.wait(5*time.Millisecond, 200*time.Millisecond)
		m.p.setTable(m.t, m.specs)
	}},
}

// misbehave makes things go wrong until the time is over.
func (m *mayhem) misbehave(end time.Time) {
	total := 0
	for _, x := range mischiefs {
		total += x.weight
	}
	for time.Now().Before(end) && !m.stop.Load() {
		n := m.rng.IntN(total)
		for _, x := range mischiefs {
			if n -= x.weight; n < 0 {
				m.events[x.name]++
				x.do(m)
				break
			}
		}
		m.wait(20*time.Millisecond, 400*time.Millisecond)
	}
}

// TestChaos is described at the top of this file.
func TestChaos(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("SEED"); s != "" {
		if _, err := fmt.Sscan(s, &seed); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("SEED=%d", seed)
	m := startMayhem(t, seed)
	var clients sync.WaitGroup
	run := func(n int, kind func(m *mayhem, id int, rng *rand.Rand)) {
		for i := range n {
			rng := rand.New(rand.NewPCG(seed, rand.Uint64()))
			clients.Go(func() {
				for !m.stop.Load() {
					kind(m, i, rng)
				}
			})
		}
	}
	run(6, pipelineChaos)
	run(3, sessionChaos)
	run(3, scriptChaos)
	run(2, queueChaos)
	run(2, spreadChaos)
	run(1, greedyChaos)
	begin := time.Now()
	m.misbehave(begin.Add(chaosTime()))
	m.stop.Store(true)
	clients.Wait()
	m.stalls.Wait()
	n := m.replies.Load()
	t.Logf("%d replies in %.0f s (%.0f/s), %d outcomes unknown, %d not run, %d connections lost; %v",
		n, time.Since(begin).Seconds(), float64(n)/time.Since(begin).Seconds(), m.unknown.Load(), m.refused.Load(), m.lost.Load(), m.events)
	if n < 1000 || m.p.Stats().Panics > 0 {
		t.Errorf("%d replies, %d panics", n, m.p.Stats().Panics)
	}
}
