package proxy

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sluice/internal/testbed"
)

// awaitPaused waits until so many clients stand in front of a request because they are paused.
func (p *testProxy) awaitPaused(t *testing.T, want int) {
	t.Helper()
	testbed.Eventually(t, func() error {
		counts := make([]int, len(p.loops))
		p.onEachLoop(t.Context(), func(l *loop) {
			for _, c := range l.clients {
				if c.postponing() {
					counts[l.id]++
				}
			}
		})
		got := 0
		for _, n := range counts {
			got += n
		}
		if got != want {
			return fmt.Errorf("%d clients wait, want %d", got, want)
		}
		return nil
	}, replyWait)
}

// A pause of writes holds those of every client of the pool, on all loops and of clients that come later, and nothing
// else.
func TestClientPauseOfWrites(t *testing.T) {
	top := codisTopology(t, func(cfg *Config, _ *PoolConfig) { cfg.Loops = 3 })
	admin := top.dial(t)
	admin.want("+OK\r\n", "SET", "k", "old")
	early := []*testClient{top.dial(t), top.dial(t), top.dial(t)}
	for _, c := range early {
		c.want("$3\r\nold\r\n", "GET", "k")
	}
	queued := top.dial(t)
	queued.want("+OK\r\n", "MULTI")
	queued.want("+QUEUED\r\n", "INCR", "n")
	admin.want("+OK\r\n", "CLIENT", "PAUSE", "100000000", "WRITE")
	if left, writesOnly := top.pool.Paused(); left < time.Hour || !writesOnly {
		t.Errorf("paused for %s, writes only: %v", left, writesOnly)
	}
	late := top.dial(t)
	late.want("+RESET\r\n", "RESET")
	clients := append([]*testClient{late}, early...)
	for _, c := range clients {
		c.want("$3\r\nold\r\n", "GET", "k")
		c.request("GET", "k")
		c.request("INCR", "n")
		c.request("GET", "k")
		c.wantReply("$3\r\nold\r\n")
	}
	queued.request("EXEC")
	subscriber, publisher := top.dial(t), top.dial(t)
	subscriber.do("SUBSCRIBE", "ch")
	publisher.request("PUBLISH", "ch", "m")
	top.awaitPaused(t, len(clients)+2)
	if got := infoSectionsOf(t, admin.do("INFO", "clients"))["Clients"]["blocked_clients"]; got != fmt.Sprint(len(clients)+2) {
		t.Errorf("blocked_clients:%s", got)
	}
	for _, flags := range []string{"b", "xb"} {
		if list := bulkText(t, admin.do("CLIENT", "LIST")); !strings.Contains(list, " flags="+flags+" ") {
			t.Errorf("no client with flags=%s: %s", flags, list)
		}
	}
	admin.want("$-1\r\n", "GET", "n")
	admin.want("+OK\r\n", "CLIENT", "UNPAUSE")
	for _, c := range clients {
		c.reply()
		c.wantReply("$3\r\nold\r\n")
	}
	queued.reply()
	publisher.wantReply(":1\r\n")
	admin.want("$1\r\n5\r\n", "GET", "n")
	if left, _ := top.pool.Paused(); left != 0 {
		t.Errorf("paused for %s", left)
	}
}

// A pause of writes lets scripts through that declare that they write nothing, and holds what else Redis holds in a transaction.
func TestClientPauseOfScripts(t *testing.T) {
	p := startProxyTo(t, testbed.Redis(t))
	admin := p.dial(t)
	const reads = "#!lua flags=allow-stale,no-writes\nreturn 1"
	sha := strings.TrimSpace(admin.do("SCRIPT", "LOAD", reads)[4:])
	held := [][][]string{
		{{"EVAL", "return 3", "0"}}, {{"EVALSHA", strings.Repeat("0", 40), "0"}}, {{"FCALL", "none", "0"}},
		{{"MULTI"}, {"EVAL", "return 4", "0"}, {"EXEC"}}, {{"MULTI"}, {"PUBLISH", "ch", "m"}, {"EXEC"}}, {{"MULTI"}, {"FCALL", "none", "0"}, {"EXEC"}},
	}
	var waiting []*testClient
	for _, requests := range held {
		w := p.dial(t)
		for _, args := range requests[:len(requests)-1] { // A pause holds these, too.
			w.do(args...)
		}
		waiting = append(waiting, w)
	}
	admin.want("+OK\r\n", "CLIENT", "PAUSE", "100000000", "WRITE")
	c := p.dial(t)
	c.want(":1\r\n", "EVAL", reads, "1", "k")
	c.want(":1\r\n", "EVALSHA", strings.ToUpper(sha), "0")
	c.want("+OK\r\n", "MULTI")
	c.want("+QUEUED\r\n", "EVAL", reads, "0")
	c.want("+QUEUED\r\n", "EVALSHA", sha, "1", "k")
	c.want("*2\r\n:1\r\n:1\r\n", "EXEC")
	for i, requests := range held {
		waiting[i].request(requests[len(requests)-1]...)
	}
	p.awaitPaused(t, len(held))
	admin.want("+OK\r\n", "CLIENT", "UNPAUSE")
	for i, want := range []string{":3\r\n", "-NOSCRIPT", "-ERR Function not found", "*1\r\n:4\r\n", "*1\r\n:0\r\n", "*1\r\n-ERR Function not found"} {
		waiting[i].wantPrefix(want)
	}
}

func TestDeclarationOfNoWrites(t *testing.T) {
	for body, want := range map[string]bool{
		"#!lua flags=no-writes\nreturn 1": true, "#!lua name=x flags=allow-oom,no-writes,allow-stale\n": true, "#!lua  flags=no-writes \r\nreturn 1": true,
		"#!lua flags=no-writes": false, "#!lua\nreturn 1": false, "": false, "\n": false, "#!js flags=no-writes\n": false, "#!lua flags=no-writesx\n": false,
		"return 1 -- #!lua flags=no-writes\n": false, " #!lua flags=no-writes\n": false, "#!lua no-writes\n": false,
	} {
		if got := declaresNoWrites([]byte(body)); got != want {
			t.Errorf("%q: %v", body, got)
		}
	}
}

// A pause of everything ends by itself, and never becomes shorter or less by another one.
func TestClientPauseOfAll(t *testing.T) {
	t.Parallel()
	p := startProxyTo(t, testbed.Redis(t))
	c, admin := p.dial(t), p.dial(t)
	c.want("+OK\r\n", "SET", "k", "v")
	admin.want("+OK\r\n", "CLIENT", "PAUSE", "100000000")
	admin.want("+OK\r\n", "CLIENT", "PAUSE", "1", "WRITE")
	c.request("GET", "k")
	c.request("PING")
	p.awaitPaused(t, 1)
	if left, writesOnly := p.pool.Paused(); left < time.Hour || writesOnly {
		t.Errorf("paused for %s, writes only: %v", left, writesOnly)
	}
	gone := p.dial(t)
	gone.send("PING\r\n")
	p.awaitPaused(t, 2)
	gone.Close()
	p.awaitPaused(t, 1)
	admin.want("+OK\r\n", "CLIENT", "UNPAUSE")
	c.wantReply("$1\r\nv\r\n")
	c.wantReply("+PONG\r\n")
	admin.want("+OK\r\n", "CLIENT", "PAUSE", "30")
	c.want("$1\r\nv\r\n", "GET", "k") // Nobody ends this one.
}
