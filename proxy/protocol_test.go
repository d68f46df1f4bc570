package proxy

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"sluice/internal/testbed"
	"sluice/proxy/resp"
)

const quitRequest = "*1\r\n$4\r\nQUIT\r\n"

// mixedPipeline is requests of every way through Sluice: answered by itself, forwarded, split, refused, typed
// inline, empty. It leaves nothing behind, so it may run again.
func mixedPipeline(t *testing.T, top *topology) string {
	t.Helper()
	k := top.keysOnEveryNode("k", 1)
	script := fmt.Sprintf("PING; SET %[1]s \"a\\r\\n\\x00b\"; GET %[1]s; MSET %[1]s 1 %[2]s \"\"; MGET %[1]s %[2]s none; INCR %[1]s; "+
		"nosuch a; GET; ECHO \"\"; LPUSH %[1]s x; HSET h f v; HGETALL h; DEL %[1]s %[2]s h", k[0], k[1])
	var b []byte
	for i, s := range statements(t, script) {
		b = resp.AppendCommand(b, s.args...)
		switch i {
		case 2:
			b = append(b, "*0\r\nECHO  \"in line\"\r\n\r\n"...)
		case 4:
			b = append(b, "  GET "+k[0]+"\nPING\r\n\n*-1\r\n"...)
		}
	}
	return string(b)
}

// A request may be cut anywhere. The test waits until Sluice has read the first part before it sends the
// second one, so every cut is one.
func TestRequestsSurviveEveryCut(t *testing.T) {
	t.Parallel()
	top := codisTopology(t)
	direct := testbed.Redis(t)
	stream := mixedPipeline(t, top)
	want := converse(t, direct.Addr(), stream+quitRequest)
	c := top.dial(t)
	f := func(parts ...string) {
		t.Helper()
		for _, part := range parts {
			before := top.Stats().ClientBytesIn
			c.send(part)
			waitForBytes(t, top, before+uint64(len(part)))
		}
		c.send("ECHO end\r\n")
		var got strings.Builder
		for {
			reply := c.reply()
			if reply == "$3\r\nend\r\n" {
				break
			}
			got.WriteString(reply)
		}
		if want := strings.TrimSuffix(want, "+OK\r\n"); got.String() != want {
			t.Fatalf("cut into %q:\n got %q\nwant %q", parts, got.String(), want)
		}
	}
	for at := 1; at < len(stream); at++ {
		f(stream[:at], stream[at:])
	}
	f(strings.Split(stream, "")...)
}

func waitForBytes(t *testing.T, top *topology, want uint64) {
	t.Helper()
	for deadline := time.Now().Add(replyWait); top.Stats().ClientBytesIn < want; {
		if time.Now().After(deadline) {
			t.Fatalf("Sluice has read %d bytes, want %d", top.Stats().ClientBytesIn, want)
		}
		runtime.Gosched()
	}
}

// The same with many cuts at random, long arguments, and nobody waiting.
func TestRequestsSurviveRandomCuts(t *testing.T) {
	t.Parallel()
	top := codisTopology(t)
	direct := testbed.Redis(t)
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	k := top.keysOnEveryNode("long", 1)
	for range 20 {
		var stream []byte
		for range 30 {
			stream = append(stream, mixedPipeline(t, top)...)
			value := strings.Repeat("v\r\n$", rnd.IntN(20000))
			stream = resp.AppendCommand(stream, "SET", k[rnd.IntN(2)], value)
			stream = resp.AppendCommand(stream, "MGET", k[0], k[1])
		}
		stream = resp.AppendCommand(stream, "DEL", k[0], k[1])
		stream = append(stream, quitRequest...)
		want := converse(t, direct.Addr(), string(stream))
		c := top.dial(t)
		go func(stream []byte) {
			for len(stream) > 0 {
				n := min(1+rnd.IntN(1<<rnd.IntN(18)), len(stream))
				if _, err := c.Write(stream[:n]); err != nil {
					return
				}
				stream = stream[n:]
			}
		}(stream)
		c.SetReadDeadline(time.Now().Add(replyWait))
		got, err := io.ReadAll(c.Conn)
		if err != nil || string(got) != want {
			t.Fatalf("%d bytes, %v; want %d bytes", len(got), err, len(want))
		}
	}
}

// Pipelines of any length come back in order.
func TestPipelinesComeBackInOrder(t *testing.T) {
	onEachTopology(t, func(t *testing.T, top *topology) {
		direct := testbed.Redis(t)
		one := mixedPipeline(t, top)
		for _, n := range []int{1, 2, 3, 10, 100, 300} {
			requests := strings.Repeat(one, n) + quitRequest
			if got, want := converse(t, top.addr, requests), converse(t, direct.Addr(), requests); got != want {
				t.Errorf("%d times: %d bytes, want %d", n, len(got), len(want))
			}
		}
	})
}

// Replies of every length that come before their turn are kept whole: one server is stopped until those of the
// other one are there.
func TestRepliesThatWaitAreKeptWhole(t *testing.T) {
	top := codisTopology(t)
	k := top.keysOnEveryNode("k", 120)
	slow, fast := k[:120], k[120:]
	c := top.dial(t)
	var requests []byte
	var want []string
	early := 0 // bytes that the fast server answers
	for i := range fast {
		value := strings.Repeat("v", i) + strings.Repeat("w", i/100*20000)
		c.want("+OK\r\n", "MSET", slow[i], value, fast[i], value)
		reply := string(resp.AppendBulk(nil, value))
		requests = resp.AppendCommand(requests, "GET", slow[i])
		requests = resp.AppendCommand(requests, "GET", fast[i])
		requests = resp.AppendCommand(requests, "ECHO", value)
		want = append(want, reply, reply, reply)
		early += len(reply)
	}
	for range 2 {
		before := top.Stats().BackendBytesIn
		if err := top.nodes[0].Stop(); err != nil {
			t.Fatal(err)
		}
		c.send(string(requests))
		testbed.Eventually(t, func() error {
			if got := top.Stats().BackendBytesIn - before; got < uint64(early) { // And what Sluice has asked itself.
				return fmt.Errorf("%d of %d bytes are there", got, early)
			}
			return nil
		}, replyWait)
		if err := top.nodes[0].Cont(); err != nil {
			t.Fatal(err)
		}
		for i := range want {
			if got := c.reply(); got != want[i] {
				t.Errorf("reply %d: %.100q, want %.100q", i, got, want[i])
			}
		}
	}
	if s := top.Stats(); s.HeldReplies != 0 || s.InFlight != 0 {
		t.Errorf("%d bytes of replies are still held, %d requests in flight", s.HeldReplies, s.InFlight)
	}
}

func TestInlineRequestsAreThoseOfRedis(t *testing.T) {
	top := codisTopology(t)
	direct := testbed.Redis(t)
	for _, line := range []string{
		"PING\r\n", "PING\n", "  PING  \r\n", "\tPING\t\n", "\r\n", "\n\n\n", " \r\n", "PING\r\r\n", "ping\x0bx\r\n", "PING \x0c x\r\n",
		`ECHO "a b"` + "\n", `ECHO 'a b'` + "\n", `ECHO ""` + "\n", `ECHO ''` + "\n", `ECHO "\x41\x4g\n\r\t\b\a\\\"\q"` + "\n", `ECHO "\x"` + "\n",
		`ECHO 'it\'s \n "x"'` + "\n", `ECHO a"b c"` + "\n", `ECHO a'b'` + "\n", `ECHO a\b` + "\n", `"ECHO" "x"` + "\n", `'PI'NG` + "\n",
		`SET "k\x00\xff" "v\r\n"` + "\n" + `GET "k\x00\xff"` + "\n" + `DEL "k\x00\xff"` + "\n",
		"MSET a 1 b 2 c 3\r\nMGET a b c\r\nDEL a b c\r\n", "GET\r\n", "nosuch a b\r\n", "ECHO \xff\xfe\r\n", `ECHO "` + strings.Repeat("x", 60000) + "\"\r\n",
		"QUIT now\r\n",
	} {
		if got, want := converse(t, top.addr, line+quitRequest), converse(t, direct.Addr(), line+quitRequest); got != want {
			t.Errorf("%.100q: %.200q, want %.200q", line, got, want)
		}
	}
	// Redis looks for the end of a line behind a NUL in vain and waits for ever.
	if got := converse(t, top.addr, "ECHO a\x00b\r\n"+quitRequest); got != "$1\r\na\r\n+OK\r\n" {
		t.Errorf("NUL in a line: %q", got)
	}
}

// What can't be parsed is answered in Redis' words, and the connection ends.
func TestProtocolErrorsAreThoseOfRedis(t *testing.T) {
	top := codisTopology(t)
	direct := testbed.Redis(t)
	for _, stream := range []string{
		"*x\r\n", "*\r\n", "*1x\r\n", "*01\r\n", "*+1\r\n", "* 1\r\n", "*1 \r\n", "*--1\r\n", "*-x\r\n", "*2147483648\r\n", "*9223372036854775807\r\n",
		"*9223372036854775808\r\n", "*99999999999999999999999\r\n", "*-1\r\n", "*-10\r\n", "*0\r\n", "*-9223372036854775809\r\n", "*-0\r\n",
		"*1\r\n$x\r\n", "*1\r\n$\r\n", "*1\r\n$-1\r\n", "*1\r\n$-0\r\n", "*1\r\n$+4\r\nPING\r\n", "*1\r\n$04\r\nPING\r\n", "*1\r\n$ 4\r\nPING\r\n", "*1\r\n$536870913\r\n",
		"*1\r\n$9223372036854775808\r\n", "*1\r\n:4\r\nPING\r\n", "*1\r\nPING\r\n", "*1\r\n*1\r\n$4\r\nPING\r\n", "*1\r\n\r\n", "*1\r\n\n\r\n", "*1\r\n\xff\r\n", "*1\r\n\xe2\x82\xac\r\n",
		"*2\r\n$4\r\nECHO\r\nx\r\n", "*2\r\n$4\r\nECHO\r\n$-5\r\n", "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1 1\r\n",
		"'PING\r\n", "\"PING\r\n", "\"PING\"x\r\n", "'a'b\r\n", "ECHO \"a\\\"\r\n", "ECHO 'a\\'\r\n", "ECHO \"x\"\"y\"\r\n", "PING\r\nECHO 'a\r\nPING\r\n",
		strings.Repeat("x", 64<<10+1), "*" + strings.Repeat("1", 64<<10), "*1\r\n$" + strings.Repeat("1", 64<<10),
		"*1\r\n$4\r\nPING\r\n*2\r\n$4\r\nECHO\r\n$x\r\n", "SET a 1\r\nGET a\r\nMGET a b\r\nDEL a\r\n*1\r\n$x\r\nSET a 2\r\n",
	} {
		tail := quitRequest
		if len(stream) > 1000 {
			tail = "" // A server that closes with bytes unread resets the connection, and its reply may be lost.
		}
		if got, want := converse(t, top.addr, stream+tail), converse(t, direct.Addr(), stream+tail); got != want {
			t.Errorf("%.80q: %.200q, want %.200q", stream, got, want)
		}
	}
	// Stricter than Redis, which waits for the arguments and does not look at what ends them.
	f := func(stream, text string) {
		t.Helper()
		if got := converse(t, top.addr, stream+quitRequest); got != "-ERR Protocol error: "+text+"\r\n" {
			t.Errorf("%q: %q, want %s", stream, got, text)
		}
	}
	f("*100000000\r\n", "invalid multibulk length")
	f("*1048577\r\n", "invalid multibulk length")
	f("*1\r\n$4\r\nPINGxx", "expected CRLF after an argument")
	f("*1\r\n$4\r\nPING\n\r", "expected CRLF after an argument")
	f("*1\rx$4\r\nPING\r\n", "invalid multibulk length")
	f("*1\r\n$4\rxPING\r\n", "invalid bulk length")
	top.dial(t).want("*2\r\n$-1\r\n$-1\r\n", "MGET", "a", "b") // Nothing behind an error was done.
}

// A page that makes a browser post to a server must not run commands there.
func TestHTTPIsCutOff(t *testing.T) {
	top := codisTopology(t)
	direct := testbed.Redis(t)
	for _, stream := range []string{
		"POST / HTTP/1.1\r\nSET a 1\r\n", "post / HTTP/1.1\r\nSET a 1\r\n", "GET / HTTP/1.1\r\nHost: localhost\r\nSET a 1\r\n", "Host: x\r\nSET a 1\r\n",
	} {
		if got, want := converse(t, top.addr, stream+quitRequest), converse(t, direct.Addr(), stream+quitRequest); got != want {
			t.Errorf("%q: %q, want %q", stream, got, want)
		}
	}
	top.dial(t).want("$-1\r\n", "GET", "a")
}

// Behind QUIT nothing is read, whatever it is.
func TestQuitDiscardsWhatFollows(t *testing.T) {
	top := codisTopology(t)
	for _, after := range []string{"SET a 1\r\n", "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n", "*x\r\n", "*2\r\n$3\r\nGE", "QUIT\r\n"} {
		for _, before := range []string{"", "GET b\r\n", "MGET b c d\r\n"} {
			got := converse(t, top.addr, before+quitRequest+after)
			if !strings.HasSuffix(got, "+OK\r\n") || strings.Count(got, "+OK") != 1 || before != "" && got == "+OK\r\n" {
				t.Errorf("%q, QUIT, %q: %q", before, after, got)
			}
		}
	}
	top.dial(t).want("$-1\r\n", "GET", "a")
}

// Announcing takes no memory: 200 clients say that 512 MiB, or a million arguments, are to come.
func TestAnnouncementsTakeNoMemory(t *testing.T) {
	top := codisTopology(t)
	top.dial(t).want("+PONG\r\n", "PING")
	before := heapInUse()
	announcements := []string{
		"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$536870912\r\nx", "*1048576\r\n$3\r\nDEL\r\n$1\r\na\r\n", "*2\r\n$536870912\r\n", "*1048576\r\n",
		"*2\r\n$3\r\nGET\r\n$536870912\r\nabc",
	}
	var clients []net.Conn
	want := top.Stats().ClientBytesIn
	for i := range 200 {
		c := top.dial(t)
		a := announcements[i%len(announcements)]
		c.send(a)
		want += uint64(len(a))
		clients = append(clients, c)
	}
	waitForBytes(t, top, want)
	if n := top.Clients(); n != len(clients)+1 {
		t.Errorf("%d clients, want %d", n, len(clients)+1)
	}
	if grown := heapInUse() - before; grown > 4<<20 {
		t.Errorf("200 announcements took %d KiB", grown>>10)
	}
	runtime.KeepAlive(clients)
}

// heapInUse is what lives on the heap of this process.
func heapInUse() int64 {
	runtime.GC()
	runtime.GC() // The second one empties what sync.Pools have kept.
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
