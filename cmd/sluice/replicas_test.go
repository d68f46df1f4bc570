package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"sluice/bench/check"
	"sluice/internal/testbed"
)

// fleet is three groups of real servers with two replicas each, one of them behind a slow link, and a Sluice in front.
type fleet struct {
	*served
	masters []*testbed.Server
	quick   []*testbed.Server // replicas
	slow    []*testbed.Server // replicas behind relays
	relays  []*testbed.Relay
}

func serveFleet(t *testing.T, reads string) *fleet {
	t.Helper()
	f := new(fleet)
	var groups strings.Builder
	for i := range 3 {
		m := testbed.Redis(t, "--repl-diskless-sync-delay", "0")
		if v := m.Do("SET", "first", "write"); v.Error() != nil {
			t.Fatal(v.Error())
		}
		q := testbed.Redis(t, "--replicaof", "127.0.0.1", fmt.Sprint(m.Port()), "--repl-diskless-sync-delay", "0")
		s, relay := testbed.ReplicaThrough(t, m)
		testbed.AwaitReplica(t, m, q)
		f.masters, f.quick, f.slow, f.relays = append(f.masters, m), append(f.quick, q), append(f.slow, s), append(f.relays, relay)
		from, to := i*342, min(i*342+341, 1023)
		fmt.Fprintf(&groups, "[[pool.group]]\nid = \"%d\"\nmaster = %q\nreplicas = [%q, %q]\nslots = \"%d-%d\"\n",
			i+1, m.Addr(), q.Addr(), s.Addr(), from, to)
	}
	f.served = serve(t, fmt.Sprintf(`[proxy]
admin = "127.0.0.1:0"
log_format = "text"
[[pool]]
name = "main"
listen = ["tcp://127.0.0.1:0"]
slot_model = "codis"
%s[pool.reads]
policy = "prefer-replica"
%s
%s`, groups.String(), reads, patience))
	for _, r := range append(append([]*testbed.Server{}, f.quick...), f.slow...) {
		f.awaitNode(t, r.Addr(), "replica", "in sync")
	}
	return f
}

// disturb does to replicas what happens to them: they freeze, sleep, die, come back with and without their data, follow
// nobody for a while, and their links are slow.
//
// The long form goes on until more than a million requests were answered.
func (f *fleet) disturb(t *testing.T, run *check.Run) {
	t.Helper()
	groups := []int{0}
	if testbed.Soak() {
		groups = []int{0, 1, 2}
	}
	for {
		f.disturbOnce(t, run, groups)
		if answered, _ := run.Progress(); !testbed.Soak() || answered > 1_200_000 {
			return
		}
	}
}

func (f *fleet) disturbOnce(t *testing.T, run *check.Run, groups []int) {
	t.Helper()
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range f.relays {
		r.SetDelay(30*time.Millisecond, testbed.FromTarget)
	}
	warm(t, run)
	for _, i := range groups {
		m, q, s := f.masters[i], f.quick[i], f.slow[i]
		run.Mark(fmt.Sprintf("freeze %d", i+1))
		ok(q.Stop())
		warm(t, run)
		ok(q.Cont())
		f.awaitNode(t, q.Addr(), "replica", "in sync")

		run.Mark("sleep")
		go s.Do("DEBUG", "SLEEP", "0.3")
		warm(t, run)

		run.Mark("kill")
		ok(q.Kill())
		warm(t, run)
		ok(q.Restart())
		warm(t, run)
		f.awaitNode(t, q.Addr(), "replica", "in sync")

		run.Mark("empty")
		ok(s.RestartEmpty())
		warm(t, run)
		f.awaitNode(t, s.Addr(), "replica", "in sync")

		run.Mark("detached")
		ok(q.NoOne())
		warm(t, run)
		if v := q.Do("FLUSHALL"); v.Error() != nil {
			t.Fatal(v.Error())
		}
		ok(q.ReplicaOf(m.Addr()))
		warm(t, run)
		f.awaitNode(t, q.Addr(), "replica", "in sync")

		run.Mark("no link")
		f.relays[i].Stall()
		warm(t, run)
		f.relays[i].Cut()
		f.relays[i].Resume()
		warm(t, run)
	}
	run.Mark("after")
	warm(t, run)
}

// reading starts the reads profile against a fleet.
func (f *fleet) reading(t *testing.T, consistency check.Consistency, maxAge time.Duration) *check.Run {
	t.Helper()
	cfg := check.Defaults(check.Reads)
	cfg.Addr, cfg.Slot = f.addr, check.CodisSlot
	cfg.Consistency, cfg.MaxAge = consistency, maxAge
	if testbed.Soak() {
		cfg.Rate = 30000
	}
	run, err := check.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	warm(t, run)
	return run
}

// share is the part of the reads that replicas have served.
func (f *fleet) share(t *testing.T) float64 {
	t.Helper()
	replicas, all := f.reads(t)
	return replicas / all
}

// reads is how many reads replicas, and all nodes, were sent by choice.
func (f *fleet) reads(t *testing.T) (replicas, all float64) {
	t.Helper()
	_, body := get(t, f.admin+"/api/v1/groups")
	var out struct {
		Pools []struct {
			Groups []struct {
				Nodes []struct {
					Role  string
					Reads float64
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(body), &out); err != nil {
		t.Fatal(err)
	}
	for _, g := range out.Pools[0].Groups {
		for _, n := range g.Nodes {
			all += n.Reads
			if n.Role == "replica" {
				replicas += n.Reads
			}
		}
	}
	return replicas, all
}

// Whatever happens to replicas, a connection sees its own writes.
func TestReadYourWritesUnderLoad(t *testing.T) {
	t.Parallel()
	f := serveFleet(t, `consistency = "read-your-writes"`)
	run := f.reading(t, check.ReadYourWrites, 0)
	replicas, all := f.reads(t)
	for range 4 {
		warm(t, run)
	}
	nowReplicas, nowAll := f.reads(t)
	t.Logf("replicas serve %.1f %% of the reads while nothing happens", 100*(nowReplicas-replicas)/(nowAll-all))
	f.disturb(t, run)
	report := run.Stop()
	t.Logf("replicas served %.1f %% of the reads in all\n%s", 100*f.share(t), report)
	if err := report.Err(); err != nil {
		t.Error(err)
	}
	if report.StaleOwn != 0 || f.share(t) == 0 {
		t.Errorf("%d stale reads of own writes, share %.2f", report.StaleOwn, f.share(t))
	}
}

// The same with the weakest consistency shows that the checker sees what there is to see.
func TestEventualUnderLoad(t *testing.T) {
	t.Parallel()
	f := serveFleet(t, `consistency = "eventual"`)
	run := f.reading(t, check.Eventual, 0)
	f.disturb(t, run)
	report := run.Stop()
	t.Logf("replicas served %.1f %% of the reads\n%s", 100*f.share(t), report)
	if err := report.Err(); err != nil {
		t.Error(err)
	}
	if report.StaleOwn == 0 {
		t.Error("no stale read was seen: either the checker is blind, or no replica was read")
	}
}

// A connection never goes back in time.
func TestMonotonicUnderLoad(t *testing.T) {
	t.Parallel()
	f := serveFleet(t, `consistency = "monotonic"`)
	run := f.reading(t, check.Monotonic, 0)
	f.disturb(t, run)
	report := run.Stop()
	t.Logf("replicas served %.1f %% of the reads\n%s", 100*f.share(t), report)
	if err := report.Err(); err != nil {
		t.Error(err)
	}
}

// No read is older than max_lag and one interval of probing.
func TestMaxLagUnderLoad(t *testing.T) {
	t.Parallel()
	f := serveFleet(t, `consistency = "eventual"
max_lag = "200ms"`)
	run := f.reading(t, check.Eventual, 300*time.Millisecond)
	f.disturb(t, run)
	report := run.Stop()
	t.Logf("replicas served %.1f %% of the reads\n%s", 100*f.share(t), report)
	if err := report.Err(); err != nil {
		t.Error(err)
	}
}

// A replica that is in sync serves the first read of every client, in each protocol and database.
func TestFirstReadsOfPolicyReplica(t *testing.T) {
	t.Parallel()
	m := testbed.Redis(t, "--repl-diskless-sync-delay", "0")
	r := testbed.Replica(t, m)
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
policy = "replica"
probe_interval = "1s"
`, m.Addr(), r.Addr()))
	s.awaitNode(t, r.Addr(), "replica", "in sync")
	for i, greeting := range []string{"PING", "HELLO 3", "SELECT 1", "SELECT 2", "HELLO 3"} {
		c := connect(t, s.addr)
		do(t, c, greeting)
		for _, read := range []string{"GET k", "MGET {k}1 {k}2", fmt.Sprintf("MGET a%d b c", i)} {
			if got := do(t, c, read); strings.HasPrefix(got, "-") {
				t.Errorf("%s, %s: %s", greeting, read, got)
			}
		}
	}
}
