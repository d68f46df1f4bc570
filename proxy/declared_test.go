package proxy

import (
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/proxy/acl"
	"sluice/proxy/command"
	"sluice/proxy/hold"
)

// moduleCommands are those of some modules.
func moduleCommands() command.Declarations {
	all := make(command.Declarations)
	for _, d := range []command.Declaration{
		{Name: "bf.add", Arity: 3, Keys: command.KeysAt(1, 1, 1), Write: true},
		{Name: "bf.exists", Arity: 3, Keys: command.KeysAt(1, 1, 1)},
		{Name: "json.mget", Arity: -3, Keys: command.KeysAt(1, -2, 1)},
		{Name: "m.counted", Arity: -3, Keys: command.KeysCounted(2)},
		{Name: "ft._list", Arity: 1},
	} {
		all[d.Name] = command.Declare(d)
	}
	return all
}

func declaring(_ *Config, pool *PoolConfig) { pool.Commands = moduleCommands() }

// startEchoes starts n servers that answer every request with their number and what came, behind a proxy.
func startEchoes(t *testing.T, n int, change ...func(*Config, *PoolConfig)) *testProxy {
	t.Helper()
	var addrs []string
	for i := range n {
		addrs = append(addrs, startFake(t, func(c *scriptedConn, args []string) {
			c.reply("+" + string(rune('a'+i)) + " " + strings.Join(args, " ") + "\r\n")
		}).addr())
	}
	return startProxy(t, codisModel, evenly(codisModel, addrs...), append([]func(*Config, *PoolConfig){declaring}, change...)...)
}

// owner is the number of the server that has a key, as startEchoes answers it.
func (p *testProxy) owner(key string) string {
	g := p.pool.Table().Owner(p.pool.Model.Slot([]byte(key)))
	return string(rune('a' + slices.Index(p.pool.Table().Groups, g)))
}

func TestDeclaredCommandsGoWhereTheirKeysAre(t *testing.T) {
	p := startEchoes(t, 3)
	c := p.dial(t)
	seen := make(map[string]bool)
	for _, key := range keysApart(codisModel, 12) {
		owner := p.owner(key)
		seen[owner] = true
		c.want("+"+owner+" bf.add "+key+" x\r\n", "bf.add", key, "x")
		c.want("+"+owner+" BF.Exists "+key+" x\r\n", "BF.Exists", key, "x")
		c.want("+"+owner+" json.mget "+key+" {"+key+"}2 $\r\n", "json.mget", key, "{"+key+"}2", "$")
		c.want("+"+owner+" m.counted o 1 "+key+" more\r\n", "m.counted", "o", "1", key, "more")
	}
	if len(seen) != 3 {
		t.Errorf("only the servers %v were asked", seen)
	}
	if got := c.do("ft._list"); !strings.HasSuffix(got, " ft._list\r\n") {
		t.Errorf("a command without keys: %q", got)
	}
	if got := c.do("json.mget", "a", "b", "$"); !strings.HasPrefix(got, "-CROSSSLOT keys of one request are on two groups: ") {
		t.Errorf("keys on two groups: %q", got)
	}
	c.want("-ERR wrong number of arguments for 'bf.add' command\r\n", "bf.add", "k")
	c.want("-ERR unknown command 'bf.ad', with args beginning with: 'k' 'x' \r\n", "bf.ad", "k", "x")
	c.want("-ERR unknown command '"+strings.Repeat("x", 100)+"', with args beginning with: \r\n", strings.Repeat("x", 100))
	if n := p.Stats().Commands[command.Declared].Calls; n != 12*4+1 {
		t.Errorf("%d calls are counted", n)
	}
	if info := c.do("INFO", "commandstats"); !strings.Contains(info, "cmdstat_declared:calls=49") {
		t.Errorf("INFO: %s", info)
	}
}

func TestDeclaredCommandsAreListed(t *testing.T) {
	p := startEchoes(t, 1)
	c := p.dial(t)
	plain := startEchoes(t, 1, func(_ *Config, pool *PoolConfig) { pool.Commands = nil }).dial(t)
	if got, want := len(elements(t, c.do("COMMAND"))), len(elements(t, plain.do("COMMAND")))+5; got != want {
		t.Errorf("COMMAND has %d, want %d", got, want)
	}
	if ours, theirs := c.do("COMMAND", "COUNT"), plain.do("COMMAND", "COUNT"); ours == theirs {
		t.Errorf("COMMAND COUNT is %q with and without", ours)
	}
	info := c.do("COMMAND", "INFO", "JSON.MGET")
	for _, part := range []string{"*1\r\n*10\r\n$9\r\njson.mget\r\n:-3\r\n*1\r\n+readonly\r\n:1\r\n:-2\r\n:1\r\n", "+@read"} {
		if !strings.Contains(info, part) {
			t.Errorf("COMMAND INFO: %q", info)
		}
	}
	c.want("*2\r\n$1\r\na\r\n$1\r\nb\r\n", "COMMAND", "GETKEYS", "json.mget", "a", "b", "$")
	if list := c.do("COMMAND", "LIST"); !strings.Contains(list, "bf.add") || strings.Contains(plain.do("COMMAND", "LIST"), "bf.add") {
		t.Error("COMMAND LIST")
	}
	if docs := c.do("COMMAND", "DOCS", "bf.add"); !strings.Contains(docs, "bf.add") {
		t.Errorf("COMMAND DOCS: %q", docs)
	}
	plain.want("-ERR unknown command 'bf.add', with args beginning with: 'k' 'x' \r\n", "bf.add", "k", "x")
}

// What is declared and the server does not have gets the server's own words, in and out of transactions.
func TestTheServerHasTheLastWordOnDeclaredCommands(t *testing.T) {
	top := codisTopology(t, declaring)
	c := top.dial(t)
	unknown := "-ERR unknown command 'bf.add', with args beginning with: 'k' 'x' \r\n"
	c.want(unknown, "bf.add", "k", "x")
	c.want("+OK\r\n", "MULTI")
	c.want("+QUEUED\r\n", "bf.add", "k", "x")
	if got := c.do("EXEC"); !strings.HasPrefix(got, "-EXECABORT") {
		t.Errorf("EXEC: %q", got)
	}
	c.want("+PONG\r\n", "PING")
}

// Where the declaration finds no keys nobody is asked: a server that reads the arguments in another way might find
// some that are not its own.
func TestDeclaredCommandWithoutItsKeysIsRefused(t *testing.T) {
	p := startEchoes(t, 2)
	c := p.dial(t)
	for _, count := range []string{"01", "x", "9", "-1"} {
		c.want("-"+errDeclaredKeys+"\r\n", "m.counted", "o", count, "k")
	}
	c.want("+"+p.owner("k")+" m.counted o 1 k\r\n", "m.counted", "o", "1", "k")
}

func TestDeclaredCommandsHaveRights(t *testing.T) {
	p := startEchoes(t, 1, func(_ *Config, pool *PoolConfig) {
		pool.Users = []User{{Name: "default", Passwords: passwords("p"), Rights: rights(t, acl.Spec{ReadOnly: true, Keys: []string{"a*"}})}}
	})
	c := p.dial(t)
	c.want("-NOAUTH Authentication required.\r\n", "bf.exists", "a", "x")
	c.want("+OK\r\n", "AUTH", "p")
	c.want("+a bf.exists a x\r\n", "bf.exists", "a", "x")
	c.want("-NOPERM this user has no permissions to run the 'bf.add' command\r\n", "bf.add", "a", "x")
	for _, call := range []string{"bf.exists b x", "json.mget a b $", "m.counted o 2 a b", "m.counted o 2x a b", "m.counted o 3 a b"} {
		c.want("-NOPERM this user has no permissions to access one of the keys used as arguments\r\n", strings.Fields(call)...)
	}
}

// A reload brings commands and takes them away; what was learned stays behind what is declared.
func TestDeclaredCommandsChangeWithAReload(t *testing.T) {
	p := startEchoes(t, 2)
	c := p.dial(t)
	learned := command.Declarations{
		"bf.add":  command.Declare(command.Declaration{Name: "bf.add", Arity: -1, Keys: command.KeysAt(2, 2, 1)}),
		"bf.madd": command.Declare(command.Declaration{Name: "bf.madd", Arity: -3, Keys: command.KeysAt(1, 1, 1), Write: true}),
	}
	key, other := "k", ""
	for _, k := range keysApart(codisModel, 20) {
		if p.owner(k) != p.owner(key) {
			other = k
		}
	}
	p.pool.SetLearned(learned, nil)
	c.want("+"+p.owner(key)+" bf.add k "+other+"\r\n", "bf.add", key, other)
	c.want("+"+p.owner(key)+" bf.madd k x\r\n", "bf.madd", key, "x")
	s := *p.pool.Settings()
	s.Commands = nil
	p.pool.SetSettings(s)
	c.want("+"+p.owner(other)+" bf.add k "+other+"\r\n", "bf.add", key, other)
	p.pool.SetLearned(nil, nil)
	c.want("-ERR unknown command 'bf.add', with args beginning with: 'k' 'x' \r\n", "bf.add", "k", "x")
}

// A command without keys goes where its declaration says; what was learned of it does not say where in a pool of
// several masters.
func TestCommandsWithoutKeysGoWhereTheyAreDeclared(t *testing.T) {
	declare := func(_ *Config, pool *PoolConfig) {
		pool.Commands = make(command.Declarations)
		for _, d := range []command.Declaration{
			{Name: "m.any", Arity: 1},
			{Name: "m.create", Arity: 1, Write: true, Masters: command.AllMasters},
			{Name: "m.same", Arity: 1, Masters: command.AllMasters},
			{Name: "m.apart", Arity: 1, Masters: command.AllMasters},
		} {
			pool.Commands[d.Name] = command.Declare(d)
		}
	}
	for _, masters := range []int{1, 3} {
		var servers []*fakeBackend
		var addrs []string
		for i := range masters {
			s := startFake(t, func(c *scriptedConn, args []string) {
				if args[0] == "m.apart" || args[0] == "m.create" {
					c.reply("+" + string(rune('a'+i)) + "\r\n")
					return
				}
				c.reply("*1\r\n:7\r\n")
			})
			servers, addrs = append(servers, s), append(addrs, s.addr())
		}
		p := startProxy(t, codisModel, evenly(codisModel, addrs...), declare)
		p.pool.SetLearned(command.Declarations{"m.only": command.Declare(command.Declaration{Name: "m.only", Arity: 1, Masters: command.OnlyMaster})}, nil)
		c := p.dial(t)
		c.want("*1\r\n:7\r\n", "m.any")
		c.want("*1\r\n:7\r\n", "m.same")
		c.want("+a\r\n", "m.create")
		got := map[string]int{}
		for _, s := range servers {
			for _, r := range s.seen() {
				got[r.args[0]]++
			}
		}
		if got["m.any"] != 1 || got["m.same"] != masters || got["m.create"] != masters {
			t.Errorf("%d masters were asked: %v", masters, got)
		}
		apart, only := c.do("m.apart"), c.do("m.only")
		if masters == 1 {
			if apart != "+a\r\n" || only != "*1\r\n:7\r\n" {
				t.Errorf("one master: %q, %q", apart, only)
			}
			continue
		}
		if !strings.HasPrefix(apart, "-ERR the masters answered m.apart differently: ") || !strings.HasPrefix(only, "-ERR 'm.only' has no keys and this pool has 3 masters") {
			t.Errorf("%d masters: %q, %q", masters, apart, only)
		}
		c.want("+OK\r\n", "MULTI")
		for _, name := range []string{"m.same", "m.only"} {
			if got := c.do(name); got[0] != '-' {
				t.Errorf("%s in a transaction over %d masters: %q", name, masters, got)
			}
		}
	}
}

// COMMAND tells of what works: not of what is refused, and not of what a master lacks, unless Sluice answers it.
func TestCommandTellsOfWhatWorks(t *testing.T) {
	p := startEchoes(t, 1)
	c := p.dial(t)
	told := func(name string) bool { return c.do("COMMAND", "INFO", name) != "*1\r\n$-1\r\n" }
	count := c.do("COMMAND", "COUNT")
	for name, want := range map[string]bool{"get": true, "bf.add": true, "debug": false, "shutdown": false, "config|set": true, "acl|setuser": false, "acl|whoami": true} {
		if told(name) != want {
			t.Errorf("COMMAND INFO %s: told %v", name, !want)
		}
	}
	p.pool.SetLearned(nil, map[string]bool{"getex": true, "hello": true, "client": true, "object": true, "nothing": true})
	for name, want := range map[string]bool{"get": true, "getex": false, "hello": true, "client|id": true, "object|encoding": false} {
		if told(name) != want {
			t.Errorf("COMMAND INFO %s with a server that lacks it: told %v", name, !want)
		}
	}
	if now := c.do("COMMAND", "COUNT"); now == count {
		t.Errorf("COMMAND COUNT is %q with and without", now)
	}
	if docs := c.do("COMMAND", "DOCS"); strings.Contains(docs, "\r\ngetex\r\n") || !strings.Contains(docs, "hello\r\n") {
		t.Error("COMMAND DOCS tells of something else")
	}
	if list := c.do("COMMAND", "LIST"); strings.Contains(list, "\r\ngetex\r\n") || strings.Contains(list, "object|encoding") {
		t.Error("COMMAND LIST tells of something else")
	}
}

// Just after the start a command that is not known may be one of a server's. It is answered when the servers have
// told, or when it has waited for as long as a hold lasts.
func TestUnknownCommandsWaitForTheServersToTell(t *testing.T) {
	p := startEchoes(t, 1, holding(never))
	c := p.dial(t)
	p.pool.AwaitLearned()
	c.request("m.new", "k")
	p.awaitHeld(t, 1)
	p.pool.SetLearned(command.Declarations{"m.new": command.Declare(command.Declaration{Name: "m.new", Arity: -2, Keys: command.KeysAt(1, 1, 1)})}, nil)
	c.wantReply("+a m.new k\r\n")
	c.want("-ERR unknown command 'm.other', with args beginning with: 'k' \r\n", "m.other", "k")

	p.pool.AwaitLearned()
	c.request("m.other", "k")
	p.awaitHeld(t, 1)
	p.pool.SetLearned(nil, nil)
	c.wantReply("-ERR unknown command 'm.other', with args beginning with: 'k' \r\n")
	if counts := p.pool.Holds(); counts.Ended[hold.Released] != 2 {
		t.Errorf("%+v", counts)
	}
}

// A server that never tells its commands keeps nobody for longer than a hold may last.
func TestUnknownCommandsDoNotWaitForLong(t *testing.T) {
	p := startEchoes(t, 1, holding(50*time.Millisecond))
	c := p.dial(t)
	p.pool.AwaitLearned()
	for range 3 {
		c.want("-ERR unknown command 'm.new', with args beginning with: 'k' \r\n", "m.new", "k")
	}
}
