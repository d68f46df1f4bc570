package proxy

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/backend"
	"sluice/internal/testbed"
)

// TestWatchedNodesAreAsked: a node that no topology names is asked because somebody watches it, by the probe that it
// has when one does.
func TestWatchedNodesAreAsked(t *testing.T) {
	a, b := testbed.Redis(t), testbed.Redis(t)
	var mu sync.Mutex
	answered := make(map[string]int)
	p := startProxy(t, codisModel, evenly(codisModel, a.Addr()), func(_ *Config, pool *PoolConfig) {
		pool.Backend.ProbeInterval, pool.Backend.Name = time.Hour, "sluice:watched"
		pool.Observe = func(addr string, o backend.Observation) {
			if o.Err == nil && strings.Contains(o.Info.Text, "role:master") {
				mu.Lock()
				defer mu.Unlock()
				answered[addr]++
			}
		}
	})
	eventually := func(cond func() error) {
		t.Helper()
		testbed.Eventually(t, cond, 30*time.Second)
	}
	asked := func(addr string) {
		t.Helper()
		mu.Lock()
		answered[addr] = 0
		mu.Unlock()
		eventually(func() error {
			mu.Lock()
			defer mu.Unlock()
			if answered[addr] < 3 {
				return fmt.Errorf("%s has answered %d times", addr, answered[addr])
			}
			return nil
		})
	}
	conns := func(s *testbed.Server, want int) {
		t.Helper()
		eventually(func() error {
			if n := strings.Count(s.Do("CLIENT", "LIST").String(), "name=sluice:watched#"); n != want {
				return fmt.Errorf("%d connections to %s, want %d", n, s.Addr(), want)
			}
			return nil
		})
	}
	conns(b, 0)
	p.pool.Watch([]string{a.Addr(), b.Addr()}, 10*time.Millisecond)
	asked(a.Addr())
	asked(b.Addr())
	conns(a, 1)
	conns(b, 1)
	if n := len(p.pool.Nodes()); n != 1 || p.pool.Node(b.Addr()) != nil {
		t.Errorf("the pool has %d nodes, one of them a candidate: %t", n, p.pool.Node(b.Addr()) != nil)
	}
	candidate := p.pool.nodes.find(b.Addr())

	p.setTable(t, evenly(codisModel, b.Addr()))
	if p.pool.Node(b.Addr()) != candidate || !candidate.Wanted() {
		t.Error("the node that was watched is not the one that the topology names")
	}
	p.pool.nodes.retireUnused(0)
	asked(a.Addr()) // It is watched on, also when no topology has named it for long.
	conns(b, 1)
	p.pool.Watch([]string{b.Addr()}, 10*time.Millisecond)
	conns(a, 0)
	asked(b.Addr())

	p.pool.Watch([]string{a.Addr()}, 10*time.Millisecond)
	asked(a.Addr())
	p.pool.Watch(nil, 0)
	conns(a, 0) // It was a candidate only.
	conns(b, 1)
}

// TestNoProbeBeginsAfterTheEnd: the source of the topology ends after the pool.
func TestNoProbeBeginsAfterTheEnd(t *testing.T) {
	create := func(addr string) *backend.Node { return backend.NewNode(0, addr, &backend.Options{}) }
	s := newNodeSet(create, func(*backend.Node) {})
	s.stop()
	s.watch([]string{"127.0.0.1:1"}, time.Second)
	s.name("127.0.0.1:2")
	ended := make(chan struct{})
	go func() { s.probes.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		t.Fatal("a probe runs on")
	}
}

// TestCandidateKeepsItsBreakerClosed: what a node fails while no topology names it is held against nobody's requests.
func TestCandidateKeepsItsBreakerClosed(t *testing.T) {
	a, b := testbed.Redis(t), testbed.Redis(t, "--requirepass", "secret")
	failed := make(chan struct{}, 1)
	p := startProxy(t, codisModel, evenly(codisModel, a.Addr()), func(_ *Config, pool *PoolConfig) {
		pool.Backend.BreakerFailures, pool.Backend.BreakerOpen = 1, never
		pool.Observe = func(addr string, o backend.Observation) {
			if addr == b.Addr() && o.Err != nil {
				select {
				case failed <- struct{}{}:
				default:
				}
			}
		}
	})
	p.pool.Watch([]string{b.Addr()}, 10*time.Millisecond)
	for range 3 {
		await(t, failed)
	}
	candidate := p.pool.nodes.find(b.Addr())
	if !candidate.Available() || !p.pool.ProbesFail() {
		t.Errorf("a candidate that lets nobody in: available %t, probes fail %t", candidate.Available(), p.pool.ProbesFail())
	}
	p.setTable(t, evenly(codisModel, b.Addr()))
	testbed.Eventually(t, func() error {
		if candidate.Available() {
			return errors.New("its breaker is closed though it is named and lets nobody in")
		}
		return nil
	}, replyWait)
}

// await receives one value.
func await(t *testing.T, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(replyWait):
		t.Fatal("nothing comes")
	}
}
