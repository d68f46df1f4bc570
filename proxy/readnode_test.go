package proxy

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/backend"
	"sluice/internal/clock"
	"sluice/internal/testbed"
	"sluice/router"
	"sluice/router/lag"
)

// The tests of reads from replicas. Nothing watches the replicas here: the tests say what is proven of them.

// readNode is a fake that answers with its name, or with what a test has set. Frozen, it answers nothing.
type readNode struct {
	*fakeBackend
	name string

	mu      sync.Mutex // guards the fields below it
	gate    chan struct{}
	replies map[string]string // raw, by request; "" hangs up
	rests   map[string]rest   // of those that come in two parts
}

// rest is the second part of a reply.
type rest struct {
	gate <-chan struct{} // closed when it may be sent
	raw  string
}

func startReadNode(t testing.TB, name string) *readNode {
	n := &readNode{name: name, replies: make(map[string]string), rests: make(map[string]rest)}
	n.fakeBackend = startFake(t, n.run)
	return n
}

// at is the answer of n to GET.
func (n *readNode) at(key string) string { return bulkReply(n.name + " has " + key) }

// all is the answer of n to MGET.
func (n *readNode) all(keys ...string) string {
	reply := fmt.Sprintf("*%d\r\n", len(keys))
	for _, key := range keys {
		reply += n.at(key)
	}
	return reply
}

func (n *readNode) run(c *scriptedConn, args []string) {
	n.mu.Lock()
	gate := n.gate
	n.mu.Unlock()
	if gate != nil {
		if c.wait(gate); c.closed {
			return
		}
	}
	n.mu.Lock()
	raw, set := n.replies[strings.Join(args, " ")]
	more, parts := n.rests[strings.Join(args, " ")]
	n.mu.Unlock()
	switch name := strings.ToUpper(args[0]); {
	case set && raw == "":
		c.hangUp()
	case set:
		c.reply(raw)
		if parts {
			c.wait(more.gate)
			c.reply(more.raw)
		}
	case name == "GET":
		c.reply(n.at(args[1]))
	case name == "MGET":
		c.reply(n.all(args[1:]...))
	case name == "EXISTS", name == "DEL", name == "TOUCH":
		c.reply(fmt.Sprintf(":%d\r\n", len(args)-1))
	case name == "SET", name == "MSET", name == "READONLY", name == "ASKING":
		c.reply("+OK\r\n")
	default:
		c.reply(bulkReply(n.name))
	}
}

// freeze keeps n from answering until thaw, which may be called twice.
func (n *readNode) freeze() (thaw func()) {
	gate := make(chan struct{})
	n.mu.Lock()
	n.gate = gate
	n.mu.Unlock()
	return sync.OnceFunc(func() {
		n.mu.Lock()
		n.gate = nil
		n.mu.Unlock()
		close(gate)
	})
}

// answer sets the raw reply to a request; "" hangs up.
func (n *readNode) answer(request, raw string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.replies[request] = raw
}

// answerInParts is answer with a second part, which is sent when the function returned is called, perhaps twice.
func (n *readNode) answerInParts(request, raw, second string) (send func()) {
	gate := make(chan struct{})
	n.answer(request, raw)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.rests[request] = rest{gate, second}
	return sync.OnceFunc(func() { close(gate) })
}

// readsTest is a proxy in front of groups with replicas.
type readsTest struct {
	*testing.T
	p     *testProxy
	m     []*readNode   // masters
	r     [][]*readNode // their replicas
	specs []router.GroupSpec
}

// anyLag is a limit of lag that no test reaches.
const anyLag = time.Hour

// reading sets the rules of the pool.
func reading(policy ReadPolicy, consistency Consistency) func(*Config, *PoolConfig) {
	return func(_ *Config, pool *PoolConfig) {
		pool.Reads.ReadRules = ReadRules{Policy: policy, Consistency: consistency, MaxLag: anyLag}
	}
}

// probedOnce leaves nodes alone after their first probe, and opens the breaker of one at its first failure, for good.
func probedOnce(o *backend.Options) {
	o.ProbeInterval, o.BreakerFailures, o.BreakerOpen = time.Hour, 1, time.Hour
}

func startReads(t *testing.T, model router.Model, groups, replicas int, change ...func(*Config, *PoolConfig)) *readsTest {
	t.Helper()
	x := &readsTest{T: t}
	var masters []string
	for g := range groups {
		x.m = append(x.m, startReadNode(t, fmt.Sprint("m", g)))
		masters = append(masters, x.m[g].addr())
	}
	x.specs = evenly(model, masters...)
	for g := range groups {
		var nodes []*readNode
		for i := range replicas {
			nodes = append(nodes, startReadNode(t, fmt.Sprintf("r%d.%d", g, i)))
			x.specs[g].Replicas = append(x.specs[g].Replicas, nodes[i].addr())
		}
		x.r = append(x.r, nodes)
	}
	defaults := []func(*Config, *PoolConfig){faultOptions(nil), reading(ReadPreferReplica, Eventual)}
	x.p = startProxy(t, model, x.specs, append(defaults, change...)...)
	return x
}

// masterOf is the master of a replica's group.
func (x *readsTest) masterOf(n *readNode) *backend.Node {
	for g, replicas := range x.r {
		if slices.Contains(replicas, n) {
			return x.node(x.m[g])
		}
	}
	x.Fatalf("%s is no replica", n.name)
	return nil
}

func (x *readsTest) node(n *readNode) *backend.Node { return x.p.pool.Node(n.addr()) }

// prove says that n has everything up to now.
func (x *readsTest) prove(nodes ...*readNode) {
	for _, n := range nodes {
		now := clock.Now()
		x.node(n).SetProof(&lag.Proof{
			CaughtUpTo: now, Asked: now, ValidUntil: now + int64(time.Hour), Process: x.node(n).Probed(), Master: x.masterOf(n).Process(),
		})
	}
}

// change proves n by what has come of its last proof.
func (x *readsTest) change(n *readNode, f func(p *lag.Proof)) {
	p := *x.node(n).Proof()
	f(&p)
	x.node(n).SetProof(&p)
}

func (x *readsTest) disprove(n *readNode) { x.node(n).SetProof(nil) }

// conn is the loop's connection to a replica for plain clients. On the loop only.
func (x *readsTest) conn(l *loop, n *readNode) *backend.Conn { return l.conns.Replica(x.node(n), 2, 0) }

// ready connects the loop to replicas and proves them.
func (x *readsTest) ready(nodes ...*readNode) {
	x.Helper()
	for _, n := range nodes {
		testbed.Eventually(x, func() error {
			up := false
			x.onLoop(func(l *loop) {
				b := x.conn(l, n)
				b.Connect()
				up = b.Up()
			})
			if !up || x.node(n).Probed() == 0 || x.masterOf(n).Probed() == 0 {
				return fmt.Errorf("%s is not connected, or it and its master were not probed", n.name)
			}
			return nil
		}, replyWait)
		x.prove(n)
	}
}

func (x *readsTest) onLoop(f func(l *loop)) { x.p.onEachLoop(x.p.ctx, f) }

// onClient runs f for the only client.
func (x *readsTest) onClient(f func(c *client)) {
	x.onLoop(func(l *loop) {
		for _, c := range l.clients {
			f(c)
		}
	})
}

// keyIn finds a key of group g in a slot that ok takes.
func (x *readsTest) keyIn(g int, ok func(slot router.Slot) bool) string {
	for i := range 1 << 16 {
		key := fmt.Sprint("key", i)
		slot := x.p.pool.Model.Slot([]byte(key))
		if owner := x.p.pool.Table().Owner(slot); owner != nil && owner.Master.Addr == x.m[g].addr() && ok(slot) {
			return key
		}
	}
	x.Fatalf("group %d has no such key", g)
	return ""
}

// inBucket is a key of group g in a bucket.
func (x *readsTest) inBucket(g, bucket int) string {
	return x.keyIn(g, func(slot router.Slot) bool { return slot%buckets == router.Slot(bucket) })
}

// awaitStalled returns when the only client waits until what it has in flight is answered.
func (x *readsTest) awaitStalled() {
	x.Helper()
	testbed.Eventually(x, func() error {
		got := stallNone
		x.onClient(func(c *client) { got = c.stall })
		if got != stallDrain {
			return fmt.Errorf("stall %d", got)
		}
		return nil
	}, replyWait)
}

// wantNothingCounted checks that no client counts anything as in flight.
func (x *readsTest) wantNothingCounted() {
	x.Helper()
	x.onClient(func(c *client) {
		if r := c.guarantees; r != nil && (r.writes != [buckets]uint32{} || r.reads != [buckets]uint32{} ||
			r.others != [buckets]uint32{}) {
			x.Errorf("in flight: writes %v, reads %v, at masters %v", r.writes, r.reads, r.others)
		}
	})
}

// wantCount checks how often a request arrived at n.
func (x *readsTest) wantCount(n *readNode, want int, request string) {
	x.Helper()
	if got := n.count(request); got != want {
		x.Errorf("%q arrived %d times at %s, want %d", request, got, n.name, want)
	}
}

// draws is how often each node is chosen for n reads, each in a turn of its own. The dice are the same in each run.
func (x *readsTest) draws(n int) map[string]int {
	got := make(map[string]int)
	x.onClient(func(c *client) {
		c.loop.rng = rand.New(rand.NewPCG(1, 2))
		v := c.pool.view.Load()
		for range n {
			c.loop.number++
			if b := c.chooseReader(v, v.table.Groups[0], need{buckets: 1}); b != nil {
				got[b.Node.Addr]++
			} else {
				got[""]++
			}
		}
	})
	return got
}

// fail opens the breaker of n, see probedOnce.
func (x *readsTest) fail(n *readNode) {
	x.Helper()
	x.node(n).Report(errors.New("down"))
	if x.node(n).Available() {
		x.Fatalf("%s is available", n.name)
	}
}

// repair closes it.
func (x *readsTest) repair(n *readNode) {
	o := *x.node(n).Options()
	o.BreakerOpen += time.Second
	x.node(n).SetOptions(&o)
}
