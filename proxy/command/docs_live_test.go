package command

import (
	"slices"
	"strings"
	"testing"
)

// docsDifferences is where 7.0 documents a field differently; "" is a field it
// does not have.
var docsDifferences = []difference{
	{"client|pause", "since", "2.9.50", "7.2 names the release and not the preview"},
	{"psetex", "doc_flags", "", "deprecated by 7.2"},
	{"psetex", "deprecated_since", "", "deprecated by 7.2"},
	{"psetex", "replaced_by", "", "deprecated by 7.2"},
	{"quit", "doc_flags", "", "deprecated by 7.2"},
	{"quit", "deprecated_since", "", "deprecated by 7.2"},
	{"quit", "replaced_by", "", "deprecated by 7.2"},
	{"setex", "doc_flags", "", "deprecated by 7.2"},
	{"setex", "deprecated_since", "", "deprecated by 7.2"},
	{"setex", "replaced_by", "", "deprecated by 7.2"},
	{"setnx", "doc_flags", "", "deprecated by 7.2"},
	{"setnx", "deprecated_since", "", "deprecated by 7.2"},
	{"setnx", "replaced_by", "", "deprecated by 7.2"},
}

// TestDocsLive compares the fields of COMMAND DOCS that the table knows.
func TestDocsLive(t *testing.T) {
	s := startRedis(t)
	version := s.version(t)
	old := version == "7.0"
	seen := make(map[int]bool)
	for _, resp3 := range []bool{false, true} {
		if resp3 {
			s.ask(t, "HELLO", "3")
		}
		for _, c := range commands {
			if lacks(version, c) {
				continue
			}
			theirs := s.ask(t, "COMMAND", "DOCS", c.Name)
			ours := decode(t, redis.AppendDocs(nil, [][]byte{[]byte(c.Name)}, resp3))
			if theirs.kind != ours.kind || len(theirs.items) != 2 || len(ours.items) != 2 {
				t.Fatalf("%s: theirs is %s, ours %s", c.Name, theirs, ours)
			}
			if theirs.items[0].String() != ours.items[0].String() {
				t.Errorf("%s: key %s, ours %s", c.Name, theirs.items[0], ours.items[0])
			}
			compareDocs(t, old, seen, c, theirs.items[1], ours.items[1])
		}
	}
	for i, d := range docsDifferences {
		if old && !seen[i] {
			t.Errorf("%s %s: the listed difference does not occur", d.name, d.field)
		}
	}
}

func compareDocs(t *testing.T, old bool, seen map[int]bool, c *Command, theirs, ours node) {
	t.Helper()
	if theirs.kind != ours.kind {
		t.Errorf("%s: kind %c, ours %c", c.Name, theirs.kind, ours.kind)
	}
	for _, field := range []string{"since", "group", "doc_flags", "deprecated_since", "replaced_by"} {
		a, hasA := theirs.field(field)
		b, hasB := ours.field(field)
		if hasA == hasB && a.String() == b.String() {
			continue
		}
		at := slices.IndexFunc(docsDifferences, func(d difference) bool {
			return d.name == c.Name && d.field == field && d.theirs == a.text
		})
		if !old || at < 0 {
			t.Errorf("%s %s: %s (there %v), ours %s (there %v)", c.Name, field, a, hasA, b, hasB)
			continue
		}
		seen[at] = true
	}
	subs, hasSubs := theirs.field("subcommands")
	mine, hasMine := ours.field("subcommands")
	if hasSubs != hasMine || subs.kind != mine.kind {
		t.Errorf("%s: subcommands %v %c, ours %v %c", c.Name, hasSubs, subs.kind, hasMine, mine.kind)
	}
	if !hasMine {
		return
	}
	for i := 0; i < len(subs.items); i += 2 {
		if _, ok := mine.field(subs.items[i].text); !ok {
			t.Errorf("%s: our map lacks %s", c.Name, subs.items[i].text)
		}
	}
}

// TestListLive compares COMMAND LIST and its filters as sets.
func TestListLive(t *testing.T) {
	s := startRedis(t)
	version := s.version(t)
	f := func(args ...string) {
		t.Helper()
		theirs := s.ask(t, append([]string{"COMMAND", "LIST"}, args...)...)
		raw := make([][]byte, len(args))
		for i := range args {
			raw[i] = []byte(args[i])
		}
		ours := decode(t, redis.AppendList(nil, raw))
		for _, list := range []*node{&theirs, &ours} {
			list.items = slices.DeleteFunc(list.items, func(n node) bool {
				c := LookupFull([]byte(n.text))
				return c != nil && lacks(version, c)
			})
			slices.SortFunc(list.items, func(a, b node) int { return strings.Compare(a.text, b.text) })
		}
		if theirs.String() != ours.String() {
			t.Errorf("LIST %q:\n theirs %s\n ours   %s", args, theirs, ours)
		}
	}
	f()
	f("x")
	f("filterby")
	f("FILTERBY", "PATTERN")
	f("FILTERBY", "PATTERN", "a*", "b")
	f("FILTERBY", "NOSUCH", "a*")
	f("FILTERBY", "MODULE", "json")
	f("filterby", "aclcat", "nosuch")
	f("filterby", "aclcat", "")
	f("filterby", "aclcat", "@hash")
	for _, name := range categoryNames {
		f("FILTERBY", "ACLCAT", name)
		f("FILTERBY", "aclcat", strings.ToUpper(name))
	}
	for _, pattern := range patterns {
		f("FILTERBY", "PATTERN", pattern)
	}
}

// patterns are globs with every element, whole and broken.
var patterns = []string{
	"", "*", "**", "?", "???", "get", "GET", "GeT*", "*set", "*s*t*", "x*|*", "*|?et*",
	"z[a-i]*", "z[^a-i]*", "z[i-a]*", "Z[A-I]*", "[gs]et", "[^gs]et", "[", "[^", "[g", "[^g",
	"[]", "[]get", "[^]et", "*[t", "*[^t", "g[e", "[g-", "[g-s", "[g-s]et", "[a-", `\get`, `\GET`,
	`g\et`, `get\`, `get\*`, `*\|get`, `[\g]et`, `[\G]et`, `[\]g]et`, `[g\-s]et`, `[\`, `[g\`,
	"*a*a*a*", "*e*e*e*e*", "geta", "ge", "g*t*t", "*-*", "*_ro", "?*?*?*?*?*?*?*?*?*?*?*?*?*?*",
	"[a-c-e]*", "[--z]*", "[a-z][a-z][a-z]", "[^a-z]*", "*[|]*", "*[^a-z]*",
}
