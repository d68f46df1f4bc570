package proxy

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"sluice/internal/testbed"
	"sluice/proxy/resp"
)

// limited changes the limits of a test's proxy.
func limited(f func(l *Limits)) func(*Config, *PoolConfig) {
	return func(cfg *Config, _ *PoolConfig) { f(&cfg.Limits) }
}

func TestMaxClients(t *testing.T) {
	top := codisTopology(t, func(cfg *Config, _ *PoolConfig) { cfg.MaxClients = 3 })
	clients := []*testClient{top.dial(t), top.dial(t), top.dial(t)}
	for _, c := range clients {
		c.want("+PONG\r\n", "PING")
	}
	for range 5 {
		c := top.dial(t)
		if got := c.reply(); got != "-ERR max number of clients reached\r\n" { // Redis' words.
			t.Errorf("the fourth client is told %q", got)
		}
		c.wantClosed()
	}
	if got := top.Rejected(); got != 5 {
		t.Errorf("%d clients were refused, want 5", got)
	}
	for range 3 { // A slot is free again when its client has left.
		clients[0].Close()
		clients = clients[1:]
		testbed.Eventually(t, func() error {
			if n := top.Clients(); n != 2 {
				return fmt.Errorf("%d clients", n)
			}
			return nil
		}, replyWait)
		c := top.dial(t)
		c.want("$-1\r\n", "GET", "k")
		clients = append(clients, c)
	}
	for _, c := range clients {
		c.want("$-1\r\n", "GET", "k")
	}
}

// Beyond MaxPipeline requests wait unparsed, and are answered in order all the same.
func TestPipelineDepthOnlyDelays(t *testing.T) {
	t.Parallel()
	// A small depth is a round trip to the servers for every few requests.
	for depth, n := range map[int]int{1: 2000, 2: 2000, 3: 2000, 100: 50000} {
		top := codisTopology(t, limited(func(l *Limits) { l.MaxPipeline = depth }))
		c := top.dial(t)
		requests := resp.AppendCommand(nil, "DEL", "n")
		for i := range n {
			switch i % 10 {
			case 3:
				requests = resp.AppendCommand(requests, "PING", fmt.Sprint(i))
			case 6:
				requests = resp.AppendCommand(requests, "MGET", "n", "other", "third")
			case 9:
				requests = resp.AppendCommand(requests, "nosuch")
			default:
				requests = resp.AppendCommand(requests, "INCR", "n")
			}
		}
		replies := c.pipeline(string(requests), n+1)[1:]
		count := 0
		for i, got := range replies {
			var want string
			switch i % 10 {
			case 3:
				want = string(resp.AppendBulk(nil, fmt.Sprint(i)))
			case 6:
				want = "*3\r\n" + string(resp.AppendBulk(nil, fmt.Sprint(count))) + "$-1\r\n$-1\r\n"
			case 9:
				want = "-ERR unknown command 'nosuch', with args beginning with: \r\n"
			default:
				count++
				want = fmt.Sprintf(":%d\r\n", count)
			}
			if got != want {
				t.Fatalf("depth %d, reply %d: %q, want %q", depth, i, got, want)
			}
		}
		if got := top.Stats().InFlight; got != 0 {
			t.Errorf("depth %d: %d requests are still in flight", depth, got)
		}
	}
}

// A client whose requests can't be parsed, because an argument is longer than what may wait, is told and closed.
func TestMaxUnparsed(t *testing.T) {
	const limit = 1 << 20
	top := codisTopology(t, limited(func(l *Limits) { l.MaxUnparsed = limit }))
	head := fmt.Sprintf("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n", 2*limit)
	f := func(bytes int) *testClient {
		c := top.dial(t)
		c.want("+PONG\r\n", "PING")
		before := top.Stats().ClientBytesIn
		c.send(head + strings.Repeat("x", bytes-len(head)))
		waitForBytes(t, top, before+uint64(bytes))
		return c
	}
	c := f(limit) // As much as may wait.
	if n := top.Clients(); n != 1 {
		t.Errorf("%d clients at the limit", n)
	}
	c.Close()
	c = f(limit + 1)
	want := fmt.Sprintf("-ERR Protocol error: more than %d bytes are waiting to be processed\r\n", limit)
	if got := c.reply(); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	c.wantClosed()
	if got := top.Stats().Overflows[OverflowUnparsed]; got != 1 {
		t.Errorf("%d overflows are counted, want 1", got)
	}
	top.dial(t).want("$-1\r\n", "GET", "k")
}

func TestMaxBulkAndMaxArgs(t *testing.T) {
	top := codisTopology(t, limited(func(l *Limits) { l.MaxBulk, l.MaxArgs = 1000, 10 }))
	c := top.dial(t)
	value := strings.Repeat("x", 1000)
	c.want("+OK\r\n", "SET", "k", value)
	c.want("$1000\r\n"+value+"\r\n", "GET", "k")
	c.want(":9\r\n", "EXISTS", "k", "k", "k", "k", "k", "k", "k", "k", "k")
	f := func(request, want string) {
		t.Helper()
		if got := converse(t, top.addr, "PING\r\n"+request); got != "+PONG\r\n-ERR Protocol error: "+want+"\r\n" {
			t.Errorf("%.50q: %q, want %s", request, got, want)
		}
	}
	f("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1001\r\n", "invalid bulk length")
	f("*11\r\n", "invalid multibulk length")
	c.want("$1000\r\n"+value+"\r\n", "GET", "k")
	if got := top.Stats().ProtocolErrors; got != 2 {
		t.Errorf("%d protocol errors are counted, want 2", got)
	}
}

// A client that asks for much and reads nothing is closed at ClientOutput; what it took comes back, and the
// others go on.
func TestClientThatNeverReadsIsClosed(t *testing.T) {
	const limit = 8 << 20
	top := codisTopology(t, limited(func(l *Limits) { l.ClientOutput = limit }))
	c, other := top.dial(t), top.dial(t)
	k := top.keysOnEveryNode("big", 1)
	value := strings.Repeat("x", 1<<20)
	for _, key := range k {
		c.want("+OK\r\n", "SET", key, value)
	}
	for _, request := range [][]string{{"GET", k[0]}, {"MGET", k[0], k[1], "none"}} {
		closed := top.Stats().Overflows[OverflowOutput]
		before := heapInUse()
		lazy := top.dial(t)
		if err := lazy.Conn.(*net.TCPConn).SetReadBuffer(4096); err != nil {
			t.Fatal(err)
		}
		lazy.want("+PONG\r\n", "PING") // It is counted.
		lazy.send(strings.Repeat(string(resp.AppendCommand(nil, request...)), 64))
		testbed.Eventually(t, func() error {
			if n := top.Clients(); n != 2 {
				return fmt.Errorf("%d clients: the lazy one is still there", n)
			}
			return nil
		}, replyWait)
		if got := top.Stats().Overflows[OverflowOutput] - closed; got != 1 {
			t.Errorf("%d clients are counted as closed, want 1", got)
		}
		other.want("$-1\r\n", "GET", "none")
		c.want("*2\r\n$1048576\r\n"+value+"\r\n$-1\r\n", "MGET", k[1], "none")
		testbed.Eventually(t, func() error {
			if grown := heapInUse() - before; grown > 3<<20 {
				return fmt.Errorf("%d KiB are not given back", grown>>10)
			}
			if free := top.Stats().FreeBuffers; free > 0 {
				return fmt.Errorf("%d bytes are kept in free buffers", free)
			}
			return nil
		}, replyWait)
	}
}

// A client that reads slowly costs no more than ClientOutput, and what it gets is right.
func TestSlowReaderCostsBoundedMemory(t *testing.T) {
	const limit = 32 << 20
	top := codisTopology(t, limited(func(l *Limits) { l.ClientOutput = limit }))
	c, other := top.dial(t), top.dial(t)
	bulk := string(resp.AppendBulk(nil, strings.Repeat("0123456789abcdef", 1<<16))) // 1 MiB
	c.want("+OK\r\n", "SET", "big", bulk[len("$1048576\r\n"):len(bulk)-2])
	before := heapInUse()
	if err := c.Conn.(*net.TCPConn).SetReadBuffer(64 << 10); err != nil {
		t.Fatal(err)
	}
	for round := range 4 {
		for range 16 {
			c.request("GET", "big")
		}
		other.want("$-1\r\n", "GET", "none")
		if grown := heapInUse() - before; grown > limit+8<<20 {
			t.Errorf("round %d: a slow reader costs %d MiB", round, grown>>20)
		}
		buf := make([]byte, len(bulk))
		for i := range 16 {
			if _, err := io.ReadFull(c.r, buf); err != nil || string(buf) != bulk {
				t.Fatalf("round %d, reply %d is wrong: %v", round, i, err)
			}
			other.want("+PONG\r\n", "PING") // The reader is slow: others get their turns.
		}
	}
	testbed.Eventually(t, func() error {
		if grown := heapInUse() - before; grown > 3<<20 {
			return fmt.Errorf("%d KiB are not given back", grown>>10)
		}
		return nil
	}, replyWait)
}

// A backend that takes nothing more gets nothing more: the requests beyond MaxQueued are refused, those before
// are answered when it goes on.
func TestMaxQueued(t *testing.T) {
	s := testbed.Redis(t)
	p := startProxyTo(t, s, func(_ *Config, pool *PoolConfig) {
		pool.Backend.MaxQueued = 64 << 10
		pool.Backend.RequestTimeout, pool.Backend.ProbeInterval = time.Minute, time.Hour // Only the limit decides.
	})
	c := p.dial(t)
	c.want("$-1\r\n", "GET", "connects")
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	value := strings.Repeat("x", 4000)
	var requests []byte
	size := 0
	for i := range 100 {
		requests = resp.AppendCommand(requests, "SET", fmt.Sprintf("k%02d", i), value)
		size = len(requests) / (i + 1)
	}
	c.send(string(requests))
	fits := (64<<10 + size - 1) / size
	testbed.Eventually(t, func() error {
		if got := p.Stats().InFlight; got != 100 {
			return fmt.Errorf("%d of 100 requests are read", got)
		}
		return nil
	}, replyWait)
	if err := s.Cont(); err != nil {
		t.Fatal(err)
	}
	refusal := fmt.Sprintf("-ERR backend %s is overloaded: %d bytes of requests are queued for it\r\n", s.Addr(), 64<<10)
	for i := range 100 {
		want := "+OK\r\n"
		if i >= fits {
			want = refusal
		}
		if got := c.reply(); got != want {
			t.Errorf("reply %d: %q, want %q", i, got, want)
		}
	}
	if got := s.Do("DBSIZE").Integer(); got != fits {
		t.Errorf("%d keys were written, want %d", got, fits)
	}
	c.want("+OK\r\n", "SET", "k", "v")
}

// A client may leave with all its buffers full: nothing of it is left.
func TestGoneClientWithAFullPipeline(t *testing.T) {
	top := codisTopology(t, limited(func(l *Limits) { l.MaxPipeline = 100 }))
	before := heapInUse()
	requests := strings.Repeat("PING\r\nGET k\r\nMGET a b c d\r\nINFO\r\n", 20000)
	for range 3 {
		c := top.dial(t)
		c.send(requests)
		c.Close()
	}
	testbed.Eventually(t, func() error {
		s := top.Stats()
		if n := top.Clients(); n > 0 || s.InFlight > 0 || s.HeldReplies > 0 || s.ClientsOpened < 3 {
			return fmt.Errorf("%d clients, %d requests in flight, %d bytes held", n, s.InFlight, s.HeldReplies)
		}
		if grown := heapInUse() - before; grown > 3<<20 {
			return fmt.Errorf("%d KiB are not given back", grown>>10)
		}
		return nil
	}, replyWait)
	top.dial(t).want("$-1\r\n", "GET", "k")
}
