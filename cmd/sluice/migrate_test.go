package main

import (
	"context"
	"fmt"
	"testing"
	"time"

	"sluice/bench/check"
	"sluice/internal/testbed"
	"sluice/internal/testbed/dashboard"
	"sluice/internal/testbed/fakecodis"
)

// migration is one way in which a site moves slots while its clients go on.
type migration struct {
	kind    fakecodis.Kind
	method  dashboard.Method
	profile check.Profile
	slots   int
	share   float64 // of the load that is in these slots
	filler  int     // keys in them that the load does not touch
}

func (m migration) String() string {
	return fmt.Sprintf("%s %v %s %d slots %.0f%%", m.kind, m.method, m.profile, m.slots, 100*m.share)
}

// A dashboard moves slots between two servers under load, as it drives codis-proxy: no error reaches a client,
// nothing is wrong or lost. The long form has the loads that codis-proxy was measured with, see bench/MOVES.md.
func TestMigrationUnderLoad(t *testing.T) {
	t.Parallel()
	runs := []migration{
		{fakecodis.CodisServer, dashboard.SemiAsync, check.Full, 24, 0.5, 0},
		{fakecodis.Pika40, dashboard.SemiAsync, check.Full, 24, 0.5, 0},
	}
	if testbed.Soak() {
		runs = nil
		for _, kind := range []fakecodis.Kind{fakecodis.CodisServer, fakecodis.Pika35, fakecodis.Pika40, fakecodis.PikaFixed} {
			for _, profile := range []check.Profile{check.Baseline, check.Hard} {
				runs = append(runs,
					migration{kind, dashboard.SemiAsync, profile, 256, 0.5, 0},
					migration{kind, dashboard.SemiAsync, profile, 16, 0.25, 48000},
					migration{kind, dashboard.Sync, profile, 256, 0.5, 0},
					migration{kind, dashboard.Sync, profile, 16, 0.25, 48000})
			}
			for _, method := range []dashboard.Method{dashboard.SemiAsync, dashboard.Sync} {
				runs = append(runs, migration{kind, method, check.Full, 64, 0.5, 0})
			}
			// Nobody touches the slots: what the move itself costs those who share the machine with it.
			runs = append(runs, migration{kind, dashboard.SemiAsync, check.Baseline, 256, 0, 10000})
		}
	}
	for _, m := range runs {
		t.Run(m.String(), func(t *testing.T) { m.run(t) })
	}
}

func (m migration) run(t *testing.T) {
	source, target := m.start(t), m.start(t)
	admin := fmt.Sprintf("127.0.0.1:%d", testbed.FreePort(t))
	dialect := "pika"
	if m.kind == fakecodis.CodisServer {
		dialect = "codis"
	}
	s := serve(t, fmt.Sprintf(`[proxy]
admin = "127.0.0.1:0"
log_format = "text"
[[pool]]
name = "main"
listen = ["tcp://127.0.0.1:0"]
slot_model = "codis"
dialect = %q
[pool.discovery]
kind = "codis"
admin = %q
product = "codis-demo"
[pool.backend]
request_timeout = "30s"
[pool.hold]
max_wait = "2m"
`, dialect, admin))
	d := dashboard.Start(dashboard.Options{Product: "codis-demo", Pika: m.kind != fakecodis.CodisServer},
		dashboard.Group{ID: 1, Servers: []string{source.Addr()}}, dashboard.Group{ID: 2, Servers: []string{target.Addr()}})
	t.Cleanup(d.Close)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	if err := d.Assign(ctx, 1, dashboard.Slots(0, 511)...); err != nil {
		t.Fatal(err)
	}
	if err := d.Assign(ctx, 2, dashboard.Slots(512, 1023)...); err != nil {
		t.Fatal(err)
	}
	if err := d.Online(ctx, admin); err != nil {
		t.Fatal(err)
	}

	cfg := m.load()
	cfg.Addr, cfg.Slot, cfg.Filler, cfg.WatchShare = s.addr, check.CodisSlot, m.filler, m.share
	cfg.Watch = func(key []byte) bool { return check.CodisSlot(key) < m.slots }
	run, err := check.Start(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	warm(t, run)
	run.Mark("moving")
	moved, err := d.Migrate(ctx, dashboard.Slots(0, m.slots-1), 2, m.method)
	run.Mark("after")
	warm(t, run)
	report := run.Stop()
	t.Logf("moved %d slots, %d keys by the dashboard, in %.1f s, %d errors of the dashboard %.200q\n%s",
		moved.Slots, moved.Keys, moved.Took.Seconds(), len(moved.Errors), moved.Errors, report)
	if err != nil {
		t.Error(err)
	}
	if err := report.Err(); err != nil {
		t.Error(err)
	}
	for _, key := range source.Keys() {
		if check.CodisSlot([]byte(key)) < m.slots {
			t.Errorf("%s is still at the source", key)
			break
		}
	}
}

// oldSessions are those that a codis-server knows, which is a Redis 3.2: no streams, no BLMOVE.
func oldSessions() check.Sessions {
	s := check.Defaults(check.Full).Sessions
	s.Streams, s.Moves = 0, false
	return s
}

// load has of Full what the servers know; Pika has no scripts, and can't move streams.
func (m migration) load() check.Config {
	cfg := check.Defaults(m.profile)
	if m.profile != check.Full {
		return cfg
	}
	cfg.Sessions = oldSessions()
	if m.kind != fakecodis.CodisServer {
		cfg.Mix, cfg.Sessions.Scripts = check.Defaults(check.Mixed).Mix, 0
		if !testbed.Soak() {
			cfg.Sessions.Pops = 0 // Locks wait for the second that each asks the server for.
		}
	}
	return cfg
}

func (m migration) start(t *testing.T) *fakecodis.Server {
	if m.kind == fakecodis.CodisServer {
		return fakecodis.StartCodisServer(t, fakecodis.Options{})
	}
	return fakecodis.StartPika(t, m.kind, fakecodis.Options{})
}
