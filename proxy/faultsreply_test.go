package proxy

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"sluice/internal/testbed"
	"sluice/router"
)

// Replies that break off, that are no RESP, that are too many or too early.

// answerFirst answers the first request with first and everything later like echoValue.
func answerFirst(first answerFunc) answerFunc {
	var requests atomic.Int32
	return func(c *scriptedConn, args []string) {
		if requests.Add(1) == 1 {
			first(c, args)
			return
		}
		echoValue(c, args)
	}
}

// breakOff sends a part of a reply and closes the connection.
func breakOff(part string) answerFunc {
	return func(c *scriptedConn, _ []string) {
		c.reply(part)
		c.hangUp()
	}
}

// A read whose reply breaks off before any of it went to the client is retried, wherever the cut is.
func TestReadWithACutReplyIsRetried(t *testing.T) {
	f := func(part string) {
		t.Helper()
		b := startFake(t, answerFirst(breakOff(part)))
		p := startProxy(t, testModel, evenly(testModel, b.addr()), faultOptions(nil))
		c := p.dial(t)
		c.request("GET", "key")
		if got, err := c.tryReply(); got != bulkReply("key") {
			t.Errorf("cut after %q: %q, %v", part, got, err)
		}
		if n := b.count("GET key"); n != 2 {
			t.Errorf("cut after %q: sent %d times, want 2", part, n)
		}
	}
	f("$")
	f("$3")
	f("$3\r")
	f("$3\r\n")
	f("$3\r\nk")
	f("$3\r\nkey")
	f("$3\r\nkey\r")
}

func TestWriteWithACutReplyIsInDoubt(t *testing.T) {
	f := func(part string) {
		t.Helper()
		b := startFake(t, answerFirst(breakOff(part)))
		p := startProxy(t, testModel, evenly(testModel, b.addr()), faultOptions(nil))
		c := p.dial(t)
		c.request("GETDEL", "key")
		if got, err := c.tryReply(); !strings.HasPrefix(got, unknownText(b.addr())) {
			t.Errorf("cut after %q: %q, %v", part, got, err)
		}
		if n := b.count("GETDEL key"); n != 1 {
			t.Errorf("cut after %q: sent %d times, want once", part, n)
		}
	}
	f("$")
	f("$3\r")
	f("$3\r\nk")
}

// A large reply is passed on while it comes. When it breaks off, only the end of the connection can say so.
func TestCutReplyThatWasPassedOnClosesTheClient(t *testing.T) {
	big := bulkReply(strings.Repeat("x", 1<<20))
	part := big[:len(big)/2]
	passed := make(chan struct{})
	b := startFake(t, answerFirst(func(c *scriptedConn, _ []string) {
		c.reply(part)
		c.wait(passed)
		c.hangUp()
	}))
	p := startProxy(t, testModel, evenly(testModel, b.addr()), faultOptions(nil))
	c, other := p.dial(t), p.dial(t)
	c.request("GET", "key")
	c.awaitData()
	other.request("GET", "other")
	b.await(t, 1, "GET other")
	close(passed)
	if got, err := c.tryReply(); err == nil || got == "" || !strings.HasPrefix(part, got) {
		t.Errorf("%d bytes and %v, want the start of the reply and a closed connection", len(got), err)
	}
	if n := b.count("GET key"); n != 1 {
		t.Errorf("sent %d times, want once: the client has half of the reply", n)
	}
	other.wantReply(bulkReply("other")) // It only was on the same connection.
	testbed.Eventually(t, func() error {
		if n := p.Clients(); n != 1 {
			return fmt.Errorf("%d clients, want 1", n)
		}
		return nil
	}, replyWait)
}

// A large reply that has to wait for an older one has not been passed on, so the client can be told.
func TestCutReplyThatWaitsForItsTurn(t *testing.T) {
	turn := make(chan struct{})
	first := startFake(t, func(c *scriptedConn, args []string) {
		c.wait(turn)
		echoValue(c, args)
	})
	big := bulkReply(strings.Repeat("x", 1<<20))
	second := startFake(t, func(c *scriptedConn, args []string) {
		if args[0] == "GETDEL" {
			breakOff(big[:len(big)/2])(c, args)
			return
		}
		echoValue(c, args)
	})
	p := startProxy(t, testModel, evenly(testModel, first.addr(), second.addr()), faultOptions(nil))
	k1, k2 := p.keysAt(t, first.addr(), 1)[0], p.keysAt(t, second.addr(), 1)[0]
	c := p.dial(t)
	c.request("GET", k1)
	c.request("GETDEL", k2)
	c.request("GET", k2)
	testbed.Eventually(t, func() error { // Requests come on a new connection: the old one is gone.
		if n := second.dataConns(); n != 2 {
			return fmt.Errorf("%d connections", n)
		}
		return nil
	}, replyWait)
	close(turn)
	c.wantReply(bulkReply(k1))
	c.wantPrefix(unknownText(second.addr()))
	c.wantReply(bulkReply(k2))
	if held := p.Stats().HeldReplies; held != 0 {
		t.Errorf("%d bytes of replies are still counted as held", held)
	}
}

func TestGarbageInsteadOfAReply(t *testing.T) {
	f := func(garbage, why string) {
		t.Helper()
		b := startFake(t, answerFirst(func(c *scriptedConn, _ []string) { c.reply(garbage) }))
		p := startProxy(t, testModel, evenly(testModel, b.addr()), faultOptions(nil))
		c := p.dial(t)
		c.request("INCR", "key")
		want := fmt.Sprintf("%sbackend %s broke the protocol: %s\r\n", unknownText(b.addr()), b.addr(), why)
		c.wantReply(want)
		c.want(bulkReply("key"), "GET", "key")
		if n := b.dataConns(); n != 2 {
			t.Errorf("%q: %d connections, want 2: nothing after it can be trusted", garbage, n)
		}
	}
	f("what?\r\n", "Protocol error: unknown reply type 'w'")
	f("$x\r\n", "Protocol error: invalid bulk length in a reply")
	f("*-2\r\n", "Protocol error: invalid multibulk length in a reply")
	f("HTTP/1.1 400 Bad Request\r\n\r\n", "Protocol error: unknown reply type 'H'")
}

// A bulk that is not followed by CRLF shows only at its end, when its start is with the client.
func TestGarbageBehindABulk(t *testing.T) {
	b := startFake(t, answerFirst(func(c *scriptedConn, _ []string) { c.reply("$3\r\nkeyXX$3\r\nkey\r\n") }))
	p := startProxy(t, testModel, evenly(testModel, b.addr()), faultOptions(nil))
	c := p.dial(t)
	c.request("GETDEL", "key")
	if got, err := c.tryReply(); err == nil && !strings.HasPrefix(got, unknownText(b.addr())) {
		t.Errorf("%q was taken for a reply", got)
	}
	p.dial(t).want(bulkReply("key"), "GET", "key")
}

func TestReplyTooManyClosesTheConnection(t *testing.T) {
	b := startFake(t, answerFirst(func(c *scriptedConn, _ []string) { c.reply("+OK\r\n+MORE\r\n") }))
	p := startProxy(t, testModel, evenly(testModel, b.addr()), faultOptions(nil))
	c := p.dial(t)
	c.want("+OK\r\n", "SET", "key", "v")
	p.awaitNoLink(t, b.addr())
	c.want(bulkReply("key"), "GET", "key")
	if n := b.dataConns(); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
	wantLog(t, p, "reply without a request")
}

func TestReplyWithoutARequestClosesTheConnection(t *testing.T) {
	b := startFake(t, echoValue)
	p := startProxy(t, testModel, evenly(testModel, b.addr()), faultOptions(nil))
	c := p.dial(t)
	c.want(bulkReply("key"), "GET", "key")
	b.mu.Lock()
	for _, conn := range b.conns {
		if conn.used {
			conn.reply("+SURPRISE\r\n")
		}
	}
	b.mu.Unlock()
	p.awaitNoLink(t, b.addr())
	c.want(bulkReply("key2"), "GET", "key2")
	wantLog(t, p, "reply without a request")
}

// awaitNoLink returns when the loop has no connection to addr.
func (p *testProxy) awaitNoLink(t testing.TB, addr string) {
	t.Helper()
	testbed.Eventually(t, func() error {
		if p.link(addr) != nil {
			return fmt.Errorf("still connected to %s", addr)
		}
		return nil
	}, replyWait)
}

func wantLog(t testing.TB, p *testProxy, text string) {
	t.Helper()
	if log := p.logs.String(); !strings.Contains(log, text) {
		t.Errorf("the log does not say %q:\n%s", text, log)
	}
}

// Pushes of RESP3 answer no request.
func TestPushesAreNoReplies(t *testing.T) {
	push := ">2\r\n$10\r\ninvalidate\r\n*1\r\n$3\r\nkey\r\n"
	b := startFake(t, func(c *scriptedConn, args []string) {
		c.reply(push + bulkReply(args[1]) + push)
	}, func(f *fakeBackend) { f.greetings["HELLO"] = resp3Greeting })
	p := startProxy(t, testModel, evenly(testModel, b.addr()), faultOptions(nil))
	c := p.dial(t)
	if hello := c.do("HELLO", "3"); hello[0] != '%' {
		t.Fatalf("HELLO 3: %q", hello)
	}
	for i := range 20 {
		c.request("GET", fmt.Sprint("key", i))
	}
	for i := range 20 {
		c.wantReply(bulkReply(fmt.Sprint("key", i)))
	}
}

// What a server says about its own state is the client's business, and proves nothing that Sluice acts on.
func TestErrorsOfServersArePassedOn(t *testing.T) {
	b := startFake(t, func(c *scriptedConn, args []string) { c.reply("-" + args[1] + "\r\n") })
	f := func(model router.Model, errors ...string) {
		t.Helper()
		p := startProxy(t, model, evenly(model, b.addr()), faultOptions(nil))
		c := p.dial(t)
		for _, e := range errors {
			before := b.count("INCR " + e)
			c.want("-"+e+"\r\n", "INCR", e)
			if n := b.count("INCR "+e) - before; n != 1 {
				t.Errorf("%q: sent %d times, want once", e, n)
			}
		}
	}
	common := []string{
		"ERR value is not an integer or out of range", "OOM command not allowed when used memory > 'maxmemory'.",
		"LOADING Redis is loading the dataset in memory", "MASTERDOWN Link with MASTER is down.",
		"READONLY You can't write against a read only replica.", "NOREPLICAS Not enough good replicas to write.",
		"BUSY Redis is busy running a script.", "MISCONF Errors writing to the AOF file: No space left on device",
		"CLUSTERDOWN The cluster is down", "MOVED", "MOVED 99999 a:1", "MOVED x y", "ASK 1 nowhere",
	}
	f(router.ClusterModel(), common...)
	f(testModel, append(common, "MOVED 1 127.0.0.1:1", "ASK 1 127.0.0.1:1")...)
}
