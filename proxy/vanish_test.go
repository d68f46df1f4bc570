package proxy

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice/backend"
	"sluice/internal/testbed"
	"sluice/proxy/pubsub"
	"sluice/proxy/resp"
	"sluice/proxy/script"
	"sluice/router"
)

// Clients that vanish at any point of anything leave nothing behind.

// visit is what a client may be about when it vanishes: requests on some keys of one slot.
type visit func(rng *rand.Rand, key string) [][]string

// visits are drawn by chance. Add what is new here.
var visits = []visit{
	func(_ *rand.Rand, key string) [][]string {
		return [][]string{{"MULTI"}, {"SET", key, "v"}, {"INCR", key + "n"}, {"MGET", key, key + "n"}, {"EXEC"}}
	},
	func(_ *rand.Rand, key string) [][]string {
		return [][]string{{"WATCH", key}, {"GET", key}, {"MULTI"}, {"SET", key, "w"}, {"EXEC"}}
	},
	func(_ *rand.Rand, key string) [][]string {
		return [][]string{{"WATCH", key}, {"WATCH", key + "n"}, {"UNWATCH"}, {"MULTI"}, {"GET", key}, {"DISCARD"}}
	},
	func(rng *rand.Rand, key string) [][]string {
		return [][]string{{"BLPOP", key + "l", []string{"0", "0.001", "0.01"}[rng.IntN(3)]}, {"GET", key}}
	},
	func(_ *rand.Rand, key string) [][]string {
		return [][]string{{"XREAD", "BLOCK", "0", "STREAMS", key + "s", "$"}, {"GET", key}}
	},
	func(_ *rand.Rand, key string) [][]string {
		return [][]string{{"RPUSH", key + "l", "v"}, {"XADD", key + "s", "MAXLEN", "10", "*", "f", "v"}, {"LTRIM", key + "l", "0", "9"}}
	},
	func(rng *rand.Rand, key string) [][]string {
		return [][]string{{"SET", key, "v"}, {"WAIT", fmt.Sprint(rng.IntN(2)), "0"}, {"GET", key}}
	},
	func(rng *rand.Rand, _ string) [][]string {
		return [][]string{{"CLIENT", "UNBLOCK", fmt.Sprint(rng.IntN(10000)), []string{"TIMEOUT", "ERROR"}[rng.IntN(2)]}}
	},
	func(rng *rand.Rand, key string) [][]string {
		var list [][]string
		for range rng.IntN(30) {
			list = append(list, []string{"INCR", key + "n"}, []string{"GET", key}, []string{"MGET", key, "elsewhere"})
		}
		return list
	},
	func(_ *rand.Rand, key string) [][]string {
		return [][]string{{"SET", key + "big", strings.Repeat("x", 100<<10)}, {"MULTI"}, {"GET", key + "big"}, {"EXEC"}, {"GET", key + "big"}}
	},
	func(_ *rand.Rand, key string) [][]string {
		return [][]string{{"HELLO", "3"}, {"WATCH", key}, {"SELECT", "1"}, {"RESET"}, {"SELECT", "1"}, {"BLPOP", key + "l", "0.001"}}
	},
	func(_ *rand.Rand, key string) [][]string {
		return [][]string{{"SUBSCRIBE", key, "all"}, {"PSUBSCRIBE", "{k*", "al?"}, {"UNSUBSCRIBE", key}, {"SSUBSCRIBE", key}, {"PING"}}
	},
	func(rng *rand.Rand, key string) [][]string {
		return [][]string{{"HELLO", "3"}, {"SSUBSCRIBE", key}, {"GET", key}, {[]string{"UNSUBSCRIBE", "SUNSUBSCRIBE", "RESET"}[rng.IntN(3)]}}
	},
	func(_ *rand.Rand, key string) [][]string {
		return [][]string{{"PUBLISH", key, "m"}, {"PUBLISH", "all", "m"}, {"SPUBLISH", key, "m"}, {"PUBSUB", "NUMSUB", key}, {"PUBSUB", "CHANNELS"}}
	},
	func(rng *rand.Rand, key string) [][]string {
		scan := []string{"SCAN", []string{"0", "1"}[rng.IntN(2)], "COUNT", "100"}
		return [][]string{scan, {"DBSIZE"}, {"GET", key}, {"KEYS", "*"}, {"RANDOMKEY"}}
	},
	func(rng *rand.Rand, key string) [][]string {
		body := fmt.Sprintf("return redis.call('INCRBY', KEYS[1], %d)", rng.IntN(50))
		id := script.IDOf([]byte(body))
		call := []string{"EVALSHA", string(id[:]), "1", key + "n"}
		return [][]string{call, {"EVAL", body, "1", key + "n"}, call, {"MULTI"}, call, {"EXEC"}, {"SCRIPT", "EXISTS", string(id[:])}}
	},
}

// vanish is the life of one client: it sends a part of what it wants, reads a part of the answers, and is gone.
func vanish(addr string, rng *rand.Rand, keys []string) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	var requests []byte
	for range 1 + rng.IntN(3) {
		for _, r := range visits[rng.IntN(len(visits))](rng, keys[rng.IntN(len(keys))]) {
			requests = resp.AppendCommand(requests, r...)
		}
	}
	if len(requests) > 0 && rng.IntN(2) == 0 {
		requests = requests[:rng.IntN(len(requests))]
	}
	for len(requests) > 0 {
		n := 1 + rng.IntN(len(requests))
		if _, err := conn.Write(requests[:n]); err != nil {
			return nil // Nobody promised that it is served.
		}
		requests = requests[n:]
	}
	if rng.IntN(2) == 0 { // Long enough for some answers, and not for all.
		_ = conn.SetReadDeadline(time.Now().Add(time.Duration(rng.IntN(5)) * time.Millisecond))
		_, _ = io.CopyN(io.Discard, conn, int64(rng.IntN(1000)))
	}
	switch tcp := conn.(*net.TCPConn); rng.IntN(3) {
	case 0:
		_ = tcp.SetLinger(0)
	case 1:
		_ = tcp.CloseWrite()
	}
	return nil
}

// stay is a client that does not vanish: what it is answered is always its own.
func stay(p *testProxy, t *testing.T, key string, done *atomic.Bool) {
	c := p.dial(t)
	for n := 1; !done.Load(); n++ {
		c.request("SET", key, fmt.Sprint("v", n))
		c.request("MULTI")
		c.request("INCR", key+"count")
		c.request("GET", key)
		c.request("EXEC")
		c.request("GET", key)
		v := bulkReply(fmt.Sprint("v", n))
		for _, want := range []string{"+OK\r\n", "+OK\r\n", "+QUEUED\r\n", "+QUEUED\r\n", fmt.Sprintf("*2\r\n:%d\r\n", n) + v, v} {
			if got, err := c.tryReply(); got != want || err != nil {
				t.Errorf("%s, round %d: %q, %v, want %q", key, n, got, err, want)
				return
			}
		}
	}
}

// relock locks and unlocks the slot of a key whenever some more clients have gone. A server loses its scripts
// meanwhile.
func relock(p *testProxy, t *testing.T, specs []router.GroupSpec, key string, forgetful *testbed.Server, gone <-chan struct{}) {
	for range gone {
		forgetful.Do("SCRIPT", "FLUSH")
		p.setTable(t, specs, lock(codisModel, key))
		// Nothing bounds what clients that have gone leave to the servers, so this is as slow as the machine.
		if err := p.pool.AwaitAnswered(t.Context(), []string{specs[0].Master, specs[1].Master}); err != nil {
			t.Error(err)
		}
		p.setTable(t, specs)
	}
}

// ownGoroutines counts the goroutines but for the workers of gnet's pool, which linger for a while.
func ownGoroutines() int {
	buf := make([]byte, 1<<20)
	n := 0
	for stack := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		if !strings.Contains(stack, "ants/v2.") {
			n++
		}
	}
	return n
}

// wantHubsEmpty waits until nothing is left of any subscription.
func (p *testProxy) wantHubsEmpty(t testing.TB) {
	t.Helper()
	testbed.Eventually(t, func() (err error) {
		p.onEachLoop(t.Context(), func(l *loop) {
			for _, h := range l.hubs {
				h.Trim()
				if size := h.Size(); size != (pubsub.Size{}) {
					err = fmt.Errorf("loop %d: the hub holds %+v", l.id, size)
				}
			}
		})
		return err
	}, replyWait)
	if counts := p.pool.PubSub(); p.pool.subscribers.Busy() || counts != (pubsub.Counts{}) {
		t.Errorf("the registry has topics: %t; %+v", p.pool.subscribers.Busy(), counts)
	}
}

func TestVanishingClients(t *testing.T) {
	const clients, atOnce, bound = 10000, 64, 40
	a, b := testbed.Redis(t), testbed.Redis(t)
	specs := evenly(codisModel, a.Addr(), b.Addr())
	p := startProxy(t, codisModel, specs, faultOptions(nil), holding(never), func(cfg *Config, pool *PoolConfig) {
		cfg.Loops, pool.Backend.MaxDedicated = 2, bound
	})
	keys := keysApart(codisModel, 12)
	for i := range keys {
		keys[i] = "{" + keys[i] + "}"
	}
	p.dial(t).want("+OK\r\n", "SET", keys[0], "v")
	heap, goroutines := heapInUse(), ownGoroutines()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)

	var done atomic.Bool
	var work, others sync.WaitGroup
	for i := range 4 {
		others.Go(func() { stay(p, t, fmt.Sprintf("{stays%d}", i), &done) })
	}
	gone := make(chan struct{})
	others.Go(func() { relock(p, t, specs, keys[0], a, gone) })
	var next atomic.Uint64
	for range atOnce {
		work.Go(func() {
			for n := next.Add(1); n <= clients && !t.Failed(); n = next.Add(1) {
				if err := vanish(p.addr, rand.New(rand.NewPCG(seed, n)), keys); err != nil {
					t.Error(err)
				}
				select {
				case gone <- struct{}{}:
				default:
				}
			}
		})
	}
	work.Wait()
	close(gone)
	done.Store(true)
	others.Wait()

	p.dial(t).want("+PONG\r\n", "PING") // Nobody stands in front of the door any more.
	testbed.Eventually(t, func() error {
		if n := p.Clients(); n > 6 {
			return fmt.Errorf("%d clients are left", n)
		}
		return nil
	}, replyWait)
	p.wantNothingBound(t)
	p.wantPanics(t, 0)
	p.awaitHeld(t, 0)
	if all, _ := p.boundConns(); all > 2*bound {
		t.Errorf("%d dedicated connections, want %d for each server at most", all, bound)
	}
	for _, s := range []*testbed.Server{a, b} {
		testbed.Eventually(t, func() error {
			if info := s.Do("INFO", "clients").String(); !strings.Contains(info, "blocked_clients:0\r\n") {
				return errors.New(info)
			}
			return nil
		}, replyWait)
	}
	p.wantHubsEmpty(t)
	p.onEachLoop(t.Context(), func(l *loop) {
		l.checkHeld()
		l.onAlarm()
		for b := range l.conns.All() {
			if b.Kind == backend.Dedicated {
				l.conns.Trim(b, l.now+int64(time.Minute)) // The clock of the loop would not stay where it is put.
			}
		}
		l.trim()
		l.tick()
		left := 0
		for _, s := range []*testbed.Server{a, b} {
			node := p.pool.Node(s.Addr())
			if l.conns.Dials(node) != nil {
				left++
			}
			for _, b := range l.connsTo(node, backend.Dedicated) {
				t.Logf("%s: up %v, %d in flight, %d bytes unsent, %d to let go; %d are free",
					node.Addr, b.Up(), b.InFlight(), b.Unsent(), b.Unblocking, node.FreeDedicated())
			}
			for _, c := range l.clients {
				d := c.describe()
				t.Logf("%swatches %v, waits %v, %d retries, closed %v", d.Line(), c.watch != nil, c.waiting != nil,
					len(c.retries), c.closed)
			}
		}
		if len(l.held)+len(l.delayed)+len(l.closing)+left != 0 {
			t.Errorf("loop %d: %d held, %d delayed, %d closing, %d servers with dedicated connections",
				l.id, len(l.held), len(l.delayed), len(l.closing), left)
		}
		if len(l.checks) != 0 {
			t.Errorf("loop %d: %d questions for scripts", l.id, len(l.checks))
		}
	})
	testbed.Eventually(t, func() (err error) { // The tick above may have asked servers for the order of their replies.
		p.onEachLoop(t.Context(), func(l *loop) {
			for b := range l.conns.All() {
				if b.InFlight() != 0 || b.Unblocking != 0 {
					err = fmt.Errorf("%d requests wait on the connection to %s, %d to let go", b.InFlight(), b.Node.Addr, b.Unblocking)
				}
			}
		})
		return err
	}, replyWait)
	testbed.Eventually(t, func() error {
		if n := ownGoroutines(); n > goroutines {
			return fmt.Errorf("%d goroutines, %d before", n, goroutines)
		}
		return nil
	}, replyWait)
	if more := heapInUse() - heap; more > 16<<20 {
		t.Errorf("%d bytes more in use than before", more)
	}
}
