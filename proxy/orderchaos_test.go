package proxy

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice/internal/testbed"
	"sluice/router"
)

// Order and At most once under everything at once: a real cluster whose slots move with their keys, servers
// that kill connections, tables that are right, late and wrong. Each client checks every reply against a
// model of its own keys.

// The sizes of the test: some seconds on a loaded machine.
const (
	chaosClients = 12
	chaosTags    = 6  // slots that move
	chaosMoves   = 15 // and how often one does
	chaosDepth   = 40 // longest pipeline
)

// chaos moves slots, kills connections and changes tables. It runs on the test's goroutine.
type chaos struct {
	t       *testing.T
	p       *testProxy
	cluster *testbed.RedisCluster
	rng     *rand.Rand
	done    *atomic.Int64
	failed  *atomic.Bool
}

// letRun returns when the clients have got on.
func (x *chaos) letRun(replies int64) {
	x.t.Helper()
	from := x.done.Load()
	testbed.Eventually(x.t, func() error {
		if n := x.done.Load() - from; n < replies && !x.failed.Load() {
			return fmt.Errorf("only %d of %d replies came", n, replies)
		}
		return nil
	}, replyWait)
}

// kill makes a node close all connections of clients, some of the time.
func (x *chaos) kill() {
	n := x.cluster.Nodes()[x.rng.IntN(3)]
	if err := n.Do("CLIENT", "KILL", "TYPE", "normal").Error(); err != nil {
		x.t.Fatal(err)
	}
}

// table puts a topology into force that is right, or in which some slots are with the wrong node.
func (x *chaos) table() {
	overrides := make(map[router.Slot]string)
	for i := range chaosTags {
		if x.rng.IntN(3) == 0 {
			overrides[clusterModel.Slot([]byte(chaosTag(i)))] = x.cluster.Addrs()[x.rng.IntN(3)]
		}
	}
	table, err := x.p.builder.Build(router.Spec{Groups: specsOf(x.t, x.cluster), Moved: overrides})
	if err != nil {
		x.t.Fatal(err)
	}
	x.p.pool.SetTable(table)
}

// move moves a slot, with clients and mischief on both sides of each step.
func (x *chaos) move() {
	slot := int(clusterModel.Slot([]byte(chaosTag(x.rng.IntN(chaosTags)))))
	from := x.cluster.NodeOf(slot)
	to := x.cluster.Nodes()[(slices.Index(x.cluster.Nodes(), from)+1+x.rng.IntN(2))%3]
	if err := x.cluster.BeginMove(slot, to); err != nil {
		x.t.Fatal(err)
	}
	for _, key := range from.Do("CLUSTER", "GETKEYSINSLOT", fmt.Sprint(slot), "1000").Array() {
		if x.rng.IntN(2) == 0 {
			if err := from.Do("MIGRATE", "127.0.0.1", fmt.Sprint(to.Port()), key.String(), "0", "5000").Error(); err != nil {
				x.t.Fatal(err)
			}
		}
	}
	x.letRun(500)
	x.kill()
	x.letRun(500)
	x.table()
	if err := x.cluster.FinishMove(slot); err != nil {
		x.t.Fatal(err)
	}
	x.letRun(500)
	x.kill()
	x.table()
}

func TestOrderAndAtMostOnceWhileSlotsMove(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	cluster := testbed.Cluster(t, 3, 0)
	p := startProxy(t, clusterModel, rotated(specsOf(t, cluster)), faultOptions(nil),
		func(cfg *Config, _ *PoolConfig) { cfg.Loops = 2 })
	var (
		work   sync.WaitGroup
		done   atomic.Int64
		stop   atomic.Bool
		failed atomic.Bool
	)
	clients := make([]*chaosClient, chaosClients)
	for i := range clients {
		c := newChaosClient(t, p, i, seed, &done)
		clients[i] = c
		work.Go(func() {
			for !stop.Load() && !failed.Load() {
				if err := c.round(); err != nil {
					failed.Store(true)
					t.Errorf("client %d: %v", i, err)
				}
			}
		})
	}
	defer work.Wait()
	defer stop.Store(true)
	x := &chaos{t, p, cluster, rand.New(rand.NewPCG(seed, 1<<32)), &done, &failed}
	for range chaosMoves {
		if failed.Load() {
			return
		}
		x.move()
	}
	stop.Store(true)
	work.Wait()
	acked, unknown, notRun := 0, 0, 0
	for i, c := range clients {
		if err := c.check(); err != nil && !failed.Load() {
			t.Errorf("client %d: %v", i, err)
		}
		acked, unknown, notRun = acked+c.acked, unknown+c.unknown, notRun+c.failed
	}
	stats := p.Stats()
	t.Logf("%d replies; writes: %d acknowledged, %d in doubt, %d not run; redirects %v, retries %d",
		done.Load(), acked, unknown, notRun, stats.Redirects, stats.Retries)
	if stats.Redirects[RedirectMoved] == 0 || stats.Redirects[RedirectAsk] == 0 {
		t.Error("no redirects: the test has not tested what it is for")
	}
}
