package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/discovery"
	"sluice/internal/testbed"
)

// watcher runs a Source and keeps what it publishes. mu guards the fields below it.
type watcher struct {
	src *Source

	mu   sync.Mutex
	seen []string // Every snapshot, described.
}

// watch runs a Source until the test ends.
func watch(t *testing.T, cfg Config) *watcher {
	t.Helper()
	w := &watcher{src: New(cfg)}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- w.src.Run(ctx, func(s discovery.Snapshot) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.seen = append(w.seen, describeGroups(s.Groups))
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return w
}

func (w *watcher) snapshots() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.seen)
}

// sees waits until the newest snapshot is the wanted one.
func (w *watcher) sees(t *testing.T, want string) {
	t.Helper()
	testbed.Eventually(t, func() error {
		seen := w.snapshots()
		if len(seen) == 0 {
			return fmt.Errorf("no snapshot; error %w", w.src.Err())
		}
		if got := seen[len(seen)-1]; got != want {
			return fmt.Errorf("%s, want %s", got, want)
		}
		return nil
	}, 10*time.Second)
}

// fails waits until Err has all the parts.
func (w *watcher) fails(t *testing.T, parts ...string) {
	t.Helper()
	testbed.Eventually(t, func() error {
		err := w.src.Err()
		if err == nil {
			return errors.New("no error")
		}
		for _, part := range parts {
			if !strings.Contains(err.Error(), part) {
				return fmt.Errorf("%q is not in: %w", part, err)
			}
		}
		return nil
	}, 10*time.Second)
}

func TestShardsAreAskedFirstAndSlotsNext(t *testing.T) {
	node := startFake(t, map[string]string{
		"CLUSTER MYID":   "+n1\r\n",
		"CLUSTER SHARDS": "-ERR Unknown subcommand or wrong number of arguments for 'SHARDS'. Try CLUSTER HELP.\r\n",
		"CLUSTER SLOTS":  array(rowOf(0, 99, "10.0.0.1:7000", "10.0.0.2:7000"), rowOf(100, 16383, "10.0.0.3:7000")),
	})
	watch(t, Config{Seeds: []string{node.addr}}).sees(t, "0-99 10.0.0.1:7000 10.0.0.2:7000; 100-16383 10.0.0.3:7000")
	want := []string{"CLUSTER INFO", "CLUSTER MYID", "CLUSTER SHARDS", "CLUSTER SLOTS"}
	if got := node.commands(); !slices.Equal(got, want) {
		t.Errorf("asked %q, want %q", got, want)
	}
}

func TestNodeThatGivesNoViewSaysWhy(t *testing.T) {
	t.Parallel()
	f := func(want string, answers map[string]string) {
		t.Helper()
		node := startFake(t, answers)
		w := watch(t, Config{Seeds: []string{node.addr}, Timeout: 200 * time.Millisecond})
		w.fails(t, "no view of the cluster: "+node.addr+": "+want)
		if got := w.snapshots(); len(got) != 0 {
			t.Errorf("published %q", got)
		}
	}
	good := shardsReply(shardOf(0, 16383, "10.0.0.1:7000"))
	f("CLUSTER INFO: cluster_state:fail", map[string]string{
		"CLUSTER INFO": bulk("cluster_state:fail\r\n"), "CLUSTER SHARDS": good})
	f("CLUSTER INFO: ERR This instance has cluster support disabled", map[string]string{
		"CLUSTER INFO": "-ERR This instance has cluster support disabled\r\n"})
	f("CLUSTER INFO: NOAUTH Authentication required.", map[string]string{
		"CLUSTER INFO": "-NOAUTH Authentication required.\r\n"})
	f("CLUSTER SHARDS: ERR unknown subcommand or command 'CLUSTER'; CLUSTER SLOTS: ERR unknown", nil)
	f("it knows nobody who owns a slot", map[string]string{"CLUSTER SHARDS": array()})
	f("it knows nobody who owns a slot", map[string]string{"CLUSTER SLOTS": array()})
	f("no answer within 200ms", map[string]string{"CLUSTER SHARDS": ""})
	f(`CLUSTER INFO: Protocol error: unknown reply type 'H'`, map[string]string{"CLUSTER INFO": "HTTP/1.1 400\r\n"})
	f("CLUSTER SHARDS: shard 0: unexpected integer \"1\"; CLUSTER SLOTS: unexpected null", map[string]string{
		"CLUSTER SHARDS": array(":1\r\n"), "CLUSTER SLOTS": "*-1\r\n"})
}

func TestCredentialsAreSentFirst(t *testing.T) {
	f := func(cfg Config, want ...string) {
		t.Helper()
		node := startFake(t, map[string]string{
			"AUTH": "+OK\r\n", "CLUSTER SHARDS": shardsReply(shardOf(0, 16383, "10.0.0.1:7000"))})
		cfg.Seeds = []string{node.addr}
		watch(t, cfg).sees(t, "0-16383 10.0.0.1:7000")
		if got := node.commands(); !slices.Equal(got[:len(want)], want) {
			t.Errorf("asked %q, want %q first", got, want)
		}
	}
	f(Config{}, "CLUSTER INFO")
	f(Config{Password: "p"}, "AUTH p", "CLUSTER INFO")
	// The fake does not know CLIENT: an old server that refuses the name is asked all the same.
	f(Config{Username: "u", Password: "p", ClientName: "sluice:1"}, "AUTH u p", "CLIENT SETNAME sluice:1", "CLUSTER INFO")

	node := startFake(t, map[string]string{
		"AUTH": "-WRONGPASS invalid username-password pair or user is disabled.\r\n"})
	watch(t, Config{Seeds: []string{node.addr}, Password: "p"}).fails(t, node.addr+": AUTH: WRONGPASS")
}

// A node that was cut off, and does not know it yet, still shows the old map. Nobody believes it, not even
// when it is the only seed.
func TestPartitionedNodeIsNotBelieved(t *testing.T) {
	t.Parallel()
	a, b, c := startFake(t, nil), startFake(t, nil), startFake(t, nil)
	old := shardsReply(shardOf(0, 99, a.addr), shardOf(100, 199, b.addr), shardOf(200, 16383, c.addr))
	for _, node := range []*fakeNode{a, b, c} {
		node.set("CLUSTER SHARDS", old)
	}
	w := watch(t, Config{Seeds: []string{a.addr}, Interval: 50 * time.Millisecond})
	w.sees(t, fmt.Sprintf("0-99 %s; 100-199 %s; 200-16383 %s", a.addr, b.addr, c.addr))

	moved := shardsReply(shardOf(0, 199, b.addr), shardOf(200, 16383, c.addr))
	b.set("CLUSTER SHARDS", moved)
	c.set("CLUSTER SHARDS", moved)
	w.sees(t, fmt.Sprintf("0-199 %s; 200-16383 %s", b.addr, c.addr))
	// a is asked on, as the seed, and its view does not come back.
	before, seen := len(a.commands()), len(w.snapshots())
	testbed.Eventually(t, func() error {
		if len(a.commands()) < before+9 || len(w.snapshots()) < seen+3 {
			return errors.New("not asked three times more")
		}
		return nil
	}, 10*time.Second)
	for _, got := range w.snapshots()[seen:] {
		if strings.Contains(got, a.addr) {
			t.Errorf("the cut off node was believed: %s", got)
		}
	}
}

func TestNodeWithoutAClusterHasNoVote(t *testing.T) {
	one, two := shardsReply(shardOf(0, 16383, "10.0.0.1:1")), shardsReply(shardOf(0, 16383, "10.0.0.2:1"))
	lost := map[string]string{"CLUSTER INFO": bulk("cluster_state:fail\r\n"), "CLUSTER SHARDS": one}
	a, b := startFake(t, lost), startFake(t, lost)
	c := startFake(t, map[string]string{"CLUSTER SHARDS": two})
	watch(t, Config{Seeds: []string{a.addr, b.addr, c.addr}}).sees(t, "0-16383 10.0.0.2:1")
}

// One node under two names has one vote.
func TestNodeVotesOnceUnderTwoNames(t *testing.T) {
	one, two := shardsReply(shardOf(0, 16383, "10.0.0.1:1")), shardsReply(shardOf(0, 16383, "10.0.0.2:1"))
	a := startFake(t, map[string]string{"CLUSTER MYID": bulk("a"), "CLUSTER SHARDS": one})
	b := startFake(t, map[string]string{"CLUSTER MYID": bulk("b"), "CLUSTER SHARDS": two})
	c := startFake(t, map[string]string{"CLUSTER MYID": bulk("c"), "CLUSTER SHARDS": two})
	alias := strings.Replace(a.addr, "127.0.0.1", "localhost", 1)
	watch(t, Config{Seeds: []string{a.addr, alias, b.addr, c.addr}}).sees(t, "0-16383 10.0.0.2:1")
}

// A node that hangs costs a look the grace, not the timeout.
func TestHangingNodeDoesNotHoldUpALook(t *testing.T) {
	view := map[string]string{"CLUSTER SHARDS": shardsReply(shardOf(0, 16383, "10.0.0.1:1"))}
	a, b := startFake(t, view), startFake(t, view)
	mute := startFake(t, map[string]string{"CLUSTER INFO": ""})
	timeout := time.Hour
	src := New(Config{Timeout: timeout})
	start := time.Now()
	got, err := src.look(t.Context(), []string{a.addr, b.addr, mute.addr})
	took := time.Since(start)
	if err != nil || describeGroups(got.groups) != "0-16383 10.0.0.1:1" {
		t.Errorf("%v, %v", got.groups, err)
	}
	if took < grace || took >= timeout {
		t.Errorf("took %s", took)
	}
}

func TestSourceStartsWithoutASeed(t *testing.T) {
	t.Parallel()
	dead1 := fmt.Sprintf("127.0.0.1:%d", testbed.FreePort(t))
	dead2 := fmt.Sprintf("127.0.0.1:%d", testbed.FreePort(t))
	w := watch(t, Config{Seeds: []string{dead1, dead2}})
	w.fails(t, "no view of the cluster: ", dead1+": connect: connection refused", dead2+": connect: connection refused", "; ")

	l, err := net.Listen("tcp", dead2)
	if err != nil {
		t.Fatal(err)
	}
	late := &fakeNode{addr: dead2, answers: map[string]string{
		"CLUSTER INFO":   bulk("cluster_state:ok\r\n"),
		"CLUSTER SHARDS": shardsReply(shardOf(0, 16383, dead2)),
	}}
	late.serve(t, l)
	w.sees(t, "0-16383 "+dead2)
	if err := w.src.Err(); err != nil {
		t.Errorf("still failing: %v", err)
	}
}

func TestNoSeedsIsAnError(t *testing.T) {
	watch(t, Config{}).fails(t, "there are no seeds")
}

func TestSetConfigLeadsToAnotherCluster(t *testing.T) {
	t.Parallel()
	a, b := startFake(t, nil), startFake(t, nil)
	a.set("CLUSTER SHARDS", shardsReply(shardOf(0, 16383, a.addr)))
	b.set("CLUSTER SHARDS", shardsReply(shardOf(0, 16383, b.addr)))
	seeds := []string{a.addr}
	w := watch(t, Config{Seeds: seeds})
	w.sees(t, "0-16383 "+a.addr)
	seeds[0] = b.addr
	w.src.SetConfig(Config{Seeds: []string{a.addr}}) // The same seeds: nothing to forget.
	w.src.SetConfig(Config{Seeds: seeds})
	w.sees(t, "0-16383 "+b.addr)
	asked := len(a.commands())
	seen := len(w.snapshots())
	w.src.Refresh()
	testbed.Eventually(t, func() error {
		if len(w.snapshots()) == seen {
			return errors.New("no further look")
		}
		return nil
	}, 5*time.Second)
	if got := len(a.commands()); got != asked {
		t.Errorf("a node of the old cluster was asked %d times more", got-asked)
	}
}
