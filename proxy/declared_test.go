package proxy

import (
	"slices"
	"strings"
	"testing"

	"sluice/proxy/acl"
	"sluice/proxy/command"
)

// moduleCommands are those of some modules.
func moduleCommands() command.Declarations {
	all := make(command.Declarations)
	for _, d := range []command.Declaration{
		{Name: "bf.add", Arity: 3, FirstKey: 1, LastKey: 1, KeyStep: 1, Write: true},
		{Name: "bf.exists", Arity: 3, FirstKey: 1, LastKey: 1, KeyStep: 1},
		{Name: "json.mget", Arity: -3, FirstKey: 1, LastKey: -2, KeyStep: 1},
		{Name: "m.counted", Arity: -3, KeyNumAt: 2},
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

// Where the declaration finds no keys nobody is asked: a server that reads the arguments in another way might find some that are
// not its own.
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
		"bf.add":  command.Declare(command.Declaration{Name: "bf.add", Arity: -1, FirstKey: 2, LastKey: 2, KeyStep: 1}),
		"bf.madd": command.Declare(command.Declaration{Name: "bf.madd", Arity: -3, FirstKey: 1, LastKey: 1, KeyStep: 1, Write: true}),
	}
	key, other := "k", ""
	for _, k := range keysApart(codisModel, 20) {
		if p.owner(k) != p.owner(key) {
			other = k
		}
	}
	p.pool.SetLearned(learned)
	c.want("+"+p.owner(key)+" bf.add k "+other+"\r\n", "bf.add", key, other)
	c.want("+"+p.owner(key)+" bf.madd k x\r\n", "bf.madd", key, "x")
	s := *p.pool.Settings()
	s.Commands = nil
	p.pool.SetSettings(s)
	c.want("+"+p.owner(other)+" bf.add k "+other+"\r\n", "bf.add", key, other)
	p.pool.SetLearned(nil)
	c.want("-ERR unknown command 'bf.add', with args beginning with: 'k' 'x' \r\n", "bf.add", "k", "x")
}
