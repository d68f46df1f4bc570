package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sluice/internal/testbed"
)

// A Sentinel makes a server the master that the configuration of Sluice does not name.

// sentinelTest is a group of which only the master, and perhaps a replica, is listed, watched by a Sentinel.
type sentinelTest struct {
	*served
	master, stranger *testbed.Server
	sentinel         *testbed.Sentinel
}

func startSentinelTest(t *testing.T, settings string) *sentinelTest {
	t.Helper()
	x := &sentinelTest{master: testbed.Redis(t, "--repl-diskless-sync-delay", "0")}
	if v := x.master.Do("SET", "first", "write"); v.Error() != nil {
		t.Fatal(v)
	}
	x.stranger = testbed.Redis(t, "--replicaof", "127.0.0.1", fmt.Sprint(x.master.Port()), "--repl-diskless-sync-delay", "0")
	testbed.AwaitReplica(t, x.master, x.stranger)
	sentinels := testbed.Sentinels(t, 1)
	testbed.WatchMaster(t, sentinels, "main", x.master.Addr(), 1)
	x.sentinel = sentinels[0]
	x.served = serve(t, fmt.Sprintf(`[proxy]
admin = "127.0.0.1:0"
log_format = "text"
[[pool]]
name = "main"
listen = ["tcp://127.0.0.1:0"]
slot_model = "codis"
[pool.discovery]
%s
[[pool.group]]
id = "1"
master = %q
slots = "0-1023"
[pool.backend]
request_timeout = "1s"
dial_timeout = "300ms"
probe_interval = "100ms"
[pool.hold]
max_wait = "2m"
`, settings, x.master.Addr()))
	x.awaitNode(t, x.master.Addr(), "master", "serving")
	return x
}

// failover makes the Sentinel promote the stranger, as soon as it thinks that it can.
func (x *sentinelTest) failover(t *testing.T) {
	t.Helper()
	testbed.Eventually(t, func() error { return x.sentinel.Do("SENTINEL", "FAILOVER", "main").Error() }, time.Minute)
}

func TestFollowsAPlannedFailoverToAStranger(t *testing.T) {
	t.Parallel()
	x := startSentinelTest(t, "follow = true")
	h := startHammer(t, x.addr, 4)
	h.awaitMore(t, true)
	x.failover(t)
	x.awaitNode(t, x.stranger.Addr(), "master", "serving")
	h.awaitMore(t, true)
	for _, f := range h.end(t) {
		t.Error(f)
	}
}

func TestFollowsAnUnplannedFailoverToAStranger(t *testing.T) {
	t.Parallel()
	x := startSentinelTest(t, "follow = true")
	h := startHammer(t, x.addr, 4)
	h.awaitMore(t, true)
	if err := x.master.Kill(); err != nil {
		t.Fatal(err)
	}
	x.awaitNode(t, x.stranger.Addr(), "master", "serving")
	h.awaitMore(t, true)
	for _, f := range h.end(t) {
		t.Error(f)
	}
}

// TestStrangerIsNotFollowedUnasked: without follow nothing is sent to a server that somebody names, and the state of
// the master says what is missing.
func TestStrangerIsNotFollowedUnasked(t *testing.T) {
	t.Parallel()
	x := startSentinelTest(t, "")
	x.failover(t)
	x.awaitNode(t, x.master.Addr(), "master", "broken")
	testbed.Eventually(t, func() error {
		_, body := get(t, x.admin+"/api/v1/groups")
		return wantText(body, "says that it is a replica of "+x.stranger.Addr()+", which the topology does not name")
	}, 30*time.Second)
	if list := x.stranger.Do("CLIENT", "LIST").String(); wantText(list, "name=sluice:") == nil {
		t.Errorf("it was asked: %s", list)
	}
}

func wantText(text, part string) error {
	if !strings.Contains(text, part) {
		return fmt.Errorf("no %q in %s", part, text)
	}
	return nil
}
