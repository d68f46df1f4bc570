package proxy

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"

	"sluice/internal/testbed"
	"sluice/proxy/acl"
	"sluice/proxy/command"
	"sluice/proxy/resp"
)

// A message on a shard channel goes to where its subscribers are, also out of a transaction, whose keys have to be there too.
func TestTransactionPublishesOnShardChannels(t *testing.T) {
	onEachTopology(t, func(t *testing.T, top *topology) {
		channels := top.keysOnEveryNode("shard", 1)
		s, c := top.subscriber(t, 3), top.dial(t)
		for _, channel := range channels {
			s.to("SSUBSCRIBE", channel)
			c.want("+OK\r\n", "MULTI")
			c.want("+QUEUED\r\n", "SPUBLISH", channel, "m")
			c.want("*1\r\n:1\r\n", "EXEC")
			s.wantReply(s.push("smessage", channel, "m"))
		}
		c.want("+OK\r\n", "MULTI")
		c.want("+QUEUED\r\n", "SPUBLISH", channels[0], "m")
		c.want("-"+errCrossSlot+"\r\n", "SET", channels[1], "v")
		c.want("-"+errExecAborted+"\r\n", "EXEC")
	})
}

// What a monitor is shown does not land in the middle of a long reply of its own: that of a transaction comes in parts.
func TestMonitorIsShownNothingInsideAReply(t *testing.T) {
	begun, goOn := make(chan struct{}), make(chan struct{})
	half := strings.Repeat("x", streamFrom)
	f := startFake(t, func(c *scriptedConn, args []string) {
		switch args[0] {
		case "MULTI", "DISCARD":
			c.reply("+OK\r\n")
		case "ECHO":
			c.reply("+QUEUED\r\n")
		case "EXEC":
			c.reply("*2\r\n" + bulkReply(half))
			close(begun)
			c.wait(goOn)
			c.reply(bulkReply("end"))
		default:
			c.reply("$-1\r\n")
		}
	})
	p := startProxy(t, codisModel, evenly(codisModel, f.addr()))
	m, c := p.dial(t), p.dial(t)
	m.want("+OK\r\n", "MONITOR")
	m.request("MULTI")
	m.request("ECHO", "a")
	m.request("EXEC")
	<-begun
	shown := m.reply() + m.reply() + m.reply() + m.reply() + m.reply()
	if !strings.HasSuffix(shown, " \"EXEC\"\r\n") {
		t.Fatalf("%q", shown)
	}
	got, want := make([]byte, streamFrom), "*2\r\n"+bulkReply(half)+bulkReply("end")
	if _, err := io.ReadFull(m.r, got); err != nil {
		t.Fatal(err)
	}
	c.want("+PONG\r\n", "PING")
	c.want(bulkReply("last"), "ECHO", "last") // The line of the PING has been looked at by now.
	close(goOn)
	rest := make([]byte, len(want)-len(got))
	if _, err := io.ReadFull(m.r, rest); err != nil {
		t.Fatal(err)
	}
	if got = append(got, rest...); string(got) != want {
		t.Errorf("the reply ends with %q", rest)
	}
	for _, line := range []string{`0 "PING"`, `0 "ECHO" "last"`} {
		if got := shownLine(t, m); got != line {
			t.Errorf("%q, want %q", got, line)
		}
	}
}

// CLIENT UNBLOCK reaches the clients of its own pool only.
func TestClientUnblockStaysInItsPool(t *testing.T) {
	s := testbed.Redis(t)
	p := startProxyTo(t, s)
	other := newPool(p.Server, PoolConfig{ // It has no topology, and needs none.
		Name: "other", Model: testModel, Family: p.pool.Family, Listen: []Listen{{Network: "tcp", Address: "127.0.0.1:0"}}, PoolSettings: *p.pool.Settings(),
	})
	if err := p.listen(other, other.listen[0]); err != nil {
		t.Fatal(err)
	}
	blocked, stranger, mine := p.dial(t), dial(t, "tcp", other.Addrs()[0].String()), p.dial(t)
	id := idOf(blocked)
	blocked.request("BLPOP", "l", "0")
	p.awaitBlocked(t, s, 1)
	stranger.want(":0\r\n", "CLIENT", "UNBLOCK", id)
	mine.want(":1\r\n", "CLIENT", "UNBLOCK", id)
	blocked.wantReply("*-1\r\n")
}

// A SUBSCRIBE that waits for a server is answered when its client has to go: a request without an answer would keep it for
// ever, and a shutdown until its time is over.
func TestSubscribingClientsCanBeClosed(t *testing.T) {
	asked := make(chan struct{}, 10)
	f := startFake(t, func(c *scriptedConn, args []string) {
		if args[0] == "subscribe" {
			asked <- struct{}{}
			c.hang()
		}
	})
	p := startProxy(t, codisModel, evenly(codisModel, f.addr()), faultOptions(nil), holding(never), limited(func(l *Limits) { l.MaxUnparsed = 100 }))
	refused := "-" + errNotSubscribed + "\r\n"
	c, d := p.dial(t), p.dial(t)
	c.request("SUBSCRIBE", "a")
	<-asked
	c.request("PING", strings.Repeat("x", 100))
	c.wantReply(refused)
	c.wantReply("-ERR Protocol error: more than 100 bytes are waiting to be processed\r\n")
	c.wantClosed()
	d.request("SUBSCRIBE", "b")
	testbed.Eventually(t, func() error {
		if n := p.Stats().InFlight; n != 1 {
			return fmt.Errorf("%d requests are in flight", n)
		}
		return nil
	}, replyWait)
	if left := p.Shutdown(context.Background()); left != 0 {
		t.Errorf("%d requests were cut off", left)
	}
	d.wantReply(refused)
	d.wantClosed()
}

// INFO commandstats counts each request once, whatever becomes of it: those that wait for the ones in front of them, too.
func TestEveryRequestIsCountedOnce(t *testing.T) {
	top := codisTopology(t, func(cfg *Config, _ *PoolConfig) { cfg.Loops = 2 })
	c := top.dial(t)
	script := statements(t, `SET k v; CONFIG GET x; HELLO 2; SET k v; SELECT 1; GET k; SELECT 0; SET k v; CLIENT KILL ID 999; MGET a b c d e; DBSIZE; SET k v; WATCH k; MULTI; GET k; EXEC
		SET k v; BLPOP l 0.01; XREAD BLOCK 1 STREAMS s 0; XREAD STREAMS s 0; WAIT 0 1; SUBSCRIBE ch; UNSUBSCRIBE ch; PUBLISH ch m; SET k v; PUBSUB NUMPAT; SET k v; RESET; PUBLISH ch m; SCAN 0
		UNWATCH; MULTI; DISCARD; SET k v; CLIENT UNBLOCK 999; CLIENT LIST; ROLE; SET k v; INFO server`)
	want := make(map[string]uint64)
	var requests []byte
	for _, s := range script {
		var args [][]byte
		for _, arg := range s.args {
			args = append(args, []byte(arg))
		}
		want[command.Resolve(args).Name]++
		requests = resp.AppendCommand(requests, s.args...)
	}
	want["get"]-- // That inside the transaction is not a request of its own to Sluice.
	c.send(string(requests))
	for range script {
		c.reply()
	}
	for id := range command.Count {
		cmd := command.At(id)
		if got := top.Stats().Commands[id].Calls; got != want[cmd.Name] {
			t.Errorf("%s was counted %d times, want %d", cmd.Name, got, want[cmd.Name])
		}
	}
}

// The slow log has commands over all nodes with their words, transactions, WATCH and PUBLISH with the time at their server.
func TestSlowlogHasEveryKindOfRequest(t *testing.T) {
	top := codisTopology(t, logEverything)
	s, c := top.subscriber(t, 3), top.dial(t)
	s.to("SUBSCRIBE", "ch")
	f := func(script string, want ...string) {
		t.Helper()
		var words []string
		for _, s := range statements(t, script) {
			c.do(s.args...)
		}
		r := top.Slowlog(1)[0]
		if words = r.Args; strings.Join(words, " ") != strings.Join(want, " ") || r.Node == "" || r.Backend <= 0 || r.Backend > r.Total {
			t.Errorf("%s: %q, at %q for %v of %v", script, words, r.Node, r.Backend, r.Total)
		}
	}
	f("KEYS x*", "KEYS", "x*")
	f("SCAN 0 COUNT 5", "SCAN", "0", "COUNT", "5")
	f("PUBLISH ch m", "PUBLISH", "ch", "m")
	f("WATCH k", "WATCH", "k")
	f("MULTI; SET k v; GET k; EXEC", "MULTI", "SET", "k", "v", "GET", "k", "EXEC")
	f("XREAD STREAMS s 0", "XREAD", "STREAMS", "s", "0")
	f("BLPOP l 0.01; GET k; XREAD BLOCK 1 STREAMS s 0; BLPOP l 0.01", "GET", "k")
	many := strings.Repeat("SET k v;", 20)
	f("MULTI; "+many+" EXEC", append(strings.Fields("MULTI"+strings.Repeat(" SET k v", 10)), "... (a transaction of 20 commands)")...)
}

// INFO tells what is subscribed to in the pool.
func TestInfoCountsSubscriptions(t *testing.T) {
	top := codisTopology(t, func(cfg *Config, _ *PoolConfig) { cfg.Loops = 2 })
	s, u, c := top.subscriber(t, 2), top.subscriber(t, 3), top.dial(t)
	s.to("SUBSCRIBE", "a", "b")
	u.to("SUBSCRIBE", "b", "c")
	u.to("PSUBSCRIBE", "p*", "q*")
	s.to("SSUBSCRIBE", "s")
	stats := infoSectionsOf(t, c.do("INFO", "stats"))["Stats"]
	if stats["pubsub_channels"] != "3" || stats["pubsub_patterns"] != "2" || stats["pubsubshard_channels"] != "1" {
		t.Errorf("%v", stats)
	}
}

// CLIENT REPLY silences neither messages nor what (UN)SUBSCRIBE acknowledges, but their errors; and RESET ends OFF, not SKIP.
func TestClientReplyLeavesPushes(t *testing.T) {
	direct := testbed.Redis(t)
	top := codisTopology(t)
	for _, script := range []string{
		"CLIENT REPLY OFF; SUBSCRIBE a; PING; UNSUBSCRIBE a; UNSUBSCRIBE; QUIT",
		"CLIENT REPLY OFF; SUBSCRIBE a; SUBSCRIBE a b; PSUBSCRIBE x; GET k; PING; RESET; PING; QUIT",
		"CLIENT REPLY SKIP; SUBSCRIBE a; PING; QUIT", "CLIENT REPLY SKIP; SUBSCRIBE; PING; QUIT",
		"CLIENT REPLY SKIP; PUNSUBSCRIBE a; PING; QUIT", "CLIENT REPLY SKIP; RESET; PING; QUIT",
	} {
		script = strings.Replace(script, "QUIT", "RESET; QUIT", 1)
		if got, want := everything(t, top.addr, script), everything(t, direct.Addr(), script); got != want {
			t.Errorf("%s\n got %q\nwant %q", script, got, want)
		}
	}
}

// A refused EXEC is the end of its transaction and of what is watched, in the words of Redis.
func TestRefusedExecAborts(t *testing.T) {
	direct := testbed.Redis(t)
	direct.Do("ACL", "SETUSER", "other", "on", ">p", "+@all", "~*", "&*")
	direct.Do("ACL", "SETUSER", "default", "-exec")
	top := codisTopology(t, func(_ *Config, pool *PoolConfig) {
		pool.Users = []User{
			{Name: "default", Passwords: passwords("p"), Rights: rights(t, acl.Spec{Commands: []string{"+@all", "-exec"}})},
			{Name: "other", Passwords: passwords("p")},
		}
	})
	list := statements(t, `AUTH default p; EXEC; MULTI; EXEC; EXEC x; EXEC; AUTH other p; EXEC x; MULTI; EXEC x; EXEC
		WATCH k; EXEC x; SET k v; MULTI; GET k; EXEC; SUBSCRIBE a; EXEC; UNSUBSCRIBE; EXEC`)
	got, want := talk(t, top.addr, list), talk(t, direct.Addr(), list)
	for i := range list {
		if got[i] != want[i] {
			t.Errorf("%q: %q, want %q", list[i].args, got[i], want[i])
		}
	}
	top.dial(t).want("-EXECABORT Transaction discarded because of: NOAUTH Authentication required.\r\n", "EXEC")
}

// Who must not hear a channel any more is not subscribed to it by a SUBSCRIBE that was waiting when that was said.
func TestRightsAreTakenFromWaitingSubscribers(t *testing.T) {
	asked := make(chan struct{}, 10)
	f := startFake(t, func(c *scriptedConn, args []string) {
		if args[0] == "subscribe" {
			asked <- struct{}{}
			c.hang()
		}
	})
	p := startProxy(t, codisModel, evenly(codisModel, f.addr()), faultOptions(nil), holding(never), withBob(t))
	c := p.dial(t)
	c.want("+OK\r\n", "AUTH", "bob", "b")
	c.request("SUBSCRIBE", "news.1")
	<-asked
	s := *p.pool.Settings()
	s.Users = []User{{Name: "bob", Passwords: passwords("b"), Rights: rights(t, acl.Spec{Channels: []string{"other"}})}}
	p.pool.SetSettings(s)
	c.wantClosed()
}

// CLIENT LIST says who is blocked; RESET makes nobody another program.
func TestClientListAfterBlockAndReset(t *testing.T) {
	s := testbed.Redis(t)
	p := startProxyTo(t, s)
	b, w, c := p.dial(t), p.dial(t), p.dial(t)
	b.request("BLPOP", "l", "0")
	w.request("WAIT", "1", "0")
	p.awaitBlocked(t, s, 2)
	testbed.Eventually(t, func() error {
		for _, l := range clientLines(t, c.do("CLIENT", "LIST")) {
			if (l["flags"] == "b") != (l["cmd"] == "blpop" || l["cmd"] == "wait") {
				return fmt.Errorf("%v", l)
			}
		}
		return nil
	}, replyWait)
	c.want("+OK\r\n", "CLIENT", "SETINFO", "lib-name", "mylib")
	c.want("+OK\r\n", "CLIENT", "SETNAME", "me")
	c.want("+RESET\r\n", "RESET")
	if l := clientLines(t, c.do("CLIENT", "INFO"))[0]; l["lib-name"] != "mylib" || l["name"] != "" {
		t.Errorf("%v", l)
	}
}
