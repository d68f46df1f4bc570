package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/bench/check"
	"sluice/internal/testbed"
)

// patience is how long these tests let requests wait: what they are about is never that.
const patience = `[pool.backend]
request_timeout = "1s"
dial_timeout = "300ms"
[pool.hold]
max_wait = "2m"
`

// replicated is a group of real servers and a Sluice in front of it.
type replicated struct {
	*served
	master   *testbed.Server
	replicas []*testbed.Server
}

// serveReplicated serves one static group with two replicas. settings are more lines of the pool.
func serveReplicated(t *testing.T, settings string) *replicated {
	t.Helper()
	r := &replicated{master: testbed.Redis(t, "--repl-diskless-sync-delay", "0")}
	for range 2 {
		r.replicas = append(r.replicas, testbed.Redis(t, "--replicaof", "127.0.0.1", fmt.Sprint(r.master.Port()), "--repl-diskless-sync-delay", "0"))
	}
	if v := r.master.Do("SET", "first", "write"); v.Error() != nil { // An offset of 0 proves nothing.
		t.Fatal(v.Error())
	}
	for _, replica := range r.replicas {
		testbed.AwaitReplica(t, r.master, replica)
	}
	r.served = serve(t, fmt.Sprintf(`[proxy]
admin = "127.0.0.1:0"
log_format = "text"
[[pool]]
name = "main"
listen = ["tcp://127.0.0.1:0"]
slot_model = "codis"
[[pool.group]]
id = "1"
master = %q
replicas = [%q, %q]
slots = "0-1023"
%s`, r.master.Addr(), r.replicas[0].Addr(), r.replicas[1].Addr(), settings))
	return r
}

// awaitNode waits until a node is in a place and a state, as /api/v1/groups has it.
func (s *served) awaitNode(t *testing.T, addr, role, state string) {
	t.Helper()
	testbed.Eventually(t, func() error {
		_, body := get(t, s.admin+"/api/v1/groups")
		var out struct {
			Pools []struct {
				Groups []struct {
					Nodes []struct{ Addr, Role, State, Reason string }
				}
			}
		}
		if err := json.Unmarshal([]byte(body), &out); err != nil {
			return err
		}
		for _, p := range out.Pools {
			for _, g := range p.Groups {
				for _, n := range g.Nodes {
					if n.Addr == addr && n.Role == role && n.State == state {
						return nil
					}
				}
			}
		}
		return fmt.Errorf("%s is not a %s in state %q: %s", addr, role, state, body)
	}, 30*time.Second)
}

// promote does what an outside tool does after the death of a master.
func promote(t *testing.T, heir *testbed.Server, others ...*testbed.Server) {
	t.Helper()
	if err := heir.NoOne(); err != nil {
		t.Fatal(err)
	}
	for _, s := range others {
		if err := s.ReplicaOf(heir.Addr()); err != nil {
			t.Fatal(err)
		}
	}
}

// hammer is a load that only notes what is wrong: on each of its connections one request is in flight, a SET or some
// GETs of a key of its own.
type hammer struct {
	stop chan struct{}
	work sync.WaitGroup

	mu       sync.Mutex
	replies  int
	reads    int // GETs among them
	failures []string
	longest  [2]time.Duration // of a GET, of a SET
}

func startHammer(t *testing.T, addr string, clients int) *hammer {
	t.Helper()
	h := &hammer{stop: make(chan struct{})}
	for i := range clients {
		conn := connect(t, addr)
		h.work.Go(func() { h.swing(conn, i) })
	}
	return h
}

func (h *hammer) swing(conn net.Conn, client int) {
	r := bufio.NewReader(conn)
	for n := 0; ; n++ {
		select {
		case <-h.stop:
			return
		default:
		}
		request, write := fmt.Sprintf("GET key:%d\r\n", client), 0
		if n%4 == 0 {
			request, write = fmt.Sprintf("SET key:%d %d\r\n", client, n), 1
		}
		begin := time.Now()
		_, err := conn.Write([]byte(request))
		var line string
		if err == nil {
			line, err = r.ReadString('\n')
		}
		if err == nil && strings.HasPrefix(line, "$") && line != "$-1\r\n" {
			_, err = r.ReadString('\n')
		}
		h.note(request, line, err, write, time.Since(begin))
		if err != nil {
			return
		}
	}
}

func (h *hammer) note(request, line string, err error, write int, took time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.replies++
	if write == 0 {
		h.reads++
	}
	h.longest[write] = max(h.longest[write], took)
	switch {
	case err != nil:
		h.failures = append(h.failures, fmt.Sprintf("%s: %v", strings.TrimSpace(request), err))
	case strings.HasPrefix(line, "-"):
		h.failures = append(h.failures, strings.TrimSpace(request)+": "+strings.TrimSpace(line))
	}
}

// awaitMore returns after some hundred more reads, and writes too if that is asked for.
func (h *hammer) awaitMore(t *testing.T, writes bool) {
	t.Helper()
	count := func() (int, int) {
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.reads, h.replies - h.reads
	}
	reads, sets := count()
	testbed.Eventually(t, func() error {
		nowReads, nowSets := count()
		if nowReads < reads+500 || writes && nowSets < sets+100 {
			return fmt.Errorf("%d reads and %d writes more", nowReads-reads, nowSets-sets)
		}
		return nil
	}, 60*time.Second)
}

// end stops the load and returns the errors that were answered, but for writes whose outcome may be unknown.
func (h *hammer) end(t *testing.T) []string {
	t.Helper()
	close(h.stop)
	h.work.Wait()
	unknown := 0
	failures := slices.DeleteFunc(h.failures, func(f string) bool {
		if strings.HasPrefix(f, "SET") && strings.Contains(f, "outcome unknown") {
			unknown++
			return true
		}
		return false
	})
	t.Logf("%d replies, %d outcomes unknown, longest GET %s, longest SET %s", h.replies, unknown, h.longest[0], h.longest[1])
	return failures
}

// An outside tool switches the master of a static group under load. Nothing is lost, no client sees an error.
func TestPlannedFailoverUnderLoad(t *testing.T) {
	t.Parallel()
	// FAILOVER holds writes for a second and more: that is no time for requests to end.
	r := serveReplicated(t, strings.Replace(patience, `"1s"`, `"10s"`, 1))
	cfg := check.Defaults(check.Full)
	cfg.Addr, cfg.Slot = r.addr, check.CodisSlot
	run, err := check.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	warm(t, run)
	master := r.master
	for _, heir := range []*testbed.Server{r.replicas[0], r.replicas[1], r.master} {
		run.Mark("failover")
		if v := master.Do("FAILOVER", "TO", "127.0.0.1", fmt.Sprint(heir.Port())); v.Error() != nil {
			t.Fatal(v.Error())
		}
		r.awaitNode(t, heir.Addr(), "master", "serving")
		warm(t, run)
		for _, s := range append([]*testbed.Server{r.master}, r.replicas...) {
			if s == heir {
				continue
			}
			if s != master { // It follows the old master still.
				if err := s.ReplicaOf(heir.Addr()); err != nil {
					t.Fatal(err)
				}
			}
			testbed.AwaitReplica(t, heir, s)
		}
		master = heir
	}
	report := run.Stop()
	t.Logf("%s", report)
	if err := report.Err(); err != nil {
		t.Error(err)
	}
}

// A master that is killed, or frozen: replicas serve reads, writes wait for the new one.
func TestLostMasterUnderLoad(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(s *testbed.Server) error{
		"killed": (*testbed.Server).Kill,
		"frozen": (*testbed.Server).Stop,
	} {
		t.Run(name, func(t *testing.T) {
			r := serveReplicated(t, patience+"[pool.reads]\npolicy = \"prefer-replica\"\nmax_lag = \"1m\"\n")
			for _, replica := range r.replicas {
				r.awaitNode(t, replica.Addr(), "replica", "in sync")
			}
			reader, all := startHammer(t, r.addr, 4), startHammer(t, r.addr, 8)
			all.awaitMore(t, true)
			if err := lose(r.master); err != nil {
				t.Fatal(err)
			}
			r.awaitNode(t, r.master.Addr(), "master", "broken")
			promote(t, r.replicas[0], r.replicas[1])
			r.awaitNode(t, r.replicas[0].Addr(), "master", "serving")
			all.awaitMore(t, true)
			r.awaitNode(t, r.replicas[1].Addr(), "replica", "in sync")
			if name == "frozen" {
				if err := r.master.Cont(); err != nil {
					t.Fatal(err)
				}
			} else if err := r.master.Restart(); err != nil {
				t.Fatal(err)
			}
			// The old master still thinks that it is one: nobody may believe it.
			r.awaitNode(t, r.master.Addr(), "replica", "diverged")
			all.awaitMore(t, true)
			if err := r.master.ReplicaOf(r.replicas[0].Addr()); err != nil {
				t.Fatal(err)
			}
			r.awaitNode(t, r.master.Addr(), "replica", "in sync")
			for _, f := range append(reader.end(t), all.end(t)...) {
				t.Errorf("%s", f)
			}
		})
	}
}

// Replicas go on serving reads while nobody takes the master's place.
func TestReadsWithoutMasterUnderLoad(t *testing.T) {
	t.Parallel()
	r := serveReplicated(t, patience+"[pool.reads]\npolicy = \"prefer-replica\"\nmax_lag = \"1m\"\n")
	for _, replica := range r.replicas {
		r.awaitNode(t, replica.Addr(), "replica", "in sync")
	}
	conn := connect(t, r.addr)
	in := bufio.NewReader(conn)
	ask := func(request, want string) {
		t.Helper()
		if _, err := conn.Write([]byte(request)); err != nil {
			t.Fatal(err)
		}
		if got := readReply(t, in); got != want {
			t.Fatalf("%q was answered %q, want %q", request, got, want)
		}
	}
	ask("GET first\r\n", "write")
	if err := r.master.Kill(); err != nil {
		t.Fatal(err)
	}
	for range 2000 {
		ask("GET first\r\n", "write")
	}
	r.awaitNode(t, r.master.Addr(), "master", "broken")
	r.awaitNode(t, r.replicas[0].Addr(), "replica", "lagging") // As of then, and readable.
	for range 2000 {
		ask("GET first\r\n", "write")
	}
	if err := r.master.Restart(); err != nil { // Empty, with a history of its own.
		t.Fatal(err)
	}
	r.awaitNode(t, r.master.Addr(), "master", "serving")
	ask("SET second w\r\n", "+OK")
	r.awaitNode(t, r.replicas[0].Addr(), "replica", "in sync")
	ask("GET first\r\n", "$-1") // That is what happened.
}

// Masters of a real cluster fail over by themselves, or are told to.
func TestClusterFailoverUnderLoad(t *testing.T) {
	t.Parallel()
	cluster := testbed.Cluster(t, 3, 1, "--repl-diskless-sync-delay", "0")
	nodes := cluster.Nodes()
	for i := range 300 { // So that there is something to compare the replicas by.
		key := fmt.Sprint("before:", i)
		if v := cluster.NodeOf(check.ClusterSlot([]byte(key))).Do("SET", key, "x"); v.Error() != nil {
			t.Fatal(v.Error())
		}
	}
	s := serve(t, clusterPool(`[pool.reads]
policy = "prefer-replica"
consistency = "read-your-writes"
`+patience, nodes[0].Addr(), nodes[1].Addr()))
	for _, replica := range nodes[3:] {
		s.awaitNode(t, replica.Addr(), "replica", "in sync")
	}
	cfg := check.Defaults(check.Reads) // Not linearizable: other clients' writes may be read late.
	cfg.Addr, cfg.Slot, cfg.Consistency, cfg.Rate = s.addr, check.ClusterSlot, check.ReadYourWrites, 4000
	run, err := check.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	warm(t, run)
	run.Mark("CLUSTER FAILOVER")
	if err := cluster.Failover(nodes[3]); err != nil {
		t.Fatal(err)
	}
	s.awaitNode(t, nodes[3].Addr(), "master", "serving")
	warm(t, run)
	report := run.Stop()
	t.Logf("%s", report)
	if err := report.Err(); err != nil {
		t.Error(err)
	}
	for name, lose := range map[string]func(s *testbed.Server) error{
		"killed": (*testbed.Server).Kill,
		"frozen": (*testbed.Server).Stop,
	} {
		victim, heir := nodes[1], nodes[4]
		if name == "frozen" {
			victim, heir = nodes[2], nodes[5]
		}
		h := startHammer(t, s.addr, 12)
		h.awaitMore(t, true)
		if err := lose(victim); err != nil {
			t.Fatal(err)
		}
		s.awaitNode(t, heir.Addr(), "master", "serving")
		h.awaitMore(t, true)
		for _, f := range h.end(t) {
			t.Errorf("%s: %s", name, f)
		}
	}
}
