package replication

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"sluice/internal/testbed"
)

func TestInSyncAfterAComparison(t *testing.T) {
	t.Parallel()
	master, replica, _ := pair(t)
	w := watch(t, fast(), master.Addr(), replica.Addr())
	st := w.await(replica.Addr(), "in sync")
	if !st.Readable || st.Lag < 0 || st.LagBytes < 0 || st.Offset <= 0 || st.ReplID == "" || st.Role != "replica" || st.Says != "replica" {
		t.Errorf("%+v", st)
	}
	if st := w.await(master.Addr(), "serving"); st.Readable || st.Lag != 0 || w.nodes[master.Addr()].Proof() != nil {
		t.Errorf("%+v", st)
	}
	if stats := replica.Do("INFO", "commandstats").String(); !strings.Contains(stats, "cmdstat_getrange") || !strings.Contains(stats, "cmdstat_llen") {
		t.Errorf("not compared:\n%s", stats)
	}
}

// TestEmptyMasterHasAReplica: with nothing to compare, a replica is in sync as well.
func TestEmptyMasterHasAReplica(t *testing.T) {
	t.Parallel()
	master := testbed.Redis(t)
	replica := testbed.Replica(t, master)
	w := watch(t, fast(), master.Addr(), replica.Addr())
	w.await(replica.Addr(), "in sync")
}

// TestDivergedReplicaHoldsUpNobody: what can't be compared is not waited for.
func TestDivergedReplicaHoldsUpNobody(t *testing.T) {
	t.Parallel()
	master, replica, _ := pair(t)
	second, other := testbed.Replica(t, master), testbed.Redis(t)
	do(t, replica.ReplicaOf(other.Addr()))
	testbed.AwaitReplica(t, other, replica)
	w := watch(t, fast(), master.Addr(), replica.Addr(), second.Addr())
	for range 3 {
		w.await(second.Addr(), "in sync")
		w.await(replica.Addr(), "diverged")
		do(t, second.Restart())
		w.awaitUnreadable(second.Addr())
	}
	w.await(second.Addr(), "in sync")
}

// TestDamagedReplica: INFO says that all is well.
func TestDamagedReplica(t *testing.T) {
	t.Parallel()
	master, replica, relay := pair(t)
	ok(t, replica, "CONFIG", "SET", "replica-read-only", "no")
	damaged := map[string]bool{}
	for i := range 10 {
		n := fmt.Sprint(i)
		ok(t, replica, "DEL", "list:"+n)
		ok(t, replica, "SET", "string:"+n, "old"+n+"x")
		ok(t, replica, "HSET", "hash:"+n, "another", "1")
		damaged["list:"+n], damaged["string:"+n], damaged["hash:"+n] = true, true, true
	}
	w := watch(t, fast(), master.Addr(), replica.Addr())
	w.ban(replica.Addr(), true)
	st := w.await(replica.Addr(), "diverged", "sampled keys differ, such as")
	_, named, _ := strings.Cut(st.Reason, "such as ")
	for name := range strings.SplitSeq(named, ", ") {
		if !damaged[strings.Trim(name, `"`)] {
			t.Errorf("%s is named, and it is all right", name)
		}
	}
	w.awaitProbes(10, master.Addr(), replica.Addr())
	w.allow(replica.Addr())
	do(t, replica.NoOne())
	do(t, replica.ReplicaOf(relay.Addr()))
	w.await(replica.Addr(), "in sync")
}

// TestReplicaHasMore: nothing of the master's is missing, and there are keys that it never had.
func TestReplicaHasMore(t *testing.T) {
	t.Parallel()
	f := func(name string, filled bool) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			master := testbed.Redis(t)
			if filled {
				fill(t, master, "old")
			}
			replica := testbed.Replica(t, master)
			ok(t, replica, "CONFIG", "SET", "replica-read-only", "no")
			for i := range 20 {
				ok(t, replica, "SET", fmt.Sprintf("extra:%d", i), "1")
			}
			w := watch(t, fast(), master.Addr(), replica.Addr())
			w.ban(replica.Addr(), true)
			st := w.await(replica.Addr(), "diverged", "sampled keys differ, such as")
			if n := strings.Count(st.Reason, `"extra:`); n != namedKeys {
				t.Errorf("%d extra keys are named: %s", n, st.Reason)
			}
			w.awaitProbes(10, master.Addr(), replica.Addr())
			w.allow(replica.Addr())
			for i := range 20 {
				ok(t, replica, "DEL", fmt.Sprintf("extra:%d", i))
			}
			w.await(replica.Addr(), "in sync")
		})
	}
	f("and all of the master", true)
	f("than an empty master", false)
}

// TestKeysAboutToExpireAreNotJudged: for the clock of one end they may be gone already.
func TestKeysAboutToExpireAreNotJudged(t *testing.T) {
	t.Parallel()
	master, replica, _ := pair(t)
	ok(t, replica, "CONFIG", "SET", "replica-read-only", "no")
	w := watch(t, fast(), master.Addr(), replica.Addr())
	for range 3 {
		w.await(replica.Addr(), "in sync")
		mark := w.mark()
		for i := range 20 {
			ok(t, replica, "SET", fmt.Sprintf("expires:%d", i), "1", "PX", fmt.Sprint(expirySoon.Milliseconds()-1))
		}
		ok(t, replica, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes") // So that it may have been restarted.
		w.awaitEvent(mark, "state", replica.Addr(), "its data is compared")
		w.await(replica.Addr(), "in sync")
	}
	for _, e := range w.events(replica.Addr(), 0) {
		if e.To == "diverged" {
			t.Errorf("%+v", e)
		}
	}
}

// TestWritesDoNotLookLikeDamage: keys change, come and go while they are compared.
func TestWritesDoNotLookLikeDamage(t *testing.T) {
	t.Parallel()
	master, replica, relay := pair(t)
	relay.SetDelay(50*time.Millisecond, testbed.FromTarget)
	startWriter(t, func(value string) error {
		for i := range 5 {
			if v := master.Do("SET", "string:"+fmt.Sprint(i), value); v.Error() != nil {
				return v.Error()
			}
		}
		for i := range 5 { // They are at one end alone for a while.
			master.Do("SET", fmt.Sprintf("new:%d:%s", i, value), value)
			master.Do("SET", fmt.Sprintf("expires:%d:%s", i, value), value, "PX", "50")
			if n, _ := strconv.Atoi(value); n >= 20 {
				master.Do("DEL", fmt.Sprintf("new:%d:%d", i, n-20))
			}
		}
		return master.Do("RPUSH", "list:1", value).Error()
	})
	w := watch(t, fast(), master.Addr(), replica.Addr())
	w.await(replica.Addr(), "in sync")
	for _, e := range w.events(replica.Addr(), 0) {
		if e.To == "diverged" {
			t.Errorf("%+v", e)
		}
	}
}

// TestSuspectBehindItsMaster: what has not reached a replica yet is no difference. The comparison waits for it.
func TestSuspectBehindItsMaster(t *testing.T) {
	t.Parallel()
	master, replica, relay := pair(t)
	p := fast()
	w := watch(t, p, master.Addr(), replica.Addr())
	w.await(replica.Addr(), "in sync")
	relay.Stall(testbed.FromTarget)
	fill(t, master, "new")
	for i := range 10 {
		ok(t, master, "DEL", fmt.Sprintf("string:%d", i))
	}
	mark := w.mark()
	w.ban(replica.Addr(), true)
	ok(t, replica, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes") // So that it may have been restarted.
	w.await(replica.Addr(), "catching up", "its data is compared")
	w.awaitProbes(20, master.Addr(), replica.Addr())
	w.allow(replica.Addr())
	relay.Resume()
	w.await(replica.Addr(), "in sync")
	for _, e := range w.events(replica.Addr(), mark) {
		if e.To == "diverged" {
			t.Errorf("%+v", e)
		}
	}
}
