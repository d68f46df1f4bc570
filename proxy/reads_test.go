package proxy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/backend"
	"sluice/internal/bufpool"
	"sluice/internal/clock"
	"sluice/internal/testbed"
	"sluice/proxy/command"
	"sluice/proxy/resp"
	"sluice/router"
	"sluice/router/lag"
)

// Which node of a group a read goes to, and which commands may go to a replica at all.

func TestReadPolicies(t *testing.T) {
	f := func(policy ReadPolicy, proven bool, want func(x *readsTest) string) {
		t.Helper()
		x := startReads(t, testModel, 1, 1, reading(policy, Eventual))
		x.ready(x.r[0][0])
		if !proven {
			x.disprove(x.r[0][0])
		}
		c := x.p.dial(t)
		c.want(want(x), "GET", "k")
		c.want("+OK\r\n", "SET", "k", "v")
		x.wantCount(x.m[0], 1, "SET k v")
		x.wantNothingCounted()
	}
	master := func(x *readsTest) string { return x.m[0].at("k") }
	replica := func(x *readsTest) string { return x.r[0][0].at("k") }
	f(ReadMaster, true, master)
	f(ReadPreferReplica, true, replica)
	f(ReadPreferReplica, false, master)
	f(ReadReplica, true, replica)
	f(ReadReplica, false, func(*readsTest) string {
		return "-ERR no replica of group 1 may serve this read now; `sluice ctl groups` says why\r\n"
	})
	f(ReadNearest, false, master)
}

// A read dials and does not wait, and evidence from before the connection is about another process perhaps.
func TestReadsWaitForAConnectionAndNewerEvidence(t *testing.T) {
	x := startReads(t, testModel, 1, 1)
	m, r := x.m[0], x.r[0][0]
	x.ready(r)
	c := x.p.dial(t)
	x.onLoop(func(l *loop) {
		l.conns.Close(x.conn(l, r), backend.ErrClosed)
		x.prove(r)
	})
	c.want(m.at("k"), "GET", "k")
	testbed.Eventually(t, func() error {
		up := false
		x.onLoop(func(l *loop) { up = x.conn(l, r).Up() })
		if !up {
			return errors.New("no connection")
		}
		return nil
	}, replyWait)
	c.want(m.at("k"), "GET", "k")
	x.prove(r)
	c.want(r.at("k"), "GET", "k")
	x.onLoop((*loop).tick) // Counts are published now and then.
	if a, b := x.node(m).Reads(), x.node(r).Reads(); a != 2 || b != 1 {
		t.Errorf("%d reads of the master, %d of the replica", a, b)
	}
}

func TestEvidenceThatDoesNotDo(t *testing.T) {
	x := startReads(t, testModel, 1, 1, func(_ *Config, pool *PoolConfig) { pool.Reads.MaxBehind = 10 })
	r := x.r[0][0]
	x.ready(r)
	c := x.p.dial(t)
	var base, opened int64
	x.onLoop(func(l *loop) { base, opened = x.p.pool.view.Load().base, x.conn(l, r).OpenedAt() })
	f := func(name string, want *readNode, change func(p *lag.Proof)) {
		t.Helper()
		x.prove(r)
		x.change(r, change)
		if got := c.do("GET", "k"); got != want.at("k") {
			t.Errorf("%s: %q", name, got)
		}
	}
	f("all is well", r, func(*lag.Proof) {})
	f("evidence is old", x.m[0], func(p *lag.Proof) { p.ValidUntil = clock.Now() - 1 })
	f("just not too far behind", r, func(p *lag.Proof) { p.Behind = 10 })
	f("too far behind", x.m[0], func(p *lag.Proof) { p.Behind = 11 })
	f("too far behind, and the master is away", r, func(p *lag.Proof) { p.Behind, p.Orphan = 11, true })
	f("asked when it was opened", r, func(p *lag.Proof) { p.Asked = opened })
	f("asked before it was opened", x.m[0], func(p *lag.Proof) { p.Asked = opened - 1 })
	f("as old as the first topology", r, func(p *lag.Proof) { p.CaughtUpTo = base })
	f("older than the first topology", x.m[0], func(p *lag.Proof) { p.CaughtUpTo = base - 1 })
	f("nothing is proven about time, and the topology is new", x.m[0], func(p *lag.Proof) { p.CaughtUpTo = 0 })
	v := *x.p.pool.view.Load()
	v.base -= 2 * restTime
	x.p.pool.view.Store(&v)
	f("nothing is proven about time", r, func(p *lag.Proof) { p.CaughtUpTo = 0 })
	c.want("+OK\r\n", "CLIENT", "SETINFO", "sluice-consistency", "read-your-writes")
	f("nothing is proven about time, and time matters", x.m[0], func(p *lag.Proof) { p.CaughtUpTo = 0 })
	c.want("+OK\r\n", "CLIENT", "SETINFO", "sluice-consistency", "eventual")
	f("within the limit of lag", r, func(*lag.Proof) {})
	c.want("+OK\r\n", "CLIENT", "SETINFO", "sluice-max-lag", "1ns")
	f("beyond the limit of lag, and the master is away", r, func(p *lag.Proof) { p.Orphan = true })
	f("beyond the limit of lag", x.m[0], func(*lag.Proof) {})
}

func TestWeights(t *testing.T) {
	f := func(policy ReadPolicy, weights []int, want []int) { // of the master, then of the replicas; -1 is none
		t.Helper()
		x := startReads(t, testModel, 1, 2, reading(policy, Eventual), faultOptions(probedOnce))
		nodes := append([]*readNode{x.m[0]}, x.r[0]...)
		s := *x.p.pool.Settings()
		s.Reads.Weights = make(map[string]int)
		for i, w := range weights {
			if w >= 0 {
				s.Reads.Weights[nodes[i].addr()] = w
			}
		}
		x.p.pool.SetSettings(s)
		x.ready(x.r[0]...)
		x.p.dial(t).want("+PONG\r\n", "PING")
		got := x.draws(2000)
		for i, n := range nodes {
			if g := got[n.addr()]; g < want[i]*8/10 || g > want[i]*12/10 {
				t.Errorf("policy %d, weights %v: %s was chosen %d times, want about %d", policy, weights, n.name, g, want[i])
			}
		}
	}
	f(ReadPreferReplica, []int{-1, -1, -1}, []int{0, 1000, 1000})
	f(ReadPreferReplica, []int{-1, 3, -1}, []int{0, 1500, 500})
	f(ReadPreferReplica, []int{-1, 0, 5}, []int{0, 0, 2000})
	f(ReadPreferReplica, []int{2, 1, 1}, []int{1000, 500, 500})
	f(ReadReplica, []int{2, 1, 1}, []int{0, 1000, 1000})
	f(ReadNearest, []int{0, 0, -1}, []int{0, 0, 2000})
	f(ReadReplica, []int{-1, 0, 0}, []int{0, 0, 0})
}

func TestNearest(t *testing.T) {
	f := func(zones []string, want func(nodes []*readNode) []*readNode) { // of the master and two replicas
		t.Helper()
		x := startReads(t, testModel, 1, 2, reading(ReadNearest, Eventual), faultOptions(probedOnce),
			func(_ *Config, pool *PoolConfig) { pool.Reads.Zone = "here" })
		nodes := append([]*readNode{x.m[0]}, x.r[0]...)
		x.specs[0].Zones = make(map[string]string)
		for i, zone := range zones {
			x.specs[0].Zones[nodes[i].addr()] = zone
		}
		x.p.setTable(t, x.specs)
		x.ready(x.r[0]...)
		x.p.dial(t).want("+PONG\r\n", "PING")
		got := x.draws(100)
		for _, n := range want(nodes) {
			delete(got, n.addr())
		}
		if len(got) > 0 {
			t.Errorf("zones %v: chosen %v", zones, got)
		}
	}
	f([]string{"here", "", "there"}, func(n []*readNode) []*readNode { return n[:1] })
	f([]string{"there", "here", "there"}, func(n []*readNode) []*readNode { return n[1:2] })
	f([]string{"there", "here", "here"}, func(n []*readNode) []*readNode { return n[1:] })
	f([]string{"there", "there", "there"}, func(n []*readNode) []*readNode { return n })
}

// Within a zone latency counts. The slow node answers its one probe when the others have answered theirs, and much
// later.
func TestNearestByLatency(t *testing.T) {
	slow, gate := startReadNode(t, "slow"), make(chan struct{})
	delete(slow.greetings, "PING")
	slow.script = func(c *scriptedConn, _ []string) { c.wait(gate); c.reply("+PONG\r\n") }
	fast := startReadNode(t, "fast")
	p := startProxy(t, testModel, evenly(testModel, fast.addr(), slow.addr()), faultOptions(probedOnce))
	await := func(what string, ok func() bool) {
		testbed.Eventually(t, func() error {
			if !ok() {
				return errors.New(what)
			}
			return nil
		}, replyWait)
	}
	slow.await(t, 1, "PING")
	began := clock.Now()
	a, b := p.pool.Node(fast.addr()), p.pool.Node(slow.addr())
	await("the fast one is not probed", func() bool { return a.Latency() > 0 })
	await("time stands still", func() bool { return clock.Now()-began > 2*int64(a.Latency()+latencyNoise) })
	close(gate)
	await("the slow one is not probed", func() bool { return b.Latency() > 0 })
	f := func(slowIsNear, fastIsNear bool, want *backend.Node) {
		t.Helper()
		var c candidates
		c.add(0, &reader{node: b, weight: 1, replica: true, near: slowIsNear}, nil)
		c.add(1, &reader{node: a, weight: 1, near: fastIsNear}, nil)
		if c.keepNearest(); c.n != 1 || c.list[0].node != want {
			t.Errorf("latencies %v and %v: %d are left, the first %s", b.Latency(), a.Latency(), c.n, c.list[0].node)
		}
	}
	f(true, true, a)
	f(false, false, a)
	f(true, false, b)
}

func TestLessInFlightOfTwo(t *testing.T) {
	x := startReads(t, testModel, 1, 2)
	x.ready(x.r[0]...)
	x.p.dial(t).want("+PONG\r\n", "PING")
	defer x.r[0][0].freeze()()
	x.onLoop(func(l *loop) {
		if err := x.conn(l, x.r[0][0]).Send(resp.AppendCommand(nil, "GET", "k"), nil, 0, l.now); err != nil {
			t.Error(err)
		}
	})
	// Only when both draws are of the busy one is it taken.
	if got := x.draws(2000)[x.r[0][0].addr()]; got < 400 || got > 600 {
		t.Errorf("the busy one was chosen %d times of 2000, want about 500", got)
	}
}

// The reads of one turn go together, so that they leave in one write.
func TestReadsOfATurnStayTogether(t *testing.T) {
	x := startReads(t, testModel, 1, 2)
	x.ready(x.r[0]...)
	c := x.p.dial(t)
	c.want("+PONG\r\n", "PING")
	var batch []byte
	for i := range 10 {
		batch = append(batch, resp.AppendCommand(nil, "GET", fmt.Sprint("k", i))...)
	}
	used := make(map[string]bool)
	for range 30 {
		x.onClient(func(c *client) {
			c.loop.clientTraffic(c, batch)
			c.loop.flush()
		})
		var names []string
		for i := range 10 {
			name, _, _ := strings.Cut(c.reply(), fmt.Sprint(" has k", i))
			names = append(names, name)
		}
		if slices.Sort(names); names[0] != names[9] {
			t.Fatalf("reads of one turn were served by %v", names)
		}
		used[names[0]] = true
	}
	if len(used) != 2 {
		t.Errorf("of two replicas %v were read", used)
	}
}

// What was found about a replica in a turn is looked at again in what comes after it, which need not be an event:
// here a held client goes on when an alarm rings.
func TestChoiceOfATurnEndsWithIt(t *testing.T) {
	x := startReads(t, testModel, 2, 1, holding(never), faultOptions(probedOnce), func(_ *Config, pool *PoolConfig) { pool.Reads.MaxBehind = 10 })
	x.p.awaitStatus(t, "probed", func(st *backend.Status) bool { return st.Version != "" })
	m, r := x.m[0], x.r[0][0]
	x.ready(r)
	a, held, b := x.inBucket(0, 1), x.inBucket(1, 2), x.inBucket(0, 3)
	x.fail(x.m[1])
	thaw := r.freeze() // Its reply would be an event.
	c := x.p.dial(t)
	c.send(string(resp.AppendCommand(resp.AppendCommand(resp.AppendCommand(nil, "GET", a), "SET", held, "v"), "GET", b)))
	r.await(t, 1, "GET "+a)
	x.p.awaitHeld(t, 1)
	x.change(r, func(p *lag.Proof) { p.Behind = 11 })
	x.repair(x.m[1])
	testbed.Eventually(t, func() error {
		if m.count("GET "+b)+r.count("GET "+b) == 0 {
			return errors.New("the read behind the held write was not sent")
		}
		return nil
	}, replyWait)
	thaw()
	c.wantReply(r.at(a))
	c.wantReply("+OK\r\n")
	c.wantReply(m.at(b))
}

func TestCommandsThatReplicasServe(t *testing.T) {
	f := func(want bool, names ...string) {
		t.Helper()
		for _, name := range names {
			top, sub, _ := strings.Cut(name, " ")
			cmd := command.Lookup([]byte(top))
			if sub != "" {
				cmd = cmd.Sub([]byte(sub))
			}
			if got := fromReplicas[cmd.ID]; got != want {
				t.Errorf("%s: %v, want %v", name, got, want)
			}
		}
	}
	f(true, "get", "mget", "exists", "strlen", "getrange", "hgetall", "hmget", "lrange", "smembers", "sunion", "sismember",
		"zrange", "zscore", "xrange", "xread", "xinfo stream", "type", "ttl", "pttl", "expiretime", "sort_ro", "georadius_ro", "geosearch",
		"bitcount", "bitfield_ro", "getbit", "sscan", "dump", "lcs")
	f(false, "set", "del", "unlink", "incr", "getset", "getdel", "getex", "expire", "persist", "sort", "georadius",
		"georadiusbymember", "xreadgroup", "xack", "bitfield", "setbit", "pfcount", "pfadd", "eval", "evalsha", "eval_ro", "evalsha_ro",
		"fcall", "fcall_ro", "object encoding", "object freq", "touch", "memory usage", "spop", "copy", "rename", "mset", "restore")

	x := startReads(t, testModel, 1, 1)
	x.ready(x.r[0][0])
	c := x.p.dial(t)
	for request, want := range map[string]*readNode{
		"HGETALL k": x.r[0][0], "TYPE k": x.r[0][0], "TTL k": x.r[0][0], "SORT_RO k": x.r[0][0], "XREAD STREAMS k 0": x.r[0][0],
		"XREAD COUNT 1 STREAMS k 0": x.r[0][0], "SUNION {k}1 {k}2": x.r[0][0],
		"INCR k": x.m[0], "EVAL_RO x 1 k": x.m[0], "EVAL x 1 k": x.m[0], "OBJECT ENCODING k": x.m[0], "MEMORY USAGE k": x.m[0],
		"PFCOUNT k": x.m[0], "SORT k": x.m[0], "GEORADIUS k 0 0 1 m": x.m[0], "XREADGROUP GROUP g c STREAMS k >": x.m[0], "GETEX k": x.m[0],
	} {
		c.want(bulkReply(want.name), strings.Fields(request)...)
	}
	c.want(":2\r\n", "TOUCH", "{k}1", "{k}2")
	x.wantCount(x.m[0], 1, "TOUCH {k}1 {k}2")
	x.wantNothingCounted()
}

// newReadPath is a dataPath whose reads go to a replica.
func newReadPath(t *testing.T, consistency Consistency) (d *dataPath, master, replica *backend.Conn) {
	t.Helper()
	s := New(Config{Loops: 1, Settings: Settings{MaxClients: 1, Limits: testLimits}})
	const nowhere, there = "127.0.0.1:0", "127.0.0.2:0"
	cfg := PoolConfig{Name: "test", Model: codisModel, PoolSettings: PoolSettings{Backend: testBackend}}
	reading(ReadPreferReplica, consistency)(nil, &cfg)
	pool := s.AddPool(cfg)
	specs := evenly(codisModel, nowhere)
	specs[0].Replicas = []string{there}
	table, err := router.NewBuilder(codisModel).Build(router.Spec{Groups: specs})
	if err != nil {
		t.Fatal(err)
	}
	pool.SetTable(table)
	d = &dataPath{in: new(handConn), out: new(handConn), loop: newLoop(s, 0, handLoop{})}
	d.loop.pool, d.loop.alarmAt = bufpool.New(maxFree), 1
	d.client = &client{loop: d.loop, pool: pool, id: 1, session: newSession(pool, "", "")}
	d.client.opened(d.in)
	master, replica = d.loop.conns.Shared(pool.Node(nowhere), 2, 0), d.loop.conns.Replica(pool.Node(there), 2, 0)
	for _, b := range []*backend.Conn{master, replica} {
		if b.Connect(); b.UnderWay().Opened(d.out, clock.Now()) == nil {
			t.Fatal("the backend connection does not take to being opened")
		}
	}
	s.stop() // No goroutine is left that allocates.
	pool.stop()
	now := clock.Now() + int64(time.Hour) // Newer than every write of the test.
	pool.Node(there).SetProof(&lag.Proof{CaughtUpTo: now, Asked: now, ValidUntil: now})
	for _, n := range pool.Nodes() { // The dials have failed.
		o := testBackend
		o.BreakerOpen++
		n.SetOptions(&o)
	}
	return d, master, replica
}

// A read from a replica, and a write that reads from replicas are kept in order with, allocate nothing.
func TestReplicaPathDoesNotAllocate(t *testing.T) {
	testbed.Quiet(t)
	for _, consistency := range []Consistency{Eventual, Monotonic, ReadYourWrites} {
		d, master, replica := newReadPath(t, consistency)
		f := func(server *backend.Conn, depth int, request, reply string) {
			t.Helper()
			d.server = server
			requests, replies := []byte(strings.Repeat(request, depth)), []byte(strings.Repeat(reply, depth))
			turn := func() { d.request(requests); d.reply(t, replies) }
			reads := func() uint64 { server.Tick(d.loop.now); return server.Node.Reads() }
			turn()
			in, before := d.in.written, reads()
			const runs = 200
			if n := testing.AllocsPerRun(runs, turn); n > 0 {
				t.Errorf("consistency %d, %.20q, %d at once: %v allocations", consistency, request, depth, n)
			}
			if got, want := d.in.written-in, (runs+1)*len(replies); got != want {
				t.Errorf("consistency %d, %.20q, %d at once: the client got %d bytes, want %d", consistency, request, depth, got, want)
			}
			if n := reads() - before; server.Replica() && n != uint64((runs+1)*depth) {
				t.Errorf("%d reads of the replica", n)
			}
		}
		for _, depth := range []int{1, 16, 500} {
			f(replica, depth, string(resp.AppendCommand(nil, "GET", "key")), bulkReply("value"))
			f(master, depth, string(resp.AppendCommand(nil, "SET", "key", "value")), "+OK\r\n")
		}
	}
}
