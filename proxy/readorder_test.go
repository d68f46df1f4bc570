package proxy

import (
	"fmt"
	"strings"
	"testing"

	"sluice/backend"
	"sluice/internal/clock"
	"sluice/internal/testbed"
	"sluice/router/lag"
)

// What a client sees of its own writes and reads when some of the reads go to replicas.

func TestReadYourWrites(t *testing.T) {
	x := startReads(t, testModel, 2, 1, reading(ReadPreferReplica, ReadYourWrites))
	m, r, r1 := x.m[0], x.r[0][0], x.r[1][0]
	x.ready(r, r1)
	a, b, other := x.inBucket(0, 1), x.inBucket(0, 2), x.inBucket(1, 3)
	c := x.p.dial(t)
	c.want(r.at(a), "GET", a)
	c.want("+OK\r\n", "SET", a, "v")
	c.want(m.at(a), "GET", a)
	c.want(r.at(b), "GET", b)
	x.p.dial(t).want(r.at(a), "GET", a) // Another client has written nothing.

	// The part of an MGET that has the key goes to the master, the others don't.
	c.want("*3\r\n"+m.at(a)+m.at(b)+r1.at(other), "MGET", a, b, other)
	c.want("*2\r\n"+r.at(b)+r1.at(other), "MGET", b, other)
	x.prove(r)
	c.want("*3\r\n"+r.at(a)+r.at(b)+r1.at(other), "MGET", a, b, other)
	c.want(r.at(a), "GET", a)

	c.want("+OK\r\n", "MSET", b, "1", other, "2")
	c.want("*3\r\n"+m.at(a)+m.at(b)+x.m[1].at(other), "MGET", a, b, other)
	c.want(r.at(a), "GET", a)
	x.prove(r1)
	c.want("*2\r\n"+m.at(b)+r1.at(other), "MGET", b, other)
	x.prove(r)
	c.want(":2\r\n", "DEL", a, b)
	c.want(m.at(a), "GET", a)
	c.want(m.at(b), "GET", b)
	c.want(r1.at(other), "GET", other)
	x.prove(r)
	c.want("*2\r\n"+r.at(b)+r1.at(other), "MGET", b, other)
	x.wantNothingCounted()
}

// Who takes work over sees what was written for it, whatever bucket that is in.
func TestReadsBehindObservingWrites(t *testing.T) {
	f := func(everything bool, requests ...string) {
		t.Helper()
		x := startReads(t, testModel, 1, 1, reading(ReadPreferReplica, ReadYourWrites))
		m, r := x.m[0], x.r[0][0]
		x.ready(r)
		queue, job := x.inBucket(0, 1), x.inBucket(0, 2)
		c := x.p.dial(t)
		c.want(r.at(job), "GET", job)
		for _, request := range requests {
			c.do(strings.Fields(strings.ReplaceAll(request, "QUEUE", queue))...)
		}
		node := map[bool]*readNode{true: m, false: r}[everything]
		c.want(node.at(job), "GET", job)
		c.want(node.all(job, job), "MGET", job, job)
		x.p.dial(t).want(r.at(job), "GET", job)
		x.prove(r)
		c.want(r.at(job), "GET", job)
		x.wantNothingCounted()
	}
	f(true, "LPOP QUEUE")
	f(true, "BLPOP QUEUE 0")
	f(true, "XREADGROUP GROUP g c STREAMS QUEUE >")
	f(true, "XREAD BLOCK 1 STREAMS QUEUE 0")
	f(true, "ZREM QUEUE m")
	f(true, "DEL QUEUE")
	f(true, "RENAME QUEUE QUEUE")
	f(true, "SET QUEUE v NX")
	f(true, "SET QUEUE v nx ex 10")
	f(true, "SET QUEUE v EX 10 Get")
	f(true, "SETNX QUEUE v")
	f(true, "INCR QUEUE")
	f(true, "EVAL s 1 QUEUE")
	f(true, "MULTI", "SET QUEUE v", "EXEC")
	f(true, "LMOVE QUEUE QUEUE LEFT RIGHT")
	f(false, "SET QUEUE v")
	f(false, "SET QUEUE nx")
	f(false, "SET QUEUE v EX 10")
	f(false, "LPUSH QUEUE v")
	f(false, "LLEN QUEUE")
	f(false, "MULTI", "SET QUEUE v", "DISCARD")
}

// With any weaker consistency a replica may lack what the client has just written.
func TestEventualReadsMayMissOwnWrites(t *testing.T) {
	x := startReads(t, testModel, 1, 1)
	x.ready(x.r[0][0])
	c := x.p.dial(t)
	c.want("+OK\r\n", "SET", "k", "v")
	c.want(x.r[0][0].at("k"), "GET", "k")
}

// What is run while a turn lasts is later than the clock of the loop says. Evidence of between is too old.
func TestWritesAreAcknowledgedByAFreshClock(t *testing.T) {
	for what, kept := range map[pendingFlags]Consistency{countedWrite: ReadYourWrites, atReplica: Monotonic, countedRead: Monotonic} {
		r := sessionGuarantees{kept: kept}
		r.writes[3], r.reads[3], r.others[3] = 1, 1, 1
		between := clock.Now()
		r.answered(1<<3, what)
		if got := max(r.ackedIn(1<<3), r.readAt[3]); got < between || got > clock.Now() {
			t.Errorf("%b: noted at %d, asked for at %d", what, got, between)
		}
		if r.writes[3]+r.reads[3]+r.others[3] != 2 {
			t.Errorf("%b: not counted down", what)
		}
	}
	// The same through a loop whose clock stands still: the reply comes in a turn that began before the evidence.
	x := startReads(t, testModel, 1, 1, reading(ReadPreferReplica, ReadYourWrites))
	m, r := x.m[0], x.r[0][0]
	x.ready(r)
	c := x.p.dial(t)
	c.want("+OK\r\n", "SET", "k", "v")
	x.onClient(func(c *client) {
		turn := c.loop.now
		x.prove(r)
		c.guarantees.writes[bucketNumber("k")]++
		c.guarantees.answered(1<<bucketNumber("k"), countedWrite)
		if c.loop.now != turn {
			t.Error("the clock of the loop has moved")
		}
	})
	c.want(m.at("k"), "GET", "k")
}

func bucketNumber(key string) int { return int(testModel.Slot([]byte(key)) % buckets) }

// A read behind a write goes behind it to the master. Who reads something else is not kept.
func TestReadBehindAnUnansweredWrite(t *testing.T) {
	f := func(write []string, read func(a, b string) []string, answer func(x *readsTest, n *readNode, a, b string) string, sent string) {
		t.Helper()
		x := startReads(t, testModel, 1, 1)
		m, r := x.m[0], x.r[0][0]
		x.ready(r)
		a, b, other := x.inBucket(0, 1), x.inBucket(0, 2), x.inBucket(0, 3)
		thaw := m.freeze()
		c := x.p.dial(t)
		for i := range write {
			write[i] = map[string]string{"a": a, "b": b}[write[i]] + map[bool]string{true: write[i]}[write[i] != "a" && write[i] != "b"]
		}
		c.request(write...)
		c.request(read(a, b)...)
		c.request("GET", other)
		r.await(t, 1, "GET "+other)
		m.await(t, 1, fmt.Sprintf(sent, a, b))
		if seen := m.seen(); len(seen) != 2 || seen[0].conn != seen[1].conn || seen[0].args[1] != a {
			t.Errorf("the master got %v", seen)
		}
		if seen := r.seen(); len(seen) != 1 {
			t.Errorf("the replica got %v", seen)
		}
		thaw()
		c.reply()
		c.wantReply(answer(x, m, a, b))
		c.wantReply(r.at(other))
		c.want(answer(x, r, a, b), read(a, b)...) // Nothing is in flight any more.
		x.wantNothingCounted()
	}
	get := func(a, _ string) []string { return []string{"GET", a} }
	one := func(_ *readsTest, n *readNode, a, _ string) string { return n.at(a) }
	mget := func(a, b string) []string { return []string{"MGET", a, b} }
	both := func(_ *readsTest, n *readNode, a, b string) string { return n.all(a, b) }
	f([]string{"SET", "a", "v"}, get, one, "GET %[1]s")
	f([]string{"MSET", "a", "v", "b", "v"}, get, one, "GET %[1]s")
	f([]string{"DEL", "a", "b"}, get, one, "GET %[1]s")
	f([]string{"SET", "a", "v"}, mget, both, "mget %s %s")
	f([]string{"MSET", "a", "v", "b", "v"}, mget, both, "mget %s %s")
}

// A write behind a read at a replica waits, or the read could see it. Writes of something else do not wait.
func TestWriteBehindAReadAtAReplica(t *testing.T) {
	f := func(read, write func(a, b string) []string, answered func(r *readNode, a, b string) string, reply, sent, arrives string) {
		t.Helper()
		x := startReads(t, testModel, 1, 1)
		m, r := x.m[0], x.r[0][0]
		x.ready(r)
		a, b, other := x.inBucket(0, 1), x.inBucket(0, 2), x.inBucket(0, 3)
		thaw := r.freeze()
		c := x.p.dial(t)
		c.request(read(a, b)...)
		c.request("SET", other, "v")
		c.request("MSET", other, "v", x.inBucket(0, 4), "w")
		c.request(write(a, b)...)
		c.request("GET", other)
		r.await(t, 1, fmt.Sprintf(arrives, a, b))
		m.await(t, 1, "SET "+other+" v")
		m.await(t, 1, "mset "+other+" v "+x.inBucket(0, 4)+" w")
		x.awaitStalled()
		if seen := m.seen(); len(seen) != 2 {
			t.Errorf("the master got %v", seen)
		}
		thaw()
		c.wantReply(answered(r, a, b))
		c.wantReply("+OK\r\n")
		c.wantReply("+OK\r\n")
		c.wantReply(reply)
		c.reply()
		x.wantCount(m, 1, fmt.Sprintf(sent, a, b))
		x.wantNothingCounted()
	}
	get := func(a, _ string) []string { return []string{"GET", a} }
	mget := func(a, b string) []string { return []string{"MGET", a, b} }
	one := func(r *readNode, a, _ string) string { return r.at(a) }
	both := func(r *readNode, a, b string) string { return r.all(a, b) }
	set := func(_, b string) []string { return []string{"SET", b, "v"} }
	setA := func(a, _ string) []string { return []string{"SET", a, "v"} }
	mset := func(a, b string) []string { return []string{"MSET", b, "1", a, "2"} }
	del := func(a, b string) []string { return []string{"DEL", b, a} }
	f(get, setA, one, "+OK\r\n", "SET %[1]s v", "GET %[1]s")
	f(mget, set, both, "+OK\r\n", "SET %[2]s v", "mget %s %s")
	f(get, mset, one, "+OK\r\n", "mset %[2]s 1 %[1]s 2", "GET %[1]s")
	f(get, del, one, ":2\r\n", "del %[2]s %[1]s", "GET %[1]s")
	f(mget, del, both, ":2\r\n", "del %[2]s %[1]s", "mget %s %s")
}

// The same write of another client does not wait, and who hangs up in between leaves nothing behind.
func TestClientThatIsGoneKeepsNobody(t *testing.T) {
	t.Parallel()
	x := startReads(t, testModel, 1, 1)
	m, r := x.m[0], x.r[0][0]
	x.ready(r)
	thaw := r.freeze()
	gone, c := x.p.dial(t), x.p.dial(t)
	gone.request("GET", "k")
	gone.request("MGET", "k", x.inBucket(0, 7))
	r.await(t, 1, "GET k")
	gone.request("SET", "k", "v")
	c.want("+OK\r\n", "SET", "k", "of another")
	_ = gone.Close()
	testbed.Eventually(t, func() error {
		if n := x.p.Clients(); n != 1 {
			return fmt.Errorf("%d clients", n)
		}
		return nil
	}, replyWait)
	c.request("GET", "k")
	r.await(t, 2, "GET k")
	thaw()
	c.wantReply(r.at("k"))
	c.want("+OK\r\n", "SET", "k", "v")
	x.wantCount(m, 1, "SET k v") // Not that of the one who is gone.
	x.wantNothingCounted()
	x.onLoop(func(l *loop) {
		if n := x.conn(l, r).InFlight(); n != 0 {
			t.Errorf("%d requests in flight", n)
		}
	})
}

func TestMonotonicReads(t *testing.T) {
	x := startReads(t, testModel, 1, 2, reading(ReadPreferReplica, Monotonic))
	m, a, b := x.m[0], x.r[0][0], x.r[0][1]
	x.ready(a, b)
	old := *x.node(b).Proof()
	c := x.p.dial(t)
	k, other := x.inBucket(0, 1), x.inBucket(0, 2)
	x.disprove(b)
	c.want(a.at(k), "GET", k)
	c.want(a.at(k), "GET", k) // It may go on where it is, with the watermark that it had.

	x.disprove(a)
	x.node(b).SetProof(&old)
	c.want(m.at(k), "GET", k) // The other is older than what was read.
	c.want(b.at(other), "GET", other)
	x.prove(b)
	c.want(b.at(k), "GET", k)
	c.want(b.at(k), "GET", k)

	// From the master to a replica.
	x.disprove(b)
	c.want(m.at(k), "GET", k)
	x.node(b).SetProof(&old)
	c.want(m.at(k), "GET", k)
	c.want(m.all(k, other), "MGET", k, other)
	x.prove(b)
	c.want(b.all(k, other), "MGET", k, other)
	c.want("+OK\r\n", "SET", k, "v")
	c.want(b.at(k), "GET", k) // That is another promise.
	x.wantNothingCounted()
}

// A read must not be answered before an older one that may see more.
func TestMonotonicReadWaitsForThoseElsewhere(t *testing.T) {
	f := func(read func(k string) []string, answer func(n *readNode, k string) string) {
		t.Helper()
		x := startReads(t, testModel, 1, 2, reading(ReadPreferReplica, Monotonic), func(_ *Config, pool *PoolConfig) { pool.Reads.MaxBehind = 10 })
		m, a, b := x.m[0], x.r[0][0], x.r[0][1]
		x.ready(a)
		k, other := x.inBucket(0, 1), x.inBucket(0, 2)
		thaw := a.freeze()
		c := x.p.dial(t)
		c.request("GET", k)
		c.request("GET", k)
		a.await(t, 2, "GET "+k)
		x.change(a, func(p *lag.Proof) { p.Behind = 11 }) // Unfit, but proven: nobody gives up on it.
		x.ready(b)
		c.request("GET", other)
		b.await(t, 1, "GET "+other)
		c.request(read(k)...)
		x.awaitStalled()
		if len(m.seen()) != 0 || len(b.seen()) != 1 {
			t.Errorf("the master got %v, the other replica %v", m.seen(), b.seen())
		}
		thaw()
		c.wantReply(a.at(k))
		c.wantReply(a.at(k))
		c.wantReply(b.at(other))
		c.wantReply(answer(m, k))
		x.wantNothingCounted()

		// The other way round: while one is at the master none goes to a replica.
		thaw = m.freeze()
		x.disprove(b)
		before := m.count("GET " + k)
		c.request("GET", k)
		m.await(t, before+1, "GET "+k)
		x.prove(a, b)
		c.request("GET", k)
		c.request("GET", other)
		testbed.Eventually(t, func() error {
			if a.count("GET "+other)+b.count("GET "+other) != 2 {
				return fmt.Errorf("the read of the other bucket was not sent")
			}
			return nil
		}, replyWait)
		thaw()
		c.wantReply(m.at(k))
		c.wantReply(m.at(k))
		c.reply()
		x.wantNothingCounted()
	}
	f(func(k string) []string { return []string{"GET", k} }, (*readNode).at)
	f(func(k string) []string { return []string{"MGET", k, "{" + k + "}"} }, func(n *readNode, k string) string { return n.all(k, "{"+k+"}") })
}

// Reads of a bucket at two nodes at once: those who come next wait for both, whichever of the two they would go to.
func TestReadsOfABucketAtTwoNodes(t *testing.T) {
	x := startReads(t, testModel, 1, 2)
	a, b := x.node(x.r[0][0]), x.node(x.r[0][1])
	r := sessionGuarantees{kept: Monotonic}
	r.sent(1, a, true)
	if r.readingElsewhere(1, a) || !r.readingElsewhere(1, b) {
		t.Error("one read at a")
	}
	r.sent(1, b, false)
	if !r.readingElsewhere(1, a) || !r.readingElsewhere(1, b) {
		t.Error("a read at a and one at b")
	}
	r.answered(1, atReplica)
	r.answered(1, countedRead)
	if r.readingElsewhere(1, a) || r.readingElsewhere(1, b) {
		t.Error("no reads")
	}
	if now := clock.Now(); r.mayGoOnAt(1, &backend.Conn{Node: a}, r.readAt[0]-1) || r.mayGoOnAt(1, &backend.Conn{Node: b}, r.readAt[0]-1) || !r.mayGoOnAt(1, &backend.Conn{Node: a}, now) {
		t.Error("who saw the most is not known")
	}
}

// A read that the replica did not answer says nothing about what was seen there.
func TestMonotonicReadBehindABounce(t *testing.T) {
	f := func(reply string) {
		t.Helper()
		x := startReads(t, clusterModel, 1, 1, reading(ReadPreferReplica, Monotonic), holding(never))
		m, r := x.m[0], x.r[0][0]
		x.ready(r)
		old := *x.node(r).Proof()
		c := x.p.dial(t)
		c.want(r.at("k"), "GET", "k")
		if reply == "MOVED" {
			reply = redirectLine("MOVED", "k", m.addr())
		}
		r.answer("GET k", reply)
		c.want(m.at("k"), "GET", "k")
		r.answer("GET k", r.at("k"))
		x.node(r).SetProof(&old)
		c.want(m.at("k"), "GET", "k")
		x.ready(r)
		c.want(r.at("k"), "GET", "k")
		x.wantNothingCounted()
	}
	f("-" + loading + "\r\n")
	f("$-1\r\n")
	f("MOVED")
	f("") // The connection is lost.
}
