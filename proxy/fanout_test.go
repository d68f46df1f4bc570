package proxy

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/internal/testbed"
	"sluice/proxy/command"
	"sluice/proxy/resp"
	"sluice/router"
)

// fanStatements are commands over all keys and about all servers. Each runs on an empty pool and leaves one behind.
const fanStatements = `
RANDOMKEY; DBSIZE; KEYS *; ~SCAN 0; MSET a 1 b 2 c 3 {x}d 4 e 5 f 6; DBSIZE; ?KEYS *; ?KEYS [a-c]; KEYS none*; KEYS; ~RANDOMKEY; SCAN; SCAN x; SCAN 1x; SCAN 99999999999999999999
FLUSHALL NOW; FLUSHALL; DBSIZE; SET a 1; FLUSHALL ASYNC; FLUSHDB; SET b 1; FLUSHDB SYNC; FLUSHDB NOW; DBSIZE; !SWAPDB 0 1; !SWAPDB 0 99; !SWAPDB x 1; ~LASTSAVE; LASTSAVE x
SCRIPT LOAD "return 1"; SCRIPT LOAD "return ("; SCRIPT LOAD; SCRIPT EXISTS e0e1f9fabfc9d4800c877a703b823ac0578ff8db 2 3; SCRIPT EXISTS; EVALSHA e0e1f9fabfc9d4800c877a703b823ac0578ff8db 0
SCRIPT KILL; SCRIPT FLUSH NOW; SCRIPT FLUSH; SCRIPT EXISTS e0e1f9fabfc9d4800c877a703b823ac0578ff8db; EVALSHA ffffffffffffffffffffffffffffffffffffffff 0; EVALSHA short 0; SCRIPT HELP
EVAL "return 'x'" 0; EVAL_RO "return {1,2}" 0; EVAL "return ARGV[1]" 0 a b; EVALSHA ffffffffffffffffffffffffffffffffffffffff 0 x; EVALSHA_RO ffffffffffffffffffffffffffffffffffffffff 0
EVAL "return 1" x; EVAL "return 1" -1; EVAL "return 1" 1; EVAL "return 1" 3 a b; EVAL "return 1" 99999999999999999999; EVAL "return 1" ""; EVAL "return 1" 01; EVAL "return 1"; EVAL "return (" 0
FUNCTION LOAD "#!lua name=l\nredis.register_function('f', function(keys, args) return args[1] end)\nredis.register_function{function_name='r', callback=function() return 5 end, flags={'no-writes'}}"
FCALL f 0 a; FCALL_RO r 0; FCALL_RO f 0; FCALL f 1 k a; FCALL none 0; FCALL f x; FCALL f -1; FCALL f 2 k; FUNCTION LOAD "#!lua name=l\nx"; FUNCTION LOAD x; ~FUNCTION LIST; ~FUNCTION DUMP; FUNCTION STATS
FUNCTION KILL; FUNCTION DELETE none; FUNCTION DELETE l; FUNCTION DELETE l; FUNCTION LIST; FUNCTION RESTORE x; FUNCTION FLUSH NOW; FUNCTION FLUSH ASYNC; FUNCTION FLUSH; FUNCTION STATS; FUNCTION HELP
MEMORY PURGE; MEMORY HELP; OBJECT HELP; XINFO HELP; XGROUP HELP; MEMORY PURGE x; FLUSHALL; SCRIPT FLUSH
`

func TestFanOutsAnswerAsRedisDoes(t *testing.T) {
	t.Parallel()
	direct := testbed.Redis(t)
	corpus := statements(t, fanStatements)
	onEachTopology(t, func(t *testing.T, top *topology) {
		list := slices.DeleteFunc(slices.Clone(corpus), func(s statement) bool { return s.notCluster && top.model.Cluster() })
		for _, proto := range []string{"2", "3"} {
			want := runPipelined(t, direct.Addr(), proto, list)
			compare(t, "RESP"+proto+", one by one", list, runOneByOne(t, top.addr, proto, list), want)
			compare(t, "RESP"+proto+", in a pipeline", list, runPipelined(t, top.addr, proto, list), want)
		}
	})
}

// A pool of one group is that server, also where the answer is about one server.
func TestFanOutsToOneGroupAreTheServers(t *testing.T) {
	direct, server := testbed.Redis(t), testbed.Redis(t)
	p := startProxyTo(t, server)
	list := statements(t, fanStatements+"~MEMORY DOCTOR; ~MEMORY STATS; ~MEMORY MALLOC-STATS")
	compare(t, "one group", list, runPipelined(t, p.addr, "2", list), runPipelined(t, direct.Addr(), "2", list))

	top := codisTopology(t)
	c := top.dial(t)
	for _, name := range []string{"doctor", "stats", "malloc-stats"} {
		c.want("-ERR 'memory|"+name+"' is about one server and this pool has 2, send it to the server itself\r\n", "MEMORY", name)
	}
}

// What the command table says about how a command goes to many servers is what Sluice does.
func TestFanOutsFollowTheCommandTable(t *testing.T) {
	kinds := map[command.ResponsePolicy]fanKind{
		command.ResponseAllSucceeded: fanAll, command.ResponseAggSum: fanSum, command.ResponseAggMin: fanMin,
		command.ResponseAggLogicalAnd: fanAnd, command.ResponseOneSucceeded: fanOne,
	}
	fans := 0
	for id := range command.Count {
		cmd, p := command.At(id), plans[id]
		if p.kind != planFanOut {
			continue
		}
		fans++
		toAll := cmd.Request == command.RequestAllShards || cmd.Request == command.RequestAllNodes
		if want, ok := kinds[cmd.Response]; toAll && ok && p.fan != want && p.fan != fanConfigSet { // Its errors name the servers.
			t.Errorf("%s is merged by %d, want %d", cmd.Name, p.fan, want)
		}
		if !toAll && (p.fan == fanSum || p.fan == fanAnd || p.fan == fanOne) {
			t.Errorf("%s goes to all masters", cmd.Name)
		}
	}
	if fans != len(fanCommands) {
		t.Errorf("%d of %d fan-outs have another plan", len(fanCommands)-fans, len(fanCommands))
	}
}

// A fan-out sees what came before it in a pipeline, and nothing of what comes behind.
func TestFanOutsKeepTheirPlaceInAPipeline(t *testing.T) {
	onEachTopology(t, func(t *testing.T, top *topology) {
		k := top.keysOnEveryNode("k", 2)
		var requests []byte
		add := func(args ...string) { requests = resp.AppendCommand(requests, args...) }
		for range 20 {
			for _, key := range k {
				add("SET", key, "v")
			}
			add("DBSIZE")
			add("FLUSHALL")
			add("SET", "b", "1")
			add("KEYS", "*")
			add("DEL", "b")
		}
		per := len(k) + 5
		replies := top.dial(t).pipeline(string(requests), 20*per)
		for i := range 20 {
			got := strings.Join(replies[i*per+len(k):(i+1)*per], "")
			want := fmt.Sprintf(":%d\r\n+OK\r\n+OK\r\n*1\r\n$1\r\nb\r\n:1\r\n", len(k))
			if got != want {
				t.Fatalf("round %d: %q, want %q", i, got, want)
			}
		}
	})
}

func TestScriptsAndFlushesReachEveryMaster(t *testing.T) {
	t.Parallel()
	onEachTopology(t, func(t *testing.T, top *topology) {
		c := top.dial(t)
		sha := c.do("SCRIPT", "LOAD", "return 7")[5:45]
		for _, n := range top.nodes {
			if n.Do("SCRIPT", "EXISTS", sha).Array()[0].Integer() != 1 {
				t.Errorf("%s does not have the script", n.Addr())
			}
		}
		top.nodes[1].Do("SCRIPT", "FLUSH")
		c.want("*1\r\n:0\r\n", "SCRIPT", "EXISTS", sha)
		if top.model.Cluster() {
			c.want("-ERR SWAPDB is not allowed in cluster mode\r\n", "SWAPDB", "0", "1")
			return
		}
		keys := top.keysOnEveryNode("k", 1)
		for _, key := range keys {
			c.want("+OK\r\n", "SET", key, "v")
		}
		c.want("+OK\r\n", "SWAPDB", "0", "1")
		c.want(":0\r\n", "DBSIZE")
		c.want("+OK\r\n", "SELECT", "1")
		c.want(":2\r\n", "DBSIZE")
	})
}

// MODULE LIST shows what can be used whatever the key is: the modules that all masters have.
func TestModuleListShowsWhatAllHave(t *testing.T) {
	t.Parallel()
	onEachTopology(t, func(t *testing.T, top *topology) { top.dial(t).want("*0\r\n", "MODULE", "LIST") })
	module := func(name, version string) string {
		return "*4\r\n$4\r\nname\r\n$2\r\n" + name + "\r\n$3\r\nver\r\n:" + version + "\r\n"
	}
	lists := []string{"*3\r\n" + module("ja", "1") + module("jb", "2") + module("jc", "3"), "*3\r\n" + module("jc", "3") + module("jb", "1") + module("ja", "1")}
	var addrs []string
	for _, list := range lists {
		addrs = append(addrs, startFake(t, func(c *scriptedConn, _ []string) { c.reply(list) }).addr())
	}
	p := startProxy(t, codisModel, evenly(codisModel, addrs...), patient)
	p.dial(t).want("*2\r\n"+module("ja", "1")+module("jc", "3"), "MODULE", "LIST")
}

// A FLUSHALL must not miss a key that is between two groups.
func TestFlushWaitsForEverySlot(t *testing.T) {
	for _, phase := range []router.Phase{router.Locked, router.Moving} {
		t.Run(phase.String(), func(t *testing.T) {
			servers := []*testbed.Server{testbed.Redis(t), testbed.Redis(t)}
			specs := evenly(codisModel, servers[0].Addr(), servers[1].Addr())
			p := startProxy(t, codisModel, specs, holding(never), ofFamily("codis"), patient)
			c := p.dial(t)
			keys := []string{p.keysAt(t, servers[0].Addr(), 1)[0], p.keysAt(t, servers[1].Addr(), 2)[1]}
			c.want("+OK\r\n", "MSET", keys[0], "1", keys[1], "2")
			move := lock(codisModel, p.keysAt(t, servers[1].Addr(), 1)[0])
			move.Phase, move.From, move.FromID = phase, servers[0].Addr(), "1"
			p.setTable(t, specs, move)
			c.request("FLUSHALL")
			c.request("DBSIZE")
			p.awaitHeld(t, 1)
			other := p.dial(t)
			other.want(":2\r\n", "DBSIZE") // A read does not wait.
			other.want("+OK\r\n", "SET", keys[1], "3")
			p.setTable(t, specs)
			c.wantReply("+OK\r\n")
			c.wantReply(":0\r\n")
		})
	}
}

func TestFlushGivesUpOnALockThatStays(t *testing.T) {
	server := testbed.Redis(t)
	specs := evenly(codisModel, server.Addr())
	p := startProxy(t, codisModel, specs, holding(50*time.Millisecond))
	p.setTable(t, specs, lock(codisModel, "k"))
	c := p.dial(t)
	c.want("+OK\r\n", "SET", "other", "1")
	c.request("FLUSHALL")
	c.wantHeld(codisModel.Slot([]byte("k")), "is locked in group 1")
	c.want("$1\r\n1\r\n", "GET", "other")
}

// awaitInFlight returns when a request waits for the server at addr.
func (p *testProxy) awaitInFlight(t testing.TB, addr string) {
	t.Helper()
	testbed.Eventually(t, func() error {
		n := 0
		p.onEachLoop(p.ctx, func(l *loop) { n += l.conns.Shared(p.pool.node(addr), 2, 0).InFlight() })
		if n != 1 {
			return fmt.Errorf("%d requests wait for %s", n, addr)
		}
		return nil
	}, replyWait)
}

// A master that is lost while a fan-out is under way is waited for, and its successor answers.
func TestFanOutFollowsANewMaster(t *testing.T) {
	kept, lost, successor := testbed.Redis(t), testbed.Redis(t), testbed.Redis(t)
	specs := evenly(codisModel, kept.Addr(), lost.Addr())
	p := startProxy(t, codisModel, specs, holding(never), patient)
	c, writer := p.dial(t), p.dial(t)
	c.want("+OK\r\n", "SET", p.keysAt(t, kept.Addr(), 1)[0], "1")
	c.want(":1\r\n", "DBSIZE") // Both connections are up.
	for i := range 3 {
		successor.Do("SET", fmt.Sprint("key", i), "v")
	}
	if err := lost.Stop(); err != nil {
		t.Fatal(err)
	}
	c.request("DBSIZE")
	c.request("PING")
	p.awaitInFlight(t, lost.Addr())
	if err := lost.Kill(); err != nil {
		t.Fatal(err)
	}
	p.awaitHeld(t, 1)
	writer.request("SCRIPT", "LOAD", "return 7") // Held before anything is sent.
	p.awaitHeld(t, 2)
	specs[1].Master = successor.Addr()
	p.setTable(t, specs)
	c.wantReply(":4\r\n")
	c.wantReply("+PONG\r\n")
	sha := writer.reply()[5:45]
	for _, s := range []*testbed.Server{kept, successor} {
		if s.Do("SCRIPT", "EXISTS", sha).Array()[0].Integer() != 1 {
			t.Errorf("%s does not have the script", s.Addr())
		}
	}
}

// A part that waited must not go by its slot to a group that has answered already.
func TestFanOutDoesNotOutliveItsDivision(t *testing.T) {
	kept, lost := testbed.Redis(t), testbed.Redis(t)
	specs := evenly(codisModel, kept.Addr(), lost.Addr())
	p := startProxy(t, codisModel, specs, holding(never), patient)
	c := p.dial(t)
	c.want(":0\r\n", "DBSIZE")
	if err := lost.Stop(); err != nil {
		t.Fatal(err)
	}
	c.request("DBSIZE")
	p.awaitInFlight(t, lost.Addr())
	if err := lost.Kill(); err != nil {
		t.Fatal(err)
	}
	p.awaitHeld(t, 1)
	p.setTable(t, evenly(codisModel, kept.Addr()))
	c.wantReply(fmt.Sprintf("-TRYAGAIN slots have changed hands while the command waited for slot %d\r\n", codisModel.Slots()/2))
	c.want(":0\r\n", "DBSIZE")
}

// A write that waits at one master must not go on when a slot has begun to move: keys may leave for a master that has
// done it already.
func TestWaitingFlushGivesUpWhenASlotMoves(t *testing.T) {
	a := startFake(t, func(c *scriptedConn, _ []string) { c.reply("+OK\r\n") })
	b := startFake(t, func(c *scriptedConn, _ []string) { c.reply("-" + loading + "\r\n") })
	specs := evenly(codisModel, a.addr(), b.addr())
	p := startProxy(t, codisModel, specs, holding(never), faultOptions(nil), ofFamily("codis"))
	c := p.dial(t)
	c.request("FLUSHALL")
	p.awaitHeld(t, 1)
	move := lock(codisModel, p.keysAt(t, a.addr(), 1)[0])
	move.Phase, move.From, move.FromID = router.Moving, b.addr(), "2"
	p.setTable(t, specs, move)
	c.wantReply(fmt.Sprintf("-ERR outcome unknown: 1 of 2 parts of flushall failed, the first with: "+
		"TRYAGAIN slots have changed hands while the command waited for slot %d\r\n", codisModel.Slots()/2))
}

// When some masters have done it and others may not have, nobody is told that it was not done.
func TestPartlyFailedFlushIsOutcomeUnknown(t *testing.T) {
	a := startFake(t, func(c *scriptedConn, _ []string) { c.reply("+OK\r\n") })
	b := startFake(t, func(c *scriptedConn, args []string) {
		if args[0] == "SCRIPT" {
			c.reply("-NOTBUSY No scripts in execution right now.\r\n")
			return
		}
		c.reply("-ERR no\r\n")
	})
	p := startProxy(t, codisModel, evenly(codisModel, a.addr(), b.addr()), faultOptions(nil))
	c := p.dial(t)
	c.want("-ERR outcome unknown: 1 of 2 parts of flushall failed, the first with: ERR no\r\n", "FLUSHALL")
	c.want("-ERR no\r\n", "KEYS", "*")
	c.want("+OK\r\n", "SCRIPT", "KILL")
	for _, f := range []*fakeBackend{a, b} {
		if n := f.dataConns(); n != 2 {
			t.Errorf("%d connections, want one for SCRIPT KILL and one for the rest", n)
		}
	}
}

// SCRIPT KILL passes the script that it is meant for.
func TestScriptKillReachesABusyServer(t *testing.T) {
	servers := []*testbed.Server{testbed.Redis(t, "--busy-reply-threshold", "1"), testbed.Redis(t, "--busy-reply-threshold", "1")}
	p := startProxy(t, codisModel, evenly(codisModel, servers[0].Addr(), servers[1].Addr()), patient)
	c, killer := p.dial(t), p.dial(t)
	c.request("EVAL", "while true do end", "0")
	testbed.Eventually(t, func() error {
		if got := killer.do("SCRIPT", "KILL"); got != "+OK\r\n" {
			return fmt.Errorf("SCRIPT KILL: %q", got)
		}
		return nil
	}, replyWait)
	c.wantPrefix("-ERR Script killed by user")
}

// Keys that a server kept of slots that it does not own are not shown.
func TestKeysOfOthersAreNotListed(t *testing.T) {
	servers := []*testbed.Server{testbed.Redis(t), testbed.Redis(t)}
	specs := evenly(codisModel, servers[0].Addr(), servers[1].Addr())
	p := startProxy(t, codisModel, specs, ofFamily("codis"))
	c := p.dial(t)
	stray := p.keysAt(t, servers[1].Addr(), 1)[0]
	servers[0].Do("SET", stray, "old")
	c.want("*0\r\n", "KEYS", "*")
	c.want("$-1\r\n", "RANDOMKEY")
	c.want("*2\r\n$1\r\n0\r\n*0\r\n", "SCAN", strings.TrimSpace(elements(t, c.do("SCAN", "0"))[0][4:]))
	move := lock(codisModel, stray)
	move.Phase, move.From, move.FromID = router.Moving, servers[0].Addr(), "1"
	p.setTable(t, specs, move)
	c.want("*1\r\n"+bulkReply(stray), "KEYS", "*")
	c.want(bulkReply(stray), "RANDOMKEY")
}

// Where a family can't take DBSIZE no server gets it.
func TestPikaIsNotAskedForItsSize(t *testing.T) {
	server := startFake(t, echoValue)
	p := startProxy(t, codisModel, evenly(codisModel, server.addr()), ofFamily("pika"))
	p.dial(t).want("-ERR 'dbsize' is not supported through this version of Sluice\r\n", "DBSIZE")
	if seen := server.seen(); len(seen) != 0 {
		t.Errorf("the server got %v", seen)
	}
}
