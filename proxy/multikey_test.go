package proxy

import (
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"testing"

	"sluice/internal/testbed"
	"sluice/internal/testbed/fakecodis"
	"sluice/proxy/command"
	"sluice/router"
)

// MGET, MSET, DEL, UNLINK, EXISTS and TOUCH with keys on every node answer like one server that has them all,
// with other commands on the same keys before and behind them.
func TestSplitCommandsAnswerAsRedisDoes(t *testing.T) {
	t.Parallel()
	direct := testbed.Redis(t)
	onEachTopology(t, func(t *testing.T, top *topology) {
		list := splitStatements(top)
		for _, proto := range []string{"2", "3"} {
			flush(t, direct)
			want := runPipelined(t, direct.Addr(), proto, list)
			flush(t, top.nodes...)
			compare(t, "RESP"+proto+", one by one", list, runOneByOne(t, top.addr, proto, list), want)
			top.checkOwners(t)
			flush(t, top.nodes...)
			compare(t, "RESP"+proto+", in a pipeline", list, runPipelined(t, top.addr, proto, list), want)
		}
		if got := top.Stats().HeldReplies; got != 0 {
			t.Errorf("%d bytes of replies are still held", got)
		}
	})
}

func splitStatements(top *topology) []statement {
	var list []statement
	do := func(args ...string) { list = append(list, statement{args: args}) }
	keys := top.keysOnEveryNode("few", 2)
	a, b, c := keys[0], keys[2], keys[3]
	do("MSET", a, "1", b, "\r\n\x00$-1\r\n", c, "")
	do("MGET", a, b, c)
	do("MGET", c, "missing", a, a, b, "", c)
	do("SET", a, "set")
	do("MSET", a, "first", b, "2", a, "last")
	do("MGET", a, b)
	do("PING")
	do("INCR", b)
	do("MGET", b, b)
	do("MSET", a, "1", b) // An odd number of arguments.
	do("MSET", "")
	do("DEL", a, "missing", a, b)
	do("EXISTS", a, b, c, c)
	do("RPUSH", a, "x")
	do("MGET", a, c) // A wrong type is a missing value.
	do("MSET", a, "overwrites", c, "this")
	do("TYPE", a)
	do("TOUCH", a, b, c, c, "missing")
	do("NOSUCH", a)
	do("UNLINK", c, b, a)
	do("EXISTS", a, b, c)
	do("MSET", "", "empty key", "{}", "empty tag")
	do("MGET", "{}", "", "{}x")
	do("DEL", "{}", "", "{}x")

	many := top.keysOnEveryNode("many", 1500)
	pairs, twice := []string{"MSET"}, []string{"MGET"}
	for i, key := range many {
		pairs = append(pairs, key, strings.Repeat(fmt.Sprint(i), i%50))
		twice = append(twice, many[(i*7)%len(many)], "missing"+key)
	}
	do(pairs...)
	do(twice...)
	do(append([]string{"MGET"}, many...)...)
	do(append([]string{"EXISTS"}, append(many, many...)...)...)
	do(append([]string{"UNLINK"}, many[:len(many)/2]...)...)
	do(append([]string{"TOUCH"}, many...)...)
	do("INCR", many[0])
	do(append([]string{"DEL"}, append(many, many...)...)...)
	do(append([]string{"MGET"}, many...)...)
	return list
}

// crossSlot are commands over the slots of two tags, which T and U stand for.
const crossSlot = `
MSETNX {T}n 1 {U}n 2; RENAME {T}s {U}s2; RENAMENX {T}s {U}s2; COPY {T}s {U}s2; COPY {T}s {U}s2 REPLACE; BITOP AND {T}d {T}s {U}s; BITOP NOT {U}d {T}s
LCS {T}s {U}s; PFCOUNT {T}h {U}h; PFMERGE {T}h {U}h; PFMERGE {T}h {T}h {U}h; LMOVE {T}l {U}l LEFT LEFT; RPOPLPUSH {T}l {U}l; LMPOP 2 {T}l {U}l LEFT
SORT {T}l STORE {U}d; SORT {T}l ALPHA LIMIT 0 1 DESC STORE {U}d; SDIFF {T}e {U}e; SINTER {T}e {U}e; SUNION {T}e {U}e; SDIFFSTORE {T}d {T}e {U}e
SINTERSTORE {U}d {T}e {T}e; SUNIONSTORE {T}d {T}e {U}e; SINTERCARD 2 {T}e {U}e; SMOVE {T}e {U}e 1; ZDIFF 2 {T}z {U}z; ZINTER 2 {T}z {U}z
ZUNION 2 {T}z {U}z WITHSCORES; ZDIFFSTORE {U}d 2 {T}z {T}z; ZINTERSTORE {T}d 2 {T}z {U}z; ZUNIONSTORE {U}d 1 {T}z; ZUNIONSTORE {T}d 2 {T}z {U}z WEIGHTS 1 2
ZINTERCARD 2 {T}z {U}z LIMIT 1; ZMPOP 2 {T}z {U}z MIN; ZRANGESTORE {U}d {T}z 0 -1; GEORADIUS {T}g 1 1 100 km STORE {U}d; GEOSEARCHSTORE {U}d {T}g FROMLONLAT 1 1 BYRADIUS 9 km
GEORADIUS {T}g 1 1 100 km STORE {T}d STOREDIST {U}d; GEORADIUSBYMEMBER {T}g m 100 km STOREDIST {U}d; XREAD STREAMS {T}x {U}x 0 0; XREAD COUNT 1 STREAMS {T}x {U}x 0 0
XREADGROUP GROUP g c STREAMS {T}x {U}x > >; EVAL "return redis.call('SET',KEYS[1],1)" 2 {T}n {U}n; EVAL_RO "return 1" 2 {T}s {U}s
EVALSHA ffffffffffffffffffffffffffffffffffffffff 2 {T}s {U}s; EVALSHA_RO ffffffffffffffffffffffffffffffffffffffff 2 {T}s {U}s; FCALL f 2 {T}s {U}s; FCALL_RO f 2 {T}s {U}s
MSETEX 2 {T}n 1 {U}n 2 EX 9; LMOVEM {T}l {U}l LEFT RIGHT; SDIFFCARD 2 {T}e {U}e; SUNIONCARD 2 {T}e {U}e; ZMOVE {T}z {U}z MIN; ZMOVEMEMBER {T}z {U}z MEMBERS 1 m
`

// Of a request whose keys are on two groups, or in a cluster in two slots, nothing is done. A cluster's words are
// Redis'.
func TestCommandsOverSeveralGroupsAreRefused(t *testing.T) {
	onEachTopology(t, func(t *testing.T, top *topology) {
		tags := top.keysOnEveryNode("tag", 2)
		c := top.dial(t)
		pairs := map[string][2]string{"two nodes": {tags[0], tags[2]}}
		text := "-CROSSSLOT keys of one request are on two groups: "
		if top.model.Cluster() {
			pairs["one node"] = [2]string{tags[0], tags[1]}
			text = "-CROSSSLOT Keys in request don't hash to the same slot\r\n"
		}
		for where, pair := range pairs {
			list := statements(t, strings.NewReplacer("{T}", "{"+pair[0]+"}", "{U}", "{"+pair[1]+"}").Replace(crossSlot))
			checkMultiKeyCoverage(t, list)
			if top.model.Cluster() { // Is this what a server says?
				node := dial(t, "tcp", top.nodes[0].Addr())
				for _, s := range list {
					if node.knows(command.Lookup([]byte(s.args[0]))) {
						node.want(text, s.args...)
					}
				}
			}
			resetStats(t, top.nodes)
			for _, s := range list {
				if got := c.do(s.args...); !strings.HasPrefix(got, text) {
					t.Errorf("%s: %q: %q", where, s.args, got)
				}
			}
			ran := commandsRun(top.nodes)
			for _, s := range list {
				if name := strings.ToLower(s.args[0]); slices.Contains(ran, name) {
					t.Errorf("%s: %s reached a server", where, name)
				}
			}
		}
		if n := top.checkOwners(t); n > 0 {
			t.Errorf("%d keys were written", n)
		}
	})
}

// checkMultiKeyCoverage looks for a command with several keys that the list does not have.
func checkMultiKeyCoverage(t *testing.T, list []statement) {
	t.Helper()
	used := make(map[*command.Command]bool)
	for _, s := range list {
		used[command.Lookup([]byte(s.args[0]))] = true
	}
	for id := range command.Count {
		cmd := command.At(id)
		if plans[id].kind == planForward && cmd.KeyAt == 0 && cmd.Name != "sort_ro" && !used[cmd] {
			t.Errorf("no statement for %s", cmd.Name)
		}
	}
}

// resetStats makes the servers forget what they have run.
func resetStats(t *testing.T, servers []*testbed.Server) {
	t.Helper()
	for _, s := range servers {
		if err := s.Do("CONFIG", "RESETSTAT").Error(); err != nil {
			t.Fatal(err)
		}
	}
}

// commandsRun lists the full names of the commands that servers have run, or refused, since resetStats.
func commandsRun(servers []*testbed.Server) []string {
	var names []string
	for _, s := range servers {
		for line := range strings.Lines(s.Do("INFO", "commandstats").String()) {
			if rest, ok := strings.CutPrefix(line, "cmdstat_"); ok {
				name, _, _ := strings.Cut(rest, ":")
				names = append(names, name)
			}
		}
	}
	return names
}

func TestHashTagsOfRedisCluster(t *testing.T) {
	top := clusterTopology(t)
	c := top.dial(t)
	for _, key := range []string{
		"", "{}", "{}a", "a{}", "{}{a}", "{{a}}", "{{a}b}", "{a", "a}", "}a{", "}{a}", "{a}{b}", "foo{bar}{zap}", "foo{{bar}}zap",
		"{\x00}", "{\xff\r\n}x", "{ }x", "{a}\x00", "plain", strings.Repeat("{", 1000), strings.Repeat("{}", 500) + "{x}",
	} {
		want := top.nodes[0].Do("CLUSTER", "KEYSLOT", key).Integer()
		if got := int(top.model.Slot([]byte(key))); got != want {
			t.Errorf("%q: slot %d, want %d", key, got, want)
		}
		c.want("+OK\r\n", "SET", key, "v")
		c.want(":1\r\n", "STRLEN", key)
	}
	if got := top.checkOwners(t); got != 21 {
		t.Errorf("%d keys", got)
	}
	c.want("-"+errCrossSlot+"\r\n", "MSETNX", "{}1", "a", "{}2", "b") // An empty tag does not count.
}

func TestHashTagsOfCodis(t *testing.T) {
	top := codisTopology(t)
	c := top.dial(t)
	for key, tag := range map[string]string{
		"": "", "{}": "", "{}a": "", "a{}": "", "{}{a}": "", "{{a}}": "{a", "{{a}b}": "{a", "{a": "{a", "a}": "a}", "}a{": "}a{",
		"}{a}": "a", "{a}{b}": "a", "foo{bar}{zap}": "bar", "foo{{bar}}zap": "{bar", "{\x00}": "\x00", "plain": "plain",
	} {
		c.want("+OK\r\n", "SET", key, "v")
		c.want(":1\r\n", "STRLEN", key)
		node := top.nodes[crc32.ChecksumIEEE([]byte(tag))%1024/512]
		if node.Do("EXISTS", key).Integer() != 1 {
			t.Errorf("%q is not on the node of its tag %q", key, tag)
		}
	}
	c.want(":1\r\n", "MSETNX", "{}1", "a", "{}2", "b") // An empty tag is a tag.
}

// A part of a split command does not follow the move of one of its slots: its other keys stay where they are.
func TestPartOfASplitCommandDoesNotFollowAMove(t *testing.T) {
	for _, kind := range []fakecodis.Kind{fakecodis.CodisServer, fakecodis.Pika40} {
		t.Run(kind.String(), func(t *testing.T) {
			x := startKeyMigration(t, kind, router.Sync, never)
			x.p.setTable(x, []router.GroupSpec{
				{ID: "1", Master: x.source.Addr(), Slots: []router.Range{{From: 0, To: router.CodisSlots - 1}}},
				{ID: "2", Master: x.target.Addr()},
			})
			const moves, stays = "{t}a", "settled1"
			x.source.Do("SET", stays, "old")
			x.source.Faults.Answer("MSET", "-"+loading+"\r\n", -1)
			c := x.p.dial(x)
			c.request("MSET", moves, "new", stays, "new")
			x.p.awaitHeld(x, 1)
			x.p.setTable(x, x.specs, x.move(router.Locked))
			x.moving()
			c.wantReply(fmt.Sprintf("-TRYAGAIN slot %d has another owner than the other slots of the command (not held: %s)\r\n",
				x.slot, "they had the same when it was divided"))
			c.want(bulkReply("old"), "GET", stays)
			x.wantAt(x.source, stays)
			if keys := x.target.Keys(); len(keys) != 0 {
				x.Errorf("keys at the target: %v", keys)
			}
		})
	}
}
