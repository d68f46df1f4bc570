package replication

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"sluice/backend/dialect"
	"sluice/internal/testbed"
	"sluice/internal/testbed/fakecodis"
	"sluice/router"
)

// ofPika is a plan for Pikas, with or without heartbeats.
func ofPika(heartbeat bool) plan {
	p := fast()
	p.family, p.rules.Heartbeat, p.rules.AcceptExpiryLoss = dialect.Pika, heartbeat, true
	return p
}

// both runs a test with heartbeats and without.
func both(t *testing.T, test func(t *testing.T, heartbeat bool)) {
	t.Parallel()
	for _, heartbeat := range []bool{true, false} {
		t.Run(fmt.Sprintf("heartbeat %t", heartbeat), func(t *testing.T) {
			t.Parallel()
			test(t, heartbeat)
		})
	}
}

// pikas are a master with data and a Pika that does not follow it yet.
func pikas(t *testing.T) (master, replica *fakecodis.Server) {
	t.Helper()
	master = fakecodis.StartPika(t, fakecodis.Pika40, fakecodis.Options{Slots: 64})
	replica = fakecodis.StartPika(t, fakecodis.Pika40, fakecodis.Options{Slots: 64})
	for i := range 20 {
		run(t, master, "SET", fmt.Sprintf("base:string:%d", i), "1")
		run(t, master, "RPUSH", fmt.Sprintf("base:list:%d", i), "1", "2")
	}
	return master, replica
}

func run(t *testing.T, s *fakecodis.Server, args ...string) {
	t.Helper()
	if v := s.Do(args...); v.Error() != nil {
		t.Fatalf("%s: %s", args, v)
	}
}

// force makes a replica get a full copy.
func (w *watched) force(replica, master string) {
	w.Helper()
	host, port, _ := net.SplitHostPort(master)
	reply, err := w.nodes[replica].Ask(context.Background(), "SLAVEOF", host, port, "force")
	if err != nil || reply.Text != "OK" {
		w.Fatalf("SLAVEOF force: %q %v", reply, err)
	}
}

func catchesUp(t *testing.T, replica *fakecodis.Server) {
	t.Helper()
	testbed.Eventually(t, func() error {
		if !replica.CaughtUp() {
			return fmt.Errorf("not caught up")
		}
		return nil
	}, patience)
}

// receives waits until a replica has received what its master has now, applied or not.
func (w *watched) receives(replica, master string) {
	w.Helper()
	offset := func(addr string) (int64, error) {
		reply, err := w.nodes[addr].Ask(context.Background(), "INFO", "replication")
		return dialect.ParseReplication([]byte(reply.Text)).Offset, err
	}
	end, err := offset(master)
	if err != nil {
		w.Fatal(err)
	}
	testbed.Eventually(w, func() error {
		at, err := offset(replica)
		if err == nil && at < end {
			err = fmt.Errorf("%s is at %d, want %d", replica, at, end)
		}
		return err
	}, patience)
}

func TestPikaInSync(t *testing.T) {
	both(t, func(t *testing.T, heartbeat bool) {
		master, replica := pikas(t)
		replica.ReplicaOf(master)
		w := watch(t, ofPika(heartbeat), master.Addr(), replica.Addr())
		st := w.await(replica.Addr(), "in sync")
		if (st.Lag >= 0) != heartbeat { // Without heartbeats nothing is proven about time.
			t.Errorf("%+v", st)
		}
		if n := replica.Calls("TYPE").Seen; n < 40 {
			t.Errorf("%d keys were compared", n)
		}
		if wrote := master.Calls("SET").Seen > 0; wrote != heartbeat {
			t.Errorf("heartbeats were written: %t", wrote)
		}
	})
}

// A Pika 4.0 replicates SET with EX as a key that has expired. Nothing in INFO tells, so its replicas are not read
// unasked.
func TestPikaLosesExpiries(t *testing.T) {
	t.Parallel()
	master, replica := pikas(t)
	replica.ReplicaOf(master)
	p := ofPika(true)
	p.rules.AcceptExpiryLoss = false
	w := watch(t, p, master.Addr(), replica.Addr())
	const why = "Pika 4.0.0 replicates SET with EX or PX, and SETEX, as keys that have expired"
	testbed.Eventually(t, func() error {
		if st := w.Status().Groups[0].Nodes[1]; st.State != "in sync" || st.Readable || !strings.Contains(st.Reason, why) {
			return fmt.Errorf("%+v", st)
		}
		return nil
	}, patience)
	run(t, master, "SET", "k", "v", "EX", "100")
	catchesUp(t, replica)
	if v := replica.Do("GET", "k"); !v.IsNull() {
		t.Errorf("the replica has %s", v)
	}
	if w.nodes[replica.Addr()].Proof() != nil {
		t.Error("it may be read")
	}
	p.rules.AcceptExpiryLoss = true
	w.SetRules(p.rules)
	w.judgeAll()
	if w.nodes[replica.Addr()].Proof() == nil {
		t.Error("it may not be read")
	}
}

// A replica whose master has died has what it had: it is read as of its watermark, though its link is down at once.
func TestPikaMasterDies(t *testing.T) {
	both(t, func(t *testing.T, heartbeat bool) {
		master, replica := pikas(t)
		replica.ReplicaOf(master)
		p := ofPika(heartbeat)
		w := watch(t, p, master.Addr(), replica.Addr())
		w.await(replica.Addr(), "in sync")
		master.Kill()
		testbed.Eventually(t, func() error {
			st := w.node(replica.Addr())
			if st.State != "lagging" || !st.Readable || !strings.HasPrefix(st.Reason, "the master does not answer; the data is at most ") {
				return fmt.Errorf("%s, readable %t: %s", st.State, st.Readable, st.Reason)
			}
			if info := replica.Do("INFO", "replication").String(); !strings.Contains(info, "master_link_status:down") {
				return errors.New(info)
			}
			return nil
		}, patience)
		if w.nodes[replica.Addr()].Proof() == nil {
			t.Error("there is no proof")
		}
	})
}

// TestPikaSkippedFullSync: INFO says that all is well, and only what was written since is there.
func TestPikaSkippedFullSync(t *testing.T) {
	both(t, func(t *testing.T, heartbeat bool) {
		master, replica := pikas(t)
		replica.Faults.SkipFullSync(true)
		replica.ReplicaOf(master)
		catchesUp(t, replica)
		for i := range 20 {
			run(t, master, "SET", fmt.Sprintf("new:%d", i), "1")
		}
		catchesUp(t, replica)
		w := watch(t, ofPika(heartbeat), master.Addr(), replica.Addr())
		w.ban(replica.Addr(), true)
		st := w.await(replica.Addr(), "diverged", "sampled keys differ, such as")
		if !strings.Contains(st.Reason, "base:") || strings.Contains(st.Reason, "new:") || !strings.Contains(st.Reason, ": 40 of 60 sampled keys") {
			t.Errorf("%s", st.Reason)
		}
		w.awaitProbes(10, master.Addr(), replica.Addr())
		w.allow(replica.Addr())
		replica.Faults.SkipFullSync(false)
		w.force(replica.Addr(), master.Addr())
		w.await(replica.Addr(), "in sync")
	})
}

// TestPikaFullSyncThatWasCutOff: it says so itself.
func TestPikaFullSyncThatWasCutOff(t *testing.T) {
	both(t, func(t *testing.T, heartbeat bool) {
		master, replica := pikas(t)
		replica.Faults.CutFullSync(true)
		replica.ReplicaOf(master)
		catchesUp(t, replica)
		w := watch(t, ofPika(heartbeat), master.Addr(), replica.Addr())
		w.ban(replica.Addr(), true)
		w.await(replica.Addr(), "broken", "a full sync has begun and not ended")
		w.awaitProbes(10, master.Addr(), replica.Addr())
		w.allow(replica.Addr())
		replica.Faults.CutFullSync(false)
		w.force(replica.Addr(), master.Addr())
		w.await(replica.Addr(), "in sync")
	})
}

// TestPikaIsUpBeforeItHasCaughtUp: the link is, and what was written during the copy is not there yet.
func TestPikaIsUpBeforeItHasCaughtUp(t *testing.T) {
	both(t, func(t *testing.T, heartbeat bool) {
		master, replica := pikas(t)
		hold := replica.Faults.Hold(fakecodis.SlaveReceive)
		reply := replica.Faults.Hold(fakecodis.SlaveReply)
		replica.ReplicaOf(master)
		<-reply.Arrived()
		for i := range 20 {
			run(t, master, "SET", fmt.Sprintf("base:string:%d", i), "2")
		}
		reply.Release()
		<-hold.Arrived()
		w := watch(t, ofPika(heartbeat), master.Addr(), replica.Addr())
		w.ban(replica.Addr(), true)
		w.await(replica.Addr(), "catching up")
		w.awaitProbes(10, master.Addr(), replica.Addr())
		if st := w.node(replica.Addr()); st.LagBytes <= 0 {
			t.Errorf("%+v", st)
		}
		w.allow(replica.Addr())
		hold.Release()
		w.await(replica.Addr(), "in sync")
	})
}

// TestPikaRelinks: each time its data is compared again, since it may lack what was written meanwhile.
func TestPikaRelinks(t *testing.T) {
	both(t, func(t *testing.T, heartbeat bool) {
		master, replica := pikas(t)
		replica.ReplicaOf(master)
		w := watch(t, ofPika(heartbeat), master.Addr(), replica.Addr())
		relink := func(meanwhile func()) {
			t.Helper()
			w.await(replica.Addr(), "in sync")
			hold := replica.Faults.Hold(fakecodis.SlaveConnect)
			replica.DropLink()
			w.await(replica.Addr(), "broken")
			meanwhile()
			hold.Release()
		}
		for range 2 {
			before := replica.Calls("TYPE").Seen
			relink(func() {})
			w.await(replica.Addr(), "in sync")
			if replica.Calls("TYPE").Seen < before+40 {
				t.Error("it was not compared again")
			}
		}
		relink(func() {
			run(t, master, "SET", "base:string:7", "2")
			replica.Faults.SkipFullSync(true)
			w.force(replica.Addr(), master.Addr())
			w.ban(replica.Addr(), true)
		})
		w.await(replica.Addr(), "diverged", `1 of 40 sampled keys differ, such as "base:string:7"`)
		w.allow(replica.Addr())
	})
}

// TestPikaLosesWhatItHadNotApplied: what it had received and not applied is lost, and INFO says that it is up.
func TestPikaLosesWhatItHadNotApplied(t *testing.T) {
	both(t, func(t *testing.T, heartbeat bool) {
		master, replica := pikas(t)
		replica.ReplicaOf(master)
		w := watch(t, ofPika(heartbeat), master.Addr(), replica.Addr())
		w.await(replica.Addr(), "in sync")
		apply := replica.Faults.Hold(fakecodis.SlaveApply)
		run(t, master, "SET", "lost", "1")
		w.receives(replica.Addr(), master.Addr())
		replica.Kill()
		w.await(replica.Addr(), "broken", "does not answer")
		w.ban(replica.Addr(), true)
		apply.Release()
		if err := replica.Restart(); err != nil {
			t.Fatal(err)
		}
		w.await(replica.Addr(), "diverged", `such as "lost"`)
		w.allow(replica.Addr())
	})
}

// TestPikaAppliesLater: INFO says that nothing is missing, and nothing is applied. Heartbeats tell.
func TestPikaAppliesLater(t *testing.T) {
	t.Parallel()
	master, replica := pikas(t)
	replica.ReplicaOf(master)
	p := ofPika(true)
	w := watch(t, p, master.Addr(), replica.Addr())
	w.await(replica.Addr(), "in sync")
	wr := startWriter(t, func(value string) error { return master.Do("SET", "number", value).Error() })
	check := func() {
		t.Helper()
		w.checkMarks(replica.Addr(), wr, func() string { return replica.Do("GET", "number").String() })
	}
	strict := p.rules
	strict.MaxLag = time.Millisecond
	for range 2 {
		hold := replica.Faults.Hold(fakecodis.SlaveApply)
		<-hold.Arrived()
		check() // It may be as far behind as it likes, and is read.
		w.SetRules(strict)
		w.await(replica.Addr(), "lagging", "behind")
		w.ban(replica.Addr(), true)
		w.awaitUnreadable(replica.Addr())
		w.awaitProbes(5, master.Addr(), replica.Addr())
		testbed.Eventually(t, func() error {
			if st := w.node(replica.Addr()); st.LagBytes > 10_000 || st.Lag <= strict.MaxLag {
				return fmt.Errorf("%+v", st) // In bytes of the log it is up to date.
			}
			return nil
		}, patience)
		w.allow(replica.Addr())
		w.SetRules(p.rules)
		hold.Release()
		w.await(replica.Addr(), "in sync")
		slow := replica.Faults.Stall(fakecodis.SlaveApply, 200*time.Microsecond)
		check()
		slow()
	}
}

// TestPikaMasterHangs: the replica says up for 20 s.
func TestPikaMasterHangs(t *testing.T) {
	both(t, func(t *testing.T, heartbeat bool) {
		master, replica := pikas(t)
		replica.ReplicaOf(master)
		p := ofPika(heartbeat)
		w := watch(t, p, master.Addr(), replica.Addr())
		w.await(replica.Addr(), "in sync")
		w.silenced(p, master.Addr(), func() {
			master.Faults.Freeze()
			defer master.Faults.Thaw()
			w.awaitFailures(2, master.Addr())
			w.ban(replica.Addr(), false)
			w.awaitOrphan(p, replica.Addr())
			w.allow(replica.Addr())
		})
		w.await(replica.Addr(), "in sync")
	})
}

// TestNodeThatLeavesIsLeftAlone: no heartbeats are written to a master that is in no group any more, and it has no
// slot.
func TestNodeThatLeavesIsLeftAlone(t *testing.T) {
	t.Parallel()
	master, replica := pikas(t)
	replica.ReplicaOf(master)
	w := watch(t, ofPika(true), master.Addr(), replica.Addr())
	w.await(replica.Addr(), "in sync")
	w.SetTable(tableOf(t, router.CodisModel(64), replica.Addr()))
	if w.nodes[replica.Addr()].Proof() != nil {
		t.Error("a master has a proof")
	}
	w.awaitProbes(2, master.Addr()) // One may have been on its way.
	before := master.Calls("SET").Seen
	w.awaitProbes(5, master.Addr())
	if n := master.Calls("SET").Seen; n != before {
		t.Errorf("%d heartbeats", n-before)
	}
	// A group without slots has no key to write.
	table, err := router.NewBuilder(router.CodisModel(64)).Build(router.Spec{Groups: []router.GroupSpec{{ID: "1", Master: master.Addr()}}})
	if err != nil {
		t.Fatal(err)
	}
	w.SetTable(table)
	w.awaitProbes(5, master.Addr())
	if n := master.Calls("SET").Seen; n != before {
		t.Errorf("%d heartbeats without a slot", n-before)
	}
}
