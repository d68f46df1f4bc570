package proxy

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/backend"
	"sluice/internal/testbed"
	"sluice/router"
)

// bounceOnce answers the first request that starts with one of the prefixes with an error, and everything else as
// a tiny server would: SET and GET of one value per key.
func bounceOnce(line string, prefixes ...string) answerFunc {
	values := make(map[string]string) // Only one connection uses a fake at a time in these tests.
	bounced := make(map[string]bool)
	return func(c *scriptedConn, args []string) {
		name := strings.ToUpper(args[0]) // The parts of a split command have small letters.
		request := strings.Join(append([]string{name}, args[1:]...), " ")
		for _, prefix := range prefixes {
			if strings.HasPrefix(request, prefix) && !bounced[prefix] {
				bounced[prefix] = true
				c.reply("-" + line + "\r\n")
				return
			}
		}
		switch name {
		case "SET":
			values[args[1]] = args[2]
			c.reply("+OK\r\n")
		case "MSET":
			for i := 1; i < len(args); i += 2 {
				values[args[i]] = args[i+1]
			}
			c.reply("+OK\r\n")
		case "GET":
			c.reply(bulkReply(values[args[1]]))
		}
	}
}

const (
	tryAgain = "TRYAGAIN Multiple keys request during rehashing of slot"
	loading  = "LOADING Redis is loading the dataset in memory"
)

// overtaken is the answer to a command on key that must not run any more.
func overtaken(model router.Model, key string) string {
	return fmt.Sprintf("-TRYAGAIN slot %d: the command was not run in time, and a later one of this connection on its key was\r\n",
		model.Slot([]byte(key)))
}

// A read that the server ran although an older command on its key bounced is run again behind it.
func TestReadThatOvertookIsRunAgain(t *testing.T) {
	server := startFake(t, bounceOnce(tryAgain, "MSET"))
	p := startProxy(t, clusterModel, evenly(clusterModel, server.addr()), holding(never))
	c := p.dial(t)
	c.send(strings.Join([]string{"MSET {t}a 1 {t}b 2", "GET {t}b", "GET {t}other", "PING", ""}, "\r\n"))
	c.wantReply("+OK\r\n")
	c.wantReply(bulkReply("2"))
	c.wantReply(bulkReply(""))
	c.wantReply("+PONG\r\n")
	if n := server.count("GET {t}b"); n != 2 {
		t.Errorf("GET of the key was sent %d times, want 2", n)
	}
	if n := server.count("GET {t}other"); n != 1 {
		t.Errorf("GET of another key was sent %d times, want 1", n)
	}
}

// A write that the server ran can't be taken back: the older command must not be run after it.
func TestWriteThatOvertookEndsTheOlderCommand(t *testing.T) {
	server := startFake(t, bounceOnce(tryAgain, "MSET"))
	p := startProxy(t, clusterModel, evenly(clusterModel, server.addr()), holding(never))
	c := p.dial(t)
	c.send("MSET {t}a 1 {t}b 2\r\nSET {t}b 3\r\nGET {t}b\r\n")
	c.wantReply("-TRYAGAIN slot 15891: the command was not run in time, and a later one of this connection on its key was\r\n")
	c.wantReply("+OK\r\n")
	c.wantReply(bulkReply("3"))
	if n := server.count("MSET {t}a 1 {t}b 2"); n != 1 {
		t.Errorf("MSET was sent %d times, want 1", n)
	}
}

// What is behind a bounced command may bounce too; then all of it goes on in order.
func TestBouncedPipelineStaysInOrder(t *testing.T) {
	server := startFake(t, bounceOnce(loading, "SET k 1", "SET k 2", "GET k"))
	p := startProxy(t, clusterModel, evenly(clusterModel, server.addr()), holding(never))
	c := p.dial(t)
	c.send("SET k 1\r\nSET k 2\r\nGET k\r\nSET k 3\r\nGET k\r\n")
	// SET k 3 was run while the three before it were not: the writes before it have to end, the reads come after it.
	c.wantPrefix("-TRYAGAIN ")
	c.wantPrefix("-TRYAGAIN ")
	c.wantPrefix("-TRYAGAIN ")
	c.wantReply("+OK\r\n")
	c.wantReply(bulkReply("3"))

	again := startFake(t, bounceOnce(loading, "SET k 1", "SET k 2", "GET k"))
	p = startProxy(t, clusterModel, evenly(clusterModel, again.addr()), holding(never))
	c = p.dial(t)
	c.send("SET k 1\r\nSET k 2\r\nGET k\r\n")
	c.wantReply("+OK\r\n")
	c.wantReply("+OK\r\n")
	c.wantReply(bulkReply("2"))
}

// A retry waits for what was sent behind it on its slot.
func TestRetryWaitsForWhatIsBehindIt(t *testing.T) {
	answer := make(chan struct{})
	run := bounceOnce(tryAgain, "MSET")
	server := startFake(t, func(c *scriptedConn, args []string) {
		if args[0] == "GET" {
			c.wait(answer)
		}
		run(c, args)
	})
	p := startProxy(t, clusterModel, evenly(clusterModel, server.addr()), holding(never), faultOptions(nil))
	c := p.dial(t)
	c.send("MSET {t}a 1 {t}b 2\r\nGET {t}a\r\n")
	p.awaitHeld(t, 1)
	time.AfterFunc(20*time.Millisecond, func() { close(answer) }) // Time for a retry that does not wait to show itself.
	c.wantReply("+OK\r\n")
	c.wantReply(bulkReply("1"))
	seen := server.seen()
	if len(seen) != 4 || seen[2].args[0] != "MSET" || seen[3].args[0] != "GET" {
		t.Errorf("requests in order: %v", seen)
	}
}

// A split command has overtaken an older one on any of its keys, not only on the first of a part.
func TestSplitCommandOvertakes(t *testing.T) {
	keys := keysApart(codisModel, 2)
	x, y := keys[0], keys[1]
	server := startFake(t, bounceOnce(loading, "SET "+y+" 1"))
	p := startProxy(t, codisModel, evenly(codisModel, server.addr()), holding(never))
	c := p.dial(t)
	c.send(fmt.Sprintf("SET %s 1\r\nMSET %s 2 %s 2\r\nGET %s\r\n", y, x, y, y))
	c.wantReply(overtaken(codisModel, y))
	c.wantReply("+OK\r\n")
	c.wantReply(bulkReply("2"))
}

// A part of a split command waits for what was sent behind it on any of its slots.
func TestSplitCommandWaitsForWhatIsBehindIt(t *testing.T) {
	keys := keysApart(codisModel, 2)
	x, y := keys[0], keys[1]
	answer := make(chan struct{})
	run := bounceOnce(loading, "MSET")
	server := startFake(t, func(c *scriptedConn, args []string) {
		if args[0] == "SET" {
			c.wait(answer)
		}
		run(c, args)
	})
	p := startProxy(t, codisModel, evenly(codisModel, server.addr()), holding(never), faultOptions(nil))
	c := p.dial(t)
	c.send(fmt.Sprintf("MSET %s 1 %s 1\r\nSET %s 2\r\n", x, y, y))
	server.await(t, 1, fmt.Sprintf("SET %s 2", y))
	p.awaitHeld(t, 1)
	p.hurry(t)
	close(answer)
	c.wantReply(overtaken(codisModel, x))
	c.wantReply("+OK\r\n")
	c.want(bulkReply("2"), "GET", y)
}

// A write that may have run counts as one that has: the older command must not be run after it.
func TestWriteWithUnknownOutcomeOvertakes(t *testing.T) {
	t.Parallel()
	f := func(model router.Model, older, key, younger, failure string, hang bool) {
		t.Helper()
		run := bounceOnce(loading, older)
		held := make(chan struct{})
		server := startFake(t, func(c *scriptedConn, args []string) {
			if strings.EqualFold(strings.Join(args, " "), younger) {
				c.wait(held)
				if hang {
					c.hang()
				} else {
					c.hangUp()
				}
				return
			}
			run(c, args)
		})
		p := startProxy(t, model, evenly(model, server.addr()), holding(never), faultOptions(nil))
		c := p.dial(t)
		c.send(older + "\r\n" + younger + "\r\n")
		p.awaitHeld(t, 1)
		close(held)
		if hang {
			p.changeBackend(func(o *backend.Options) { o.RequestTimeout = time.Millisecond })
		}
		c.wantReply(overtaken(model, key))
		c.wantPrefix("-ERR outcome unknown: " + failure)
		if seen := server.seen(); len(seen) > 2 {
			t.Errorf("requests %v, want each once", seen)
		}
	}
	keys := keysApart(codisModel, 2)
	x, y := keys[0], keys[1]
	f(clusterModel, "MSET {t}a 1 {t}b 2", "{t}", "INCR {t}a", "connection to backend ", false)
	f(codisModel, "SET "+y+" 1", y, fmt.Sprintf("MSET %s 2 %s 2", x, y), "connection to backend ", false)
	f(clusterModel, "MSET {t}a 1 {t}b 2", "{t}", "INCR {t}a", "backend ", true)
	f(codisModel, "SET "+y+" 1", y, fmt.Sprintf("MSET %s 2 %s 2", x, y), "backend ", true)
}

// A command that waits for what is behind it has an end too.
func TestAwaitingCommandEndsAtMaxWait(t *testing.T) {
	start := func(wait time.Duration) (p *testProxy, c *testClient, answer chan struct{}) {
		answer = make(chan struct{})
		run := bounceOnce(tryAgain, "MSET")
		server := startFake(t, func(c *scriptedConn, args []string) {
			if args[0] == "GET" {
				c.wait(answer)
			}
			run(c, args)
		})
		p = startProxy(t, clusterModel, evenly(clusterModel, server.addr()), holding(wait),
			faultOptions(func(o *backend.Options) { o.RequestTimeout = 2 * replyWait }))
		c = p.dial(t)
		c.send("MSET {t}a 1 {t}b 2\r\nGET {t}a\r\n")
		return p, c, answer
	}
	ends := func(c *testClient, answer chan struct{}) {
		t.Helper()
		c.wantPrefix("-TRYAGAIN slot 15891 is not served: ")
		close(answer)
		c.wantReply(bulkReply(""))
	}
	_, c, answer := start(100 * time.Millisecond)
	ends(c, answer)

	p, c, answer := start(2 * replyWait)
	p.awaitHeld(t, 1)
	settings := *p.pool.Settings()
	settings.Hold.MaxWait = 0
	p.pool.SetSettings(settings)
	ends(c, answer)
}

// A read that was being retried itself runs again behind the command that it has overtaken.
func TestRetriedReadThatOvertook(t *testing.T) {
	bounce, moved := make(chan struct{}), make(chan struct{})
	bounced := false
	target := startFake(t, func(c *scriptedConn, args []string) {
		switch {
		case args[0] == "SET" && !bounced:
			bounced = true
			c.wait(bounce)
			c.reply("-" + loading + "\r\n")
		case args[0] == "MGET":
			c.reply("*2\r\n$1\r\n1\r\n$-1\r\n")
		default:
			echoValue(c, args)
		}
	})
	source := startFake(t, func(c *scriptedConn, args []string) {
		switch args[0] {
		case "SLOTSMGRT-EXEC-WRAPPER":
			c.reply("*2\r\n:0\r\n-ERR the specified key doesn't exist\r\n")
		case "SLOTSMGRTTAGONE":
			c.wait(moved)
			c.reply(":1\r\n")
		default:
			c.reply("+OK\r\n")
		}
	})
	p := startMove(t, "{t}", source, target)
	c := p.dial(t)
	c.want(bulkReply("{t}A"), "GET", "{t}A") // It has arrived, {t}B has not.
	c.send("SET {t}A 1\r\nMGET {t}A {t}B\r\n")
	target.await(t, 1, "SET {t}A 1")
	testbed.Eventually(t, func() error {
		for _, r := range source.seen() {
			if r.args[0] == "SLOTSMGRTTAGONE" {
				return nil
			}
		}
		return fmt.Errorf("no SLOTSMGRTTAGONE: %v", source.seen())
	}, replyWait)
	close(bounce)
	p.awaitHeld(t, 1)
	close(moved)
	c.wantReply("+OK\r\n")
	c.wantReply("*2\r\n$1\r\n1\r\n$-1\r\n")
	if n := target.count("MGET {t}A {t}B"); n != 2 {
		t.Errorf("MGET was sent %d times, want 2", n)
	}
}

// A client whose connection breaks while the answer of an overtaken command is written ends, and nobody else.
func TestClientGoesAwayWhileItIsToldThatItWasOvertaken(t *testing.T) {
	keys := keysApart(codisModel, 2)
	x, y := keys[0], keys[1]
	clientGoesAway(t, clusterModel, "MSET {t}a 1 {t}b 2", "SET {t}a 2")
	clientGoesAway(t, codisModel, "SET "+y+" 1", fmt.Sprintf("MSET %s 2 %s 2", x, y))
}

func clientGoesAway(t *testing.T, model router.Model, older, younger string) {
	t.Helper()
	arrived, answer, written := make(chan struct{}), make(chan struct{}), make(chan struct{})
	run := bounceOnce(loading, older)
	server := startFake(t, func(c *scriptedConn, args []string) {
		switch {
		case args[0] == "GET":
			c.reply(bulkReply(strings.Repeat("x", 60000))) // Enough to be written at once.
			if args[1] == "last" {
				close(written)
			}
		case strings.EqualFold(strings.Join(args, " "), younger):
			close(arrived)
			c.wait(answer)
			c.reply("+OK\r\n")
		default:
			run(c, args)
		}
	})
	p := startProxy(t, model, evenly(model, server.addr()), holding(never), faultOptions(nil))
	c := p.dial(t)
	c.send(strings.Join([]string{older, "GET first", younger, "GET last", ""}, "\r\n"))
	p.awaitHeld(t, 1)
	<-arrived
	stopped, resume := make(chan struct{}), make(chan struct{})
	goOn := sync.OnceFunc(func() { close(resume) })
	defer goOn()
	var work sync.WaitGroup
	work.Go(func() { p.onEachLoop(p.ctx, func(*loop) { close(stopped); <-resume }) })
	<-stopped
	close(answer)
	<-written // The answers come first for the loop, then the end of the client.
	_ = c.Conn.(*net.TCPConn).SetLinger(0)
	_ = c.Close()
	goOn()
	work.Wait()
	testbed.Eventually(t, func() error {
		if n := p.Stats().ClientsClosed; n != 1 {
			return fmt.Errorf("%d clients have gone, want 1", n)
		}
		return nil
	}, replyWait)
	if n := p.Stats().Panics; n != 0 {
		t.Errorf("%d panics", n)
	}
}
