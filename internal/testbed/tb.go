package testbed

import (
	"context"
	"time"
)

// TB is the part of testing.TB that the helpers of this file need. Every *testing.T, B and F is one.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Failed() bool
	Cleanup(f func())
	TempDir() string
}

// Redis starts a standalone redis-server with extra arguments and ends it with the test. The test fails
// when there is no redis-server on PATH. A password set with "--requirepass" is used by Do as well.
func Redis(t TB, args ...string) *Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	s, err := StartRedis(ctx, Options{Dir: t.TempDir(), Args: args})
	if err != nil {
		t.Fatalf("%v", err)
	}
	endWithTest(t, s)
	return s
}

// Replica starts a replica of master, waits until its link is up, and ends it with the test.
func Replica(t TB, master *Server, args ...string) *Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	s, err := StartReplica(ctx, master, Options{Dir: t.TempDir(), Args: args})
	if err != nil {
		t.Fatalf("%v", err)
	}
	endWithTest(t, s)
	return s
}

// Cluster starts a Redis Cluster whose nodes agree, and ends it with the test. It takes about 3 s, unless there is a spare
// one (RunWithSpares). args are given to every node.
func Cluster(t TB, masters, replicasPerMaster int, args ...string) *RedisCluster {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*startTimeout)
	defer cancel()
	var c *RedisCluster
	var err error
	if spares != nil && masters == plainMasters && replicasPerMaster == 0 && len(args) == 0 {
		c, err = spares.take(ctx)
	} else {
		c, err = StartCluster(ctx, ClusterOptions{
			Masters: masters, ReplicasPerMaster: replicasPerMaster, Dir: t.TempDir(), Args: args,
		})
	}
	if err != nil {
		t.Fatalf("%v", err)
	}
	for _, n := range c.nodes {
		endWithTest(t, n)
	}
	return c
}

// Eventually polls cond until it returns nil, and fails the test with its last error when that takes longer
// than within. Tests that wait for something wait with it.
func Eventually(t TB, cond func() error, within time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	if err := poll(ctx, cond); err != nil {
		t.Fatalf("not within %s: %v", within, err)
	}
}

// FreePort returns a port of 127.0.0.1 that nobody listens on now.
func FreePort(t TB) int {
	t.Helper()
	port, err := freePort()
	if err != nil {
		t.Fatalf("%v", err)
	}
	return port
}

// server is what ends with a test.
type server interface {
	Addr() string
	Log() string
	Close() error
}

// endWithTest closes a server when the test ends, and shows its output when the test has failed.
func endWithTest(t TB, s server) {
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close %s: %v", s.Addr(), err)
		}
		if t.Failed() {
			t.Logf("output of %s:\n%s", s.Addr(), s.Log())
		}
	})
}
