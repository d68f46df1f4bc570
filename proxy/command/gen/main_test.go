package main

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestTablesAreGenerated fails when the tables and the facts part: after an edit
// of either by hand, or of the generator without running it.
func TestTablesAreGenerated(t *testing.T) {
	tables, err := render("..")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range tables {
		got, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not what gen makes of the facts; run go generate", name)
		}
	}
}

// TestFactsAreInTheirOnlyForm keeps the files free of hand edits gen would undo.
func TestFactsAreInTheirOnlyForm(t *testing.T) {
	f := func(name string, count int) []fact {
		t.Helper()
		path := filepath.Join("..", name)
		f, err := readFacts(path)
		if err != nil {
			t.Fatal(err)
		}
		want, err := f.marshal()
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not in the form gen writes", name)
		}
		byName := func(a, b fact) int { return strings.Compare(a.fullName(), b.fullName()) }
		if !slices.IsSortedFunc(f.Commands, byName) {
			t.Errorf("%s is not sorted", name)
		}
		if len(f.Commands) != count {
			t.Errorf("%d commands in %s, want %d", len(f.Commands), name, count)
		}
		return f.Commands
	}
	old := f(oldFacts, 392)
	if err := checkNames(old); err != nil {
		t.Error(err)
	}
	redis, valkey := f(redisFacts, 100), f(valkeyFacts, 33)
	had := namesOf(old)
	for _, list := range [][]fact{redis, valkey} {
		for i := range list {
			if had[list[i].fullName()] {
				t.Errorf("%s is one of Redis 7.2", list[i].fullName())
			}
		}
	}
}

const parentFile = `{"BOX": {
	"summary": "A container.", "complexity": "O(1)", "group": "sorted_set", "since": "1.2.3",
	"arity": -2, "function": "f", "command_flags": ["SENTINEL"], "reply_schema": {"type": "null"}}}`

const childFile = `{"OPEN": {
	"summary": "A subcommand.", "group": "sorted_set", "since": "2.0.0", "arity": -4, "container": "BOX",
	"history": [["2.1.0", "Changed."]], "command_flags": ["WRITE", "FAST"], "acl_categories": ["SET"],
	"command_tips": ["REQUEST_POLICY:ALL_SHARDS"], "doc_flags": ["DEPRECATED"],
	"deprecated_since": "3.0.0", "replaced_by": "` + "`X`" + `",
	"key_specs": [
		{"notes": "A sentence.", "flags": ["RO", "ACCESS"],
		 "begin_search": {"index": {"pos": 2}}, "find_keys": {"range": {"lastkey": -1, "step": 2, "limit": 0}}},
		{"flags": ["OW"], "begin_search": {"keyword": {"keyword": "TO", "startfrom": -3}},
		 "find_keys": {"keynum": {"keynumidx": 0, "firstkey": 1, "step": 1}}},
		{"flags": ["RW"], "begin_search": {"unknown": null}, "find_keys": {"unknown": null}}],
	"arguments": [{"name": "key", "type": "key"}]}}`

const sentinelFile = `{"WATCHDOG": {"group": "sentinel", "since": "1.0.0", "arity": 1, "command_flags": ["ONLY_SENTINEL"]}}`

const wantFacts = `{
"origin": {"project":"","branch":"","commit":"","path":"","licence":""},
"commands": [
{"name":"box","group":"sorted_set","since":"1.2.3","arity":-2,"command_flags":["SENTINEL"]},
{"name":"open","container":"box","group":"sorted_set","since":"2.0.0","arity":-4,` +
	`"command_flags":["WRITE","FAST"],"acl_categories":["SET"],"command_tips":["REQUEST_POLICY:ALL_SHARDS"],` +
	`"doc_flags":["DEPRECATED"],"deprecated_since":"3.0.0","replaced_by":"` + "`X`" + `","key_specs":[` +
	`{"flags":["RO","ACCESS"],"begin_search":{"index":{"pos":2}},"find_keys":{"range":{"lastkey":-1,"step":2,"limit":0}}},` +
	`{"flags":["OW"],"begin_search":{"keyword":{"keyword":"TO","startfrom":-3}},"find_keys":{"keynum":{"keynumidx":0,"firstkey":1,"step":1}}},` +
	`{"flags":["RW"],"begin_search":{"unknown":null},"find_keys":{"unknown":null}}]},
{"name":"watchdog","group":"sentinel","since":"1.0.0","arity":1,"command_flags":["ONLY_SENTINEL"]}
]
}
`

// writeDir puts the files into a directory, named by their position.
func writeDir(t *testing.T, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	for i, text := range files {
		name := filepath.Join(dir, string(rune('a'+i))+".json")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestExtractKeepsFactsAndDropsProse(t *testing.T) {
	f, err := extract(writeDir(t, sentinelFile, childFile, parentFile), origin{}, new(facts))
	if err != nil {
		t.Fatal(err)
	}
	got, err := f.marshal()
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != wantFacts {
		t.Errorf("got\n%s\nwant\n%s", got, wantFacts)
	}
	src, err := (&table{name: "x", commands: f.Commands}).emit()
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{
		`Name: "box|open", Group: "sorted-set", Since: "2.0.0", Arity: -4,`,
		`Write | Fast,`,
		`Begin: Begin{Kind: BeginKeyword, Keyword: "TO", Pos: -3}, Find: Find{Kind: FindKeyNum, NumAt: 0, First: 1, Step: 1}`,
		`[]string{"request_policy:all_shards"}`,
	} {
		if !strings.Contains(string(src), part) {
			t.Errorf("the table lacks %s:\n%s", part, src)
		}
	}
	if strings.Contains(string(src), "watchdog") {
		t.Error("the table has a command of Sentinel")
	}
}

func TestExtractRefuses(t *testing.T) {
	f := func(want string, files ...string) {
		t.Helper()
		_, err := extract(writeDir(t, files...), origin{}, new(facts))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %q", err, want)
		}
	}
	f("no command file")
	f("described twice", parentFile, parentFile)
	f("no container", childFile)
	f("no group or no arity", `{"X": {"since": "1.0.0"}}`)
	f("extract a.json", `{`)
}

func TestEmitRefusesWhatItDoesNotKnow(t *testing.T) {
	f := func(want string, one fact) {
		t.Helper()
		one.Name = "x"
		_, err := (&table{commands: []fact{one}}).emit()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %q", err, want)
		}
	}
	f(`emit x: unknown word "NEW"`, fact{Flags: []string{"NEW"}})
	f(`unknown word "NEW"`, fact{ACL: []string{"NEW"}})
	f(`unknown word "NEW"`, fact{DocFlags: []string{"NEW"}})
	f(`unknown word "NEW"`, fact{Keys: []keySpec{{Flags: []string{"NEW"}}}})
	f("without begin_search", fact{Keys: []keySpec{{}}})
	f("without find_keys", fact{Keys: []keySpec{{Begin: beginSearch{Index: &indexBegin{Pos: 1}}}}})
}

// What a project states of a command that follows from the flags is left out, and so is what the base has.
func TestExtractLeavesOut(t *testing.T) {
	const file = `{"SHUT": {"group": "sorted_set", "since": "9.0.0", "arity": 2, "container": "BOX",
		"command_flags": ["WRITE", "ALL_DBS"], "acl_categories": ["SET", "SLOW", "WRITE", "FAST"]}}`
	base := &facts{Commands: []fact{{Name: "box"}}}
	f, err := extract(writeDir(t, file, parentFile), origin{}, base)
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Commands) != 1 || !slices.Equal(f.Commands[0].ACL, []string{"SET", "FAST"}) {
		t.Errorf("got %+v", f.Commands)
	}
	f.Commands[0].ACL = nil
	src, err := (&table{name: "x", commands: f.Commands}).emit()
	if err != nil || !strings.Contains(string(src), "Flags: Write,") {
		t.Errorf("got %v and\n%s", err, src)
	}
}

func TestMergeJoinsWhatBothHave(t *testing.T) {
	first := keySpec{Begin: beginSearch{Index: &indexBegin{Pos: 1}}, Find: findKeys{Range: &rangeFind{Step: 1}}}
	spec := func(flags ...string) []keySpec {
		one := first
		one.Flags = flags
		return []keySpec{one}
	}
	old := []fact{{Name: "box"}}
	redis := []fact{
		{Name: "a", Since: "8.0.0", Arity: 2, Flags: []string{"WRITE", "FAST"}, Keys: spec("RW", "UPDATE")},
		{Name: "c", Since: "8.2.0", Arity: 2},
	}
	valkey := []fact{
		{Name: "a", Since: "9.0.0", Arity: 2, Flags: []string{"FAST", "DENYOOM"}, ACL: []string{"SET"},
			Keys: spec("OW", "INSERT")},
		{Name: "b", Container: "box", Since: "9.1.0", Arity: 3},
	}
	got, err := merge(old, redis, valkey)
	if err != nil {
		t.Fatal(err)
	}
	want := []fact{
		{Name: "a", Since: "8.0.0", Arity: 2, Flags: []string{"WRITE", "FAST", "DENYOOM"}, ACL: []string{"SET"},
			Keys: spec("RW", "UPDATE", "INSERT"), valkey: "9.0.0"},
		{Name: "b", Container: "box", Since: "9.1.0", Arity: 3, valkey: "9.1.0", onlyValkey: true},
		redis[1],
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
	if !slices.Equal(redis[0].Keys[0].Flags, []string{"RW", "UPDATE"}) {
		t.Error("what was merged has changed")
	}
}

func TestMergeRefuses(t *testing.T) {
	f := func(want string, redis, valkey fact) {
		t.Helper()
		redis.Name, valkey.Name = "x", "x"
		_, err := merge(nil, []fact{redis}, []fact{valkey})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %q", err, want)
		}
	}
	f("merge x: arity 2 in Redis and 3 in Valkey", fact{Arity: 2}, fact{Arity: 3})
	f("group set in Redis and list in Valkey", fact{Group: "set"}, fact{Group: "list"})
	f("one of them writes", fact{Flags: []string{"WRITE"}}, fact{Flags: []string{"READONLY"}})
	f("keys in different places", fact{Keys: make([]keySpec, 1)}, fact{})
	at := func(pos int) []keySpec { return []keySpec{{Begin: beginSearch{Index: &indexBegin{Pos: pos}}}} }
	f("keys in different places", fact{Keys: at(1)}, fact{Keys: at(2)})
	if _, err := merge([]fact{{Name: "x"}}, []fact{{Name: "x"}}, nil); err == nil {
		t.Error("a command of the old ones was taken for a newer one")
	}
	if _, err := merge(nil, nil, []fact{{Name: "x", Container: "box"}}); err == nil {
		t.Error("a subcommand has no container")
	}
}

func TestRunWritesFactsAndTables(t *testing.T) {
	tree := writeDir(t, parentFile, childFile)
	dir := t.TempDir()
	f := func(want string, args ...string) {
		t.Helper()
		err := run(append([]string{"-extract", tree}, args...))
		if err == nil && want != "" || err != nil && (want == "" || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", args, err, want)
		}
	}
	old := filepath.Join(dir, oldFacts)
	f("needs -branch", "-out", old)
	f("needs -branch", "-branch", "7.2", "-commit", "c")
	f("is no source", "-out", old, "-branch", "7.4", "-commit", "c")
	f("is no source", "-out", old, "-branch", "7.2", "-commit", "c", "-project", "a/b")
	f("", "-out", old, "-branch", "7.2", "-commit", "c")
	f("", "-out", filepath.Join(dir, redisFacts), "-branch", "7.2", "-commit", "d", "-besides", old)
	f("", "-out", filepath.Join(dir, valkeyFacts), "-branch", "e", "-commit", "f", "-besides", old,
		"-project", "valkey-io/valkey")
	if err := run([]string{"-dir", dir}); err != nil {
		t.Fatal(err)
	}
	for name, parts := range map[string][]string{
		oldTable:   {"redis/redis, branch 7.2, commit c\n", "var redis72 = ", `"box|open"`},
		newerTable: {"valkey-io/valkey, branch e, commit f\n", "var newer = "},
	} {
		src, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range parts {
			if !strings.Contains(string(src), part) {
				t.Errorf("%s lacks %q:\n%s", name, part, src)
			}
		}
	}
}

func TestReadFactsRefusesAnUnknownField(t *testing.T) {
	name := filepath.Join(t.TempDir(), "facts.json")
	if err := os.WriteFile(name, []byte(`{"commands": [{"name": "x", "new": 1}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readFacts(name); err == nil {
		t.Error("no error")
	}
}
