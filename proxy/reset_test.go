package proxy

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"sluice/backend"
	"sluice/internal/testbed"
)

var errGivenUp = errors.New("given up by the test")

// clientIDs are what a server calls the connections of the proxy.
func clientIDs(s *testbed.Server) map[string]bool {
	ids := make(map[string]bool)
	for line := range strings.Lines(s.Do("CLIENT", "LIST").String()) {
		if id, _, ok := strings.Cut(strings.TrimPrefix(line, "id="), " "); ok {
			ids[id] = true
		}
	}
	return ids
}

// awaitGone returns when the server has no such connection any more.
func awaitGone(t *testing.T, s *testbed.Server, id int64) {
	t.Helper()
	if id == 0 {
		t.Fatal("the connection has no ID")
	}
	testbed.Eventually(t, func() error {
		if clientIDs(s)[strconv.FormatInt(id, 10)] {
			return errors.New("the connection is still there")
		}
		return nil
	}, replyWait)
}

// A connection that was given up delivers nothing that waited on its way: its clients were told that the outcome is
// unknown, and their next writes may be acknowledged already.
func TestGivenUpConnectionDeliversNothing(t *testing.T) {
	s := testbed.Redis(t)
	way := testbed.StartRelay(t, s.Addr())
	p := startProxy(t, testModel, evenly(testModel, way.Addr()), faultOptions(nil))
	c := p.dial(t)
	c.want("+OK\r\n", "SET", "x", "0")
	giveUp := func(conns func(l *loop) []*backend.Conn) (id int64) {
		p.onEachLoop(p.ctx, func(l *loop) {
			for _, b := range conns(l) {
				if b.Waiting() {
					id = b.ServerID
					l.conns.Close(b, errGivenUp)
				}
			}
		})
		return id
	}
	shared := func(l *loop) []*backend.Conn { return l.connsTo(p.pool.Node(way.Addr()), backend.Shared) }
	dedicated := func(l *loop) []*backend.Conn { return l.connsTo(p.pool.Node(way.Addr()), backend.Dedicated) }

	way.Stall(testbed.ToTarget)
	c.request("SET", "x", "1")
	p.awaitSent(t, way.Addr(), 1)
	id := giveUp(shared)
	c.wantReply("-ERR outcome unknown: connection to backend " + way.Addr() + " was lost, the command may have run: given up by the test\r\n")
	awaitGone(t, s, id) // The relay was told, and forgets what waits there.
	way.Resume(testbed.ToTarget)
	c.want(bulkReply("0"), "GET", "x")

	c.want("+OK\r\n", "WATCH", "x")
	way.Stall(testbed.ToTarget)
	c.want("+OK\r\n", "MULTI")
	c.want("+QUEUED\r\n", "SET", "x", "2")
	c.request("EXEC")
	testbed.Eventually(t, func() error {
		err := errors.New("nothing was sent")
		p.onEachLoop(p.ctx, func(l *loop) {
			for _, b := range dedicated(l) {
				if b.Waiting() && b.Unsent() == 0 {
					err = nil
				}
			}
		})
		return err
	}, replyWait)
	id = giveUp(dedicated)
	if r := c.reply(); !strings.HasPrefix(r, "-ERR outcome unknown: ") {
		t.Errorf("EXEC: %q", r)
	}
	awaitGone(t, s, id) // The relay was told, and forgets what waits there.
	way.Resume(testbed.ToTarget)
	c.want(bulkReply("0"), "GET", "x")
}

// What has reached the socket of a frozen server is run when it wakes up. No lock is acknowledged before that is over: the
// server ends the connections that were given up.
func TestBarrierWaitsForHalfOpenConnections(t *testing.T) {
	s := testbed.Redis(t)
	p := startProxy(t, testModel, evenly(testModel, s.Addr()), faultOptions(nil))
	c := p.dial(t)
	c.want("+OK\r\n", "SET", "x", "0")
	b := p.link(s.Addr())
	if !clientIDs(s)[strconv.FormatInt(b.ServerID, 10)] {
		t.Fatalf("the server does not know connection %d", b.ServerID)
	}
	stopServer(t, s)
	c.request("SET", "x", "1")
	p.awaitSent(t, s.Addr(), 1)
	p.onEachLoop(p.ctx, func(l *loop) { l.conns.Close(b, errGivenUp) })
	_ = c.reply() // Outcome unknown.

	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	want := "not answered yet: " + s.Addr() + " (which may still read 1 connections that were given up)"
	if err := p.pool.AwaitAnswered(short, []string{s.Addr()}); err == nil || err.Error() != want {
		t.Errorf("with a frozen server: %v", err)
	}
	contServer(t, s)
	if err := p.pool.AwaitAnswered(t.Context(), []string{s.Addr()}); err != nil {
		t.Fatal(err)
	}
	if clientIDs(s)[strconv.FormatInt(b.ServerID, 10)] {
		t.Error("the connection is still there")
	}
}
