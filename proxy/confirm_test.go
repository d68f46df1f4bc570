package proxy

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"sluice/internal/testbed"
)

// rogue is a server that no topology names.
func rogue(t *testing.T) (addr string, visited func() bool) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return ln.Addr().String(), func() bool {
		_ = ln.(*net.TCPListener).SetDeadline(time.Unix(1, 0)) // Accept says at once whether somebody has connected.
		conn, err := ln.Accept()
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	}
}

// What a script answers moves nobody's requests, and is its client's to see; the script runs once.
func TestErrorsOfScriptsAreNotBelieved(t *testing.T) {
	t.Parallel()
	c := testbed.Cluster(t, 3, 0)
	addr, visited := rogue(t)
	p := startProxy(t, clusterModel, specsOf(t, c), faultOptions(nil), holding(never))
	client := p.dial(t)
	slot := int(clusterModel.Slot([]byte("k")))
	other := c.Nodes()[0].Addr()
	if other == c.NodeOf(slot).Addr() {
		other = c.Nodes()[1].Addr()
	}
	n := 0
	f := func(text string) {
		t.Helper()
		for _, script := range []string{
			fmt.Sprintf("redis.call('incr', KEYS[1]) return redis.error_reply(\"%s\")", text),
			fmt.Sprintf("redis.call('incr', KEYS[1]) return {err=\"%s\"}", text),
		} {
			n++
			client.want("-"+text+"\r\n", "EVAL", script, "1", "k")
			client.want(bulkReply(fmt.Sprint(n)), "GET", "k")
		}
		client.want("-"+text+"\r\n", "EVAL", fmt.Sprintf("return redis.error_reply(\"%s\")", text), "0")
	}
	for _, to := range []string{addr, other} {
		f(fmt.Sprintf("MOVED %d %s", slot, to))
		f(fmt.Sprintf("MOVED %d %s", (slot+1)%16384, to))
		f(fmt.Sprintf("ASK %d %s", slot, to))
	}
	f("TRYAGAIN busy") // Not in the very words of a server.
	f("CLUSTERDOWN of mine")
	f("LOADING my data")
	if got := p.pool.Table().Owner(clusterModel.Slot([]byte("k"))).Master.Addr; got != c.NodeOf(slot).Addr() {
		t.Errorf("the slot is with %s", got)
	}
	if visited() {
		t.Error("the rogue server was connected to")
	}
}

// A redirect is believed for the slot that was asked for only, and only to a node that the topology names.
func TestRedirectsToStrangersAreNotFollowed(t *testing.T) {
	t.Parallel()
	addr, visited := rogue(t)
	to := addr
	slot := int(clusterModel.Slot([]byte("k")))
	line := ""
	server := startFake(t, func(c *scriptedConn, args []string) {
		if args[0] == "GET" && line != "" {
			c.reply(line)
			return
		}
		echoValue(c, args)
	})
	p := startProxy(t, clusterModel, evenly(clusterModel, server.addr()), faultOptions(nil), holding(100*time.Millisecond))
	c := p.dial(t)
	for _, kind := range []string{"MOVED", "ASK"} {
		line = fmt.Sprintf("-%s %d %s\r\n", kind, slot, to)
		want := fmt.Sprintf("-TRYAGAIN slot %d is redirected to %s, which the topology does not name (held ", slot, to)
		if got := c.do("GET", "k"); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %q, want %q...", kind, got, want)
		}
		line = fmt.Sprintf("-%s %d %s\r\n", kind, slot+1, server.addr())
		c.want(line, "GET", "k")
	}
	if visited() {
		t.Error("the rogue server was connected to")
	}
	if n := len(p.pool.Nodes()); n != 1 {
		t.Errorf("the pool knows %d nodes", n)
	}
	line = ""
	c.want(bulkReply("k"), "GET", "k")
}
