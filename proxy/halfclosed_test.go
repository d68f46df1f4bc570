package proxy

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"sluice/internal/testbed"
	"sluice/proxy/resp"
)

func (c *testClient) closeWrite() {
	c.t.Helper()
	if err := c.Conn.(*net.TCPConn).CloseWrite(); err != nil {
		c.t.Fatal(err)
	}
}

// wantEnd checks that nothing more comes.
func (c *testClient) wantEnd() {
	c.t.Helper()
	if rest, err := io.ReadAll(c.r); err != nil || len(rest) > 0 {
		c.t.Errorf("%q %v, want the end", rest, err)
	}
}

func (p *testProxy) awaitNoClients(t *testing.T) {
	t.Helper()
	testbed.Eventually(t, func() error {
		if left := p.Clients(); left != 0 {
			return fmt.Errorf("%d clients are left", left)
		}
		return nil
	}, replyWait)
}

// A client that shuts down its sending side gets the replies to all that it has sent, and then the end.
func TestHalfClosedClientIsAnswered(t *testing.T) {
	s := testbed.Redis(t)
	p := startProxy(t, codisModel, evenly(codisModel, s.Addr()))
	for i := range 50 {
		c := p.dial(t)
		c.send("PING\r\nSET k v\r\nGET k\r\nMGET a b k\r\nMULTI\r\nINCR n\r\nEXEC\r\nPING end\r\n")
		c.closeWrite()
		for _, want := range []string{
			"+PONG\r\n", "+OK\r\n", bulkReply("v"), "*3\r\n$-1\r\n$-1\r\n$1\r\nv\r\n", "+OK\r\n", "+QUEUED\r\n", fmt.Sprintf("*1\r\n:%d\r\n", i+1), bulkReply("end"),
		} {
			c.wantReply(want)
		}
		c.wantEnd()
	}
	p.awaitNoClients(t)
}

// However much was waiting for its turn: some load data that way.
func TestHalfClosedClientIsRunWhole(t *testing.T) {
	s := testbed.Redis(t)
	p := startProxy(t, codisModel, evenly(codisModel, s.Addr()))
	const n = 50_000
	var requests []byte
	for i := range n {
		requests = resp.AppendCommand(requests, "SET", fmt.Sprint("k", i), "v")
	}
	c := p.dial(t)
	c.send(string(requests))
	c.closeWrite()
	for range n {
		c.wantReply("+OK\r\n")
	}
	c.wantEnd()
	if got := s.Do("DBSIZE").Integer(); got != n {
		t.Errorf("%d keys, want %d", got, n)
	}
	p.awaitNoClients(t)
}

// One that has gone shows in the first reply that is written to it, and nothing more of it is run: its application may
// have connected again.
func TestNothingOfAClientThatHasGoneRunsLater(t *testing.T) {
	held := make(chan struct{})
	f := startFake(t, func(c *scriptedConn, args []string) {
		c.wait(held)
		echoValue(c, args)
	})
	p := startProxy(t, codisModel, evenly(codisModel, f.addr()), limited(func(l *Limits) { l.MaxPipeline = 1 }))
	const n = 1000
	c := p.dial(t)
	c.send(strings.Repeat("GET k\r\n", n))
	f.await(t, 1, "GET k")
	_ = c.Close()
	testbed.Eventually(t, func() error {
		read := false
		p.onEachLoop(p.ctx, func(l *loop) {
			for _, c := range l.clients {
				read = read || c.half != nil
			}
		})
		if !read {
			return errors.New("the end was not read")
		}
		return nil
	}, replyWait)
	close(held)
	p.awaitNoClients(t)
	if ran := f.count("GET k"); ran > n/10 {
		t.Errorf("%d of %d requests were run", ran, n)
	}
}

// A client that waits for data, or for messages, has nothing to wait for when it has gone.
func TestHalfClosedClientDoesNotWait(t *testing.T) {
	s := testbed.Redis(t)
	p := startProxy(t, codisModel, evenly(codisModel, s.Addr()))
	for _, last := range []string{"BLPOP q 0\r\n", "SUBSCRIBE c\r\n", "MONITOR\r\n", "MULTI\r\nSET k v\r\n"} {
		c := p.dial(t)
		c.send("SET k v\r\n" + last)
		c.wantReply("+OK\r\n")
		c.closeWrite()
		p.awaitNoClients(t)
	}
}

// A connection that is reset is not half closed, whether its bytes are read or not.
func TestHungUp(t *testing.T) {
	f := func(name string, end func(peer *net.TCPConn) error, read, want bool) {
		t.Helper()
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		peer, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer peer.Close()
		conn, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := peer.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if err := end(peer.(*net.TCPConn)); err != nil {
			t.Fatal(err)
		}
		if read { // The end has come then.
			_, _ = io.ReadAll(conn)
		}
		raw, err := conn.(*net.TCPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		got := !want
		testbed.Eventually(t, func() error {
			if err := raw.Control(func(fd uintptr) { got = hungUp(int(fd)) }); err != nil {
				return err
			}
			if got != want {
				return fmt.Errorf("%s: hung up %v", name, got)
			}
			return nil
		}, replyWait)
	}
	reset := func(peer *net.TCPConn) error { return errors.Join(peer.SetLinger(0), peer.Close()) }
	f("half closed", (*net.TCPConn).CloseWrite, true, false)
	f("half closed and unread", (*net.TCPConn).CloseWrite, false, false)
	f("reset", reset, true, true)
	f("reset and unread", reset, false, true)
}
