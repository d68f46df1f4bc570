package proxy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/backend"
	"sluice/internal/testbed"
)

// How blocked clients are let go: by a lock of their slot, by CLIENT UNBLOCK, and when the proxy stops.

// fakeBlocker is a server that keeps BLPOP waiting until it is asked to let go.
type fakeBlocker struct {
	*fakeBackend
	named chan struct{} // closed: CLIENT ID is answered

	said   chan struct{} // closed: CLIENT UNBLOCK is answered; nil: at once
	letGo  chan struct{}
	onElse answerFunc

	mu   sync.Mutex // guards the field below it
	deaf int        // how many CLIENT UNBLOCK come before the server has seen the BLPOP
}

// blockerID is what a fakeBlocker calls every connection.
const blockerID = "7"

func startBlocker(t testing.TB) *fakeBlocker {
	b := &fakeBlocker{named: make(chan struct{}), letGo: make(chan struct{}, 100), onElse: echoValue}
	b.fakeBackend = startFake(t, b.run, func(f *fakeBackend) { delete(f.greetings, "CLIENT") })
	return b
}

func (b *fakeBlocker) run(c *scriptedConn, args []string) {
	switch strings.Join(args[:min(2, len(args))], " ") {
	case "CLIENT ID":
		if c.wait(b.named); !c.closed {
			c.reply(":" + blockerID + "\r\n")
		}
	case "CLIENT UNBLOCK":
		b.mu.Lock()
		deaf := b.deaf > 0
		b.deaf--
		b.mu.Unlock()
		if deaf {
			c.reply(":0\r\n")
			return
		}
		b.letGo <- struct{}{}
		if b.said != nil {
			c.wait(b.said)
		}
		c.reply(":1\r\n")
	default:
		if args[0] != "BLPOP" {
			b.onElse(c, args)
			return
		}
		select {
		case <-b.letGo:
			c.reply("*-1\r\n")
		case <-c.gone:
			c.closed = true
		}
	}
}

// wantBarrier checks that a lock would be acknowledged.
func (p *testProxy) wantBarrier(t testing.TB, addrs ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), never/2)
	defer cancel()
	if err := p.pool.AwaitAnswered(ctx, addrs); err != nil {
		t.Error(err)
	}
}

// A client whose blocking command waits for its connection is let go as well when its slot is locked.
func TestLockBeforeTheConnectionIsUp(t *testing.T) {
	server := startBlocker(t)
	specs := evenly(codisModel, server.addr())
	p := startProxy(t, codisModel, specs, holding(never), faultOptions(nil))
	c := p.dial(t)
	c.request("BLPOP", "k", "0")
	server.await(t, 1, "CLIENT ID")
	p.setTable(t, specs, lock(codisModel, "k"))
	p.wantBarrier(t, server.addr())
	p.awaitHeld(t, 1)
	close(server.named)
	if n := server.count("BLPOP k 0"); n != 0 {
		t.Errorf("BLPOP was sent %d times", n)
	}
}

// The request to let go comes on another connection than the BLPOP and may be there first.
func TestLockOvertakesTheBlockingCommand(t *testing.T) {
	server := startBlocker(t)
	server.deaf = 3
	close(server.named)
	specs := evenly(codisModel, server.addr())
	p := startProxy(t, codisModel, specs, holding(never), faultOptions(nil))
	c := p.dial(t)
	c.request("BLPOP", "k", "0")
	server.await(t, 1, "BLPOP k 0")
	p.setTable(t, specs, lock(codisModel, "k"))
	p.wantBarrier(t, server.addr())
	p.awaitHeld(t, 1)
	if n := server.count("CLIENT UNBLOCK " + blockerID + " TIMEOUT"); n != 4 {
		t.Errorf("asked %d times to let go, want 4", n)
	}
}

// A request to let go that is under way hits whoever uses the connection by then: nobody must.
func TestLateRequestToLetGoHitsNobodyElse(t *testing.T) {
	server := startBlocker(t)
	server.said = make(chan struct{})
	close(server.named)
	specs := evenly(codisModel, server.addr())
	p := startProxy(t, codisModel, specs, holding(never), faultOptions(nil))
	keys := keysApart(codisModel, 3)
	c, other := p.dial(t), p.dial(t)
	c.request("BLPOP", keys[0], "0")
	server.await(t, 1, "BLPOP "+keys[0]+" 0")
	p.setTable(t, specs, lock(codisModel, keys[0]))
	p.awaitHeld(t, 1)
	conns := make(map[*scriptedConn]bool)
	next := func(key string) {
		other.request("BLPOP", key, "0")
		server.await(t, 1, "BLPOP "+key+" 0")
		for _, r := range server.seen() {
			if r.args[0] == "BLPOP" {
				conns[r.conn] = true
			}
		}
	}
	next(keys[1])
	if len(conns) != 2 {
		t.Error("the connection is used by another client")
	}
	close(server.said)
	server.letGo <- struct{}{}
	other.wantReply("*-1\r\n")
	p.setTable(t, specs)
	server.await(t, 2, "BLPOP "+keys[0]+" 0")
	next(keys[2])
	if len(conns) != 2 {
		t.Error("the connections are not used again")
	}
}

// awaitBlocked returns when n clients of the proxy are blocked at a server, and server has n blocked clients.
func (p *testProxy) awaitBlocked(t testing.TB, server *testbed.Server, n int) {
	t.Helper()
	testbed.Eventually(t, func() error {
		if got := p.Stats().Blocked; got != n {
			return fmt.Errorf("%d clients are blocked, want %d", got, n)
		}
		if info := server.Do("INFO", "clients").String(); !strings.Contains(info, fmt.Sprintf("blocked_clients:%d\r\n", n)) {
			return errors.New(info)
		}
		return nil
	}, replyWait)
}

// A lock waits for nobody who waits for data of another slot, or for replicas.
func TestBlockedClientsOfOtherSlotsDoNotKeepALockWaiting(t *testing.T) {
	server := testbed.Redis(t)
	specs := evenly(codisModel, server.Addr())
	p := startProxy(t, codisModel, specs, holding(never), faultOptions(nil))
	keys := keysApart(codisModel, 2)
	pops, waits := p.dial(t), p.dial(t)
	pops.request("BLPOP", keys[0], "0")
	waits.want("+OK\r\n", "SET", keys[0]+"s", "v")
	waits.request("WAIT", "1", "0")
	p.awaitBlocked(t, server, 2)
	p.setTable(t, specs, lock(codisModel, keys[1]))
	p.wantBarrier(t, server.Addr())
	p.awaitBlocked(t, server, 2)
	server.Do("RPUSH", keys[0], "v")
	pops.wantReply("*2\r\n" + bulkReply(keys[0]) + "$1\r\nv\r\n")
}

func TestBlockedClientIsServedByTheNewOwnerOfItsSlot(t *testing.T) {
	a, b := testbed.Redis(t), testbed.Redis(t)
	specs := evenly(codisModel, a.Addr())
	p := startProxy(t, codisModel, specs, holding(never), faultOptions(nil))
	c, other := p.dial(t), p.dial(t)
	c.request("BLPOP", "k", "k", "0")
	c.request("GET", "k2")
	p.awaitBlocked(t, a, 1)
	p.setTable(t, specs, lock(codisModel, "k"))
	p.wantBarrier(t, a.Addr())
	p.awaitHeld(t, 1)
	p.setTable(t, evenly(codisModel, b.Addr()))
	p.awaitBlocked(t, b, 1)
	other.want(":1\r\n", "RPUSH", "k", "v")
	c.wantReply("*2\r\n$1\r\nk\r\n$1\r\nv\r\n")
	c.wantReply("$-1\r\n")
	if a.Do("EXISTS", "k").Integer() != 0 {
		t.Error("the old owner was used")
	}
}

// Whoever is let go, with or without an element: none is lost, none comes twice, and they come in order.
func TestElementsPushedWhileSlotsAreLocked(t *testing.T) {
	t.Parallel()
	server := testbed.Redis(t)
	specs := evenly(codisModel, server.Addr())
	p := startProxy(t, codisModel, specs, holding(never), faultOptions(nil))
	const n = 300
	done := make(chan struct{})
	var work sync.WaitGroup
	defer work.Wait()
	work.Go(func() {
		for {
			select {
			case <-done:
				p.setTable(t, specs)
				return
			default:
			}
			p.setTable(t, specs, lock(codisModel, "k"))
			p.wantBarrier(t, server.Addr())
			p.setTable(t, specs)
		}
	})
	defer close(done)
	push := dial(t, "tcp", server.Addr())
	c := p.dial(t)
	for i := range n {
		c.request("BLPOP", "k", "0")
		push.want(":1\r\n", "RPUSH", "k", fmt.Sprint(i))
		c.wantReply("*2\r\n$1\r\nk\r\n" + bulkReply(fmt.Sprint(i)))
	}
}

// What "$" stands for is found once: entries that come while the slot is locked are not missed.
func TestXReadFromTheEndMissesNothing(t *testing.T) {
	server := testbed.Redis(t)
	specs := evenly(codisModel, server.Addr())
	p := startProxy(t, codisModel, specs, holding(never), faultOptions(nil))
	c := p.dial(t)
	server.Do("XADD", "s", "1-1", "f", "old")
	c.request("XREAD", "BLOCK", "0", "STREAMS", "s", "$")
	p.awaitBlocked(t, server, 1)
	p.setTable(t, specs, lock(codisModel, "s"))
	p.awaitHeld(t, 1)
	server.Do("XADD", "s", "2-1", "f", "new")
	p.setTable(t, specs)
	c.wantReply("*1\r\n*2\r\n$1\r\ns\r\n*1\r\n*2\r\n$3\r\n2-1\r\n*2\r\n$1\r\nf\r\n$3\r\nnew\r\n")
}

// A lock that comes while the ends of the streams are looked for holds the XREAD as well.
func TestLockWhileTheEndOfAStreamIsLookedFor(t *testing.T) {
	answer := make(chan struct{})
	server := startFake(t, func(c *scriptedConn, args []string) {
		switch args[0] {
		case "XREVRANGE":
			c.wait(answer)
			c.reply("*0\r\n")
		default:
			c.reply("*-1\r\n")
		}
	})
	specs := evenly(codisModel, server.addr())
	p := startProxy(t, codisModel, specs, holding(never), faultOptions(nil))
	c := p.dial(t)
	c.request("XREAD", "BLOCK", "0", "STREAMS", "s", "$")
	server.await(t, 1, "XREVRANGE s + - COUNT 1")
	p.setTable(t, specs, lock(codisModel, "s"))
	close(answer)
	p.awaitHeld(t, 1)
	p.wantBarrier(t, server.addr())
	if n := len(server.seen()); n != 1 {
		t.Errorf("the server got %v", server.seen())
	}
	p.setTable(t, specs)
	server.await(t, 1, "XREAD BLOCK 0 STREAMS s 0-0")
}

func TestClientUnblock(t *testing.T) {
	server := testbed.Redis(t)
	p := startProxy(t, testModel, evenly(testModel, server.Addr()), faultOptions(nil), func(cfg *Config, _ *PoolConfig) { cfg.Loops = 2 })
	for range 4 { // On both loops.
		blocked, other := p.dial(t), p.dial(t)
		id := strings.Trim(blocked.do("CLIENT", "ID"), ":\r\n")
		other.want(":0\r\n", "CLIENT", "UNBLOCK", id)
		f := func(want, reply string, unblock []string, request ...string) {
			t.Helper()
			blocked.request(request...)
			p.awaitBlocked(t, server, 1)
			other.want(want, append([]string{"CLIENT", "UNBLOCK", id}, unblock...)...)
			blocked.wantReply(reply)
			p.awaitBlocked(t, server, 0)
		}
		f(":1\r\n", "*-1\r\n", nil, "BLPOP", "k", "0")
		f(":1\r\n", "*-1\r\n", []string{"timeout"}, "XREAD", "BLOCK", "0", "STREAMS", "s", "$")
		f(":1\r\n", "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n", []string{"ERROR"}, "BLPOP", "k", "0")
		blocked.want("+OK\r\n", "SET", "w", "1")
		f(":1\r\n", ":0\r\n", nil, "WAIT", "1", "0")
		f(":1\r\n", "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n", []string{"ERROR"}, "WAIT", "1", "0")
		other.want(":0\r\n", "CLIENT", "UNBLOCK", id)
		blocked.want("$1\r\n1\r\n", "GET", "w")
	}
}

// A WAIT asks several servers; whoever lets it go gets one answer.
func TestClientUnblockOfAWaitForTwoServers(t *testing.T) {
	a, b := testbed.Redis(t), testbed.Redis(t)
	p := startProxy(t, testModel, evenly(testModel, a.Addr(), b.Addr()), faultOptions(nil))
	waits, other := p.dial(t), p.dial(t)
	id := strings.Trim(waits.do("CLIENT", "ID"), ":\r\n")
	for _, key := range []string{p.keysAt(t, a.Addr(), 1)[0], p.keysAt(t, b.Addr(), 1)[0]} {
		waits.want("+OK\r\n", "SET", key, "v")
	}
	for range 3 {
		waits.request("WAIT", "1", "0")
		p.awaitBlocked(t, a, 1)
		p.awaitBlocked(t, b, 1)
		other.want(":1\r\n", "CLIENT", "UNBLOCK", id)
		other.want("+PONG\r\n", "PING")
		waits.wantReply(":0\r\n")
	}
}

// Whoever waits when the proxy stops is let go, and gets what it would get at the end of its time.
func TestShutdownLetsBlockedClientsGo(t *testing.T) {
	t.Parallel()
	f := func(family string, requests ...[]string) {
		t.Helper()
		server := testbed.Redis(t)
		p := startProxy(t, codisModel, evenly(codisModel, server.Addr()), faultOptions(nil), ofFamily(family),
			func(cfg *Config, _ *PoolConfig) { cfg.Settings.Drain = never })
		var clients []*testClient
		for _, r := range requests {
			c := p.dial(t)
			c.want("+OK\r\n", "SET", "w", "1")
			c.request(r...)
			clients = append(clients, c)
		}
		p.awaitBlocked(t, server, len(requests))
		if left := p.Shutdown(context.Background()); left != 0 {
			t.Errorf("%s: %d requests were cut off", family, left)
		}
		for i, c := range clients {
			if got := c.reply(); got != "*-1\r\n" && got != ":0\r\n" {
				t.Errorf("%s %v: %q", family, requests[i], got)
			}
			c.wantClosed()
		}
	}
	f("redis", []string{"BLPOP", "k", "0"}, []string{"WAIT", "1", "0"}, []string{"XREAD", "BLOCK", "0", "STREAMS", "s", "$"})
	f("codis", []string{"BLPOP", "k", "0"})
}

// A server that can't let go is asked for a part of the time, again and again.
func TestBlockingInSlices(t *testing.T) {
	t.Parallel()
	server := testbed.Redis(t)
	specs := evenly(codisModel, server.Addr())
	p := startProxy(t, codisModel, specs, holding(never), faultOptions(nil), ofFamily("codis"))
	c := p.dial(t)
	c.request("BLPOP", "k", "0")
	testbed.Eventually(t, func() error {
		if stats := server.Do("INFO", "commandstats").String(); !strings.Contains(stats, "cmdstat_blpop:calls=2,") {
			return errors.New(stats)
		}
		return nil
	}, replyWait)
	p.setTable(t, specs, lock(codisModel, "k"))
	p.wantBarrier(t, server.Addr())
	p.awaitHeld(t, 1)
	p.setTable(t, specs)
	p.awaitBlocked(t, server, 1)
	server.Do("RPUSH", "k", "v")
	c.wantReply("*2\r\n$1\r\nk\r\n$1\r\nv\r\n")
	start := time.Now()
	c.want("*-1\r\n", "BLPOP", "k", "2")
	if d := time.Since(start); d < 2*time.Second {
		t.Errorf("nothing came after %s already, want 2s", d)
	}
}

// Every place in which a lock can find a slot is in force for a client that was redirected, too.
func TestFenceLetsARedirectedClientGo(t *testing.T) {
	target := startBlocker(t)
	close(target.named)
	source := startFake(t, func(c *scriptedConn, args []string) { c.reply(redirectLine("MOVED", args[1], target.addr())) })
	p := startProxy(t, clusterModel, with(evenly(clusterModel, source.addr()), target.addr()), holding(never), faultOptions(nil))
	c := p.dial(t)
	c.request("BLPOP", "k", "0")
	target.await(t, 1, "BLPOP k 0")
	p.pool.Fence(true)
	c.wantReply("-" + errFenced + "\r\n")
	p.pool.Fence(false)
}

// An ASK leads to a server that can be asked to let go like any other.
func TestLockOfASlotThatWasAskedFor(t *testing.T) {
	target := startBlocker(t)
	close(target.named)
	source := startFake(t, func(c *scriptedConn, args []string) { c.reply(redirectLine("ASK", args[1], target.addr())) })
	specs := with(evenly(clusterModel, source.addr()), target.addr())
	p := startProxy(t, clusterModel, specs, holding(never), faultOptions(nil))
	c := p.dial(t)
	c.request("BLPOP", "k", "0")
	target.await(t, 1, "BLPOP k 0")
	p.setTable(t, specs, lock(clusterModel, "k"))
	p.awaitHeld(t, 1)
}

// Redis before 6 knows whole seconds alone.
func TestTimeThatIsLeftIsWholeForOldServers(t *testing.T) {
	server := startBlocker(t) // A Redis 5.
	close(server.named)
	specs := evenly(codisModel, server.addr())
	p := startProxy(t, codisModel, specs, holding(never), faultOptions(nil))
	p.awaitStatus(t, "has a version", func(s *backend.Status) bool { return s.Version != "" })
	c := p.dial(t)
	c.request("BLPOP", "k", "1000")
	server.await(t, 1, "BLPOP k 1000")
	p.setTable(t, specs, lock(codisModel, "k"))
	p.awaitHeld(t, 1)
	p.setTable(t, specs)
	server.await(t, 2, "BLPOP k 1000")
}
