package proxy

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"sluice/internal/testbed"
	"sluice/proxy/command"
)

// laterStatements belong to what Sluice does not do yet, in forms that a server would run; the rest of the
// refused commands is called with as few arguments as they take.
const laterStatements = `
EXEC; DISCARD
SCRIPT DEBUG YES; SCRIPT DEBUG NO
CLUSTER SLOTS; CLUSTER INFO; CLUSTER FORGET a; CLUSTER COUNTKEYSINSLOT 0; READONLY; READWRITE; ASKING; CLIENT TRACKING ON; CLIENT TRACKING ON BCAST
CLIENT CACHING YES; CONFIG SET requirepass x; CONFIG SET maxclients 100 dir /; CONFIG REWRITE; LATENCY HISTOGRAM; ACL SETUSER x; SAVE; BGSAVE; BGREWRITEAOF
SHUTDOWN NOSAVE; DEBUG SLEEP 0; REPLICAOF no one; SLAVEOF no one; FAILOVER; SYNC; PSYNC ? -1; REPLCONF ACK 1; MIGRATE 127.0.0.1 1 k 0 1; RESTORE-ASKING k2 0 x; MODULE LOAD x
`

// What a later version brings is refused as a whole: the client gets an error, its connection goes on, and no
// server hears of it.
func TestWhatIsNotSupportedIsRefusedWhole(t *testing.T) {
	t.Parallel()
	onEachTopology(t, func(t *testing.T, top *topology) {
		list := append(statements(t, laterStatements), shortestRefused()...)
		c := top.dial(t)
		for _, s := range statements(t, "SET k v; RPUSH l a b; ZADD z 1 m; XADD x 1-1 f v; XGROUP CREATE x g 0") {
			if got := c.do(s.args...); got[0] == '-' {
				t.Fatalf("%q: %q", s.args, got)
			}
		}
		resetStats(t, top.nodes)
		for _, proto := range []string{"2", "3"} {
			for i, reply := range runOneByOne(t, top.addr, proto, list) {
				if reply[0] != '-' {
					t.Errorf("RESP%s: %q: %q", proto, list[i].args, reply)
				}
			}
			for i, reply := range runPipelined(t, top.addr, proto, list) {
				if reply[0] != '-' {
					t.Errorf("RESP%s, in a pipeline: %q: %q", proto, list[i].args, reply)
				}
			}
		}
		ran := commandsRun(top.nodes)
		ran = slices.DeleteFunc(ran, func(name string) bool { return slices.Contains(ownCommands, name) })
		if len(ran) > 0 {
			t.Errorf("servers ran %q", ran)
		}
		c.want("$1\r\nv\r\n", "GET", "k")
		c.want("*2\r\n$1\r\na\r\n$1\r\nb\r\n", "LRANGE", "l", "0", "-1")
	})
}

// ownCommands are what Sluice, the test and the nodes of a cluster run on servers by themselves.
var ownCommands = []string{"ping", "hello", "info", "echo", "client|id", "client|setname", "select", "config|resetstat", "role"}

// shortestRefused calls every refused command and subcommand with as few arguments as it takes.
func shortestRefused() []statement {
	var list []statement
	for id := range command.Count {
		cmd := command.At(id)
		if plans[id].kind != planRefuse || len(cmd.Subcommands) > 0 {
			continue
		}
		n := cmd.Arity
		if n < 0 {
			n = -n
		}
		list = append(list, statement{args: padded(strings.Split(cmd.Name, "|"), n)})
	}
	return list
}

// Of a transaction that can't be run as a whole nothing is run: a client that pipelines MULTI ... EXEC, as libraries do,
// must not find its commands done one by one.
func TestRefusedTransactionRunsNothing(t *testing.T) {
	top := codisTopology(t)
	k := top.keysOnEveryNode("k", 1)
	list := statements(t, fmt.Sprintf("MULTI; SET %s 1; INCR %s; MSET %s 1 %s 2; EXEC", k[0], k[1], k[0], k[1]))
	crossSlot := fmt.Sprintf("-CROSSSLOT keys of one request are on two groups: %q on 1, %q on 2; "+
		"the same part in braces, as in {user1}:cart, keeps keys together\r\n", k[0], k[1])
	want := []string{"+OK\r\n", "+QUEUED\r\n", crossSlot, crossSlot, "-" + errExecAborted + "\r\n"}
	if got := runPipelined(t, top.addr, "2", list); !slices.Equal(got, want) {
		t.Errorf("a transaction over two groups: %q", got)
	}
	c := top.dial(t)
	c.want(":0\r\n", "EXISTS", k[0], k[1])
	c.want("+OK\r\n", "MULTI")
	c.want("+QUEUED\r\n", "SET", k[0], "2")
	c.want("+OK\r\n", "DISCARD")
	c.want("+OK\r\n", "SET", k[0], "1")
}

// A read that blocks never does so on the shared connection, whatever its arguments look like: it would stop everybody
// who shares it.
func TestNoReadBlocksTheSharedConnection(t *testing.T) {
	t.Parallel()
	for _, request := range []string{
		"XREADGROUP GROUP g streams BLOCK 0 STREAMS x >", "XREADGROUP GROUP STREAMS c BLOCK 0 STREAMS x >",
		`XREADGROUP GROUP g "streams\x00" "BLOCK\x00" 0 STREAMS x >`,
		`XREAD "BLOCK\x00" 0 STREAMS x $`, `XREAD "block\x00x" 0 STREAMS x $`, "XREAD COUNT 1 BLOCK 0 STREAMS x $",
		"XREADGROUP GROUP g c COUNT 1 NOACK BLOCK 0 STREAMS x >", "XREADGROUP GROUP g c COUNT block BLOCK 0 STREAMS x >",
	} {
		t.Run(request, func(t *testing.T) {
			top := codisTopology(t)
			c := top.dial(t)
			for _, group := range []string{"g", "streams", "STREAMS"} {
				c.want("+OK\r\n", "XGROUP", "CREATE", "x", group, "$", "MKSTREAM")
			}
			args := statements(t, request)[0].args
			c.request(args...)
			testbed.Eventually(t, func() error {
				if top.Stats().Errors > 0 {
					return nil
				}
				return behind("codis", top).oneBlocked() // At its server: where "$" is depends on when it arrives there.
			}, replyWait)
			other := top.dial(t)
			other.want(":0\r\n", "XLEN", "x") // On the same shared connection.
			other.do("XADD", "x", "*", "f", "v")
			c.reply() // The entry, or what was wrong with the arguments.
		})
	}
	c := codisTopology(t).dial(t)
	c.do("XGROUP", "CREATE", "x", "block", "0", "MKSTREAM")
	c.want("*-1\r\n", "XREADGROUP", "GROUP", "block", "block", "STREAMS", "x", ">") // Names may be anything.
	c.want("*-1\r\n", "XREAD", "STREAMS", "block", "0")
}

// What moves slots is not for clients, and some of it would end a Pika.
func TestSlotCommandsAreRefused(t *testing.T) {
	server := startFake(t, echoValue)
	p := startProxy(t, codisModel, evenly(codisModel, server.addr()), ofFamily("pika"))
	c := p.dial(t)
	for _, args := range [][]string{
		{"SLOTSSCAN", "a", "0"}, {"slotsmgrt-exec-wrapper"}, {"SLOTSMGRTTAGSLOT-ASYNC"}, {"SLOTSMGRTTAGONE", "h", "1", "1", "k"},
		{"SLOTSDEL", "1"}, {"SLOTSINFO"}, {"DFLYCLUSTER", "CONFIG", "[]"}, {"DFLYMIGRATE", "INIT"}, {"CLUSTERX", "VERSION"},
	} {
		c.want("-ERR '"+strings.ToLower(args[0])+"' is not allowed through Sluice, send it to the server itself\r\n", args...)
	}
	c.want("-ERR 'dbsize' is not supported through this version of Sluice\r\n", "DBSIZE")
	c.want("-ERR unknown command 'slot', with args beginning with: 'a' \r\n", "slot", "a")
	c.want("-ERR 'slots??' is not allowed through Sluice, send it to the server itself\r\n", "slots\r\n")
	if seen := server.seen(); len(seen) != 0 {
		t.Errorf("the server got %v", seen)
	}
}
