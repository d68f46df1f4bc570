package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"sluice/bench/check"
	"sluice/internal/testbed"
)

// A real redis-cli moves slots of a real cluster to and fro under load: no error, nothing wrong or lost.
func TestReshardUnderLoad(t *testing.T) {
	t.Parallel()
	slots := 1000
	profiles := []check.Profile{check.Full}
	if testbed.Soak() {
		slots, profiles = 2000, []check.Profile{check.Baseline, check.Hard, check.Mixed, check.Full}
	}
	for _, profile := range profiles {
		t.Run(string(profile), func(t *testing.T) { reshardUnder(t, profile, slots) })
	}
}

func reshardUnder(t *testing.T, profile check.Profile, slots int) {
	cluster := testbed.Cluster(t, 3, 0)
	nodes := cluster.Nodes()
	s := serve(t, clusterPool(`[pool.backend]
request_timeout = "30s"
[pool.hold]
max_wait = "2m"
`, nodes[0].Addr()))

	cfg := check.Defaults(profile)
	cfg.Addr = s.addr
	cfg.Slot = check.ClusterSlot
	cfg.Watch = func(key []byte) bool { return check.ClusterSlot(key) < slots }
	cfg.WatchShare = 0.25
	run, err := check.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ids := []string{myID(t, nodes[0]), myID(t, nodes[1])}
	warm(t, run)
	rounds := 1
	if profile == check.Full && testbed.Soak() {
		rounds = 10 // A session does one thing at a time, so it takes longer to meet many slots.
	}
	for range rounds {
		run.Mark("there")
		reshard(t, nodes[0].Addr(), ids[0], ids[1], slots)
		run.Mark("back")
		reshard(t, nodes[0].Addr(), ids[1], ids[0], slots)
	}
	run.Mark("after")
	warm(t, run)
	report := run.Stop()
	t.Logf("%s\n%s", profile, report)
	if err := report.Err(); err != nil {
		t.Error(err)
	}
	if _, body := get(t, s.admin+"/api/v1/stats"); strings.Contains(body, `"moved_followed": 0,`) && strings.Contains(body, `"ask_followed": 0,`) {
		t.Error("no redirect was followed: the slots did not move under the load")
	}
}

// warm returns after some thousand replies.
func warm(t *testing.T, run *check.Run) {
	t.Helper()
	before, _ := run.Progress()
	testbed.Eventually(t, func() error {
		if now, _ := run.Progress(); now < before+4000 {
			return fmt.Errorf("%d replies", now-before)
		}
		return nil
	}, 30*time.Second)
}

func myID(t *testing.T, node *testbed.Server) string {
	t.Helper()
	return do(t, connect(t, node.Addr()), "CLUSTER MYID")
}

// reshard moves slots with redis-cli.
func reshard(t *testing.T, addr, from, to string, slots int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "redis-cli", "--cluster", "reshard", addr, "--cluster-from", from, "--cluster-to", to,
		"--cluster-slots", fmt.Sprint(slots), "--cluster-yes", "--cluster-pipeline", "20").CombinedOutput()
	if err != nil || errors.Is(ctx.Err(), context.DeadlineExceeded) {
		t.Fatalf("redis-cli --cluster reshard: %v\n%.2000s", err, out)
	}
}
