package proxy

import (
	"testing"

	"sluice/backend"
	"sluice/internal/testbed"
)

// WAIT answers for what the client has written, over connections of others: real replicas say how many have it.
func TestWaitCountsTheReplicasThatHaveIt(t *testing.T) {
	t.Parallel()
	a, b := testbed.Redis(t), testbed.Redis(t)
	_, relay := testbed.ReplicaThrough(t, a)
	testbed.Replica(t, b)
	p := startProxy(t, testModel, evenly(testModel, a.Addr(), b.Addr()), faultOptions(nil))
	ka, kb := p.keysAt(t, a.Addr(), 1)[0], p.keysAt(t, b.Addr(), 1)[0]
	c := p.dial(t)
	c.request("SET", ka, "1")
	c.request("SET", kb, "1")
	c.request("WAIT", "1", "0")
	c.request("GET", ka)
	for _, want := range []string{"+OK\r\n", "+OK\r\n", ":1\r\n", bulkReply("1")} {
		c.wantReply(want)
	}
	// One replica does not get what was written: the least counts.
	relay.Stall()
	c.want("+OK\r\n", "SET", ka, "2")
	c.want("+OK\r\n", "SET", kb, "2")
	c.want(":0\r\n", "WAIT", "1", "50")
	c.want(":0\r\n", "WAIT", "0", "0")
	c.request("WAIT", "1", "0")
	c.request("GET", ka)
	p.awaitBlocked(t, a, 1)
	relay.Resume()
	c.wantReply(":1\r\n")
	c.wantReply(bulkReply("2"))
	p.wantNothingBound(t)
	if all, _ := p.boundConns(); all != 2 {
		t.Errorf("%d dedicated connections, want one for each server", all)
	}
}

// One server that can't be asked is enough for no answer.
func TestWaitLosesAServer(t *testing.T) {
	a, b := testbed.Redis(t), testbed.Redis(t)
	p := startProxy(t, testModel, evenly(testModel, a.Addr(), b.Addr()), faultOptions(nil))
	c := p.dial(t)
	c.want("+OK\r\n", "SET", p.keysAt(t, a.Addr(), 1)[0], "1")
	c.want("+OK\r\n", "SET", p.keysAt(t, b.Addr(), 1)[0], "1")
	c.request("WAIT", "1", "0")
	c.request("PING")
	p.awaitBlocked(t, a, 1)
	p.awaitBlocked(t, b, 1)
	if err := b.Kill(); err != nil {
		t.Fatal(err)
	}
	a.Do("CLIENT", "KILL", "TYPE", "normal")
	c.wantPrefix("-ERR connection to backend ")
	c.wantReply("+PONG\r\n")
	p.wantNothingBound(t)
	p.wantPanics(t, 0)
}

// A server that does not answer in the client's time and the request timeout on top of that is given up.
func TestWaitTimesOut(t *testing.T) {
	server := testbed.Redis(t)
	p := startProxy(t, testModel, evenly(testModel, server.Addr()), faultOptions(nil))
	c := p.dial(t)
	c.want("+OK\r\n", "SET", "k", "v")
	c.want(":0\r\n", "WAIT", "0", "0")
	stopServer(t, server)
	c.request("WAIT", "1", "100")
	testbed.Eventually(t, func() error {
		p.onEachLoop(t.Context(), func(l *loop) { // Once it is sent.
			if len(l.waits) > 0 {
				l.now += int64(2 * never)
				l.tick()
			}
		})
		_, free := p.boundConns()
		if all, _ := p.boundConns(); all != free {
			return backend.ErrClosed
		}
		return nil
	}, replyWait)
	c.wantPrefix("-ERR connection to backend " + server.Addr() + " was lost: ")
	contServer(t, server)
	c.want(":0\r\n", "WAIT", "0", "0")
}

// WAITAOF answers two numbers, of each the least of all servers counts; they may come in pieces.
func TestWaitAOF(t *testing.T) {
	answer := func(line string) answerFunc {
		return func(c *scriptedConn, args []string) {
			if args[0] == "WAITAOF" {
				c.reply(line)
				return
			}
			c.reply("+OK\r\n")
		}
	}
	a, b := startFake(t, answer("*2\r\n:1\r\n:3\r\n")), startFake(t, answer("*2\r\n:0\r\n:5\r\n"))
	p := startProxy(t, testModel, evenly(testModel, a.addr(), b.addr()), faultOptions(nil))
	p.dial(t).want("*2\r\n:0\r\n:3\r\n", "WAITAOF", "0", "0", "0")

	silent := startFake(t, func(c *scriptedConn, args []string) {
		if args[0] == "WAITAOF" {
			c.hang()
			return
		}
		c.reply("+OK\r\n")
	})
	p = startProxy(t, testModel, evenly(testModel, silent.addr()), faultOptions(nil))
	c := p.dial(t)
	c.request("WAITAOF", "0", "0", "0")
	silent.await(t, 1, "WAITAOF 0 0 0")
	p.onEachLoop(t.Context(), func(l *loop) {
		for w := range l.waits {
			conn := w.conns[0]
			w.Reply(0, backend.Reply{Conn: conn, Data: []byte("*2\r\n"), First: true})
			w.Reply(0, backend.Reply{Conn: conn, Data: []byte(":1\r\n:2\r\n"), Last: true})
		}
	})
	c.wantReply("*2\r\n:1\r\n:2\r\n")
}
