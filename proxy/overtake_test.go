package proxy

import (
	"strings"
	"testing"
	"time"
)

// bounceOnce answers the first request that starts with one of the prefixes with an error, and everything else as
// a tiny server would: SET and GET of one value per key.
func bounceOnce(line string, prefixes ...string) script {
	values := make(map[string]string) // Only one connection uses a fake at a time in these tests.
	bounced := make(map[string]bool)
	return func(c *scriptedConn, args []string) {
		request := strings.Join(args, " ")
		for _, prefix := range prefixes {
			if strings.HasPrefix(request, prefix) && !bounced[prefix] {
				bounced[prefix] = true
				c.reply("-" + line + "\r\n")
				return
			}
		}
		switch args[0] {
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

const tryAgain = "TRYAGAIN Multiple keys request during rehashing of slot"

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
	server := startFake(t, bounceOnce("LOADING Redis is loading the dataset in memory", "SET k 1", "SET k 2", "GET k"))
	p := startProxy(t, clusterModel, evenly(clusterModel, server.addr()), holding(never))
	c := p.dial(t)
	c.send("SET k 1\r\nSET k 2\r\nGET k\r\nSET k 3\r\nGET k\r\n")
	// SET k 3 was run while the three before it were not: the writes before it have to end, the reads come after it.
	c.wantPrefix("-TRYAGAIN ")
	c.wantPrefix("-TRYAGAIN ")
	c.wantPrefix("-TRYAGAIN ")
	c.wantReply("+OK\r\n")
	c.wantReply(bulkReply("3"))

	again := startFake(t, bounceOnce("LOADING Redis is loading the dataset in memory", "SET k 1", "SET k 2", "GET k"))
	p = startProxy(t, clusterModel, evenly(clusterModel, again.addr()), holding(never))
	c = p.dial(t)
	c.send("SET k 1\r\nSET k 2\r\nGET k\r\n")
	c.wantReply("+OK\r\n")
	c.wantReply("+OK\r\n")
	c.wantReply(bulkReply("2"))
}

// A detour waits for what was sent behind it on its slot.
func TestDetourWaitsForWhatIsBehindIt(t *testing.T) {
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
	time.AfterFunc(20*time.Millisecond, func() { close(answer) }) // Time for a detour that does not wait to show itself.
	c.wantReply("+OK\r\n")
	c.wantReply(bulkReply("1"))
	seen := server.seen()
	if len(seen) != 4 || seen[2].args[0] != "MSET" || seen[3].args[0] != "GET" {
		t.Errorf("requests in order: %v", seen)
	}
}
