package proxy

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"sluice/internal/clock"
	"sluice/internal/testbed"
	"sluice/proxy/resp"
	"sluice/router"
)

const (
	statusNone = "*0\r\n"
	statusSync = "*1\r\n*5\r\n$3\r\nout\r\n$2\r\nn2\r\n$4\r\nSYNC\r\n:1\r\n$1\r\n0\r\n"
	statusDone = "*1\r\n*5\r\n$3\r\nout\r\n$2\r\nn2\r\n$8\r\nFINISHED\r\n:1\r\n$1\r\n0\r\n"
)

// startDragonfly is a server that knows what Sluice asks behind a transaction or a script: it answers status and
// owner. on may answer a request in its place.
func startDragonfly(t testing.TB, status, owner string, on func(c *scriptedConn, args []string) bool) *txServer {
	return startTx(t, func(c *scriptedConn, args []string) bool {
		switch {
		case on != nil && on(c, args):
		case args[0] == "DFLYCLUSTER":
			c.reply(status)
		case args[0] == "EXISTS":
			c.reply(owner)
		case strings.HasPrefix(args[0], "EVAL"):
			c.reply(bulkReply(args[1]))
		default:
			return false
		}
		return true
	})
}

func startLossChecked(t *testing.T, s *txServer) *testProxy {
	t.Helper()
	return startProxy(t, clusterModel, evenly(clusterModel, s.addr()), faultOptions(nil), holding(100*time.Millisecond), ofFamily("dragonfly"))
}

func TestWhatMayBeLostIsAskedAbout(t *testing.T) {
	s := startDragonfly(t, statusNone, ":1\r\n", nil)
	c := startLossChecked(t, s).dial(t)
	if got := c.transact("INCR", "k"); got != "*1\r\n:1\r\n" {
		t.Errorf("%q", got)
	}
	c.want(bulkReply("x"), "EVAL", "x", "1", "k")
	if got := c.transact("GET", "k"); got != "*1\r\n$1\r\n1\r\n" {
		t.Errorf("%q", got)
	}
	c.want(bulkReply("y"), "EVAL_RO", "y", "1", "k")
	c.want(bulkReply("z"), "EVAL", "z", "0")
	c.want(":2\r\n", "INCR", "k")
	want := "[MULTI DISCARD MULTI INCR k EXEC DFLYCLUSTER SLOT-MIGRATION-STATUS EXISTS k" +
		" EVAL x 1 k DFLYCLUSTER SLOT-MIGRATION-STATUS EXISTS k MULTI GET k EXEC DFLYCLUSTER SLOT-MIGRATION-STATUS EXISTS k EVAL_RO y 1 k EVAL z 0 INCR k]"
	if got := fmt.Sprint(s.seen()); got != want {
		t.Errorf("%s, want\n%s", got, want)
	}
}

// A reply counts when nothing says that it may be lost, or that nothing was run.
func TestWhatTheServerSaysBehind(t *testing.T) {
	moved := redirectLine("MOVED", "k", "127.0.0.1:1")
	f := func(status, owner, reply, want string) {
		t.Helper()
		s := startDragonfly(t, status, owner, func(c *scriptedConn, args []string) bool {
			if args[0] != "EVAL" {
				return false
			}
			c.reply(reply)
			return true
		})
		c := startLossChecked(t, s).dial(t)
		c.request("EVAL", "x", "1", "k")
		if got := c.reply(); got != want && (want == "" || !strings.HasPrefix(got, want)) {
			t.Errorf("%q and %q behind %q: %q, want %q", status, owner, reply, got, want)
		}
	}
	const unknown = "-ERR outcome unknown: slot "
	f(statusNone, ":1\r\n", ":5\r\n", ":5\r\n")
	f(statusDone, ":1\r\n", ":5\r\n", ":5\r\n")
	f(statusSync, ":1\r\n", ":5\r\n", unknown)
	f(statusNone, moved, ":5\r\n", unknown)
	f(statusDone, moved, ":5\r\n", unknown)
	f("-NOPERM no\r\n", ":1\r\n", ":5\r\n", ":5\r\n")
	f("-NOPERM no\r\n", moved, ":5\r\n", unknown)
	f(statusNone, "-NOPERM no\r\n", ":5\r\n", ":5\r\n")
	f(statusSync, ":1\r\n", "-ERR Error running script: it may have written\r\n", unknown)
	f(statusSync, ":1\r\n", noScriptLine, noScriptLine)
}

func TestTransactionsThatWereNotRunAreNotLost(t *testing.T) {
	f := func(reply, want string) {
		t.Helper()
		s := startDragonfly(t, statusSync, ":1\r\n", nth(1, "EXEC", func(c *scriptedConn) { c.reply(reply) }))
		if got := startLossChecked(t, s).dial(t).transact("INCR", "k"); !strings.HasPrefix(got, want) {
			t.Errorf("%q: %q, want %q", reply, got, want)
		}
	}
	f("*-1\r\n", "*-1\r\n")
	f("$-1\r\n", "$-1\r\n")
	f("-EXECABORT no\r\n", "-EXECABORT no")
	f("*1\r\n:1\r\n", "-ERR outcome unknown: slot ")
}

// A connection that is lost before the questions are answered leaves an outcome that nobody knows.
func TestQuestionsThatAreLost(t *testing.T) {
	f := func(at string) {
		t.Helper()
		s := startDragonfly(t, statusNone, ":1\r\n", nth(1, at, func(c *scriptedConn) { c.hangUp() }))
		c := startLossChecked(t, s).dial(t)
		c.request("EVAL", "x", "1", "k")
		if got := c.reply(); !strings.HasPrefix(got, "-ERR outcome unknown: connection to backend ") {
			t.Errorf("lost at %s: %q", at, got)
		}
		if got := c.transact("INCR", "k"); got != "*1\r\n:1\r\n" {
			t.Errorf("%q", got)
		}
	}
	f("EVAL")
	f("DFLYCLUSTER")
	f("EXISTS")
}

// Scripts stay in the pipeline of their client, in order, and a big reply comes whole.
func TestScriptsOfAPipelineKeepTheirOrder(t *testing.T) {
	s := startDragonfly(t, statusNone, ":1\r\n", nil)
	c := startLossChecked(t, s).dial(t)
	big := strings.Repeat("b", 3*streamFrom)
	var requests []byte
	var want []string
	for i := range 50 {
		body := fmt.Sprint(i)
		if i%10 == 0 {
			body = big
		}
		requests = resp.AppendCommand(resp.AppendCommand(requests, "EVAL", body, "1", "k"), "INCR", "k")
		want = append(want, bulkReply(body), fmt.Sprintf(":%d\r\n", i+1))
	}
	for i, got := range c.pipeline(string(requests), len(want)) {
		if got != want[i] {
			t.Fatalf("reply %d: %.50q, want %.50q", i, got, want[i])
		}
	}
}

// What a client has asked before a script that waits comes to the new owner before it.
func TestScriptThatWaitsOvertakesNothing(t *testing.T) {
	target := startDragonfly(t, statusNone, ":1\r\n", nil)
	answer := make(chan struct{})
	source := startDragonfly(t, statusNone, ":1\r\n", nth(1, "INCR", func(c *scriptedConn) {
		c.wait(answer)
		c.reply(redirectLine("MOVED", "k", target.addr()))
	}))
	specs := with(evenly(clusterModel, source.addr()), target.addr())
	p := startProxy(t, clusterModel, specs, faultOptions(nil), holding(never), ofFamily("dragonfly"))
	all := func(string) bool { return true }
	p.pool.SetLeaving([]Leaving{{Source: source.addr(), Target: "n2"}}, all, 0)
	c := p.dial(t)
	c.request("INCR", "k")
	source.await(t, 1, "INCR k")
	c.request("EVAL", "x", "1", "k")
	testbed.Eventually(t, func() error { // It was looked at.
		if !p.onlyClient(func(c *client) bool { return c.stall == stallDrain }, func(*client) {}) {
			return errors.New("it does not wait for what is in flight")
		}
		return nil
	}, 10*time.Second)
	specs[0].Slots, specs[1].Slots = nil, specs[0].Slots
	p.setTable(t, specs)
	p.pool.SetLeaving(nil, all, 0)
	close(answer)
	c.wantReply(":1\r\n")
	c.wantReply(bulkReply("x"))
	if got := fmt.Sprint(target.seen()); !strings.Contains(got, "INCR k EVAL x") {
		t.Error(got)
	}
}

// A transaction that only reads goes to the new owner as a whole.
func TestTransactionThatReadsWhatIsLeftBehind(t *testing.T) {
	target := startDragonfly(t, statusNone, ":1\r\n", nil)
	source := startDragonfly(t, statusDone, redirectLine("MOVED", "k", target.addr()), nil)
	p := startProxy(t, clusterModel, with(evenly(clusterModel, source.addr()), target.addr()), faultOptions(nil), holding(never), ofFamily("dragonfly"))
	target.store.execute([]string{"SET", "k", "new"})
	if got := p.dial(t).transact("GET", "k"); got != "*1\r\n$3\r\nnew\r\n" {
		t.Errorf("%q", got)
	}
}

// What a node tells a loop holds for a while, unless whoever asks everybody knows better.
func TestLeavingIsBelieved(t *testing.T) {
	s := startDragonfly(t, statusNone, ":1\r\n", nil)
	p := startLossChecked(t, s)
	node := p.pool.Nodes()[0]
	leaves := func(slot router.Slot) bool {
		_, leaves := p.pool.leaves(node, slot)
		return leaves
	}
	all, none := func(string) bool { return true }, func(string) bool { return false }
	l := Leaving{Source: node.Addr, Target: "n2", Ranges: []router.Range{{From: 5, To: 9}}}
	p.pool.SetLeaving([]Leaving{l}, all, 0)
	if !leaves(5) || leaves(4) || leaves(10) {
		t.Error("the ranges are not those that leave")
	}
	c := p.dial(t)
	p.pool.SetLeaving([]Leaving{{Source: node.Addr, Target: "n2"}}, all, 0)
	c.request("EVAL", "x", "1", "k")
	if got := c.reply(); !strings.HasPrefix(got, "-TRYAGAIN slot ") || !strings.Contains(got, "may be among those that migrate from") {
		t.Errorf("%q", got)
	}
	p.pool.SetLeaving(nil, all, 0)
	if leaves(5) {
		t.Error("over, and believed")
	}
	p.pool.noteLeaving(l, clock.Now())
	p.pool.SetLeaving(nil, none, 0)
	if !leaves(5) {
		t.Error("forgotten, though the node was not asked")
	}
	p.pool.SetLeaving(nil, all, time.Hour)
	if !leaves(5) {
		t.Error("forgotten by answers that are older")
	}
	p.pool.SetLeaving(nil, all, 0)
	if leaves(5) {
		t.Error("believed against a newer answer")
	}
}
