package command

import (
	"slices"
	"strings"
	"testing"
)

func TestIDsAreDense(t *testing.T) {
	if len(commands) != Count {
		t.Fatalf("%d commands, Count is %d", len(commands), Count)
	}
	for i := range Count {
		if At(i).ID != i {
			t.Errorf("At(%d) has the ID %d", i, At(i).ID)
		}
	}
	// The numbers of Redis 7.2 without what only a Sentinel has, and of what came later.
	f := func(what string, list []*Command, wantTop, wantSub int) {
		t.Helper()
		if top := len(selectTop(list)); top != wantTop || len(list)-top != wantSub {
			t.Errorf("%s: %d commands and %d subcommands, want %d and %d", what, top, len(list)-top, wantTop, wantSub)
		}
	}
	f("Redis 7.2", commands[:len(redis72)], 241, 129)
	f("newer", commands[len(redis72):], 79, 35)
	f("all", commands, len(topLevel), Count-len(topLevel))
}

// IDs of the commands of 7.2 do not depend on what comes later.
func TestNewerCommandsComeLast(t *testing.T) {
	for i, c := range build(redis72[:]) {
		if At(i).Name != c.Name {
			t.Errorf("At(%d) is %s, want %s", i, At(i).Name, c.Name)
		}
	}
}

// A subcommand that an old container got is one of its subcommands, in their order.
func TestNewerSubcommandsHaveTheirContainers(t *testing.T) {
	f := func(container string, subs ...string) {
		t.Helper()
		c := Lookup([]byte(container))
		for _, sub := range subs {
			if s := c.Sub([]byte(sub)); s == nil || s.Parent != c || s.ID < len(redis72) {
				t.Errorf("%s %s: %v", container, sub, s)
			}
		}
		if !slices.IsSortedFunc(c.Subcommands, func(a, b *Command) int { return strings.Compare(a.Name, b.Name) }) {
			t.Errorf("%s: %v", container, c.Subcommands)
		}
	}
	f("client", "CAPA", "import-source")
	f("script", "show")
	f("cluster", "slot-stats", "migrateslots", "getslotmigrations", "cancelslotmigrations", "flushslot",
		"syncslots", "migration")
}

// A command has a version of Redis or says that it has none.
func TestVersions(t *testing.T) {
	f := func(name, since, valkey string, onlyValkey bool) {
		t.Helper()
		c := LookupFull([]byte(name))
		if c.Since != since || c.Valkey != valkey || c.OnlyValkey != onlyValkey {
			t.Errorf("%s: %s %s %v", name, c.Since, c.Valkey, c.OnlyValkey)
		}
	}
	f("get", "1.0.0", "", false)
	f("hexpire", "7.4.0", "9.0.0", false)
	f("msetex", "8.4.0", "9.1.0", false)
	f("cluster|slot-stats", "8.2.0", "8.0.0", false)
	f("delifeq", "9.0.0", "9.0.0", true)
	f("delex", "8.4.0", "", false)
	for _, c := range commands {
		if c.OnlyValkey && c.Valkey != c.Since {
			t.Errorf("%s: since %s in Valkey alone, and %s", c.Name, c.Since, c.Valkey)
		}
	}
}

func TestTableIsConsistent(t *testing.T) {
	for _, c := range commands {
		if c.Arity == 0 || c.Since == "" || c.Group == "" {
			t.Errorf("%s: no arity, version or group", c.Name)
		}
		if c.Name != strings.ToLower(c.Name) {
			t.Errorf("%s: not in lower case", c.Name)
		}
		least := max(c.Arity, -c.Arity)
		if c.KeyAt >= least || c.firstAt >= least {
			t.Errorf("%s: key at %d and first at %d of %d arguments", c.Name, c.KeyAt, c.firstAt, least)
		}
		if c.Is(Write) && c.Is(ReadOnly) {
			t.Errorf("%s: both writes and only reads", c.Name)
		}
		if c.Is(Write|ReadOnly) != (c.Is(Write) && c.Is(ReadOnly)) {
			t.Errorf("%s: Is of two flags is not both", c.Name)
		}
		if (c.Parent != nil) != strings.Contains(c.Name, "|") {
			t.Errorf("%s: parent %v", c.Name, c.Parent)
		}
		if c.Parent != nil && !slices.Contains(c.Parent.Subcommands, c) {
			t.Errorf("%s: its container does not have it", c.Name)
		}
		fails := c.Is(MovableKeys) && c.hasKeys && c.Name != "msetex" // Its server refuses what fails.
		if fails && c.finder == noFinder && !c.allPlain() {
			t.Errorf("%s: specs can fail and there is no finder", c.Name)
		}
	}
	for name := range finders {
		if c := LookupFull([]byte(name)); c == nil || !c.hasKeys {
			t.Errorf("finder for %s, which has no keys", name)
		}
	}
}

// allPlain reports whether every spec is a range from a fixed index.
func (c *Command) allPlain() bool {
	for i := range c.Keys {
		if !c.Keys[i].plain() {
			return false
		}
	}
	return true
}

// TestPolicies counts the commands of each policy.
func TestPolicies(t *testing.T) {
	requests := make(map[string]int)
	responses := make(map[string]int)
	for _, c := range commands {
		requests[c.Request.String()]++
		responses[c.Response.String()]++
	}
	f := func(counts map[string]int, name string, want int) {
		t.Helper()
		if counts[name] != want {
			t.Errorf("%s: %d commands, want %d", name, counts[name], want)
		}
	}
	f(requests, "all_nodes", 22)
	f(requests, "all_shards", 25)
	f(requests, "multi_shard", 7)
	f(requests, "special", 7)
	f(responses, "one_succeeded", 2)
	f(responses, "all_succeeded", 22)
	f(responses, "agg_logical_and", 1)
	f(responses, "agg_logical_or", 0)
	f(responses, "agg_min", 2)
	f(responses, "agg_max", 0)
	f(responses, "agg_sum", 8)
	f(responses, "special", 15)
	if got := Lookup([]byte("mget")).Request; got != RequestMultiShard {
		t.Errorf("MGET is %s", got)
	}
	if got := Lookup([]byte("dbsize")).Response; got != ResponseAggSum {
		t.Errorf("DBSIZE is %s", got)
	}
}

func spec(pos, last, step int) KeySpec {
	return KeySpec{
		Flags: KeyRO,
		Begin: Begin{Kind: BeginIndex, Pos: pos},
		Find:  Find{Kind: FindRange, Last: last, Step: step},
	}
}

// TestTriple has the forms no command of 7.2 takes, next to those it does.
func TestTriple(t *testing.T) {
	f := func(first, last, step int, movable bool, keys ...KeySpec) {
		t.Helper()
		c := Command{Name: "x", Arity: -9, Keys: keys}
		c.derive()
		if c.FirstKey != first || c.LastKey != last || c.Step != step || c.Is(MovableKeys) != movable {
			t.Errorf("%+v: %d %d %d %v, want %d %d %d %v", keys,
				c.FirstKey, c.LastKey, c.Step, c.Is(MovableKeys), first, last, step, movable)
		}
	}
	keyword := spec(1, 0, 1)
	keyword.Begin = Begin{Kind: BeginKeyword, Keyword: "K", Pos: 1}
	incomplete := spec(3, 0, 1)
	incomplete.Flags = KeyIncomplete

	f(0, 0, 0, false)
	f(1, 1, 1, false, spec(1, 0, 1))
	f(1, -1, 2, false, spec(1, -1, 2))
	f(2, 3, 1, false, spec(2, 1, 1))
	f(3, 3, 1, true, incomplete)
	f(1, 2, 1, false, spec(1, 0, 1), spec(2, 0, 1))
	f(1, -1, 1, false, spec(1, 0, 1), spec(2, -1, 1))
	f(1, 1, 1, true, spec(1, 0, 1), spec(3, 0, 1)) // not adjoining
	f(1, 1, 1, true, spec(1, 0, 1), spec(2, -1, 2))
	f(1, 1, 1, true, spec(1, 0, 1), keyword)
	f(3, 3, 1, true, incomplete, keyword)
	f(0, 0, 0, true, keyword)
}

func TestArity(t *testing.T) {
	f := func(name string, n int, want bool) {
		t.Helper()
		if got := LookupFull([]byte(name)).ArityOK(n); got != want {
			t.Errorf("%s with %d arguments: %v", name, n, got)
		}
	}
	f("get", 1, false)
	f("get", 2, true)
	f("get", 3, false)
	f("set", 2, false)
	f("set", 3, true)
	f("set", 300, true)
	f("client|setname", 2, false)
	f("client|setname", 3, true)
	f("ping", 1, true)
}

func TestBuildRefusesAContradiction(t *testing.T) {
	f := func(what string, list ...Command) {
		t.Helper()
		defer func() {
			if recover() == nil {
				t.Errorf("no panic for %s", what)
			}
		}()
		build(list)
	}
	f("a name twice", Command{Name: "a", Arity: 1}, Command{Name: "a", Arity: 1})
	f("a subcommand without container", Command{Name: "a|b", Arity: 2})
	f("an unknown policy", Command{Name: "a", Arity: 1, Tips: []string{"request_policy:x"}})
	f("too many specs", Command{Name: "a", Arity: 1, Keys: make([]KeySpec, maxRuns+1)})
}

// TestBuildJoinsLists is how commands that are not of Redis come in.
func TestBuildJoinsLists(t *testing.T) {
	extra := []Command{{
		Name: "slotsinfo", Arity: -2, Flags: ReadOnly,
		Keys: []KeySpec{spec(1, 0, 1)},
	}}
	all := build(redis72[:], newer[:], extra)
	last := all[len(all)-1]
	if last.Name != "slotsinfo" || last.ID != Count || last.KeyAt != 1 || last.FirstKey != 1 {
		t.Errorf("got %+v", last)
	}
	if last.ACL != ACLRead|ACLSlow {
		t.Errorf("categories %b", last.ACL)
	}
}
