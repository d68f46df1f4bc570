package proxy

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"sluice/backend"
	"sluice/internal/clock"
	"sluice/internal/testbed"
	"sluice/router"
	"sluice/router/lag"
)

// Replicas, masters and slots that fail or change while reads go to replicas.

// A replica that says that it can't serve is found out: the client gets the master's answer, others are spared.
func TestReplicaThatCannotServe(t *testing.T) {
	const masterDown = "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'."
	f := func(wait time.Duration, line string, split bool) {
		t.Helper()
		var probes atomic.Int32
		var addr atomic.Value
		x := startReads(t, testModel, 1, 1, holding(wait), faultOptions(probedOnce), func(_ *Config, pool *PoolConfig) {
			pool.Observe = func(a string, _ backend.Observation) {
				if a == addr.Load() {
					probes.Add(1)
				}
			}
		})
		m, r := x.m[0], x.r[0][0]
		x.ready(r)
		x.p.awaitStatus(t, "probed", func(st *backend.Status) bool { return st.Version != "" })
		addr.Store(r.addr())
		a, b := x.inBucket(0, 1), x.inBucket(0, 2)
		r.answer("GET "+a, "-"+line+"\r\n")
		r.answer("mget "+a+" "+b, "-"+line+"\r\n")
		c := x.p.dial(t)
		if split {
			c.want(m.all(a, b), "MGET", a, b)
		} else {
			c.want(m.at(a), "GET", a)
		}
		if p := x.node(r).Proof(); p != nil {
			t.Errorf("the proof stands: %+v", p)
		}
		testbed.Eventually(t, func() error {
			if probes.Load() == 0 {
				return fmt.Errorf("the replica was not probed again")
			}
			return nil
		}, replyWait)
		c.want(m.at(b), "GET", b)
		if n := x.p.Stats().ReadsAgain; n != 1 {
			t.Errorf("%d reads sent again, want 1", n)
		}
		x.wantNothingCounted()
	}
	for _, wait := range []time.Duration{0, never} {
		f(wait, loading, false)
		f(wait, masterDown, false)
		f(wait, loading, true)
	}
}

func TestReplicaConnectionLostInMidFlight(t *testing.T) {
	f := func(want func(n *readNode, a, b string) string, request string, sent string) {
		t.Helper()
		x := startReads(t, testModel, 1, 1)
		m, r := x.m[0], x.r[0][0]
		x.ready(r)
		a, b := x.inBucket(0, 1), x.inBucket(0, 2)
		r.answer(fmt.Sprintf(sent, a, b), "")
		c := x.p.dial(t)
		c.want(want(m, a, b), map[string][]string{"GET": {"GET", a}, "MGET": {"MGET", a, b}}[request]...)
		x.ready(r)
		c.want("+OK\r\n", "SET", a, "v")
		c.want(r.at(b), "GET", b)
		x.wantNothingCounted()
	}
	f(func(n *readNode, a, _ string) string { return n.at(a) }, "GET", "GET %[1]s")
	f(func(n *readNode, a, b string) string { return n.all(a, b) }, "MGET", "mget %s %s")
}

// Reads that a frozen replica has are the master's as soon as the replica's proof is withdrawn or too old. What it
// answers when it is back is nobody's.
func TestFrozenReplica(t *testing.T) {
	t.Parallel()
	f := func(withdraw func(x *readsTest, r *readNode)) {
		t.Helper()
		x := startReads(t, testModel, 1, 1)
		m, r := x.m[0], x.r[0][0]
		x.ready(r)
		thaw := r.freeze()
		defer thaw()
		c := x.p.dial(t)
		const n = 100
		for i := range n {
			c.request("GET", fmt.Sprint("k", i%30))
		}
		a, b := x.inBucket(0, 40), x.inBucket(0, 41)
		c.request("MGET", a, b)
		c.request("SET", "k0", "v")
		r.await(t, 1, "mget "+a+" "+b)
		withdraw(x, r)
		for i := range n {
			c.wantReply(m.at(fmt.Sprint("k", i%30)))
		}
		c.wantReply(m.all(a, b))
		c.wantReply("+OK\r\n")
		x.wantNothingCounted()
		x.prove(r)
		other := x.p.dial(t)
		other.request("GET", "other")
		c.request("GET", "mine")
		r.await(t, 1, "GET other")
		r.await(t, 1, "GET mine")
		thaw()
		other.wantReply(r.at("other"))
		c.wantReply(r.at("mine"))
		x.onLoop(func(l *loop) {
			if b := x.conn(l, r); b.InFlight() != 0 || b.Queued() != 0 || r.dataConns() != 1 {
				t.Errorf("%d requests, %d bytes, %d connections", b.InFlight(), b.Queued(), r.dataConns())
			}
		})
		x.wantNothingCounted()
	}
	f((*readsTest).disprove)
	f(func(x *readsTest, r *readNode) { x.change(r, func(p *lag.Proof) { p.ValidUntil = clock.Now() - 1 }) })
}

// A slot that is locked or moves is not read from replicas, neither where it was nor where it goes. Those of its new
// group are read when they have what the group had when it got the slot.
func TestReadsOfASlotThatMoves(t *testing.T) {
	x := startReads(t, codisModel, 2, 1, holding(never))
	r0, r1 := x.r[0][0], x.r[1][0]
	x.ready(r0, r1)
	k := x.inBucket(0, 5)
	other := x.keyIn(0, func(slot router.Slot) bool { return slot%buckets == 5 && slot != codisModel.Slot([]byte(k)) })
	slot := codisModel.Slot([]byte(k))
	moving := []router.Range{{From: slot, To: slot}}
	moved := []router.GroupSpec{x.specs[0], x.specs[1]}
	moved[0].Slots = []router.Range{{From: 0, To: slot - 1}, {From: slot + 1, To: x.specs[0].Slots[0].To}}
	moved[1].Slots = append(moving, x.specs[1].Slots...)
	if slot == 0 {
		moved[0].Slots = moved[0].Slots[1:]
	}
	c := x.p.dial(t)
	c.want(r0.at(k), "GET", k)

	x.p.setTable(t, x.specs, lock(codisModel, k))
	x.prove(r0, r1)
	c.request("GET", k)
	x.p.awaitHeld(t, 1)
	x.p.setTable(t, moved, router.MoveSpec{Slots: moving, Phase: router.Moving, From: x.m[0].addr(), FromID: "1"})
	x.prove(r0, r1)
	x.p.awaitHeld(t, 1)
	x.p.dial(t).want(r0.at(other), "GET", other) // Slots beside it are read as ever.
	x.p.setTable(t, moved)
	c.wantReply(x.m[1].at(k))
	c.want(x.m[1].at(k), "GET", k)
	c.want(r0.at(other), "GET", other)
	before := x.inBucket(1, 6) // Of the new group from the start.
	c.want(r1.at(before), "GET", before)
	c.want(x.m[1].all(k, before), "MGET", k, before)
	c.want(x.m[1].all(before, k), "MGET", before, k)
	x.prove(r1)
	c.want(r1.all(before, k), "MGET", before, k)
	c.want(r1.at(k), "GET", k)
	if got := r0.count("GET " + k); got != 1 {
		t.Errorf("the replica of the old group was asked %d times", got)
	}
	x.wantNothingCounted()
}

// What was read on the way of a key counts as read: see client.readUnsettled.
func TestMonotonicReadOfAMovingKey(t *testing.T) {
	x := startReads(t, codisModel, 2, 1, holding(never), ofFamily("codis"), reading(ReadPreferReplica, Monotonic))
	r := x.r[1][0]
	x.ready(r)
	k := x.inBucket(1, 5)
	slot := codisModel.Slot([]byte(k))
	x.p.setTable(t, x.specs, router.MoveSpec{Slots: []router.Range{{From: slot, To: slot}}, Phase: router.Moving, From: x.m[0].addr(), FromID: "1"})
	x.m[0].answer("SLOTSMGRT-EXEC-WRAPPER "+k+" GET "+k, "*2\r\n:0\r\n:0\r\n")
	thaw := x.m[1].freeze()
	c := x.p.dial(t)
	c.request("GET", k)
	x.m[1].await(t, 1, "GET "+k)
	x.p.setTable(t, x.specs)
	x.prove(r)
	thaw()
	c.wantReply(x.m[1].at(k))
	c.want(x.m[1].at(k), "GET", k)
	x.prove(r)
	c.want(r.at(k), "GET", k)
	x.wantNothingCounted()
}

// While a master is away replicas that are fit serve reads, and writes wait for it.
func TestReadsWhileTheMasterIsAway(t *testing.T) {
	for _, consistency := range []Consistency{Eventual, Monotonic, ReadYourWrites} {
		t.Run(fmt.Sprint(consistency), func(t *testing.T) { readsWhileTheMasterIsAway(t, consistency) })
	}
}

func readsWhileTheMasterIsAway(t *testing.T, consistency Consistency) {
	x := startReads(t, testModel, 2, 1, holding(never), faultOptions(probedOnce), reading(ReadPreferReplica, consistency))
	x.p.awaitStatus(t, "probed", func(st *backend.Status) bool { return st.Version != "" })
	m, r, r1 := x.m[0], x.r[0][0], x.r[1][0]
	x.ready(r, r1)
	x.disprove(r)
	a, b, other := x.inBucket(0, 1), x.inBucket(0, 2), x.inBucket(1, 3)

	// A read that the master had is the replica's when the connection is lost.
	c := x.p.dial(t)
	m.answer("GET "+a, "")
	thaw := m.freeze()
	c.request("GET", a)
	m.await(t, 1, "GET "+a)
	x.prove(r)
	x.fail(m)
	thaw()
	c.wantReply(r.at(a))
	x.prove(r, r1) // Newer than what was read.

	c.want(r.at(b), "GET", b)
	c.want("*3\r\n"+r.at(a)+r1.at(other)+r.at(b), "MGET", a, other, b)
	x.disprove(r1)
	c.want("*2\r\n"+r.at(a)+x.m[1].at(other), "MGET", a, other)
	writer := x.p.dial(t)
	writer.request("SET", a, "v")
	x.p.awaitHeld(t, 1)
	c.want(r.at(a), "GET", a)
	x.wantCount(m, 0, "SET "+a+" v")
	x.repair(m)
	writer.wantReply("+OK\r\n")
	x.wantNothingCounted()
}

// The master is away and the replica can't serve either: it is asked once, and the read waits for the master.
func TestReadsWhileNobodyServes(t *testing.T) {
	f := func(model router.Model, reply string, proven bool) {
		t.Helper()
		x := startReads(t, model, 1, 1, holding(never), faultOptions(probedOnce))
		x.p.awaitStatus(t, "probed", func(st *backend.Status) bool { return st.Version != "" })
		m, r := x.m[0], x.r[0][0]
		x.ready(r)
		x.disprove(r)
		m.answer("GET k", "")
		thaw := m.freeze()
		c := x.p.dial(t)
		c.request("GET", "k") // It has to be retried, so it is lost at the master.
		m.await(t, 1, "GET k")
		r.answer("GET k", reply)
		x.prove(r)
		x.fail(m)
		thaw()
		r.await(t, 1, "GET k")
		x.p.awaitHeld(t, 1)
		if got := x.node(r).Proof() != nil; got != proven {
			t.Errorf("proven: %v", got)
		}
		m.answer("GET k", m.at("k"))
		x.repair(m)
		x.p.hurry(t)
		c.wantReply(m.at("k"))
		x.wantCount(r, 1, "GET k")
		x.wantNothingCounted()
	}
	f(testModel, "-"+loading+"\r\n", false)
	f(clusterModel, "$-1\r\n", true)
}

func ofCluster(_ *Config, pool *PoolConfig) { pool.Backend.Cluster = true }

// READONLY is for connections to replicas, once each.
func TestReadonlyOfReplicaConnections(t *testing.T) {
	f := func(want int, change ...func(*Config, *PoolConfig)) {
		t.Helper()
		x := startReads(t, clusterModel, 1, 1, change...)
		x.ready(x.r[0][0])
		for range 3 {
			c := x.p.dial(t)
			c.want(x.r[0][0].at("k"), "GET", "k")
			c.want("+OK\r\n", "SET", "k", "v")
		}
		x.wantCount(x.r[0][0], want, "READONLY")
		x.wantCount(x.m[0], 0, "READONLY")
	}
	f(1, ofCluster)
	f(0)
}

// In a cluster a replica's word that a key does not exist is not believed: it may have left with its slot.
func TestDoubtfulRepliesOfReplicas(t *testing.T) {
	x := startReads(t, clusterModel, 1, 1, ofCluster)
	m, r := x.m[0], x.r[0][0]
	x.ready(r)
	c := x.p.dial(t)
	f := func(doubtful bool, reply string, request ...string) {
		t.Helper()
		r.answer(fakeRequest{args: request}.String(), reply)
		want := reply
		if doubtful {
			want = bulkReply("of the master")
			m.answer(fakeRequest{args: request}.String(), want)
		}
		if got := c.do(request...); got != want {
			t.Errorf("%q, to which the replica answers %q: %q", request, reply, got)
		}
	}
	for _, reply := range []string{
		"$-1\r\n", "*-1\r\n", "*0\r\n", "$0\r\n\r\n", ":0\r\n", ":-1\r\n", ":-2\r\n", "+none\r\n", "%0\r\n", "~0\r\n", "_\r\n",
		"#f\r\n", "*2\r\n:-1\r\n:-2\r\n",
		"*2\r\n$-1\r\n$1\r\na\r\n", "*2\r\n$1\r\na\r\n$-1\r\n", "*2\r\n:1\r\n:0\r\n", "*2\r\n$1\r\n0\r\n*0\r\n", "*1\r\n*-1\r\n",
		"*1\r\n_\r\n", "-ERR no such key\r\n",
	} {
		f(true, reply, "DUMP", "k")
	}
	for _, reply := range []string{"$1\r\na\r\n", "$2\r\n-1\r\n", ":1\r\n", ":10\r\n", ":100\r\n", "+string\r\n", "*1\r\n$1\r\na\r\n", "*2\r\n:1\r\n:10\r\n"} {
		f(false, reply, "DUMP", "k")
	}
	// Several keys in one slot: a part of them may have left, and not every reply shows that.
	c.want(bulkReply("m0"), "SUNION", "{t}1", "{t}2")
	c.want(":2\r\n", "EXISTS", "{t}1", "{t}2")
	x.wantCount(m, 1, "EXISTS {t}1 {t}2")
	c.want(m.all("{t}1", "{t}2"), "MGET", "{t}1", "{t}2")

	// The same in parts.
	a, b := x.inBucket(0, 1), x.inBucket(0, 2)
	r.answer("mget "+b, "*1\r\n$-1\r\n")
	c.want("*2\r\n"+r.at(a)+m.at(b), "MGET", a, b)
	c.want(":2\r\n", "EXISTS", a, b)
	x.wantCount(m, 0, "exists "+a)
	r.answer("exists "+b+" "+b, ":1\r\n") // One of two.
	c.want(":3\r\n", "EXISTS", a, b, b)
	x.wantCount(m, 0, "exists "+a)
	x.wantCount(m, 1, "exists "+b+" "+b)
	x.wantNothingCounted()
}

// Elsewhere slots move under the proxy's eyes, and a key that does not exist does not.
func TestRepliesOfReplicasAreBelievedWithoutACluster(t *testing.T) {
	x := startReads(t, testModel, 1, 1)
	r := x.r[0][0]
	x.ready(r)
	c := x.p.dial(t)
	r.answer("GET k", "$-1\r\n")
	c.want("$-1\r\n", "GET", "k")
	r.answer("EXISTS {k}1 {k}2", ":0\r\n")
	c.want(":0\r\n", "EXISTS", "{k}1", "{k}2")
	if n := len(x.m[0].seen()); n != 0 {
		t.Errorf("the master got %d requests", n)
	}
}

// What the master says of a doubtful read, and what a replica says of a slot, is followed.
func TestRedirectsOfReads(t *testing.T) {
	x := startReads(t, clusterModel, 2, 1, ofCluster)
	m, r, target := x.m[0], x.r[0][0], x.m[1]
	x.ready(r)
	c := x.p.dial(t)
	f := func(kind string, n *readNode, asking int) {
		t.Helper()
		k := x.inBucket(0, 10+asking+len(n.name))
		r.answer("GET "+k, "$-1\r\n")
		n.answer("GET "+k, redirectLine(kind, k, target.addr()))
		before := target.count("ASKING")
		c.want(target.at(k), "GET", k)
		x.wantCount(target, before+asking, "ASKING")
	}
	f("ASK", m, 1)
	f("MOVED", m, 0)
	f("MOVED", r, 0)
	f("ASK", r, 1)
	x.wantNothingCounted()
	if x.node(r).Proof() == nil {
		t.Error("a redirect says nothing against the replica")
	}
}
