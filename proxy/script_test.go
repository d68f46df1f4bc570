package proxy

import (
	"fmt"
	"strings"
	"testing"

	"sluice/internal/testbed"
	"sluice/proxy/hold"
	"sluice/proxy/resp"
	"sluice/proxy/script"
	"sluice/router"
)

const noScriptLine = "-NOSCRIPT No matching script. Please use EVAL.\r\n"

// A script without keys runs on the same node always, by its body and by its SHA-1.
func TestScriptWithoutKeysHasItsNode(t *testing.T) {
	t.Parallel()
	onEachTopology(t, func(t *testing.T, top *topology) {
		resetStats(t, top.nodes)
		c := top.dial(t)
		nodes := 0
		for i := range 20 {
			body := fmt.Sprint("return ", i)
			id := script.IDOf([]byte(body))
			for range 3 {
				c.want(fmt.Sprintf(":%d\r\n", i), "EVAL", body, "0")
				c.want(fmt.Sprintf(":%d\r\n", i), "EVALSHA", string(id[:]), "0")
				c.want(fmt.Sprintf(":%d\r\n", i), "EVALSHA", strings.ToUpper(string(id[:])), "0")
			}
			has := 0
			for _, n := range top.nodes {
				has += n.Do("SCRIPT", "EXISTS", string(id[:])).Array()[0].Integer()
			}
			if has != 1 {
				t.Errorf("%q is on %d nodes", body, has)
			}
		}
		for _, n := range top.nodes {
			if strings.Contains(n.Do("INFO", "commandstats").String(), "cmdstat_eval:") {
				nodes++
			}
		}
		if nodes != len(top.nodes) {
			t.Errorf("scripts ran on %d of %d nodes", nodes, len(top.nodes))
		}
	})
}

// A server that has lost its scripts gets those that are asked for, and the client does not notice.
func TestScriptIsLoadedWhereItIsMissing(t *testing.T) {
	onEachTopology(t, func(t *testing.T, top *topology) {
		keys := top.keysOnEveryNode("k", 3)
		c := top.dial(t)
		body := "return redis.call('INCR', KEYS[1])"
		id := script.IDOf([]byte(body))
		sha := string(id[:])
		c.want(noScriptLine, "EVALSHA", sha, "1", keys[0]) // Nobody knows it yet.
		c.want(":1\r\n", "EVAL", body, "1", keys[0])
		for i, key := range keys {
			c.want(fmt.Sprintf(":%d\r\n", 1+1/(i+1)), "EVALSHA", sha, "1", key)
		}
		c.want("+OK\r\n", "FLUSHALL")

		// A whole pipeline meets servers without it, and keeps its order.
		for _, n := range top.nodes {
			n.Do("SCRIPT", "FLUSH")
		}
		var requests []byte
		const rounds = 20
		for range rounds {
			for _, key := range keys {
				requests = resp.AppendCommand(requests, "EVALSHA", sha, "1", key)
			}
		}
		replies := c.pipeline(string(requests), rounds*len(keys))
		for i := range replies {
			if want := fmt.Sprintf(":%d\r\n", 1+i/len(keys)); replies[i] != want {
				t.Fatalf("reply %d: %q, want %q", i, replies[i], want)
			}
		}

		c.want("+OK\r\n", "SCRIPT", "FLUSH")
		c.want(noScriptLine, "EVALSHA", sha, "1", keys[0]) // Flushed is flushed.
		c.want(bulkReply(sha), "SCRIPT", "LOAD", body)
		for _, n := range top.nodes {
			n.Do("SCRIPT", "FLUSH")
		}
		c.want(fmt.Sprintf(":%d\r\n", rounds+1), "EVALSHA", strings.ToUpper(sha), "1", keys[0])
	})
}

func TestScriptSurvivesTheRestartOfItsServer(t *testing.T) {
	server := testbed.Redis(t)
	p := startProxyTo(t, server, holding(never))
	c := p.dial(t)
	sha := c.do("SCRIPT", "LOAD", "return redis.call('INCR', KEYS[1])")[5:45]
	c.want(":1\r\n", "EVALSHA", sha, "1", "k")
	if err := server.Restart(); err != nil {
		t.Fatal(err)
	}
	c.want(":1\r\n", "EVALSHA", sha, "1", "k")
	c.want(":2\r\n", "EVALSHA", sha, "1", "k")
}

// A command behind EVALSHA in a pipeline has run before anybody knew that the script is missing. The script must
// not run behind it then, and the client gets what the server has said.
func TestScriptIsNotLoadedBehindALaterWrite(t *testing.T) {
	onEachTopology(t, func(t *testing.T, top *topology) {
		key := top.keysOnEveryNode("k", 1)[0]
		c := top.dial(t)
		sha := c.do("SCRIPT", "LOAD", "return redis.call('APPEND', KEYS[1], 's')")[5:45]
		top.owner(key).Do("SCRIPT", "FLUSH")
		requests := resp.AppendCommand(nil, "EVALSHA", sha, "1", key)
		requests = resp.AppendCommand(requests, "APPEND", key, "w")
		requests = resp.AppendCommand(requests, "GET", key)
		if got := strings.Join(c.pipeline(string(requests), 3), ""); got != noScriptLine+":1\r\n"+bulkReply("w") {
			t.Errorf("replies: %q", got)
		}
		c.want(":2\r\n", "EVALSHA", sha, "1", key)
	})
}

// A script that ends in the words of NOSCRIPT has run, and must not run again.
func TestMadeUpNoScriptDoesNotRunTwice(t *testing.T) {
	onEachTopology(t, func(t *testing.T, top *topology) {
		key := top.keysOnEveryNode("k", 1)[0]
		c := top.dial(t)
		body := "redis.call('INCR', KEYS[1]); return redis.error_reply('NOSCRIPT No matching script. Please use EVAL.')"
		sha := c.do("SCRIPT", "LOAD", body)[5:45]
		c.want(noScriptLine, "EVAL", body, "1", key)
		c.want(noScriptLine, "EVALSHA", sha, "1", key)
		c.want(bulkReply("2"), "GET", key)
		top.owner(key).Do("SCRIPT", "FLUSH")
		c.want(noScriptLine, "EVALSHA", sha, "1", key) // It is loaded, and then runs once.
		c.want(bulkReply("3"), "GET", key)
	})
}

// SCRIPT LOAD stands directly before the EVALSHA, and a second NOSCRIPT is the client's.
func TestReloadIsTriedOnce(t *testing.T) {
	exists := ":0\r\n"
	server := startFake(t, func(c *scriptedConn, args []string) {
		switch {
		case args[0] == "EVALSHA":
			c.reply(noScriptLine)
		case args[0] == "SCRIPT" && args[1] == "EXISTS":
			c.reply("*1\r\n" + exists)
		default:
			c.reply("+OK\r\n")
		}
	})
	p := startProxy(t, codisModel, evenly(codisModel, server.addr()), faultOptions(nil))
	c := p.dial(t)
	id := script.IDOf([]byte("return 1"))
	sha := string(id[:])
	c.want("+OK\r\n", "EVAL", "return 1", "1", "k")
	c.want(noScriptLine, "EVALSHA", sha, "1", "k")
	want := []string{"EVAL return 1 1 k", "EVALSHA " + sha + " 1 k", "SCRIPT EXISTS " + sha, "SCRIPT LOAD return 1", "EVALSHA " + sha + " 1 k"}
	var got []string
	for _, r := range server.seen() {
		got = append(got, r.String())
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the server got %q, want %q", got, want)
	}
	exists = ":1\r\n" // Somebody has loaded it, or it has run.
	c.want(noScriptLine, "EVALSHA", sha, "1", "k")
	if n := server.count("EVALSHA " + sha + " 1 k"); n != 3 {
		t.Errorf("EVALSHA was sent %d times, want 3", n)
	}
}

// Of a crowd that meets a server without the script nobody gets a NOSCRIPT, whenever they come.
func TestCrowdIsHealedByOneReload(t *testing.T) {
	var server *fakeBackend
	id := script.IDOf([]byte("return 7"))
	sha := string(id[:])
	loaded := false
	late := make(chan struct{})
	server = startFake(t, func(c *scriptedConn, args []string) {
		switch {
		case args[0] == "EVALSHA" && !loaded:
			c.reply(noScriptLine)
		case args[0] == "EVALSHA":
			c.reply(":7\r\n")
		case args[1] == "LOAD":
			loaded = true
			c.reply(bulkReply(sha))
		case loaded:
			c.reply("*1\r\n:1\r\n")
		default:
			c.wait(late)
			c.reply("*1\r\n:0\r\n")
		}
	})
	p := startProxy(t, codisModel, evenly(codisModel, server.addr()), faultOptions(nil))
	p.pool.scripts.Add(id, "return 7", true)
	first, second := p.dial(t), p.dial(t)
	for range 3 {
		first.request("EVALSHA", sha, "1", "a")
	}
	server.await(t, 1, "SCRIPT EXISTS "+sha)
	second.request("EVALSHA", sha, "1", "b")
	server.await(t, 1, "EVALSHA "+sha+" 1 b")
	close(late)
	for range 3 {
		first.wantReply(":7\r\n")
	}
	second.wantReply(":7\r\n")
	if n := server.count("SCRIPT EXISTS " + sha); n != 1 {
		t.Errorf("SCRIPT EXISTS was sent %d times, want once", n)
	}
	if n := server.count("SCRIPT LOAD return 7"); n != 1 {
		t.Errorf("SCRIPT LOAD was sent %d times, want once", n)
	}
}

// A script is kept when a server has accepted it, however it came, and not before.
func TestOnlyAcceptedScriptsAreKept(t *testing.T) {
	top := codisTopology(t)
	c := top.dial(t)
	f := func(body string, kept bool, run ...[]string) {
		t.Helper()
		for _, args := range run {
			c.do(args...)
		}
		id := script.IDOf([]byte(body))
		if got := top.pool.scriptBody(id[:]); (got != nil) != kept {
			t.Errorf("%q of %q: kept %v", body, run, got != nil)
		}
	}
	multi := func(args ...string) [][]string { return [][]string{{"MULTI"}, args, {"EXEC"}} }
	f("return 1", true, []string{"EVAL", "return 1", "1", "k"})
	f("return 2", true, []string{"EVAL", "return 2", "0"})
	f("return 3", true, []string{"SCRIPT", "LOAD", "return 3"})
	f("return 4", true, multi("EVAL", "return 4", "1", "k")...)
	f("return redis.error_reply('X')", false, []string{"EVAL", "return redis.error_reply('X')", "1", "k"})
	f("return (", false, []string{"EVAL", "return (", "1", "k"})
	f("return [", false, []string{"SCRIPT", "LOAD", "return ["})
	f("return {", false, multi("EVAL", "return {", "1", "k")...)
}

// A crowd that asks for a long script costs one copy of it.
func TestCrowdSharesALongScript(t *testing.T) {
	s := testbed.Redis(t)
	p := startProxy(t, codisModel, evenly(codisModel, s.Addr()), faultOptions(nil))
	long := "return 7 --" + strings.Repeat("x", script.MaxScript-100)
	id := script.IDOf([]byte(long))
	c := p.dial(t)
	c.want(":7\r\n", "EVAL", long, "1", "k")
	s.Do("SCRIPT", "FLUSH")
	s.Do("CONFIG", "RESETSTAT")
	const n = 500
	for range n {
		c.request("EVALSHA", string(id[:]), "1", "k")
	}
	for range n {
		c.wantReply(":7\r\n")
	}
	stats := s.Do("INFO", "commandstats").String()
	if !strings.Contains(stats, "cmdstat_script|load:calls=1,") {
		t.Errorf("the server has loaded it otherwise than once:\n%s", stats)
	}
}

// In the wrapper of a moving slot's source the script is loaded at the source.
func TestScriptIsLoadedAtTheSourceOfAMove(t *testing.T) {
	loaded := false
	source := startFake(t, func(c *scriptedConn, args []string) {
		switch {
		case args[0] == "SCRIPT" && args[1] == "EXISTS":
			c.reply("*1\r\n:0\r\n")
		case args[0] == "SCRIPT":
			loaded = true
			c.reply("+OK\r\n")
		case loaded:
			c.reply("*2\r\n:2\r\n:7\r\n")
		default:
			c.reply("*2\r\n:2\r\n" + noScriptLine)
		}
	})
	target := startFake(t, echoValue)
	p := startMove(t, "k", source, target)
	c := p.dial(t)
	id := script.IDOf([]byte("return 7"))
	p.pool.scripts.Add(id, "return 7", true)
	c.want(":7\r\n", "EVALSHA", string(id[:]), "1", "k")
	if n := len(target.seen()); n != 0 {
		t.Errorf("the target got %d requests", n)
	}
}

// Inside a transaction it would be too late to load a script, so those that are known go in front of it.
func TestScriptsGoInFrontOfTheirTransaction(t *testing.T) {
	t.Parallel()
	onEachTopology(t, func(t *testing.T, top *topology) {
		key := top.keysOnEveryNode("k", 1)[0]
		c := top.dial(t)
		c.want("+OK\r\n", "SET", key, "0")
		sha := c.do("SCRIPT", "LOAD", "return redis.call('INCR', KEYS[1])")[5:45]
		queued := "return redis.call('GET', KEYS[1])"
		id := script.IDOf([]byte(queued))
		c.want("+OK\r\n", "MULTI")
		c.want("+QUEUED\r\n", "EVAL", queued, "1", key) // This is how it becomes known.
		c.want("*1\r\n"+bulkReply("0"), "EXEC")
		for _, watches := range []bool{false, true} {
			for round := range 2 {
				top.owner(key).Do("SCRIPT", "FLUSH")
				if watches {
					c.want("+OK\r\n", "WATCH", key)
				}
				c.want("+OK\r\n", "MULTI")
				c.want("+QUEUED\r\n", "SET", key, fmt.Sprint(round))
				c.want("+QUEUED\r\n", "EVALSHA", sha, "1", key)
				c.want("+QUEUED\r\n", "EVALSHA", strings.ToUpper(sha), "1", key)
				c.want("+QUEUED\r\n", "EVALSHA", strings.Repeat("0", 40), "1", key)
				c.want("+QUEUED\r\n", "EVALSHA_RO", string(id[:]), "1", key)
				want := fmt.Sprintf("*5\r\n+OK\r\n:%d\r\n:%d\r\n", round+1, round+2) + noScriptLine + bulkReply(fmt.Sprint(round+2))
				c.want(want, "EXEC")
			}
		}
	})
}

// Each script goes once and directly in front of the transaction, ASKING between the two.
func TestScriptsOfATransactionAreSentOnce(t *testing.T) {
	target := startTx(t, nil)
	source := startTx(t, func(c *scriptedConn, args []string) bool {
		if args[0] == "EXEC" {
			c.reply(redirectLine("ASK", "k", target.addr()))
		}
		return args[0] == "EXEC"
	})
	p := startProxy(t, clusterModel, with(evenly(clusterModel, source.addr()), target.addr()), faultOptions(nil))
	id, other := script.IDOf([]byte("return 7")), script.IDOf([]byte("return 8"))
	p.pool.scripts.Add(id, "return 7", true)
	c := p.dial(t)
	c.want("+OK\r\n", "MULTI")
	for _, sha := range []script.ID{id, other, id} {
		c.want("+QUEUED\r\n", "EVALSHA", string(sha[:]), "1", "k")
	}
	c.request("EXEC")
	calls := fmt.Sprintf("EVALSHA %s 1 k EVALSHA %s 1 k EVALSHA %s 1 k", id, other, id)
	want := "[MULTI DISCARD SCRIPT LOAD return 7 ASKING MULTI " + calls + " EXEC]"
	if c.reply(); fmt.Sprint(target.seen()) != want {
		t.Errorf("the target got %s, want %s", target.seen(), want)
	}
}

func TestTransactionCallsAScriptOfARestartedServer(t *testing.T) {
	server := testbed.Redis(t)
	p := startProxyTo(t, server, holding(never))
	c := p.dial(t)
	sha := c.do("SCRIPT", "LOAD", "return redis.call('INCR', KEYS[1])")[5:45]
	for range 2 {
		c.want("+OK\r\n", "MULTI")
		c.want("+QUEUED\r\n", "EVALSHA", sha, "1", "k")
		c.want("*1\r\n:1\r\n", "EXEC")
		if err := server.Restart(); err != nil {
			t.Fatal(err)
		}
	}
}

// What a loop remembers goes when the cache has forgotten it.
func TestLoopForgetsScriptsWithTheCache(t *testing.T) {
	top := codisTopology(t)
	c := top.dial(t)
	id := script.IDOf([]byte("return 1"))
	for range 2 {
		c.want(":1\r\n", "EVAL", "return 1", "0")
		if body := top.pool.scriptBody([]byte(strings.ToUpper(string(id[:])))); string(body) != "return 1" {
			t.Errorf("kept: %q", body)
		}
		top.pool.scripts.Clear()
		if body := top.pool.scriptBody(id[:]); body != nil {
			t.Errorf("kept: %q", body)
		}
	}
	if body := top.pool.scriptBody([]byte("short")); body != nil {
		t.Errorf("kept: %q", body)
	}
}

// A script that has been sent is found without any allocation or lock.
func TestKnownScriptCostsNothing(t *testing.T) {
	p, l := new(Pool), new(loop)
	body := []byte("return 1")
	id, _ := l.seenScripts(p).ID(&p.scripts, body)
	l.keepScript(p, id, body)
	n := testing.AllocsPerRun(100, func() {
		if got, kept := l.seenScripts(p).ID(&p.scripts, body); got != id || !kept {
			t.Errorf("%s, kept %v", got, kept)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// The slot of a script without keys is one that somebody owns, or the only one that is known.
func TestScriptIsHeldWithItsSlot(t *testing.T) {
	server := testbed.Redis(t)
	specs := []router.GroupSpec{{ID: "1", Master: server.Addr(), Slots: []router.Range{{From: 5, To: 5}}}}
	p := startProxy(t, codisModel, specs, holding(never))
	c := p.dial(t)
	c.want(":1\r\n", "EVAL", "return 1", "0")
	p.setTable(t, specs, router.MoveSpec{Slots: []router.Range{{From: 5, To: 5}}, Phase: router.Locked})
	c.request("EVAL", "return 1", "0")
	p.awaitHeld(t, 1)
	p.setTable(t, specs)
	c.wantReply(":1\r\n")
}

// A script that writes at a master which is one no more is told READONLY by the first write: nothing was written, so it
// waits for the new master like any write.
func TestScriptThatWritesWaitsForTheNewMaster(t *testing.T) {
	old, next := testbed.Redis(t), testbed.Redis(t)
	p := startProxy(t, codisModel, evenly(codisModel, old.Addr()), holding(never))
	c := p.dial(t)
	c.want(":1\r\n", "EVAL", "return redis.call('INCR', KEYS[1])", "1", "k")
	if err := old.ReplicaOf(next.Addr()); err != nil {
		t.Fatal(err)
	}
	c.request("EVAL", "return redis.call('INCR', KEYS[1])", "1", "k")
	testbed.Eventually(t, func() error {
		if held := p.pool.Holds().Held[hold.NoMaster]; held != 1 {
			return fmt.Errorf("%d requests are held", held)
		}
		return nil
	}, replyWait)
	p.setTable(t, evenly(codisModel, next.Addr()))
	if got := c.reply(); got != ":1\r\n" {
		t.Errorf("%q", got)
	}
}
