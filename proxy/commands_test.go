package proxy

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"sluice/internal/testbed"
	"sluice/proxy/command"
	"sluice/proxy/resp"
)

// A command with one key has no reason to be refused, but for those that act behind Sluice's back, those
// that wait and those of transactions; HIMPORT SET is of what its connection has prepared, and what CLUSTERSCAN has
// for a key is a cursor.
func TestOnlyTheseKeyCommandsAreRefused(t *testing.T) {
	want := "clusterscan himport|set migrate pfdebug restore-asking"
	var got []string
	for id := range command.Count {
		if cmd := command.At(id); plans[id].kind == planRefuse && len(cmd.Keys) > 0 {
			got = append(got, cmd.Name)
		}
	}
	slices.Sort(got)
	if strings.Join(got, " ") != want {
		t.Errorf("refused: %s\nwant:    %s", strings.Join(got, " "), want)
	}
}

func runOneByOne(t *testing.T, addr, proto string, list []statement) []string {
	t.Helper()
	c := dial(t, "tcp", addr)
	defer c.Close()
	c.do("HELLO", proto)
	replies := make([]string, len(list))
	for i, s := range list {
		replies[i] = c.do(s.mixed(i)...)
	}
	return replies
}

// runPipelined writes everything at once.
func runPipelined(t *testing.T, addr, proto string, list []statement) []string {
	t.Helper()
	c := dial(t, "tcp", addr)
	defer c.Close()
	requests := resp.AppendCommand(nil, "HELLO", proto)
	for i, s := range list {
		requests = resp.AppendCommand(requests, s.mixed(i)...)
	}
	return c.pipeline(string(requests), len(list)+1)[1:]
}

// mixed is the statement with the name of its command in mixed case, differently for every seed.
func (s statement) mixed(seed int) []string {
	args := slices.Clone(s.args)
	if command.Lookup([]byte(args[0])) == nil {
		return args
	}
	name := []byte(strings.ToLower(args[0]))
	for i := range name {
		if (seed>>(i%4)+i)&1 == 0 {
			name[i] = strings.ToUpper(string(name[i]))[0]
		}
	}
	args[0] = string(name)
	return args
}

func compare(t *testing.T, how string, list []statement, got, want []string) {
	t.Helper()
	for i, s := range list {
		if !s.alike(t, got[i], want[i]) {
			t.Errorf("%s: %.120q\n got %.300q\nwant %.300q", how, s.args, got[i], want[i])
		}
	}
}

func (s statement) alike(t *testing.T, got, want string) bool {
	t.Helper()
	switch {
	case s.allowance != "":
		return allowances[s.allowance].same(got, want)
	case s.byKind:
		return sameKind(got, want)
	case s.anyOrder:
		a, b := elements(t, got), elements(t, want)
		slices.Sort(a)
		slices.Sort(b)
		return got[:2] == want[:2] && slices.Equal(a, b)
	}
	return got == want
}

// What is refused before it is routed is refused in Redis' words.
func TestRefusalsAreThoseOfRedis(t *testing.T) {
	direct := testbed.Redis(t)
	c := dial(t, "tcp", direct.Addr())
	list := arityErrors(t, c)
	list = append(list, unknownCommands(c)...)
	want := runPipelined(t, direct.Addr(), "3", list)
	onEachTopology(t, func(t *testing.T, top *topology) {
		compare(t, "refusals", list, runPipelined(t, top.addr, "3", list), want)
		if n := top.checkOwners(t); n > 0 {
			t.Errorf("%d keys were written", n)
		}
	})
}

// arityErrors calls every command that the server has with too few and with too many arguments.
func arityErrors(t *testing.T, c *testClient) []statement {
	t.Helper()
	var list []statement
	for id := range command.Count {
		cmd := command.At(id)
		name := strings.Split(cmd.Name, "|")
		if !c.knows(cmd) {
			continue
		}
		few := cmd.Arity - 1
		if cmd.Arity < 0 {
			few = -cmd.Arity - 1
		}
		if few >= len(name) {
			list = append(list, statement{args: padded(name, few)})
		}
		if cmd.Arity > 0 {
			list = append(list, statement{args: padded(name, cmd.Arity+1)})
		}
	}
	if len(list) < 300 {
		t.Fatalf("only %d statements: what does COMMAND INFO answer?", len(list))
	}
	return list
}

// knows reports whether the server at the other end has a command; one may be newer.
func (c *testClient) knows(cmd *command.Command) bool {
	return !strings.HasSuffix(c.do("COMMAND", "INFO", cmd.Name), "-1\r\n")
}

func padded(name []string, n int) []string {
	args := slices.Clone(name)
	for len(args) < n {
		args = append(args, fmt.Sprint(len(args)))
	}
	return args
}

// unknownCommands has names that are none, and subcommands that the containers of the server do not have.
func unknownCommands(c *testClient) []statement {
	long := strings.Repeat("long", 100)
	var list []statement
	for _, args := range [][]string{
		{"nosuch"}, {"NoSuch", "a", "b c", ""}, {""}, {"", ""}, {"get "}, {" get"}, {"get\x00"}, {"ge"}, {"gett"}, {"g\xe5t"},
		{long}, {long, long, long}, {"nosuch", long, "x"}, {"nosuch", "a\x00b", "c"}, {"no\r\nsuch", "\r\n+OK\r\n"},
		{"[et", "x"}, {"{et"}, {"config|get", "x"}, {"client|id"},
	} {
		list = append(list, statement{args: args})
	}
	for id := range command.Count {
		if cmd := command.At(id); len(cmd.Subcommands) > 0 && c.knows(cmd) {
			list = append(list, statement{args: []string{cmd.Name, "noSuch"}}, statement{args: []string{cmd.Name, "", "x"}},
				statement{args: []string{cmd.Name, "no\r\nsuch", "x", "y"}}, statement{args: []string{cmd.Name, long, "x"}})
		}
	}
	return list
}

// compareWith runs statements directly and through Sluice, in both protocol versions, one by one and in one pipeline.
func compareWith(t *testing.T, direct *testbed.Server, list []statement) {
	t.Helper()
	onEachTopology(t, func(t *testing.T, top *topology) {
		for _, proto := range []string{"2", "3"} {
			flush(t, direct)
			want := runPipelined(t, direct.Addr(), proto, list)
			flush(t, top.nodes...)
			compare(t, "RESP"+proto+", one by one", list, runOneByOne(t, top.addr, proto, list), want)
			flush(t, top.nodes...)
			compare(t, "RESP"+proto+", in a pipeline", list, runPipelined(t, top.addr, proto, list), want)
		}
	})
}
