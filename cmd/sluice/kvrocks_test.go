package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"sluice/bench/check"
	"sluice/internal/testbed"
	"sluice/internal/testbed/fakekvrocks"
)

// serveKvrocks starts two nodes that halve the slots, and a proxy.
func serveKvrocks(t *testing.T, dialect string, opts fakekvrocks.Options) ([]*fakekvrocks.Server, *served) {
	t.Helper()
	nodes := fakekvrocks.StartCluster(t, 2, opts)
	return nodes, serve(t, fmt.Sprintf(`[proxy]
admin = "127.0.0.1:0"
log_format = "text"
[[pool]]
name = "main"
listen = ["tcp://127.0.0.1:0"]
slot_model = "cluster"
dialect = %q
[pool.discovery]
kind = "cluster"
seeds = [%q, %q]
refresh = "100ms"
[pool.backend]
request_timeout = "30s"
[pool.hold]
max_wait = "2m"
`, dialect, nodes[0].Addr(), nodes[1].Addr()))
}

// Writes to a slot in the last phase of its migration wait, reads do not, and then the new owner is found.
func TestKvrocksForbiddenPhaseIsHeld(t *testing.T) {
	t.Parallel()
	nodes, s := serveKvrocks(t, "kvrocks", fakekvrocks.Options{})
	conn := connect(t, s.addr)
	key := keyIn(0, 999)
	if got := do(t, conn, "SET "+key+" old"); got != "+OK" {
		t.Fatal(got)
	}
	hold := nodes[0].Faults.Hold(fakekvrocks.Forbidden)
	defer hold.Release()
	if got := do(t, connect(t, nodes[0].Addr()), "CLUSTERX MIGRATE 0-999 "+nodes[1].ID()); got != "+OK" {
		t.Fatal(got)
	}
	<-hold.Arrived()
	answers := make(chan string, 1)
	go func() { answers <- do(t, connect(t, s.addr), "SET "+key+" new") }()
	s.shows(t, "/metrics", `sluice_holds{pool="main",cause="moving"} 1`)
	if got := do(t, conn, "GET "+key); got != "old" {
		t.Errorf("a read in the last phase: %q", got)
	}
	s.shows(t, "/api/v1/migrations", `"slots": "0-999"`, `"source": "`+nodes[0].Addr()+`"`, `"target": "`+nodes[1].Addr()+`"`)
	hold.Release()
	select {
	case got := <-answers:
		if got != "+OK" {
			t.Errorf("%q", got)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the write is not answered")
	}
	if got := nodes[1].Do("GET", key).String(); got != "new" {
		t.Errorf("at the target: %q", got)
	}
	if n := nodes[0].Do("GET", key).String(); n != "old" {
		t.Errorf("at the source: %q", n)
	}
}

func TestKvrocksMigrationUnderLoad(t *testing.T) {
	t.Parallel()
	migrateKvrocks(t, "kvrocks", fakekvrocks.Options{})
}

func TestOldKvrocksMigrationUnderLoad(t *testing.T) {
	t.Parallel()
	migrateKvrocks(t, "kvrocks", fakekvrocks.Options{Before27: true})
}

// Valkey 9 and Redis 8.4 hold all writes of a node when they hand slots over.
func TestAtomicSlotMigrationUnderLoad(t *testing.T) {
	t.Parallel()
	migrateKvrocks(t, "redis", fakekvrocks.Options{HoldWrites: true})
}

func migrateKvrocks(t *testing.T, dialect string, opts fakekvrocks.Options) {
	nodes, s := serveKvrocks(t, dialect, opts)
	for _, n := range nodes {
		n.Faults.Stall(fakekvrocks.Forbidden, 100*time.Millisecond)
	}
	cfg := check.Defaults(check.Full)
	// The fake looks at no slot at EXEC, interrupts nobody who is blocked, and moves no streams.
	cfg.Sessions.Transactions, cfg.Sessions.Pops, cfg.Sessions.Streams = 0, 0, 0
	cfg.Addr, cfg.Slot, cfg.WatchShare, cfg.Tagged = s.addr, check.ClusterSlot, 0.25, true
	cfg.Watch = func(key []byte) bool { return check.ClusterSlot(key) < 1000 }
	run, err := check.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	warm(t, run)
	for version, from := range []*fakekvrocks.Server{nodes[0], nodes[1]} {
		run.Mark(fmt.Sprint("move ", version+1))
		to := nodes[1-version]
		conn := connect(t, from.Addr())
		if got := do(t, conn, "CLUSTERX MIGRATE 0-999 "+to.ID()); got != "+OK" {
			t.Fatal(got)
		}
		testbed.Eventually(t, func() error {
			if info := doRaw(t, conn, "CLUSTER INFO\r\n"); !strings.Contains(info, "migrating_state: success") {
				return errors.New(info)
			}
			return nil
		}, 60*time.Second)
		warm(t, run)
		if !opts.HoldWrites {
			for _, n := range []*fakekvrocks.Server{to, from} {
				if got := do(t, connect(t, n.Addr()), fmt.Sprintf("CLUSTERX SETSLOT 0-999 NODE %s %d", to.ID(), version+2)); got != "+OK" {
					t.Fatal(got)
				}
			}
		}
		s.overrides(t, func(n int) bool { return n == 0 })
		warm(t, run)
	}
	report := run.Stop()
	t.Logf("%s", report)
	if err := report.Err(); err != nil {
		t.Error(err)
	}
}
