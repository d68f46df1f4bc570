package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	moves "sluice/discovery/migration"
	"sluice/internal/testbed"
	"sluice/internal/testbed/fakedragonfly"
	"sluice/proxy/admin"
)

func TestCtlMigrations(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 0, 1, 0, 0, time.UTC)
	half := 0.5
	pool := admin.PoolMigrations{
		Name: "main", Checked: now.Add(-time.Second), Silent: map[string]string{"c:1": "i/o timeout"},
		Migrations: []moves.Migration{
			{Source: "a:1", Target: "b:1", State: moves.Copying, Verdict: "copying\x1b[2J", Progress: &half, Retries: 2, Since: now.Add(-3 * time.Second)},
			{Source: "b:1", Target: "a:1", Slots: "0-5", State: moves.Finished, Verdict: "finished", Ended: now.Add(-time.Minute)},
		},
	}
	var out strings.Builder
	if err := printMigrations(&out, []admin.PoolMigrations{pool, {Name: "other", Checked: now}}, now); err != nil {
		t.Fatal(err)
	}
	want := `pool main
SOURCE  TARGET  SLOTS  STATE     DONE  TRIES  TIME       VERDICT
a:1     b:1     -      copying   50%   2      3.0s       copying [2J
b:1     a:1     0-5    finished  -     0      1m00s ago  finished
c:1 does not answer: i/o timeout

pool other
no node knows of a migration; asked 0ms ago
`
	if out.String() != want {
		t.Errorf("\n%s\nwant\n%s", &out, want)
	}
	body := `{"pools": [ {"name": "a", "migrations": []} ]}`
	if out, _, err := runCtl(t, "migrations", "-o", "json", "--admin", answering(t, 200, "application/json", body)); err != nil || out != body {
		t.Errorf("%v\n%s", err, out)
	}
	if _, _, err := runCtl(t, "migrations", "--pool", "x", "--admin", answering(t, 200, "application/json", `{"pools": []}`)); err == nil ||
		!strings.Contains(err.Error(), `no pool "x"`) {
		t.Errorf("%v", err)
	}
}

// wrong waits until ctl status is not well with all the parts.
func (d *dragonflies) wrong(t *testing.T, parts ...string) {
	t.Helper()
	testbed.Eventually(t, func() error {
		out, _, exit := sluice(t, "ctl", "status", "--admin", d.admin)
		for _, part := range parts {
			if exit != exitNotWell || !strings.Contains(out, part) {
				return fmt.Errorf("exit %d, no %q in\n%s", exit, part, out)
			}
		}
		return nil
	}, 30*time.Second)
}

// well waits until ctl status is well.
func (d *dragonflies) well(t *testing.T) {
	t.Helper()
	testbed.Eventually(t, func() error {
		if out, _, exit := sluice(t, "ctl", "status", "--admin", d.admin); exit != 0 {
			return fmt.Errorf("%s", out)
		}
		return nil
	}, 30*time.Second)
}

// What a migration does wrong shows in ctl status.
func TestCtlStatusKnowsOfMigrations(t *testing.T) {
	t.Parallel()
	d := serveDragonflies(t, fakedragonfly.Options{RetryPause: 10 * time.Millisecond}, "")
	d.well(t)
	d.b.OutOfMemory(true)
	d.push(t, d.there())
	d.wrong(t, "problems:\n  pool main: migration of slots from "+d.a.Addr()+" to "+d.b.Addr()+`: failed for good: source: "Cannot allocate memory`)
	d.push(t, d.rest())
	d.well(t)
	d.b.OutOfMemory(false)

	configure(t, d.a, d.there()) // The target is never told.
	d.wrong(t, "the target may not know of the migration yet")
	if out, _, exit := sluice(t, "ctl", "migrations", "--admin", d.admin); exit != 0 || !strings.Contains(out, "connecting") {
		t.Errorf("exit %d\n%s", exit, out)
	}
	d.push(t, d.rest())
	d.well(t)

	if err := d.b.Restart(); err != nil {
		t.Fatal(err)
	}
	d.wrong(t, "node "+d.b.Addr()+" serves no slots: ERR Cluster is not yet configured")
	configure(t, d.b, d.closed())
	d.wrong(t, "have different configurations: slot 0 belongs to n")
	d.push(t, d.rest())
	d.well(t)

	d.push(t, d.there())
	d.shows(t, "/api/v1/migrations", `"state": "finished"`)
	d.push(t, d.rest())
	d.wrong(t, "reverted: what clients wrote at the target since", "is deleted")
}

// Whoever can't be asked is named, since transactions depend on it.
func TestCtlStatusKnowsOfAWrongAdminPort(t *testing.T) {
	t.Parallel()
	d := serveDragonfliesAt(t, fakedragonfly.Options{}, "1", "")
	d.wrong(t, "node "+d.a.Addr()+" answers clients, and not what is asked about migrations", "see discovery.admin_port")
}
