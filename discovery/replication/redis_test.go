package replication

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sluice/internal/testbed"
)

// pair is a master with data and its replica behind a relay.
func pair(t *testing.T, args ...string) (master, replica *testbed.Server, relay *testbed.Relay) {
	t.Helper()
	master = testbed.Redis(t, args...)
	fill(t, master, "old")
	replica, relay = testbed.ReplicaThrough(t, master, args...)
	return master, replica, relay
}

// fill writes 60 keys of several types.
func fill(t *testing.T, s *testbed.Server, value string) {
	t.Helper()
	for i := range 20 {
		n := fmt.Sprint(i)
		ok(t, s, "SET", "string:"+n, value+n)
		ok(t, s, "RPUSH", "list:"+n, value)
		ok(t, s, "HSET", "hash:"+n, "field", value)
	}
}

func ok(t *testing.T, s *testbed.Server, args ...string) {
	t.Helper()
	if v := s.Do(args...); v.Error() != nil {
		t.Fatalf("%s: %s", args, v)
	}
}

func do(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// says waits until the INFO replication of a server has all of these.
func says(t *testing.T, s *testbed.Server, parts ...string) {
	t.Helper()
	testbed.Eventually(t, func() error {
		info := s.Do("INFO", "replication").String()
		for _, part := range parts {
			if !strings.Contains(info, part) {
				return fmt.Errorf("no %q in\n%s", part, info)
			}
		}
		return nil
	}, patience)
}

// TestMasterRestartsEmpty: it wipes its replica, and both agree on offset 0. That is checked with each probe.
func TestMasterRestartsEmpty(t *testing.T) {
	t.Parallel()
	master, replica, relay := pair(t)
	w := watch(t, fast(), master.Addr(), replica.Addr())
	w.await(replica.Addr(), "in sync")
	relay.Stall()
	relay.Cut()
	mark := w.mark()
	do(t, master.RestartEmpty())
	w.ban(replica.Addr(), false)
	// Until then all that is known is that the master does not answer, and the replica has what it had.
	w.awaitEvent(mark, "evidence", master.Addr(), "the master was restarted")
	w.ban(replica.Addr(), true) // It has what the master has lost.
	w.await(replica.Addr(), "broken")
	w.awaitProbes(5, master.Addr(), replica.Addr())
	w.allow(replica.Addr())
	relay.Resume()
	testbed.AwaitReplica(t, master, replica)
	right := time.Now()
	w.await(replica.Addr(), "in sync")
	t.Logf("in sync %s after replication was right", time.Since(right))
	if v := replica.Do("DBSIZE"); v.Integer() != 0 {
		t.Errorf("%s keys", v)
	}
}

func TestReplicaStops(t *testing.T) {
	t.Parallel()
	master, replica, _ := pair(t)
	w := watch(t, fast(), master.Addr(), replica.Addr())
	w.await(replica.Addr(), "in sync")
	for range 2 {
		w.silenced(fast(), replica.Addr(), func() {
			do(t, replica.Stop())
			w.await(replica.Addr(), "broken", "does not answer")
			w.awaitUnreadable(replica.Addr())
			do(t, replica.Cont())
		})
		w.await(replica.Addr(), "in sync")
	}
}

// TestMasterStops: the replica says that all is well. It is read as of its watermark, for as long as that is near.
func TestMasterStops(t *testing.T) {
	t.Parallel()
	master, replica, _ := pair(t)
	p := fast()
	w := watch(t, p, master.Addr(), replica.Addr())
	for range 2 {
		w.await(replica.Addr(), "in sync")
		w.silenced(p, master.Addr(), func() {
			do(t, master.Stop())
			w.awaitFailures(2, master.Addr())
			w.ban(replica.Addr(), false)
			w.awaitOrphan(p, replica.Addr())
			says(t, replica, "master_link_status:up")
			w.awaitProbes(5, replica.Addr())
			w.allow(replica.Addr())
			do(t, master.Cont())
		})
	}
	w.await(replica.Addr(), "in sync")
	for _, e := range w.events(replica.Addr(), 0) {
		if e.To == "diverged" {
			t.Errorf("%+v", e)
		}
	}
}

// TestFullSyncByTheOldCommand: a replica whose PSYNC is refused takes SYNC, and counts from there as it likes.
func TestFullSyncByTheOldCommand(t *testing.T) {
	t.Parallel()
	master, replica, relay := pair(t)
	w := watch(t, fast(), master.Addr(), replica.Addr())
	w.await(replica.Addr(), "in sync")
	ok(t, master, "ACL", "SETUSER", "default", "-psync")
	relay.Stall()
	relay.Cut()
	w.await(replica.Addr(), "broken", "is down")
	w.ban(replica.Addr(), true)
	relay.Resume()
	says(t, replica, "master_link_status:up")
	if !strings.Contains(replica.Log(), "Retrying with SYNC") {
		t.Errorf("no SYNC:\n%s", replica.Log())
	}
	fill(t, master, "more")
	w.awaitProbes(10, master.Addr(), replica.Addr())
	// It has the master's id, and its offset is -1 or counts from anywhere. Then only the master's list tells: it never
	// hears of that offset, and shows 0.
	w.await(replica.Addr(), "catching up", "offset")
	w.allow(replica.Addr())
	ok(t, master, "ACL", "SETUSER", "default", "+psync")
	do(t, replica.NoOne())
	do(t, replica.ReplicaOf(relay.Addr()))
	w.await(replica.Addr(), "in sync")
}

// TestPasswordChanges: the replica's link can't come back until it knows the new one.
func TestPasswordChanges(t *testing.T) {
	t.Parallel()
	master, replica, relay := pair(t, "--requirepass", "one")
	p := fast()
	p.password = "one"
	w := watch(t, p, master.Addr(), replica.Addr())
	w.await(replica.Addr(), "in sync")
	ok(t, master, "CONFIG", "SET", "requirepass", "two")
	p.password = "two"
	w.nodes[master.Addr()].SetOptions(p.options())
	relay.Cut()
	w.await(replica.Addr(), "broken", "is down")
	w.ban(replica.Addr(), true)
	w.awaitProbes(10, master.Addr(), replica.Addr())
	// Without a password it asks for PSYNC and for SYNC in vain.
	ok(t, replica, "CONFIG", "SET", "masterauth", "")
	testbed.Eventually(t, func() error {
		if log := replica.Log(); !strings.Contains(log, "Retrying with SYNC") {
			return fmt.Errorf("no SYNC:\n%s", log)
		}
		return nil
	}, patience)
	w.awaitProbes(10, master.Addr(), replica.Addr())
	w.allow(replica.Addr())
	ok(t, replica, "CONFIG", "SET", "masterauth", "two")
	w.await(replica.Addr(), "in sync")
}

// TestReplicaFollowsAnotherMaster: by hand, with other data.
func TestReplicaFollowsAnotherMaster(t *testing.T) {
	t.Parallel()
	master, replica, relay := pair(t)
	other := testbed.Redis(t)
	fill(t, other, "other")
	w := watch(t, fast(), master.Addr(), replica.Addr())
	w.await(replica.Addr(), "in sync")
	do(t, replica.ReplicaOf(other.Addr()))
	testbed.AwaitReplica(t, other, replica)
	w.ban(replica.Addr(), true)
	w.await(replica.Addr(), "diverged", "has replication id")
	fill(t, master, "more") // The offsets come to be the same sooner or later.
	fill(t, other, "more")
	w.awaitProbes(10, master.Addr(), replica.Addr())
	w.allow(replica.Addr())
	do(t, replica.ReplicaOf(relay.Addr()))
	w.await(replica.Addr(), "in sync")
}

func TestReplicaBecomesAMaster(t *testing.T) {
	t.Parallel()
	master, replica, relay := pair(t)
	w := watch(t, fast(), master.Addr(), replica.Addr())
	w.await(replica.Addr(), "in sync")
	do(t, replica.NoOne())
	w.ban(replica.Addr(), true)
	w.await(replica.Addr(), "diverged", "says that it is a master")
	ok(t, replica, "SET", "string:1", "own")
	w.awaitProbes(10, master.Addr(), replica.Addr())
	w.allow(replica.Addr())
	if len(w.adopted) > 0 {
		t.Errorf("%s was adopted, and its master serves", <-w.adopted)
	}
	do(t, replica.ReplicaOf(relay.Addr()))
	w.await(replica.Addr(), "in sync")
	if v := replica.Do("GET", "string:1"); v.String() != "old1" {
		t.Errorf("string:1 is %s", v)
	}
}

// TestReplicaRestartsAlone: its command line names no master, so it comes back empty and as a master.
func TestReplicaRestartsAlone(t *testing.T) {
	t.Parallel()
	master, replica := testbed.Redis(t), testbed.Redis(t)
	fill(t, master, "old")
	do(t, replica.ReplicaOf(master.Addr()))
	testbed.AwaitReplica(t, master, replica)
	w := watch(t, fast(), master.Addr(), replica.Addr())
	w.await(replica.Addr(), "in sync")
	do(t, replica.RestartEmpty())
	w.ban(replica.Addr(), true)
	w.await(replica.Addr(), "diverged", "says that it is a master")
	w.awaitProbes(10, master.Addr(), replica.Addr())
	w.allow(replica.Addr())
	do(t, replica.ReplicaOf(master.Addr()))
	w.await(replica.Addr(), "in sync")
}

// TestRestartBetweenTwoProbes: nobody has seen the server away. One probe is enough to find out that all is new,
// and that it is right again; the next one would come in an hour.
func TestRestartBetweenTwoProbes(t *testing.T) {
	t.Parallel()
	slow := fast()
	slow.probe = time.Hour
	f := func(name string, restart func(master, replica *testbed.Server) error, dropped bool) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			master, replica, relay := pair(t)
			w := watch(t, slow, master.Addr(), replica.Addr())
			kick := func() {
				w.nodes[master.Addr()].Kick() // Its replicas follow.
			}
			testbed.Eventually(t, func() error { // The first probes come in any order.
				if st := w.node(replica.Addr()); st.EvidenceAge < 0 || w.node(master.Addr()).EvidenceAge < 0 {
					return fmt.Errorf("not asked: %+v", st)
				}
				return nil
			}, patience)
			kick()
			w.await(replica.Addr(), "in sync")
			// The link is kept down: what the replica says is what it had.
			relay.Stall()
			relay.Cut()
			mark := w.mark()
			do(t, restart(master, replica))
			w.ban(replica.Addr(), dropped)
			w.awaitProbesOf(kick, 1, master.Addr(), replica.Addr())
			w.await(replica.Addr(), "broken")
			if dropped {
				w.awaitEvent(mark, "evidence", master.Addr(), "the master was restarted")
			}
			w.allow(replica.Addr())
			relay.Resume()
			testbed.AwaitReplica(t, master, replica)
			testbed.AwaitOffset(t, master, replica)
			right := time.Now()
			kick()
			w.await(replica.Addr(), "in sync")
			t.Logf("in sync %s after the next probe", time.Since(right))
			// And when all of it happens between two probes.
			mark = w.mark()
			do(t, restart(master, replica))
			testbed.AwaitReplica(t, master, replica)
			testbed.AwaitOffset(t, master, replica)
			right = time.Now()
			kick()
			testbed.Eventually(t, func() error {
				if len(w.events(replica.Addr(), mark)) == 0 {
					return fmt.Errorf("nothing was found out")
				}
				return nil
			}, patience)
			w.await(replica.Addr(), "in sync")
			t.Logf("in sync %s after the next probe", time.Since(right))
		})
	}
	f("replica", func(_, replica *testbed.Server) error { return replica.Restart() }, false)
	f("replica empty", func(_, replica *testbed.Server) error { return replica.RestartEmpty() }, false)
	f("master empty", func(master, _ *testbed.Server) error { return master.RestartEmpty() }, true)
	f("master with its data", func(master, _ *testbed.Server) error { return master.RestartWithData() }, true)
}

// TestReplicaBehind: by time, through a slow link. Its watermark is never too late for what it has.
func TestReplicaBehind(t *testing.T) {
	t.Parallel()
	master, replica, relay := pair(t)
	p := fast()
	p.rules.MaxLag = 200 * time.Millisecond
	w := watch(t, p, master.Addr(), replica.Addr())
	w.await(replica.Addr(), "in sync")
	wr := startWriter(t, func(value string) error {
		return master.Do("SET", "number", value).Error()
	})
	get := func() string { return replica.Do("GET", "number").String() }
	checked := 0
	watchMark := func(until string) {
		t.Helper()
		testbed.Eventually(t, func() error {
			if w.checkMark(replica.Addr(), wr, get) {
				checked++
			}
			if st := w.node(replica.Addr()); st.State != until {
				return fmt.Errorf("%s: %s", st.State, st.Reason)
			}
			return nil
		}, patience)
	}
	for range 2 {
		mark := w.mark()
		relay.SetDelay(600*time.Millisecond, testbed.FromTarget)
		watchMark("lagging")
		w.awaitUnreadable(replica.Addr())
		w.awaitProbes(5, master.Addr(), replica.Addr())
		relay.SetDelay(0)
		watchMark("in sync")
		for _, e := range w.events(replica.Addr(), mark) {
			if e.To != "in sync" && e.To != "lagging" {
				t.Errorf("%+v", e)
			}
		}
		testbed.Eventually(t, func() error {
			if w.checkMark(replica.Addr(), wr, get) {
				checked++
			}
			if checked < 20 {
				return fmt.Errorf("%d watermarks were checked", checked)
			}
			return nil
		}, patience)
	}
	wr.stop()
}

// TestMovingGroup: replicas of a master that takes part in a migration are not read.
func TestMovingGroup(t *testing.T) {
	t.Parallel()
	master, replica, _ := pair(t)
	w := watch(t, fast(), master.Addr(), replica.Addr())
	w.await(replica.Addr(), "in sync")
	w.SetMoving([]string{"127.0.0.1:1", master.Addr()})
	if st := w.node(replica.Addr()); st.Readable || w.nodes[replica.Addr()].Proof() != nil {
		t.Errorf("%+v", st)
	}
	w.awaitProbes(3, master.Addr(), replica.Addr())
	if st := w.node(replica.Addr()); st.Readable || w.nodes[replica.Addr()].Proof() != nil {
		t.Errorf("%+v", st)
	}
	w.SetMoving(nil)
	w.await(replica.Addr(), "in sync")
}

func TestReplicaSleeps(t *testing.T) {
	t.Parallel()
	master := testbed.Redis(t)
	replica := testbed.Replica(t, master, "--enable-debug-command", "yes")
	w := watch(t, fast(), master.Addr(), replica.Addr())
	w.await(replica.Addr(), "in sync")
	mark := w.mark()
	w.silenced(fast(), replica.Addr(), func() {
		ok(t, replica, "DEBUG", "SLEEP", "1.5") // Longer than a probe waits.
		w.awaitEvent(mark, "state", replica.Addr(), "does not answer")
	})
	w.await(replica.Addr(), "in sync")
}

// TestNewMasterIsProposedOnce: the old one is dead, and the replica was promoted by hand.
func TestNewMasterIsProposedOnce(t *testing.T) {
	t.Parallel()
	master, replica, _ := pair(t)
	w := watch(t, fast(), master.Addr(), replica.Addr())
	w.await(replica.Addr(), "in sync")
	mark := w.mark()
	do(t, master.Kill())
	w.await(master.Addr(), "broken")
	if len(w.adopted) > 0 {
		t.Fatalf("%s was adopted, and nobody promoted it", <-w.adopted)
	}
	do(t, replica.NoOne())
	w.awaitEvent(mark, "master", replica.Addr(), "its history continues that of the old master")
	w.awaitProbes(10, replica.Addr())
	if addr := <-w.adopted; addr != replica.Addr() || len(w.adopted) > 0 {
		t.Errorf("%s was adopted, and %d more", addr, len(w.adopted))
	}
}
