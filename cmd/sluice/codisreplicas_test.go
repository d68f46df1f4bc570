package main

import (
	"context"
	"fmt"
	"testing"
	"time"

	"sluice/internal/testbed"
	"sluice/internal/testbed/dashboard"
)

// A replica that the dashboard does not name is read once it is proven, where the configuration says so, and stays
// when a fill comes.
func TestReplicaThatTheDashboardHasDropped(t *testing.T) {
	t.Parallel()
	master := testbed.Redis(t, "--repl-diskless-sync-delay", "0")
	replica := testbed.Replica(t, master)
	admin := fmt.Sprintf("127.0.0.1:%d", testbed.FreePort(t))
	s := serve(t, fmt.Sprintf(`[proxy]
admin = "127.0.0.1:0"
log_format = "text"
[[pool]]
name = "main"
listen = ["tcp://127.0.0.1:0"]
slot_model = "codis"
dialect = "codis"
[pool.discovery]
kind = "codis"
admin = %q
product = "codis-demo"
replicas = "evidence"
[pool.reads]
policy = "replica"
max_lag = "10s"
`, admin))
	d := dashboard.Start(dashboard.Options{Product: "codis-demo"}, dashboard.Group{ID: 1, Servers: []string{master.Addr()}})
	t.Cleanup(d.Close)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := d.Assign(ctx, 1, dashboard.Slots(0, 1023)...); err != nil {
		t.Fatal(err)
	}
	if err := d.Online(ctx, admin); err != nil {
		t.Fatal(err)
	}
	if v := master.Do("SET", "k", "v"); v.Error() != nil {
		t.Fatal(v)
	}
	read := func() {
		t.Helper()
		s.awaitNode(t, replica.Addr(), "replica", "in sync")
		conn := connect(t, s.addr)
		testbed.Eventually(t, func() error {
			if got := do(t, conn, "GET k"); got != "v" {
				return fmt.Errorf("%s", got)
			}
			return nil
		}, time.Minute)
	}
	read()
	if err := d.Resync(ctx, 1); err != nil {
		t.Fatal(err)
	}
	read()
	if v := replica.Do("REPLICAOF", "NO", "ONE"); v.Error() != nil {
		t.Fatal(v)
	}
	s.awaitNode(t, replica.Addr(), "replica", "diverged")
}
