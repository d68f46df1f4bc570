package testbed

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// Clusters that no test uses yet. Redis makes a fresh cluster wait for 2 s, so a package with many tests on clusters of
// the plain kind (three masters, no arguments) has the next ones formed while the tests before them run. Each cluster is
// used by one test and ended with it, as any other.

// mostSpares is how many there are at most, those that are being formed among them.
const mostSpares = 4

// plainMasters is how many masters a spare has.
const plainMasters = 3

// spareClusters belongs to a test binary. Safe for concurrent use.
type spareClusters struct {
	ctx   context.Context // ends the forming
	stop  context.CancelFunc
	work  sync.WaitGroup
	ready chan spare // closed when no more come

	mu    sync.Mutex
	count int // formed or being formed, and not taken
}

type spare struct {
	cluster *RedisCluster
	err     error
}

// spares is nil unless the package runs with them. Set before the first test begins.
var spares *spareClusters

func newSpareClusters() *spareClusters {
	ctx, stop := context.WithCancel(context.Background())
	return &spareClusters{ctx: ctx, stop: stop, ready: make(chan spare, mostSpares)}
}

// RunWithSpares is a testing.M that keeps spare clusters for Cluster while the tests run.
type RunWithSpares struct {
	M interface{ Run() int }
}

// Run runs the tests and ends the spares that are left.
func (r RunWithSpares) Run() int {
	spares = newSpareClusters()
	code := r.M.Run()
	if err := spares.close(); err != nil {
		fmt.Println("end the spare clusters:", err)
		return max(code, 1)
	}
	return code
}

// take returns a cluster whose nodes agree. The first call waits for its cluster, and those after it find more and more
// of them, so that a run of one test starts few that it does not need.
func (s *spareClusters) take(ctx context.Context) (*RedisCluster, error) {
	s.mu.Lock()
	for range min(2, mostSpares-s.count) {
		s.count++
		s.work.Go(func() {
			c, err := StartCluster(s.ctx, ClusterOptions{Masters: plainMasters})
			s.ready <- spare{c, err}
		})
	}
	s.count--
	s.mu.Unlock()
	select {
	case got := <-s.ready:
		if got.err != nil {
			return nil, got.err
		}
		if err := poll(ctx, got.cluster.agree); err != nil {
			return nil, errors.Join(err, got.cluster.Close())
		}
		return got.cluster, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Quiet ends the spare clusters and waits for those that are being formed, for a test that counts what its process does.
func Quiet(t TB) {
	t.Helper()
	if spares == nil {
		return
	}
	spares.mu.Lock()
	n := spares.count
	spares.count = 0
	spares.mu.Unlock()
	for range n {
		got := <-spares.ready
		if got.cluster == nil {
			t.Fatalf("a spare cluster: %v", got.err)
		}
		if err := got.cluster.Close(); err != nil {
			t.Fatalf("end a spare cluster: %v", err)
		}
	}
}

func (s *spareClusters) close() error {
	s.stop()
	go func() {
		s.work.Wait()
		close(s.ready)
	}()
	var errs []error
	for got := range s.ready {
		if got.cluster != nil {
			errs = append(errs, got.cluster.Close())
		}
	}
	return errors.Join(errs...)
}
