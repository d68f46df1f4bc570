package proxy

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"sluice/backend"
	"sluice/internal/testbed"
	"sluice/proxy/resp"
	"sluice/router"
	"sluice/router/lag"
)

// Reads that are sent to a second node. How long a read is awaited does not decide here: the tests say when it was
// too long.

// hedgeTest is a group whose reads may be hedged, and a client of it. No read is due by itself.
type hedgeTest struct {
	*readsTest
	c *testClient
}

func startHedges(t *testing.T, replicas int, policy ReadPolicy, consistency Consistency) *hedgeTest {
	t.Helper()
	x := startReads(t, testModel, 1, replicas, reading(policy, consistency), func(_ *Config, pool *PoolConfig) { pool.Reads.Hedge = true })
	x.ready(x.r[0]...)
	x.onLoop(func(l *loop) { l.hedging.p99 = float64(never) })
	return &hedgeTest{readsTest: x, c: x.p.dial(t)}
}

// read sends GET to one of the replicas and returns when it is there. The others are fit again then.
func (x *hedgeTest) read(at *readNode, key string) {
	x.Helper()
	for _, n := range x.r[0] {
		if n != at {
			x.disprove(n)
		}
	}
	x.c.request("GET", key)
	at.await(x, 1, "GET "+key)
	x.prove(x.r[0]...)
}

// due makes all reads that wait as old as a hedge has to be.
func (x *hedgeTest) due() {
	x.onLoop(func(l *loop) {
		for i := range l.hedging.line {
			l.hedging.line[i].due = l.now
		}
		l.runHedges()
	})
}

// grant is due with the right to hedge all of them.
func (x *hedgeTest) grant() {
	x.onLoop(func(l *loop) { l.hedging.tokens = hedgeBurst })
	x.due()
}

func (x *hedgeTest) wantHedges(hedges, won uint64) {
	x.Helper()
	x.onLoop(func(l *loop) {
		if l.stats.Hedges != hedges || l.stats.HedgesWon != won {
			x.Errorf("%d hedges, of which %d were answered first, want %d and %d", l.stats.Hedges, l.stats.HedgesWon, hedges, won)
		}
	})
}

// wantAnswers checks that replies of a replica still find their requests.
func (x *hedgeTest) wantAnswers(from *readNode, key string) {
	x.Helper()
	x.read(from, key)
	x.c.wantReply(from.at(key))
}

// awaitIdle returns when nothing is in flight to n.
func (x *hedgeTest) awaitIdle(n *readNode) {
	x.Helper()
	testbed.Eventually(x, func() error {
		left := 0
		x.onLoop(func(l *loop) { left = x.conn(l, n).InFlight() })
		if left > 0 {
			return fmt.Errorf("%d requests in flight to %s", left, n.name)
		}
		return nil
	}, replyWait)
}

// The alarm of the loop makes the hedge, without anybody's help.
func TestReadOfAFrozenReplicaGoesToTheMasterToo(t *testing.T) {
	x := startHedges(t, 1, ReadPreferReplica, Eventual)
	m, r := x.m[0], x.r[0][0]
	x.onLoop(func(l *loop) { l.hedging.p99, l.hedging.tokens = 0, 1 })
	thaw := r.freeze()
	x.c.want(m.at("a"), "GET", "a")
	x.wantHedges(1, 1)
	x.onLoop(func(l *loop) { l.hedging.p99 = float64(never) })
	thaw()
	x.wantAnswers(r, "b")
	x.wantNothingCounted()
}

// The late reply belongs to nobody, and the next one on its connection to the next request.
func TestLateReplyOfAHedgedReadIsSwallowed(t *testing.T) {
	x := startHedges(t, 2, ReadPreferReplica, Eventual)
	r0, r1 := x.r[0][0], x.r[0][1]
	thaw := r0.freeze()
	x.read(r0, "a")
	x.grant()
	x.c.wantReply(r1.at("a"))
	x.wantHedges(1, 1)
	x.read(r0, "b")
	thaw()
	x.c.wantReply(r0.at("b"))
	x.wantAnswers(r1, "c")
	x.wantCount(x.m[0], 0, "GET a")
	x.wantNothingCounted()
	x.onLoop((*loop).tick) // Counts are published now and then.
	if a, b := x.node(r0).Reads(), x.node(r1).Reads(); a != 2 || b != 2 {
		t.Errorf("%d and %d reads of the replicas, want 2 of each", a, b)
	}
}

func TestFirstNodeAnswersAHedgedReadFirst(t *testing.T) {
	x := startHedges(t, 2, ReadPreferReplica, Eventual)
	r0, r1 := x.r[0][0], x.r[0][1]
	thaw0, thaw1 := r0.freeze(), r1.freeze()
	x.read(r0, "a")
	x.grant()
	r1.await(t, 1, "GET a")
	thaw0()
	x.c.wantReply(r0.at("a"))
	x.read(r1, "b")
	thaw1()
	x.c.wantReply(r1.at("b"))
	x.wantHedges(1, 0)
	x.wantNothingCounted()
}

// Whoever has begun to answer goes on, whatever comes of the other one.
func TestReplyOfAHedgedReadHasOneSource(t *testing.T) {
	for _, lost := range []bool{false, true} {
		x := startHedges(t, 2, ReadPreferReplica, Eventual)
		r0, r1 := x.r[0][0], x.r[0][1]
		long := bulkReply(strings.Repeat("x", 2*streamFrom))
		half := len(long) / 2
		rest := r1.answerInParts("GET a", long[:half], long[half:])
		thaw := r0.freeze()
		x.read(r0, "a")
		x.grant()
		testbed.Eventually(t, func() error {
			streamed := false
			x.onClient(func(c *client) { streamed = c.pipe.at(c.pipe.head).flags&passedPart != 0 })
			if !streamed {
				return errors.New("nothing of the reply is there")
			}
			return nil
		}, replyWait)
		if lost {
			x.loses(r0, "GET a", thaw)
		} else {
			thaw()
			x.awaitIdle(r0)
		}
		rest()
		x.c.wantReply(long)
		x.wantHedges(1, 1)
		x.wantCount(x.m[0], 0, "GET a")
		x.wantAnswers(r1, "b")
		x.wantNothingCounted()
	}
}

// Of a read that two nodes have, one loss is none.
func TestOneOfTwoLosesAHedgedRead(t *testing.T) {
	for _, loser := range []int{0, 1} {
		x := startHedges(t, 2, ReadPreferReplica, Eventual)
		r0, r1 := x.r[0][0], x.r[0][1]
		thaw := []func(){r0.freeze(), r1.freeze()}
		x.read(r0, "a")
		x.grant()
		r1.await(t, 1, "GET a")
		lost, other := x.r[0][loser], x.r[0][1-loser]
		x.loses(lost, "GET a", thaw[loser])
		thaw[1-loser]()
		x.c.wantReply(other.at("a"))
		x.wantCount(x.m[0], 0, "GET a")
		x.wantHedges(1, uint64(1-loser))
		x.wantAnswers(other, "b")
		x.wantNothingCounted()
	}
}

// loses makes n hang up instead of answering, and returns when the proxy has noticed.
func (x *hedgeTest) loses(n *readNode, request string, thaw func()) {
	x.Helper()
	var b *backend.Conn
	x.onLoop(func(l *loop) { b = x.conn(l, n) })
	n.answer(request, "")
	thaw()
	testbed.Eventually(x, func() error {
		closed := false
		x.onLoop(func(*loop) { closed = b.Closed() })
		if !closed {
			return fmt.Errorf("the connection to %s is open", n.name)
		}
		return nil
	}, replyWait)
}

// The loss of both is that of one read: it is run at the master, once, and there is one answer.
func TestBothLoseAHedgedRead(t *testing.T) {
	f := func(fromMaster string, want func(m *readNode) string) {
		t.Helper()
		x := startHedges(t, 2, ReadPreferReplica, Eventual)
		m, r0, r1 := x.m[0], x.r[0][0], x.r[0][1]
		m.answer("GET a", fromMaster)
		thaw0, thaw1 := r0.freeze(), r1.freeze()
		x.read(r0, "a")
		x.grant()
		r1.await(t, 1, "GET a")
		x.loses(r0, "GET a", thaw0)
		x.wantCount(m, 0, "GET a")
		x.loses(r1, "GET a", thaw1)
		if got := x.c.reply(); !strings.HasPrefix(got, want(m)) {
			t.Errorf("answered %q, want %q", got, want(m))
		}
		x.wantCount(m, 1, "GET a")
		x.disprove(r0)
		x.disprove(r1)
		x.c.want(m.at("b"), "GET", "b")
		x.wantHedges(1, 0)
		x.wantNothingCounted()
	}
	f(bulkReply("there"), func(*readNode) string { return bulkReply("there") })
	f("", func(m *readNode) string { return "-ERR connection to backend " + m.addr() + " was lost" })
}

// Who may take a hedge: not the master where replicas alone are read, nobody who lacks what the read asks for, and
// nobody at all where reads must not go back in time.
func TestNobodyToHedgeAt(t *testing.T) {
	f := func(name string, replicas int, policy ReadPolicy, consistency Consistency, change func(x *hedgeTest)) {
		t.Helper()
		x := startHedges(t, replicas, policy, consistency)
		r := x.r[0][0]
		thaw := r.freeze()
		x.read(r, "a")
		if change != nil {
			change(x)
		}
		x.grant()
		thaw()
		x.c.wantReply(r.at("a"))
		for _, n := range append(x.r[0][1:], x.m[0]) {
			if got := n.count("GET a"); got > 0 {
				t.Errorf("%s: sent to %s", name, n.name)
			}
		}
		x.wantHedges(0, 0)
		x.wantNothingCounted()
	}
	f("replicas alone", 1, ReadReplica, Eventual, nil)
	f("replicas alone, the other is not fit", 2, ReadReplica, Eventual, func(x *hedgeTest) { x.disprove(x.r[0][1]) })
	f("never back in time", 1, ReadPreferReplica, Monotonic, nil)
	f("never back in time, two replicas", 2, ReadPreferReplica, Monotonic, nil)
	f("never back in time from now on", 2, ReadPreferReplica, Eventual, func(x *hedgeTest) {
		x.onClient(func(c *client) { c.wish("sluice-consistency", "monotonic") })
	})
	f("the master alone from now on", 2, ReadPreferReplica, Eventual, func(x *hedgeTest) {
		x.onClient(func(c *client) { c.wish("sluice-reads", "master") })
	})
	f("locked meanwhile", 2, ReadPreferReplica, Eventual, func(x *hedgeTest) {
		x.p.setTable(t, x.specs, router.MoveSpec{Slots: x.specs[0].Slots, Phase: router.Locked})
	})
}

// A hedge sees what the first node would have had to show.
func TestHedgeSeesOwnWrites(t *testing.T) {
	x := startHedges(t, 2, ReadPreferReplica, ReadYourWrites)
	m, r0, r1 := x.m[0], x.r[0][0], x.r[0][1]
	x.prove(r1)
	x.c.want("+OK\r\n", "SET", "a", "v")
	old := *x.node(r1).Proof()
	defer r0.freeze()()
	x.prove(r0)
	x.read(r0, "a")
	x.change(r1, func(p *lag.Proof) { p.CaughtUpTo = old.CaughtUpTo })
	x.grant()
	x.c.wantReply(m.at("a"))
	x.wantCount(r1, 0, "GET a")
	x.wantHedges(1, 1)
}

// A write behind a read waits for an answer, and not for both.
func TestWriteBehindAHedgedRead(t *testing.T) {
	x := startHedges(t, 2, ReadPreferReplica, Eventual)
	r0, r1 := x.r[0][0], x.r[0][1]
	thaw := r0.freeze()
	x.read(r0, "a")
	x.c.request("SET", "a", "v")
	x.awaitStalled()
	x.grant()
	x.c.wantReply(r1.at("a"))
	x.c.wantReply("+OK\r\n")
	thaw()
	x.wantAnswers(r0, "b")
	x.wantNothingCounted()
}

// Of fifty reads one may be sent twice, and after a rest no more than ten at once.
func TestBudgetOfHedges(t *testing.T) {
	f := func(reads, want int) {
		t.Helper()
		x := startHedges(t, 2, ReadPreferReplica, Eventual)
		r0, r1 := x.r[0][0], x.r[0][1]
		thaw0, thaw1 := r0.freeze(), r1.freeze()
		x.disprove(r1)
		var batch []byte
		for i := range reads {
			batch = append(batch, resp.AppendCommand(nil, "GET", fmt.Sprint("k", i))...)
		}
		x.c.send(string(batch))
		r0.await(t, 1, fmt.Sprint("GET k", reads-1))
		x.prove(r1)
		x.due()
		x.wantHedges(uint64(want), 0)
		thaw1()
		x.awaitIdle(r1)
		thaw0()
		for i := range reads {
			from := r0
			if i < want {
				from = r1
			}
			x.c.wantReply(from.at(fmt.Sprint("k", i)))
		}
		x.wantHedges(uint64(want), uint64(want))
		x.wantNothingCounted()
	}
	f(40, 0)
	f(60, 1)
	f(210, 4)
	f(1010, hedgeBurst)
}

func TestUnusualIsWhatOneOfAHundredIs(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	f := func(least, most float64, draw func() time.Duration) {
		t.Helper()
		var h hedging
		const n = 200_000
		above := 0
		for i := range 2 * n {
			took := int64(draw())
			if i >= n && took > h.delay() {
				above++
			}
			h.observe(took)
		}
		if got := float64(above) / n; got < least || got > most {
			t.Errorf("%.2f %% took longer than %v", got*100, time.Duration(h.delay()))
		}
	}
	f(0.008, 0.012, func() time.Duration { return time.Duration(rng.Int64N(int64(100 * time.Millisecond))) })
	f(0.008, 0.012, func() time.Duration { return time.Duration(float64(10*time.Millisecond) * (1 + rng.ExpFloat64())) })
	f(0, 0, func() time.Duration { return time.Duration(hedgeSoonest) / 2 })
}

// A reply that is on its way needs no second one.
func TestReadThatIsBeingAnsweredIsNotHedged(t *testing.T) {
	x := startHedges(t, 2, ReadPreferReplica, Eventual)
	r := x.r[0][0]
	long := bulkReply(strings.Repeat("x", streamFrom))
	half := len(long) / 2
	rest := r.answerInParts("GET a", long[:half], long[half:])
	x.read(r, "a")
	testbed.Eventually(t, func() error {
		stored := 0
		x.onClient(func(c *client) { stored = len(c.pipe.at(c.pipe.head).stored()) })
		if stored == 0 {
			return errors.New("nothing of the reply is there")
		}
		return nil
	}, replyWait)
	x.grant()
	x.wantHedges(0, 0)
	rest()
	x.c.wantReply(long)
	x.wantNothingCounted()
}

// A client that closes leaves nothing that points to it, and nothing that counts.
func TestClientClosesWhileItsReadIsHedged(t *testing.T) {
	t.Parallel()
	f := func(hedged bool) {
		t.Helper()
		x := startHedges(t, 2, ReadPreferReplica, Eventual)
		r0, r1 := x.r[0][0], x.r[0][1]
		thaw0, thaw1 := r0.freeze(), r1.freeze()
		x.read(r0, "a")
		if hedged {
			x.grant()
			r1.await(t, 1, "GET a")
		}
		_ = x.c.Close()
		x.awaitGone()
		x.grant()
		x.onLoop(func(l *loop) {
			for i, a := range l.hedging.line[:cap(l.hedging.line)] {
				if a.client != nil || a.conn != nil {
					t.Errorf("hedged %v: place %d of the line keeps a client", hedged, i)
				}
			}
		})
		thaw0()
		x.awaitIdle(r0)
		thaw1()
		x.awaitIdle(r1)
		x.c = x.p.dial(t)
		x.wantAnswers(r0, "b")
		x.wantAnswers(r1, "c")
		x.wantHedges(map[bool]uint64{true: 1}[hedged], 0)
		x.wantCount(r1, map[bool]int{true: 1}[hedged], "GET a")
		x.wantNothingCounted()
	}
	f(false)
	f(true)
}

// awaitGone returns when the proxy has no clients any more.
func (x *hedgeTest) awaitGone() {
	x.Helper()
	testbed.Eventually(x, func() error {
		n := 0
		x.onLoop(func(l *loop) { n = len(l.clients) })
		if n > 0 {
			return fmt.Errorf("%d clients", n)
		}
		return nil
	}, replyWait)
}
