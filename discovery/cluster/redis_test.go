package cluster

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"sluice/discovery"
	"sluice/internal/control"
	"sluice/internal/testbed"
	"sluice/router"
)

// TestRealCluster follows a Redis Cluster through what can happen to it, with one node as the only seed.
func TestRealCluster(t *testing.T) {
	t.Parallel()
	c := testbed.Cluster(t, 3, 1, "--cluster-node-timeout", "1000")
	nodes := c.Nodes()
	src := New(Config{Seeds: []string{nodes[0].Addr()}})
	var table atomic.Pointer[router.Table]
	keeper := discovery.NewKeeper(discovery.Config{
		Model: router.ClusterModel(), Source: src, Name: "cluster",
		Apply: func(next *router.Table) { table.Store(next) },
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- keeper.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	// sees waits until slot is with master, whose only replica is replica, and no slot is without a master.
	sees := func(t *testing.T, slot router.Slot, master, replica *testbed.Server) {
		t.Helper()
		testbed.Eventually(t, func() error {
			now := table.Load()
			if now == nil {
				return fmt.Errorf("no table: %w", keeper.Status().LastError)
			}
			keeper.Refresh()
			g := now.Owner(slot)
			switch {
			case len(now.Uncovered()) > 0:
				return fmt.Errorf("nobody owns %v", now.Uncovered())
			case len(now.Groups) != 3:
				return fmt.Errorf("%d groups", len(now.Groups))
			case g.Master.Addr != master.Addr():
				return fmt.Errorf("slot %d is with %s, want %s", slot, g.Master.Addr, master.Addr())
			case replica == nil && len(g.Replicas) == 0:
				return nil
			case len(g.Replicas) != 1 || replica == nil || g.Replicas[0].Addr != replica.Addr():
				return fmt.Errorf("its replicas are %v", g.Replicas)
			}
			return nil
		}, 20*time.Second)
	}

	t.Run("all slots are found from one seed", func(t *testing.T) {
		sees(t, 0, nodes[0], nodes[3])
		sees(t, 8000, nodes[1], nodes[4])
		sees(t, 16383, nodes[2], nodes[5])
	})

	t.Run("a moved slot is found", func(t *testing.T) {
		if err := c.MoveSlot(77, nodes[2]); err != nil {
			t.Fatal(err)
		}
		sees(t, 77, nodes[2], nodes[5])
		sees(t, 78, nodes[0], nodes[3])
	})

	t.Run("a failover is found", func(t *testing.T) {
		if err := c.Failover(nodes[4]); err != nil {
			t.Fatal(err)
		}
		sees(t, 8000, nodes[4], nodes[1])
	})

	t.Run("a killed replica is left out", func(t *testing.T) {
		if err := nodes[5].Kill(); err != nil {
			t.Fatal(err)
		}
		sees(t, 16383, nodes[2], nil)
	})

	t.Run("the only seed dies and is replaced", func(t *testing.T) {
		if err := nodes[0].Kill(); err != nil {
			t.Fatal(err)
		}
		sees(t, 0, nodes[3], nil)
		if err := src.Err(); err != nil {
			t.Errorf("the source fails: %v", err)
		}
	})
}

// TestRealNodes asks single servers that do not answer like a cluster in good order.
func TestRealNodes(t *testing.T) {
	t.Parallel()
	t.Run("a password is needed", func(t *testing.T) {
		lone := testbed.Cluster(t, 1, 0, "--requirepass", "secret").Nodes()[0]
		watch(t, Config{Seeds: []string{lone.Addr()}}).fails(t, "NOAUTH")
		watch(t, Config{Seeds: []string{lone.Addr()}, Password: "wrong"}).fails(t, "AUTH: WRONGPASS")
		// A lone node does not know its own host: the address is that of the seed.
		named := watch(t, Config{Seeds: []string{fmt.Sprintf("localhost:%d", lone.Port())}, Username: "default", Password: "secret", ClientName: "sluice:7"})
		named.sees(t, fmt.Sprintf("0-16383 localhost:%d", lone.Port()))
	})

	t.Run("no cluster at all", func(t *testing.T) {
		watch(t, Config{Seeds: []string{testbed.Redis(t).Addr()}}).fails(t, "cluster support disabled")
	})

	t.Run("a stopped server", func(t *testing.T) {
		frozen := testbed.Redis(t)
		if err := frozen.Stop(); err != nil {
			t.Fatal(err)
		}
		watch(t, Config{Seeds: []string{frozen.Addr()}, Timeout: 50 * time.Millisecond}).fails(t, "no answer within 50ms")
	})
}

// The fallback must not make another topology of the same cluster.
func TestShardsAndSlotsOfARealServerAgree(t *testing.T) {
	t.Parallel()
	c := testbed.Cluster(t, 1, 1)
	src := New(Config{})
	v, err := src.ask(t.Context(), c.Addrs()[0])
	if err != nil {
		t.Fatal(err)
	}
	conn, err := control.Dial(t.Context(), c.Addrs()[0], control.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	slots, err := slotsOf(t.Context(), conn, "127.0.0.1", nil)
	if err != nil {
		t.Fatal(err)
	}
	if a, b := describe(v.shards, nil), describe(slots, nil); a != b {
		t.Errorf("CLUSTER SHARDS\n%sCLUSTER SLOTS\n%s", a, b)
	}
	if !slices.ContainsFunc(v.shards, func(sh shard) bool { return len(sh.replicas) == 1 }) {
		t.Errorf("no replica: %v", v.shards)
	}
}
