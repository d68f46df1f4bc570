package proxy

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/internal/testbed"
	"sluice/proxy/resp"
)

// Clients that leave in the middle of a request or a reply leave nothing to the others: everyone gets the
// replies to its own requests only. All values name the client and the request they were made for.
func TestRepliesNeverReachAnotherClient(t *testing.T) {
	t.Parallel()
	top := codisTopology(t, func(cfg *Config, _ *PoolConfig) { cfg.Loops = 2 })
	var work sync.WaitGroup
	for id := range 8 {
		c := top.dial(t)
		work.Go(func() { politeClient(t, c, id) })
	}
	for id := range 4 {
		work.Go(func() { rudeClients(t, top.addr, id) })
	}
	work.Wait()
	testbed.Eventually(t, func() error {
		if n := top.Clients(); n != 8 {
			return fmt.Errorf("%d clients, want 8", n)
		}
		return nil
	}, replyWait)
	if s := top.Stats(); s.Panics > 0 || s.InFlight > 0 || s.HeldReplies > 0 {
		t.Errorf("%d panics, %d requests in flight, %d bytes held", s.Panics, s.InFlight, s.HeldReplies)
	}
}

// politeClient pipelines requests and checks every reply.
func politeClient(t *testing.T, c *testClient, id int) {
	for round := range 100 {
		var requests []byte
		var want []string
		for i := range 1 + round%20 {
			key := fmt.Sprintf("polite/%d/%d", id, i)
			value := fmt.Sprintf("%d/%d/%d/%s", id, round, i, strings.Repeat("v", i*i*20))
			requests = resp.AppendCommand(requests, "SET", key, value)
			requests = resp.AppendCommand(requests, "ECHO", value)
			requests = resp.AppendCommand(requests, "GET", key)
			requests = resp.AppendCommand(requests, "MGET", key, "none", "polite/none")
			bulk := string(resp.AppendBulk(nil, value))
			want = append(want, "+OK\r\n", bulk, bulk, "*3\r\n"+bulk+"$-1\r\n$-1\r\n")
		}
		go func() { _, _ = c.Write(requests) }()
		for i := range want {
			got, err := c.tryReply()
			if err != nil || got != want[i] {
				t.Errorf("client %d, round %d, reply %d: %.100q, %v; want %.100q", id, round, i, got, err, want[i])
				return
			}
		}
	}
}

// rudeClients connect, ask for something and leave at a random place.
func rudeClients(t *testing.T, addr string, id int) {
	rnd := rand.New(rand.NewPCG(uint64(id), 1))
	big := strings.Repeat("rude", 20000)
	for round := range 100 {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Error(err)
			return
		}
		key := fmt.Sprintf("rude/%d/%d", id, round%7)
		var requests []byte
		for range 1 + rnd.IntN(10) {
			requests = resp.AppendCommand(requests, "SET", key, big)
			requests = resp.AppendCommand(requests, "GET", key)
			requests = resp.AppendCommand(requests, "MGET", key, "rude/other", "rude/another", "rude/third")
		}
		_ = conn.SetDeadline(time.Now().Add(replyWait))
		switch rnd.IntN(3) {
		case 0: // In the middle of a request, with replies unread.
			_, _ = conn.Write(requests[:rnd.IntN(len(requests))])
		case 1: // In the middle of a reply.
			go func() { _, _ = conn.Write(requests) }()
			_, _ = io.CopyN(io.Discard, conn, int64(1+rnd.IntN(50000)))
		case 2: // With a reset instead of an orderly end.
			_, _ = conn.Write(requests)
			_ = conn.(*net.TCPConn).SetLinger(0)
		}
		conn.Close()
	}
}

// A client may close its sending side when it has asked everything, as in
//
//	printf 'GET a\r\n' | nc -N 127.0.0.1 6380
//
// gnet then closes the connection at once, so Sluice may drop replies that Redis still sends; but what comes
// is the beginning of the right replies, and the connection ends.
func TestHalfClosedClientIsClosed(t *testing.T) {
	top := codisTopology(t)
	direct := testbed.Redis(t)
	c := top.dial(t)
	for _, requests := range []string{"PING\r\n", "SET a 1\r\nGET a\r\n", "MSET a 1 b 2\r\nMGET a b\r\nDEL a b\r\n", "PING\r\nGE", "INFO nosuch\r\nPING\r\n"} {
		for range 20 {
			want := halfClose(t, direct.Addr(), requests)
			if got := halfClose(t, top.addr, requests); !strings.HasPrefix(want, got) {
				t.Errorf("%q: %q, want the beginning of %q", requests, got, want)
			}
			c.want("$1\r\nx\r\n", "ECHO", "x")
			c.want("$-1\r\n", "GET", "nokey")
		}
	}
}

func halfClose(t *testing.T, addr, requests string) string {
	t.Helper()
	c := dial(t, "tcp", addr)
	defer c.Close()
	c.send(requests)
	if err := c.Conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	c.SetReadDeadline(time.Now().Add(replyWait))
	got, err := io.ReadAll(c.Conn)
	if err != nil {
		t.Fatal(err)
	}
	return string(got)
}

// A reply that is on its way to a client which is gone is dropped where it is, in parts too: the next reply
// of the shared connection is whole.
func TestBigReplyOfAGoneClient(t *testing.T) {
	t.Parallel()
	top := codisTopology(t)
	c := top.dial(t)
	value := strings.Repeat("0123456789abcdef", 1<<18)
	bulk := string(resp.AppendBulk(nil, value))
	c.want("+OK\r\n", "SET", "big", value)
	for range 10 {
		gone := top.dial(t)
		gone.request("GET", "big")
		gone.request("MGET", "big", "none", "other", "big")
		if _, err := io.ReadFull(gone.Conn, make([]byte, 100)); err != nil {
			t.Fatal(err)
		}
		gone.Close()
		c.request("GET", "big")
		c.request("STRLEN", "big")
		if got := c.reply(); got != bulk {
			t.Fatalf("%d bytes, want %d", len(got), len(bulk))
		}
		if got := c.reply(); got != fmt.Sprintf(":%d\r\n", len(value)) {
			t.Fatal(got)
		}
	}
}

// A command that takes long holds up those behind it on the same server, and nobody else.
func TestSlowCommandReordersNothing(t *testing.T) {
	top := codisTopology(t)
	k := top.keysOnEveryNode("k", 1)
	c, other := top.dial(t), top.dial(t)
	c.want("+OK\r\n", "MSET", k[0], "a", k[1], "b")
	// Busy until it is killed: 2e9 turns take longer than this test.
	const busy = "local n = 0 while n < 2e9 do n = n + 1 if n % 1e5 == 0 then redis.call('TIME') end end return 'done'"
	top.nodes[0].Do("CONFIG", "SET", "busy-reply-threshold", "1")
	c.request("EVAL", busy, "1", k[0])
	c.request("GET", k[1])
	c.request("GET", k[0])
	testbed.Eventually(t, func() error {
		if got := top.nodes[0].Do("GET", k[0]).String(); !strings.HasPrefix(got, "BUSY") {
			return fmt.Errorf("the script does not run: %s", got)
		}
		return nil
	}, replyWait)
	for range 100 {
		other.want("$1\r\nb\r\n", "GET", k[1])
		other.want("+PONG\r\n", "PING")
	}
	if err := top.nodes[0].Do("SCRIPT", "KILL").Error(); err != nil {
		t.Fatal(err)
	}
	if got := c.reply(); got[0] != '-' || !strings.Contains(got, "killed") {
		t.Errorf("EVAL: %q", got)
	}
	if got := c.reply(); got != "$1\r\nb\r\n" {
		t.Errorf("GET on the idle server: %q", got)
	}
	if got := c.reply(); got != "$1\r\na\r\n" {
		t.Errorf("GET on the busy server: %q", got)
	}
}
