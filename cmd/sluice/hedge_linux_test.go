package main

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"sluice/bench/load"
	"sluice/internal/testbed"
)

// hiccups is how a replica is slow: it says nothing for so long each time. Without every it is late by that all the time.
type hiccups struct{ long, every time.Duration }

// serveHiccuping serves a group of whose two replicas one is reached through a relay.
func serveHiccuping(t *testing.T, hedge bool) (*fleet, *testbed.Relay) {
	t.Helper()
	m := testbed.Redis(t, "--repl-diskless-sync-delay", "0")
	if v := m.Do("SET", "first", "write"); v.Error() != nil {
		t.Fatal(v.Error())
	}
	f := &fleet{masters: []*testbed.Server{m}}
	var relay *testbed.Relay
	var addrs []string
	for i := range 2 {
		r := testbed.Redis(t, "--repl-diskless-sync-delay", "0")
		addr := r.Addr()
		if i == 1 {
			relay = testbed.StartRelay(t, r.Addr())
			addr = relay.Addr()
			_, port, _ := strings.Cut(addr, ":")
			if v := r.Do("CONFIG", "SET", "replica-announce-port", port); v.Error() != nil {
				t.Fatal(v.Error())
			}
		}
		addrs = append(addrs, addr)
		if err := r.ReplicaOf(m.Addr()); err != nil {
			t.Fatal(err)
		}
	}
	f.served = serve(t, fmt.Sprintf(`[proxy]
admin = "127.0.0.1:0"
log_format = "text"
[[pool]]
name = "main"
listen = ["tcp://127.0.0.1:0"]
slot_model = "codis"
[[pool.group]]
id = "1"
master = %q
replicas = [%q, %q]
slots = "0-1023"
[pool.reads]
policy = "prefer-replica"
hedge = %t
`, m.Addr(), addrs[0], addrs[1], hedge))
	for _, addr := range addrs {
		f.awaitNode(t, addr, "replica", "in sync")
	}
	return f, relay
}

// metric is the value of a metric without labels.
func (s *served) metric(t *testing.T, name string) float64 {
	t.Helper()
	_, body := get(t, s.admin+"/metrics")
	m := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindStringSubmatch(body)
	if m == nil {
		t.Fatalf("there is no %s", name)
	}
	v, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// What hedges are worth while one of two replicas is slow, and what they cost. That there are some, what they cost and that
// each read is answered is judged; the long form has the rounds of the table in bench/REPLICAS.md, with and without hedges in turn.
func TestHedgesUnderLoad(t *testing.T) {
	duration, rounds, cells := 2*time.Second, 1, []hiccups{{20 * time.Millisecond, time.Second}}
	if testbed.Soak() {
		duration, rounds = 3*time.Second, 5
		cells = append(cells, hiccups{50 * time.Millisecond, 500 * time.Millisecond}, hiccups{5 * time.Millisecond, 0})
	}
	for round := range rounds {
		for _, h := range cells {
			for _, hedge := range []bool{round%2 == 1, round%2 == 0} {
				t.Run(fmt.Sprintf("%v every %v, hedge %t", h.long, h.every, hedge), func(t *testing.T) { hedgeUnder(t, h, hedge, duration) })
			}
		}
	}
}

func hedgeUnder(t *testing.T, h hiccups, hedge bool, duration time.Duration) {
	f, relay := serveHiccuping(t, hedge)
	stop := hiccup(relay, h)
	cfg := load.Default()
	cfg.Target, cfg.Conns, cfg.Rate, cfg.Keys, cfg.Duration, cfg.Warmup = f.addr, 64, 4000, 1000, duration, 500*time.Millisecond
	res, err := load.Run(t.Context(), cfg)
	stop()
	if err != nil {
		t.Fatal(err)
	}
	if res.Failures() > 0 {
		t.Errorf("%d failures: %q", res.Failures(), res.ErrorTexts())
	}
	_, sent := f.reads(t)
	hedges, won := f.metric(t, "sluice_hedges_total"), f.metric(t, "sluice_hedges_won_total")
	reads := sent - hedges
	t.Logf("%v every %v, hedge %t: p50 %v, p99 %v, p99.9 %v, max %v; %.0f reads, %.2f %% of them hedged, of those %.0f %% won",
		h.long, h.every, hedge, res.Quantile(50), res.Quantile(99), res.Quantile(99.9), res.Quantile(100), reads, 100*hedges/reads, 100*won/max(hedges, 1))
	if most := 0.02 * reads; hedges > most || !hedge && hedges > 0 {
		t.Errorf("%.0f hedges, at most %.0f", hedges, most)
	}
	if hedge && (hedges == 0 || won == 0) {
		t.Errorf("%.0f hedges, %.0f of them won", hedges, won)
	}
}

// hiccup slows a replica down until the function returned is called.
func hiccup(relay *testbed.Relay, h hiccups) (stop func()) {
	if h.every == 0 {
		relay.SetDelay(h.long, testbed.FromTarget)
		return func() {}
	}
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		slow, over := time.NewTicker(h.every), time.NewTimer(0)
		defer slow.Stop()
		defer over.Stop()
		for {
			select {
			case <-slow.C:
				relay.Stall(testbed.FromTarget)
				over.Reset(h.long)
			case <-over.C:
				relay.Resume(testbed.FromTarget)
			case <-done:
				relay.Resume(testbed.FromTarget)
				return
			}
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}
