package proxy

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"sluice/internal/testbed"
	"sluice/proxy/resp"
)

// awaitUnread returns when the only client is not read.
func (p *testProxy) awaitUnread(t *testing.T, unread bool) {
	t.Helper()
	testbed.Eventually(t, func() error {
		if !p.onlyClient(func(c *client) bool { return c.unread == unread }, func(*client) {}) {
			return fmt.Errorf("no client with unread = %v", unread)
		}
		return nil
	}, replyWait)
}

// A client that sends more than its server takes waits, however much it sends; nothing is closed, or kept for it.
func TestFastClientIsLeftInItsSocket(t *testing.T) {
	t.Parallel()
	server := testbed.Redis(t)
	specs := evenly(codisModel, server.Addr())
	p := startProxy(t, codisModel, specs, holding(never), limited(func(l *Limits) { l.MaxUnparsed = 4 << 20 }))
	p.setTable(t, specs, lock(codisModel, "locked"))
	c := p.dial(t)
	const n = 60_000
	var requests []byte
	value := strings.Repeat("v", 1000)
	for range n {
		requests = resp.AppendCommand(requests, "SET", "k", value)
	}
	c.request("GET", "locked")
	go c.send(string(requests))
	p.awaitUnread(t, true)
	if !p.onlyClient(func(c *client) bool { return len(c.in)-c.inOff <= maxIntake+readBuffer }, func(*client) {}) {
		t.Error("it is read all the same")
	}
	p.setTable(t, specs)
	c.wantReply("$-1\r\n")
	for range n {
		c.wantReply("+OK\r\n")
	}
	st := p.Stats()
	if st.IntakeStops == 0 || st.Overflows[OverflowUnparsed] != 0 {
		t.Errorf("%d stops, %d overflows", st.IntakeStops, st.Overflows[OverflowUnparsed])
	}
	p.awaitUnread(t, false)
}

// What is larger than a client may have waiting is read if nothing but its own end is missing.
func TestLargeRequestIsReadWhole(t *testing.T) {
	server := testbed.Redis(t)
	specs := evenly(codisModel, server.Addr())
	p := startProxy(t, codisModel, specs, holding(never))
	p.setTable(t, specs, lock(codisModel, "locked"))
	c := p.dial(t)
	value := strings.Repeat("v", 8*maxIntake)
	c.request("GET", "locked")
	go func() {
		c.request("SET", "k", value)
		c.request("PING")
	}()
	p.awaitUnread(t, true)
	p.setTable(t, specs)
	c.wantReply("$-1\r\n")
	c.wantReply("+OK\r\n")
	c.wantReply("+PONG\r\n")
	p.dial(t).want(fmt.Sprintf(":%d\r\n", len(value)), "STRLEN", "k")
}

// A client that is reset while nobody reads it is gone all the same.
func TestUnreadClientIsReset(t *testing.T) {
	server := testbed.Redis(t)
	specs := evenly(codisModel, server.Addr())
	p := startProxy(t, codisModel, specs, holding(never))
	p.setTable(t, specs, lock(codisModel, "locked"))
	c := p.dial(t)
	c.request("GET", "locked")
	c.send(strings.Repeat("PING\r\n", maxIntake/6+readBuffer))
	p.awaitUnread(t, true)
	if err := errors.Join(c.Conn.(*net.TCPConn).SetLinger(0), c.Close()); err != nil {
		t.Fatal(err)
	}
	p.awaitHeld(t, 0)
	p.awaitNoClients(t)
}

// A client that waits for data is read whatever it has sent: its end must be seen, or its server waits on for nobody.
func TestBlockedClientIsRead(t *testing.T) {
	p := startProxyTo(t, testbed.Redis(t))
	c := p.dial(t)
	c.request("BLPOP", "list", "0")
	c.send(strings.Repeat("PING\r\n", maxIntake/2))
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	p.awaitNoClients(t)
	p.dial(t).want(":1\r\n", "RPUSH", "list", "a")
	p.dial(t).want(":1\r\n", "LLEN", "list")
}
