package proxy

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"sluice/internal/testbed"
	"sluice/proxy/resp"
)

// localStatements are answered by Sluice itself; "~" as in statements_test.go.
const localStatements = `
PING; PING hi; PING "\r\n"; PING a b; ping; PiNg; ECHO x; ECHO ""; ECHO "\x00\r\n\xff"; ~TIME
SELECT 0; SELECT x; SELECT ""; SELECT -1; SELECT 99999; SELECT 9223372036854775808; SELECT "1 "; SELECT 1.0; SELECT 0
CLIENT GETNAME; CLIENT SETNAME me; CLIENT GETNAME; client setname "a b"; CLIENT SETNAME "a\n"; CLIENT SETNAME "\x7f"; CLIENT SETNAME "~!"; CLIENT GETNAME
CLIENT SETNAME ""; CLIENT GETNAME; ~CLIENT ID; ~CLIENT INFO; ~CLIENT LIST; CLIENT NO-EVICT on; CLIENT NO-EVICT OFF; CLIENT NO-EVICT maybe
~HELLO; HELLO 1; HELLO 4; HELLO x; HELLO ""; HELLO 99999999999999999999; HELLO 3 NOSUCH; HELLO 3 AUTH a; HELLO 3 SETNAME; HELLO 3 SETNAME "a b"; HELLO 3 AUTH a b
CLIENT GETNAME; ~HELLO 3 SETNAME named AUTH default any; CLIENT GETNAME; ~hello 2 auth default any setname two; CLIENT GETNAME; ~HELLO 3; CLIENT GETNAME
AUTH x; AUTH default x; AUTH nobody x; AUTH a b c; AUTH "" ""; ~COMMAND COUNT; COMMAND INFO nosuch; COMMAND DOCS nosuch; ?COMMAND LIST FILTERBY PATTERN get*
COMMAND GETKEYS MSET a 1 b 2; ~COMMAND GETKEYS GET; COMMAND GETKEYS PING x; COMMAND GETKEYS nosuch x; COMMAND GETKEYS EVAL x 2 a b c; COMMAND GETKEYSANDFLAGS LMOVE a b LEFT LEFT
COMMAND INFO GET; CONFIG GET appendonly; CONFIG GET save; CONFIG GET nosuch; CONFIG GET appendonly nosuch; CONFIG GET time[oO]ut; CONFIG GET maxmemory
CONFIG GET slowlog-max-len; CONFIG GET latency-monitor-threshold; CONFIG SET nosuch 1; ~CONFIG SET maxclients 0; CONFIG SET maxclients x; CONFIG SET databases 3
CONFIG SET maxclients 100 MAXCLIENTS 200; CONFIG SET loglevel foo; CONFIG SET maxclients; CONFIG SET maxclients 100 x; CONFIG SET maxclients 100 nosuch 1
CONFIG SET slowlog-log-slower-than 99999999999999999999; CONFIG SET proto-max-bulk-len abc; CONFIG SET slowlog-max-len 0128; CONFIG SET SLOWLOG-max-len 100 slowlog-log-slower-than 123456
CONFIG GET slowlog-max-len; CONFIG GET slowlog-log-slower-than; CONFIG SET slowlog-log-slower-than -1; CONFIG GET slowlog-log-slower-than; CONFIG SET loglevel notice; CONFIG FOO
CONFIG SET slowlog-max-len 128 slowlog-log-slower-than 10000; CONFIG RESETSTAT; ~CONFIG REWRITE; ~CONFIG HELP; ~COMMAND HELP; ~CLIENT HELP; ~SLOWLOG HELP; ~LATENCY HELP; ~CLIENT HELP x
SLOWLOG RESET; SLOWLOG LEN; SLOWLOG GET; SLOWLOG GET -1; SLOWLOG GET 0; SLOWLOG GET x; SLOWLOG GET -2; SLOWLOG GET 1 2; SLOWLOG FOO; SLOWLOG LEN x
LATENCY LATEST; LATENCY HISTORY x; LATENCY GRAPH x; LATENCY RESET; LATENCY RESET a b; ~LATENCY DOCTOR; LATENCY FOO; ROLE; ~LASTSAVE; ~LOLWUT; ACL WHOAMI
CLIENT LIST TYPE foo; CLIENT LIST TYPE pubsub; CLIENT LIST TYPE replica; CLIENT LIST TYPE; CLIENT LIST ID; CLIENT LIST ID x; CLIENT LIST ID 0; CLIENT LIST ID -1 999999; CLIENT LIST FOO 1; CLIENT LIST TYPE normal ID 1
CLIENT KILL 1.2.3.4:5; CLIENT KILL ID 0; CLIENT KILL ID x; CLIENT KILL ID 99999; CLIENT KILL TYPE foo; CLIENT KILL USER nobody; CLIENT KILL ADDR; CLIENT KILL ADDR x; CLIENT KILL SKIPME x; CLIENT KILL FOO x
CLIENT KILL ADDR a ID; CLIENT KILL LADDR x SKIPME no; CLIENT KILL USER default ID 99999; CLIENT KILL TYPE pubsub; CLIENT KILL TYPE master; CLIENT TRACKINGINFO; CLIENT GETREDIR; CLIENT REPLY foo; CLIENT REPLY ON; CLIENT FOO
~INFO; ~INFO server; INFO nosuch; INFO nosuch other; RESET; CLIENT GETNAME; PING; HELLO 9; QUIT
`

func TestLocalCommandsAnswerAsRedisDoes(t *testing.T) {
	t.Parallel()
	direct := testbed.Redis(t)
	list := statements(t, localStatements)
	onEachTopology(t, func(t *testing.T, top *topology) {
		addr := direct.Addr()
		if top.model.Cluster() {
			addr = top.nodes[0].Addr() // SELECT and HELLO depend on the mode of the server.
		}
		for _, proto := range []string{"2", "3"} {
			compare(t, "RESP"+proto, list, runOneByOne(t, top.addr, proto, list), runOneByOne(t, addr, proto, list))
			compare(t, "RESP"+proto, list, runPipelined(t, top.addr, proto, list), runPipelined(t, addr, proto, list))
		}
	})
}

// Numbers are read as Redis reads them, which is stricter than strconv, and CONFIG GET says a name that is no
// pattern as it was asked for.
func TestLocalDetailsAreThoseOfRedis(t *testing.T) {
	direct := testbed.Redis(t)
	list := statements(t, `CONFIG GET SAVE; CONFIG GET Save; CONFIG GET SAVE*
		SELECT +1; SELECT 01; SELECT -0; SELECT " 1"; SELECT "1\x00"; HELLO +3; HELLO 03; HELLO " 3"; HELLO 3_0; HELLO 0x3`)
	top := codisTopology(t)
	compare(t, "details", list, runOneByOne(t, top.addr, "2", list), runOneByOne(t, direct.Addr(), "2", list))
}

// The protocol version belongs to each request of a pipeline: what was asked before HELLO is answered in the
// old version, what comes behind it in the new one.
func TestHelloSwitchesWithinAPipeline(t *testing.T) {
	direct := testbed.Redis(t)
	top := codisTopology(t)
	k := top.keysOnEveryNode("k", 1)
	one := strings.NewReplacer("A", k[0], "B", k[1]).Replace(`
		HSET A f v; HGETALL A; GET B; MGET A B none; ~HELLO 3; HGETALL A; GET B; MGET A B none; ~HELLO 2; HGETALL A; GET B; MGET none B;
		HELLO 4; HGETALL A; ~HELLO 3; HGETALL A; RESET; HGETALL A; CLIENT GETNAME; ~HELLO 3; CLIENT GETNAME; ZADD B 1.5 m; ZSCORE B m; SET B x; GET B; `)
	list := statements(t, strings.Repeat(one, 30))
	compare(t, "switching", list, runPipelined(t, top.addr, "2", list), runPipelined(t, direct.Addr(), "2", list))
}

// Databases are kept apart although clients share connections.
func TestSelectIsPerClient(t *testing.T) {
	top := codisTopology(t)
	a, b, c := top.dial(t), top.dial(t), top.dial(t)
	a.want("+OK\r\n", "SELECT", "0")
	b.want("+OK\r\n", "SELECT", "1")
	c.want("+OK\r\n", "SELECT", "15")
	for i := range 50 {
		key := fmt.Sprint("key", i)
		for db, client := range map[string]*testClient{"0": a, "1": b, "f": c} {
			client.request("SET", key, db)
			client.request("MSET", key+"a", db, key+"b", db, key+"c", db)
		}
		for _, client := range []*testClient{c, b, a} {
			if got := client.reply() + client.reply(); got != "+OK\r\n+OK\r\n" {
				t.Fatal(got)
			}
		}
		for db, client := range map[string]*testClient{"0": a, "1": b, "f": c} {
			client.want("$1\r\n"+db+"\r\n", "GET", key)
			v := "$1\r\n" + db + "\r\n"
			client.want("*4\r\n"+v+v+v+"$-1\r\n", "MGET", key+"a", key+"b", key+"c", key+"d")
		}
	}
	for _, node := range top.nodes {
		for _, db := range []string{"db0:keys=", "db1:keys=", "db15:keys="} {
			if info := node.Do("INFO", "keyspace").String(); !strings.Contains(info, db) {
				t.Errorf("%s has no %s: %s", node.Addr(), db, info)
			}
		}
	}
	// One client, one pipeline, several databases.
	list := statements(t, strings.Repeat("SET k zero; SELECT 2; SET k two; SELECT 3; SET k three; GET k; SELECT 2; GET k; SELECT 99; GET k; DEL k; SELECT 3; GETDEL k; RESET; GET k; ", 20))
	want := runPipelined(t, testbed.Redis(t).Addr(), "2", list)
	compare(t, "select", list, runPipelined(t, top.addr, "2", list), want)
}

// A client stays in its database and its protocol version when the servers close their connections.
func TestSelectIsKeptOverReconnects(t *testing.T) {
	top := codisTopology(t)
	k := top.keysOnEveryNode("k", 1)
	clients := make(map[string]*testClient) // by database
	for _, db := range []string{"0", "3", "7"} {
		c := top.dial(t)
		clients[db] = c
		c.do("HELLO", "3")
		c.want("+OK\r\n", "SELECT", db)
		c.want("+OK\r\n", "MSET", k[0], db, k[1], db)
	}
	for range 5 {
		for _, node := range top.nodes {
			if err := node.Do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes").Error(); err != nil {
				t.Fatal(err)
			}
		}
		for db, c := range clients {
			v := "$1\r\n" + db + "\r\n"
			c.want(v, "GET", k[0])
			c.want("*3\r\n"+v+"_\r\n"+v, "MGET", k[1], "none", k[0])
		}
	}
}

// COPY ... DB writes into another database than the one that is selected, and so over another connection than
// the commands behind a SELECT: they must not overtake it. The large value keeps the first connection busy.
func TestSelectDoesNotOvertakeCopy(t *testing.T) {
	t.Parallel()
	p := startProxyTo(t, testbed.Redis(t))
	c := p.dial(t)
	big := strings.Repeat("x", 8<<20)
	for i := range 5 {
		list := []statement{
			{args: []string{"SELECT", "0"}}, {args: []string{"SET", "k", fmt.Sprint(i)}}, {args: []string{"SET", "big", big}},
			{args: []string{"COPY", "k", "k", "DB", "1", "REPLACE"}}, {args: []string{"SELECT", "1"}}, {args: []string{"GET", "k"}},
		}
		var requests []byte
		for _, s := range list {
			requests = resp.AppendCommand(requests, s.args...)
		}
		replies := c.pipeline(string(requests), len(list))
		if want := fmt.Sprintf("$1\r\n%d\r\n", i); replies[5] != want || replies[3] != ":1\r\n" {
			t.Errorf("round %d: COPY %q, then GET %q, want %q", i, replies[3], replies[5], want)
		}
	}
}

func TestTimeIsNow(t *testing.T) {
	c := codisTopology(t).dial(t)
	before := time.Now().Truncate(time.Microsecond)
	fields := elements(t, c.do("TIME"))
	if len(fields) != 2 {
		t.Fatalf("TIME: %q", fields)
	}
	got := time.Unix(bulkInt(t, fields[0]), bulkInt(t, fields[1])*1000)
	if got.Before(before) || got.After(time.Now()) {
		t.Errorf("TIME is %v, asked between %v and %v", got, before, time.Now())
	}
}

func bulkInt(t *testing.T, bulk string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(bulkText(t, bulk), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// bulkText is the text of a bulk or verbatim string.
func bulkText(t *testing.T, reply string) string {
	t.Helper()
	head, text, ok := strings.Cut(reply, "\r\n")
	if !ok || head[0] != '$' && head[0] != '=' || len(text) < 2 {
		t.Fatalf("no string: %q", reply)
	}
	return strings.TrimPrefix(text[:len(text)-2], "txt:")
}

func TestCommandTableIsComplete(t *testing.T) {
	c := codisTopology(t).dial(t)
	count := c.do("COMMAND", "COUNT")
	want, err := strconv.Atoi(strings.Trim(count, ":\r\n"))
	if err != nil || want < 200 {
		t.Fatalf("COMMAND COUNT: %q", count)
	}
	for _, proto := range []string{"2", "3"} {
		c.do("HELLO", proto)
		if got := len(elements(t, c.do("COMMAND"))); got != want {
			t.Errorf("RESP%s: COMMAND has %d of %d commands", proto, got, want)
		}
		if got := len(elements(t, c.do("COMMAND", "DOCS"))); got != 2*want {
			t.Errorf("RESP%s: COMMAND DOCS has %d names and descriptions of %d commands", proto, got, want)
		}
	}
}
