package proxy

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"sluice/backend/dialect"
	"sluice/internal/testbed"
	"sluice/proxy/hold"
	"sluice/proxy/resp"
	"sluice/router"
)

// lock is a lock of the slot of key, without a move.
func lock(model router.Model, key string) router.MoveSpec {
	slot := model.Slot([]byte(key))
	return router.MoveSpec{Slots: []router.Range{{From: slot, To: slot}}, Phase: router.Locked}
}

// awaitHeld returns when n requests are held.
func (p *testProxy) awaitHeld(t testing.TB, n int) {
	t.Helper()
	testbed.Eventually(t, func() error {
		counts := p.pool.Holds()
		now := 0
		for _, c := range counts.Now {
			now += c
		}
		if now != n {
			return fmt.Errorf("%d requests are held, want %d: %+v", now, n, counts)
		}
		return nil
	}, replyWait)
}

func TestLockedSlotHoldsItsClientsAndNoOther(t *testing.T) {
	server := testbed.Redis(t)
	specs := evenly(codisModel, server.Addr())
	p := startProxy(t, codisModel, specs, holding(never))
	a, b := p.dial(t), p.dial(t)
	a.want("+OK\r\n", "SET", "locked", "1")

	p.setTable(t, specs, lock(codisModel, "locked"))
	a.request("INCR", "locked")
	a.request("GET", "other")
	a.request("PING")
	a.request("MGET", "other", "locked")
	p.awaitHeld(t, 1)
	b.want("+OK\r\n", "SET", "other", "2")
	if counts := p.pool.Holds(); counts.Now[hold.Locked] != 1 || counts.Bytes == 0 {
		t.Errorf("holds: %+v", counts)
	}
	if slots := p.pool.HeldSlots(); len(slots) != 1 || slots[0].Slot != codisModel.Slot([]byte("locked")) || slots[0].Requests != 1 {
		t.Errorf("held slots: %+v", slots)
	}

	p.setTable(t, specs)
	a.wantReply(":2\r\n")
	a.wantReply("$1\r\n2\r\n")
	a.wantReply("+PONG\r\n")
	a.wantReply("*2\r\n$1\r\n2\r\n$1\r\n2\r\n")
	if counts := p.pool.Holds(); counts.Ended[hold.Released] != 1 || counts.Bytes != 0 {
		t.Errorf("holds: %+v", counts)
	}
}

func TestSplitCommandIsHeldAsAWhole(t *testing.T) {
	servers := []*testbed.Server{testbed.Redis(t), testbed.Redis(t)}
	specs := evenly(codisModel, servers[0].Addr(), servers[1].Addr())
	p := startProxy(t, codisModel, specs, holding(never))
	first, second := p.keysAt(t, servers[0].Addr(), 1)[0], p.keysAt(t, servers[1].Addr(), 1)[0]
	p.setTable(t, specs, lock(codisModel, second))
	c := p.dial(t)
	c.request("MSET", first, "1", second, "2")
	p.awaitHeld(t, 1)
	p.dial(t).want("$-1\r\n", "GET", first)
	p.setTable(t, specs)
	c.wantReply("+OK\r\n")
}

func TestHoldEndsAtMaxWait(t *testing.T) {
	server := testbed.Redis(t)
	specs := evenly(codisModel, server.Addr())
	p := startProxy(t, codisModel, specs, holding(50*time.Millisecond))
	slot := codisModel.Slot([]byte("k"))
	spec := lock(codisModel, "k")
	spec.From, spec.FromID = "127.0.0.1:1", "7"
	p.setTable(t, specs, spec)
	c := p.dial(t)
	c.request("SET", "k", "1")
	c.request("PING")
	c.wantHeld(slot, "is locked on its way from group 7 to group 1")
	c.wantReply("+PONG\r\n")
	if counts := p.pool.Holds(); counts.Ended[hold.TimedOut] != 1 {
		t.Errorf("holds: %+v", counts)
	}
	p.setTable(t, specs)
	c.want("$-1\r\n", "GET", "k")
}

func TestHoldsCanBeTurnedOff(t *testing.T) {
	server := testbed.Redis(t)
	specs := evenly(codisModel, server.Addr())
	slot := codisModel.Slot([]byte("k"))
	f := func(why string, change func(*Config, *PoolConfig), overflowed uint64) {
		t.Helper()
		p := startProxy(t, codisModel, specs, holding(never), change)
		p.setTable(t, specs, lock(codisModel, "k"))
		p.dial(t).want(fmt.Sprintf("-TRYAGAIN slot %d is locked in group 1 (not held: %s)\r\n", slot, why), "GET", "k")
		if counts := p.pool.Holds(); counts.Ended[hold.Overflowed] != overflowed ||
			counts.Held[hold.Locked] != overflowed {
			t.Errorf("holds: %+v", counts)
		}
	}
	f("hold.max_wait is 0", holding(0), 0)
	f("dry run", func(_ *Config, pool *PoolConfig) { pool.Hold.DryRun = true }, 1)
}

func TestHoldLimits(t *testing.T) {
	server := testbed.Redis(t)
	specs := evenly(codisModel, server.Addr())
	// held counts what is held before the limit answers the next request.
	f := func(limit string, held int, change func(*hold.Settings)) {
		t.Helper()
		p := startProxy(t, codisModel, specs, holding(never), func(_ *Config, pool *PoolConfig) { change(&pool.Hold) })
		p.setTable(t, specs, lock(codisModel, "k"), lock(codisModel, "other"))
		for i := range held {
			p.dial(t).request("GET", "k")
			p.awaitHeld(t, i+1)
		}
		p.dial(t).want(fmt.Sprintf("-TRYAGAIN slot %d is locked in group 1 (not held: %s)\r\n", codisModel.Slot([]byte("k")), limit),
			"SET", "k", strings.Repeat("v", 100))
		p.setTable(t, specs)
		p.awaitHeld(t, 0)
		if counts := p.pool.Holds(); counts.Ended[hold.Released] != uint64(held) || counts.Ended[hold.Overflowed] != 1 {
			t.Errorf("%s: holds %+v", limit, counts)
		}
	}
	f("2 requests wait, see hold.max_requests", 2, func(s *hold.Settings) { s.MaxRequests = 2 })
	f("20 bytes wait, see hold.max_bytes", 1, func(s *hold.Settings) { s.MaxBytes = 110 })
	f("1 requests wait for the slot, see hold.slot_requests", 1, func(s *hold.Settings) { s.SlotRequests = 1 })
	f("20 bytes wait for the slot, see hold.slot_bytes", 1, func(s *hold.Settings) { s.SlotBytes = 110 })
	f("0 bytes of the client wait, see hold.client_bytes", 1, func(s *hold.Settings) { s.ClientBytes = 110 })
}

// What a held client sends behind counts too. It is answered one by one until what is left fits.
func TestHeldClientThatSendsTooMuch(t *testing.T) {
	server := testbed.Redis(t)
	specs := evenly(codisModel, server.Addr())
	p := startProxy(t, codisModel, specs, holding(never), func(_ *Config, pool *PoolConfig) { pool.Hold.ClientBytes = 200 })
	p.setTable(t, specs, lock(codisModel, "k"))
	c := p.dial(t)
	c.request("GET", "k")
	p.awaitHeld(t, 1)
	for range 10 { // of 20 bytes
		c.request("GET", "k")
	}
	prefix := fmt.Sprintf("-TRYAGAIN slot %d is ", codisModel.Slot([]byte("k")))
	c.wantPrefix(prefix)
	p.awaitHeld(t, 1)
	p.setTable(t, specs)
	for range 10 {
		c.wantReply("$-1\r\n")
	}
	if counts := p.pool.Holds(); counts.Ended[hold.Overflowed] != 1 || counts.Bytes != 0 {
		t.Errorf("holds: %+v", counts)
	}
}

func TestHeldClientGoesAway(t *testing.T) {
	server := testbed.Redis(t)
	specs := evenly(codisModel, server.Addr())
	p := startProxy(t, codisModel, specs, holding(never))
	p.setTable(t, specs, lock(codisModel, "k"))
	c := p.dial(t)
	c.request("GET", "k")
	p.awaitHeld(t, 1)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	p.awaitHeld(t, 0)
	if counts := p.pool.Holds(); counts.Ended[hold.ClientGone] != 1 || counts.Bytes != 0 {
		t.Errorf("holds: %+v", counts)
	}
}

func TestRequestsWaitForTheFirstTopology(t *testing.T) {
	server := testbed.Redis(t)
	p := startProxy(t, codisModel, nil, holding(never))
	p.pool.view.Store(nil)
	c := p.dial(t)
	c.request("SET", "k", "1")
	c.request("MGET", "k", "other")
	p.awaitHeld(t, 1)
	if counts := p.pool.Holds(); counts.Now[hold.NoTopology] != 1 {
		t.Errorf("holds: %+v", counts)
	}
	p.setTable(t, evenly(codisModel, server.Addr()))
	c.wantReply("+OK\r\n")
	c.wantReply("*2\r\n$1\r\n1\r\n$-1\r\n")
}

// A server that comes back within max_wait costs no error.
func TestRequestsWaitForTheirMaster(t *testing.T) {
	t.Parallel()
	addr := fmt.Sprintf("127.0.0.1:%d", testbed.FreePort(t))
	p := startProxy(t, codisModel, evenly(codisModel, addr), holding(never))
	clients := make([]*testClient, 8)
	for i := range clients {
		clients[i] = p.dial(t)
		clients[i].request("INCR", "k")
		clients[i].request("GET", fmt.Sprint("other", i))
	}
	p.awaitHeld(t, len(clients))
	f := startFakeAt(t, addr, echoOrCount())
	for i, c := range clients {
		c.wantPrefix(":")
		c.wantReply(bulkReply(fmt.Sprint("other", i)))
	}
	if n := f.count("INCR k"); n != len(clients) {
		t.Errorf("%d INCR arrived, want %d", n, len(clients))
	}
	if counts := p.pool.Holds(); counts.Ended[hold.TimedOut]+counts.Ended[hold.Overflowed] != 0 {
		t.Errorf("holds: %+v", counts)
	}
}

// echoOrCount answers INCR with 1 and a GET with its key.
func echoOrCount() answerFunc {
	return func(c *scriptedConn, args []string) {
		if args[0] == "INCR" {
			c.reply(":1\r\n")
			return
		}
		echoValue(c, args)
	}
}

// A server that stays away is waited for once, not by every request.
func TestDeadMasterIsNotWaitedForAgainAndAgain(t *testing.T) {
	t.Parallel()
	addr := fmt.Sprintf("127.0.0.1:%d", testbed.FreePort(t))
	p := startProxy(t, codisModel, evenly(codisModel, addr), holding(300*time.Millisecond), func(_ *Config, pool *PoolConfig) {
		pool.Backend.BreakerFailures = 1
	})
	c := p.dial(t)
	away := "-ERR backend " + addr + " is unavailable: "
	if got := c.do("GET", "k"); !strings.HasPrefix(got, "-TRYAGAIN slot ") && !strings.HasPrefix(got, away) { // It was slow to come.
		t.Errorf("%q", got)
	}
	held := p.pool.Holds().Held[hold.NoMaster]
	c.request("GET", "k")
	c.wantPrefix(away)
	if again := p.pool.Holds().Held[hold.NoMaster]; again != held {
		t.Errorf("a request was held for a server that is down for longer than max_wait")
	}
}

// Errors that prove that a command was not run, and that pass, never reach a client.
func TestPassingErrorsAreWaitedFor(t *testing.T) {
	t.Parallel()
	f := func(model router.Model, family string, lines ...string) {
		t.Helper()
		for _, line := range lines {
			left := 3
			server := startFake(t, func(c *scriptedConn, args []string) {
				if args[0] == "SET" && left > 0 {
					left--
					c.reply("-" + line + "\r\n")
					return
				}
				echoValue(c, args)
			})
			p := startProxy(t, model, evenly(model, server.addr()), holding(never), ofFamily(family))
			c := p.dial(t)
			c.request("SET", "k", "1")
			c.request("GET", "k")
			c.wantReply("+OK\r\n")
			c.wantReply(bulkReply("k"))
			c.want("+OK\r\n", "MSET", "a", "1", "b", "2", "c", "3")
			if n := server.count("SET k 1"); n != 4 {
				t.Errorf("%s: sent %d times, want 4", line, n)
			}
		}
	}
	f(clusterModel, "redis", "TRYAGAIN Multiple keys request during rehashing of slot", "CLUSTERDOWN Hash slot not served",
		"LOADING Redis is loading the dataset in memory", "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
		"READONLY You can't write against a read only replica.")
	f(codisModel, "codis", "READONLY You can't write against a read only slave.")
	f(codisModel, "pika", "ERR READONLY You can't write against a read only replica.", "READONLY x")
	f(clusterModel, "dragonfly", "ERR Cluster is not yet configured", "LOADING Dragonfly is loading the dataset in memory")
	f(clusterModel, "kvrocks", "TRYAGAIN Can't write to slot being migrated which is in write forbidden phase")
}

func TestCredentialsThatAServerRefusesAreNamed(t *testing.T) {
	for _, line := range []string{"NOAUTH Authentication required.", "ERR NOAUTH Authentication required."} {
		server := startFake(t, func(c *scriptedConn, _ []string) { c.reply("-" + line + "\r\n") })
		p := startProxy(t, codisModel, evenly(codisModel, server.addr()), holding(never), ofFamily("pika"))
		p.dial(t).want("-ERR backend "+server.addr()+" does not accept Sluice's credentials, see [pool.auth] backend_password: "+line+"\r\n",
			"GET", "k")
	}
}

// Before a lock is acknowledged, everything must be answered that was sent under the topology before it.
func TestAwaitAnswered(t *testing.T) {
	answer := make(chan struct{})
	server := startFake(t, func(c *scriptedConn, args []string) {
		if args[0] == "SET" {
			c.wait(answer)
		}
		echoValue(c, args)
	})
	specs := evenly(codisModel, server.addr())
	p := startProxy(t, codisModel, specs, holding(never), faultOptions(nil))
	c, other := p.dial(t), p.dial(t)
	c.request("SET", "k", "1")
	server.await(t, 1, "SET k 1")
	if err := c.Close(); err != nil { // The request of a client that has gone counts too.
		t.Fatal(err)
	}
	p.setTable(t, specs, lock(codisModel, "k"))
	other.request("SET", "k", "2")
	p.awaitHeld(t, 1)

	short, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if err := p.pool.AwaitAnswered(short, []string{server.addr()}); err == nil || err.Error() != "not answered yet: "+server.addr() {
		t.Errorf("while a request is in flight: %v", err)
	}
	done := make(chan error)
	go func() { done <- p.pool.AwaitAnswered(t.Context(), []string{server.addr(), "127.0.0.1:1"}) }()
	close(answer)
	if err := <-done; err != nil {
		t.Errorf("after the answer: %v", err)
	}
	if n := server.count("SET k 2"); n != 0 {
		t.Error("a request went to a locked slot")
	}
	p.setTable(t, specs)
	other.wantReply("+OK\r\n")
}

// ofFamily sets the family of the backends.
func ofFamily(name string) func(*Config, *PoolConfig) {
	return func(_ *Config, pool *PoolConfig) { pool.Family = dialect.Of(name) }
}

// A slot that is half open, its source asks clients to go to a node that does not import it, is held and not
// redirected for ever.
func TestHalfOpenMigrationIsHeld(t *testing.T) {
	cluster := testbed.Cluster(t, 3, 0)
	nodes := cluster.Nodes()
	p := startProxy(t, clusterModel, specsOf(t, cluster), holding(never))
	slot := clusterModel.Slot([]byte("{half}"))
	source := cluster.NodeOf(int(slot))
	target := nodes[0]
	if target == source {
		target = nodes[1]
	}
	at := func(node *testbed.Server, args ...string) string { return dial(t, "tcp", node.Addr()).do(args...) }
	id := strings.Split(at(target, "CLUSTER", "MYID"), "\r\n")[1]
	if got := at(source, "CLUSTER", "SETSLOT", fmt.Sprint(slot), "MIGRATING", id); got != "+OK\r\n" {
		t.Fatal(got)
	}
	c := p.dial(t)
	c.request("SET", "{half}1", "v")
	c.request("MGET", "{half}1", "{half}2")
	p.awaitHeld(t, 1)
	if got := at(source, "CLUSTER", "SETSLOT", fmt.Sprint(slot), "STABLE"); got != "+OK\r\n" {
		t.Fatal(got)
	}
	c.wantReply("+OK\r\n")
	c.wantReply("*2\r\n$1\r\nv\r\n$-1\r\n")
}

// Ten thousand held requests are the most there can be by default; what they take is bounded and comes back.
func TestTenThousandHeldRequests(t *testing.T) {
	server := testbed.Redis(t)
	specs := evenly(codisModel, server.Addr())
	const perClient, clients = 100, 100
	p := startProxy(t, codisModel, specs, holding(never))
	p.setTable(t, specs, lock(codisModel, "k"))
	value := strings.Repeat("v", 1000)
	conns := make([]*testClient, clients)
	sent := 0
	for i := range conns {
		conns[i] = p.dial(t)
		for range perClient {
			request := string(resp.AppendCommand(nil, "SET", "k", value))
			conns[i].send(request)
			sent += len(request)
		}
	}
	testbed.Eventually(t, func() error {
		if counts := p.pool.Holds(); counts.Now[hold.Locked] != clients || counts.Bytes != sent {
			return fmt.Errorf("holds: %+v, sent %d bytes", counts, sent)
		}
		return nil
	}, replyWait)
	p.setTable(t, specs)
	for _, c := range conns {
		for range perClient {
			c.wantReply("+OK\r\n")
		}
	}
	if counts := p.pool.Holds(); counts.Bytes != 0 || counts.Ended[hold.Released] < clients {
		t.Errorf("holds: %+v", counts)
	}
	p.onEachLoop(t.Context(), func(l *loop) {
		if len(l.held)+len(l.delayed) != 0 {
			t.Errorf("%d clients stand in the lists of the loop", len(l.held)+len(l.delayed))
		}
	})
}
