package main

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	"sluice/conf"
	"sluice/internal/testbed"
)

// Names and balancers lead now to one server and now to another one.

// gets is how many GETs a server has run.
func gets(t *testing.T, s *testbed.Server) int {
	t.Helper()
	m := regexp.MustCompile(`cmdstat_get:calls=(\d+)`).FindStringSubmatch(s.Do("INFO", "commandstats").String())
	if m == nil {
		return 0
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func port(addr string) string {
	_, p, _ := net.SplitHostPort(addr)
	return p
}

// TestReplicaNameWithTwoServers: connections to a replica's address lead in turn to a server that was detached long
// ago, and to the replica that all evidence is about. What the detached one has is never read, and the other one is.
func TestReplicaNameWithTwoServers(t *testing.T) {
	t.Parallel()
	const databases = 8
	master := testbed.Redis(t, "--repl-diskless-sync-delay", "0")
	way := testbed.StartRelay(t, master.Addr())
	replica := testbed.Redis(t, "--replicaof", "127.0.0.1", fmt.Sprint(master.Port()), "--replica-announce-port", port(way.Addr()))
	detached := testbed.Redis(t, "--replicaof", "127.0.0.1", fmt.Sprint(master.Port()))
	ok := func(s *testbed.Server, args ...string) {
		t.Helper()
		if v := s.Do(args...); v.Error() != nil {
			t.Fatalf("%s: %s", args, v)
		}
	}
	fill := func(value string) {
		for db := range databases {
			ok(master, "SELECT", fmt.Sprint(db))
			ok(master, "SET", "k", value)
		}
		ok(master, "SELECT", "0")
	}
	testbed.AwaitReplica(t, master, detached)
	fill("old")
	testbed.AwaitOffset(t, master, detached)
	if err := detached.NoOne(); err != nil {
		t.Fatal(err)
	}
	fill("new")
	testbed.AwaitOffset(t, master, replica)

	way.SetTargets(replica.Addr())
	s := serve(t, fmt.Sprintf(`[proxy]
admin = "127.0.0.1:0"
log_format = "text"
[[pool]]
name = "main"
listen = ["tcp://127.0.0.1:0"]
slot_model = "codis"
[[pool.group]]
id = "1"
master = %q
replicas = [%q]
slots = "0-1023"
[pool.reads]
policy = "prefer-replica"
consistency = "read-your-writes"
%s`, master.Addr(), way.Addr(), patience))
	s.awaitNode(t, way.Addr(), "replica", "in sync")

	way.SetTargets(detached.Addr(), replica.Addr())
	old, reads := 0, 0
	for db := range databases {
		conn := connect(t, s.addr)
		if got := do(t, conn, fmt.Sprintf("SELECT %d", db)); got != "+OK" {
			t.Fatal(got)
		}
		if got := do(t, conn, "SET written new"); got != "+OK" {
			t.Fatal(got)
		}
		before := gets(t, replica)
		testbed.Eventually(t, func() error {
			for _, key := range []string{"k", "written"} {
				reads++
				if got := do(t, conn, "GET "+key); got != "new" {
					old++
				}
			}
			if n := gets(t, replica) - before; n < 40 && old == 0 {
				return fmt.Errorf("the replica has served %d reads", n)
			}
			return nil
		}, 30*time.Second)
	}
	if old > 0 {
		t.Errorf("%d of %d reads are old", old, reads)
	}
	if n := gets(t, detached); n > 0 {
		t.Errorf("the detached server was asked %d times", n)
	}
}

// names are those of this process.
var names = testbed.InstallNames()

// counting is clients that each count up a key of their own, one INCR in flight.
type counting struct {
	stop chan struct{}
	work sync.WaitGroup

	mu       sync.Mutex
	counts   []int
	total    int
	failures []string
}

func startCounting(t *testing.T, addr string, clients int) *counting {
	t.Helper()
	c := &counting{stop: make(chan struct{}), counts: make([]int, clients)}
	for i := range clients {
		conn := connect(t, addr)
		c.work.Go(func() {
			r := bufio.NewReader(conn)
			for {
				select {
				case <-c.stop:
					return
				default:
				}
				_, err := fmt.Fprintf(conn, "INCR count:%d\r\n", i)
				line := ""
				if err == nil {
					line, err = r.ReadString('\n')
				}
				c.mu.Lock()
				c.counts[i]++
				c.total++
				want := fmt.Sprintf(":%d\r\n", c.counts[i])
				if line != want {
					c.failures = append(c.failures, fmt.Sprintf("client %d: %q, want %q, %v", i, line, want, err))
				}
				c.mu.Unlock()
				if line != want {
					return
				}
			}
		})
	}
	return c
}

// awaitMore returns after some hundred more, or a failure.
func (c *counting) awaitMore(t *testing.T) {
	t.Helper()
	count := func() (int, int) {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.total, len(c.failures)
	}
	before, _ := count()
	testbed.Eventually(t, func() error {
		if now, failed := count(); failed == 0 && now < before+500 {
			return fmt.Errorf("%d more", now-before)
		}
		return nil
	}, 30*time.Second)
}

// end stops them and returns what went wrong: a reply that is not the next number tells of a write that was lost, or
// run twice.
func (c *counting) end() []string {
	close(c.stop)
	c.work.Wait()
	return c.failures
}

// moved is a name behind which a server is, and later its replica.
type moved struct {
	name      string // with a port
	old, heir *testbed.Server
	to        func()
}

// serversBehindAName needs 127.0.0.2 and .3: a name does not change the port.
func serversBehindAName(t *testing.T, name string) *moved {
	t.Helper()
	m := &moved{old: testbed.Redis(t, "--repl-diskless-sync-delay", "0")}
	m.heir = testbed.Redis(t, "--replicaof", "127.0.0.1", fmt.Sprint(m.old.Port()))
	testbed.AwaitReplica(t, m.old, m.heir)
	p := fmt.Sprint(testbed.FreePort(t))
	testbed.StartRelayAt(t, net.JoinHostPort("127.0.0.2", p), m.old.Addr())
	testbed.StartRelayAt(t, net.JoinHostPort("127.0.0.3", p), m.heir.Addr())
	names.Set(name, "127.0.0.2")
	m.name, m.to = net.JoinHostPort(name, p), func() { names.Set(name, "127.0.0.3") }
	return m
}

// serve runs Sluice in this process, whose names it looks up, and returns where it listens.
func (m *moved) serve(t *testing.T, settings string) (addr string) {
	t.Helper()
	cfg, err := conf.Parse("sluice.toml", fmt.Appendf(nil, `[proxy]
admin = "127.0.0.1:0"
[[pool]]
name = "main"
listen = ["tcp://127.0.0.1:0"]
slot_model = "codis"
[[pool.group]]
id = "1"
master = %q
slots = "0-1023"
%s`, m.name, settings))
	if err != nil {
		t.Fatal(err)
	}
	in, err := startInstance(cfg, nil, slog.New(slog.NewTextHandler(t.Output(), nil)), new(slog.LevelVar))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.shutdown(context.Background()) })
	return in.sources[0].pool.Addrs()[0].String()
}

// TestMasterNameMoves: the name leads to the new master some time after the old one has become its replica, which
// lives on. No write is lost or run twice, and none fails.
func TestMasterNameMoves(t *testing.T) {
	t.Parallel()
	m := serversBehindAName(t, "moves.sluice.test")
	c := startCounting(t, m.serve(t, patience), 8)
	c.awaitMore(t)
	if v := m.old.Do("FAILOVER", "TO", "127.0.0.1", fmt.Sprint(m.heir.Port())); v.Error() != nil {
		t.Fatal(v)
	}
	testbed.Eventually(t, func() error { // The old one has refused writes, and goes on refusing them.
		if n := regexp.MustCompile(`errorstat_READONLY:count=(\d+)`).FindStringSubmatch(m.old.Do("INFO", "errorstats").String()); n == nil || len(n[1]) < 2 {
			return fmt.Errorf("refused: %v", n)
		}
		return nil
	}, 30*time.Second)
	m.to()
	c.awaitMore(t)
	for _, f := range c.end() {
		t.Error(f)
	}
}

// TestMasterNameMovesFromALivingMaster: nothing is wrong with the old one, so that only age makes a connection leave
// it.
func TestMasterNameMovesFromALivingMaster(t *testing.T) {
	t.Parallel()
	m := serversBehindAName(t, "ages.sluice.test")
	conn := connect(t, m.serve(t, `[pool.backend]
max_connection_age = "1s"
`))
	if got := do(t, conn, "SET k old"); got != "+OK" {
		t.Fatal(got)
	}
	testbed.AwaitOffset(t, m.old, m.heir)
	if err := m.heir.NoOne(); err != nil {
		t.Fatal(err)
	}
	if v := m.heir.Do("SET", "k", "new"); v.Error() != nil {
		t.Fatal(v)
	}
	m.to()
	testbed.Eventually(t, func() error {
		if got := do(t, conn, "GET k"); got != "new" {
			return fmt.Errorf("%q", got)
		}
		return nil
	}, 30*time.Second)
}
