package command

import (
	"slices"
	"sort"
	"strings"
	"testing"
)

// infoFields names the fields of an entry of COMMAND INFO by position.
var infoFields = [...]string{
	"name", "arity", "flags", "first", "last", "step", "acl", "tips", "keys", "subcommands",
}

// difference is one field that Redis 7.0 states differently from 7.2, which that
// part of the table is of that 7.0 has. theirs is the value of 7.0, so that any other one is an error.
type difference struct {
	name, field, theirs, why string
}

// differences is all there is between the two. One that no longer occurs fails
// the test against 7.0.
var differences = []difference{
	{"acl|deluser", "tips", `*[]`, "7.2 added policies for nodes that share users"},
	{"acl|save", "tips", `*[]`, "as acl|deluser"},
	{"acl|setuser", "tips", `*[]`, "as acl|deluser"},
	{"client|setname", "tips", `*[]`, "7.2 added policies"},
	{"config|resetstat", "tips", `*[]`, "7.2 added policies"},
	{"config|rewrite", "tips", `*[]`, "7.2 added policies"},
	{"latency|reset", "tips", `*[$"request_policy:all_nodes" $"response_policy:all_succeeded"]`,
		"the reply is a count, which 7.2 sums"},
	{"msetnx", "tips", `*[$"request_policy:multi_shard" $"response_policy:agg_min"]`,
		"it is all or nothing and cannot be split; 7.2 took the tips away"},
	{"randomkey", "tips", `*[$"request_policy:all_shards" $"nondeterministic_output"]`,
		"7.2 added a response policy"},
	{"scan", "tips", `*[$"nondeterministic_output" $"request_policy:special"]`,
		"7.2 added a response policy"},

	{"blmove", "flags", `*[+"write" +"denyoom" +"noscript" +"blocking"]`,
		"7.2 lets scripts call what blocks; it does not block there"},
	{"blpop", "flags", `*[+"write" +"noscript" +"blocking"]`, "as blmove"},
	{"brpop", "flags", `*[+"write" +"noscript" +"blocking"]`, "as blmove"},
	{"brpoplpush", "flags", `*[+"write" +"denyoom" +"noscript" +"blocking"]`, "as blmove"},
	{"bzpopmax", "flags", `*[+"write" +"noscript" +"blocking" +"fast"]`, "as blmove"},
	{"bzpopmin", "flags", `*[+"write" +"noscript" +"blocking" +"fast"]`, "as blmove"},
	{"wait", "flags", `*[+"noscript"]`, "as blmove"},
	{"cluster|shards", "flags", `*[+"stale"]`, "7.2 answers while loading"},
	{"cluster|slots", "flags", `*[+"stale"]`, "7.2 answers while loading"},

	{"command|getkeys", "arity", `:"-4"`, "7.2 takes a command without arguments"},
	{"command|getkeysandflags", "arity", `:"-4"`, "as command|getkeys"},
	{"zrank", "arity", `:"3"`, "7.2 added WITHSCORE"},
	{"zrevrank", "arity", `:"3"`, "7.2 added WITHSCORE"},
}

// TestInfoLive compares every entry of COMMAND INFO with a real server, in
// both protocol versions: order inside an entry included, but for the order of
// subcommands, which is that of a hash table there.
func TestInfoLive(t *testing.T) {
	s := startRedis(t)
	version := s.version(t)
	old := version == "7.0"
	seen := make(map[int]bool)
	compared := 0
	for _, resp3 := range []bool{false, true} {
		if resp3 {
			s.ask(t, "HELLO", "3")
		}
		for _, c := range commands {
			theirs := s.ask(t, "COMMAND", "INFO", c.Name).items[0]
			ours := decode(t, redis.AppendInfo(nil, [][]byte{[]byte(c.Name)}, resp3)).items[0]
			isNew := lacks(version, c)
			if absent := theirs.kind == '_'; absent || isNew {
				if absent != isNew {
					t.Errorf("%s: unknown to the server: %v, expected: %v", c.Name, absent, isNew)
				}
				continue
			}
			compared++
			compareInfo(t, version, seen, theirs, ours)
		}
	}
	for i, d := range differences {
		if old && !seen[i] {
			t.Errorf("%s %s: the listed difference does not occur", d.name, d.field)
		}
	}
	if compared < 2*300 {
		t.Errorf("compared %d entries only", compared)
	}
}

func compareInfo(t *testing.T, version string, seen map[int]bool, theirs, ours node) {
	t.Helper()
	name := ours.items[0].text
	if len(theirs.items) != len(infoFields) || len(ours.items) != len(infoFields) {
		t.Fatalf("%s: entries of %d and %d fields", name, len(theirs.items), len(ours.items))
	}
	for i, field := range infoFields {
		a, b := theirs.items[i], ours.items[i]
		switch field {
		case "subcommands":
			a, b = namesOf(a), namesOf(b)
			b.items = slices.DeleteFunc(b.items, func(n node) bool {
				return lacks(version, LookupFull([]byte(n.text)))
			})
		case "keys":
			a = withoutNotes(a)
		}
		if a.String() == b.String() {
			continue
		}
		at := slices.IndexFunc(differences, func(d difference) bool {
			return d.name == name && d.field == field &&
				d.theirs == strings.ReplaceAll(a.String(), "~", "*")
		})
		if version != "7.0" || at < 0 {
			t.Errorf("%s %s:\n theirs %s\n ours   %s", name, field, a, b)
			continue
		}
		seen[at] = true
	}
}

// namesOf reduces a list of entries to their names, in order.
func namesOf(list node) node {
	out := node{kind: list.kind}
	for _, item := range list.items {
		out.items = append(out.items, item.items[0])
	}
	slices.SortFunc(out.items, func(a, b node) int { return strings.Compare(a.text, b.text) })
	return out
}

// withoutNotes drops the sentences some key specs carry, which the table does
// not keep.
func withoutNotes(specs node) node {
	out := node{kind: specs.kind}
	for _, spec := range specs.items {
		kept := node{kind: spec.kind}
		for i := 0; i < len(spec.items); i += 2 {
			if spec.items[i].text != "notes" {
				kept.items = append(kept.items, spec.items[i:i+2]...)
			}
		}
		out.items = append(out.items, kept)
	}
	return out
}

// TestInfoShapesLive compares the replies around the entries.
func TestInfoShapesLive(t *testing.T) {
	s := startRedis(t)
	f := func(resp3 bool, names ...string) {
		t.Helper()
		theirs := s.ask(t, append([]string{"COMMAND", "INFO"}, names...)...)
		raw := make([][]byte, len(names))
		for i := range names {
			raw[i] = []byte(names[i])
		}
		ours := decode(t, redis.AppendInfo(nil, raw, resp3))
		if theirs.String() != ours.String() {
			t.Errorf("INFO %q:\n theirs %s\n ours   %s", names, theirs, ours)
		}
	}
	for _, resp3 := range []bool{false, true} {
		if resp3 {
			s.ask(t, "HELLO", "3")
		}
		f(resp3, "nosuch")
		f(resp3, "")
		f(resp3, "|")
		f(resp3, "get|")
		f(resp3, "get|x")
		f(resp3, "config|nosuch")
		f(resp3, "config|")
		f(resp3, "config|get|x")
		f(resp3, "nosuch", "hget", "nosuch", "LSET")
		f(resp3, "Config|Get", "OBJECT|freq")

		theirs := namesOf(s.ask(t, "COMMAND"))
		ours := namesOf(decode(t, redis.AppendAll(nil, resp3)))
		if got := missing(theirs, ours); len(got) > 0 {
			t.Errorf("COMMAND lacks %q", got)
		}
		version := s.version(t)
		for _, name := range missing(ours, theirs) {
			if !lacks(version, LookupFull([]byte(name))) {
				t.Errorf("COMMAND has %q besides those of the server", name)
			}
		}
	}
}

// missing returns the names of a that are not in b.
func missing(a, b node) []string {
	var out []string
	for _, x := range a.items {
		if !slices.ContainsFunc(b.items, func(y node) bool { return x.text == y.text }) {
			out = append(out, x.text)
		}
	}
	sort.Strings(out)
	return out
}
