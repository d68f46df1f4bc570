package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestTableIsGenerated fails when the table and the facts part: after an edit
// of either by hand, or of the generator without running it.
func TestTableIsGenerated(t *testing.T) {
	f, err := readFacts("../redis-7.2.json")
	if err != nil {
		t.Fatal(err)
	}
	want, err := emit(f)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../table_gen.go")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("table_gen.go is not what gen makes of redis-7.2.json; run go generate")
	}
}

// TestFactsAreInTheirOnlyForm keeps the file free of hand edits gen would undo.
func TestFactsAreInTheirOnlyForm(t *testing.T) {
	f, err := readFacts("../redis-7.2.json")
	if err != nil {
		t.Fatal(err)
	}
	want, err := f.marshal()
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../redis-7.2.json")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("redis-7.2.json is not in the form gen writes")
	}
	if err := checkNames(f.Commands); err != nil {
		t.Error(err)
	}
	if len(f.Commands) != 392 {
		t.Errorf("%d commands, Redis 7.2 has 392", len(f.Commands))
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
	f, err := extract(writeDir(t, sentinelFile, childFile, parentFile), origin{})
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
	src, err := emit(f)
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
		_, err := extract(writeDir(t, files...), origin{})
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
		_, err := emit(&facts{Commands: []fact{one}})
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

func TestRunWritesBothFiles(t *testing.T) {
	dir := writeDir(t, parentFile, childFile)
	out := filepath.Join(t.TempDir(), "facts.json")
	if err := run([]string{"-extract", dir, "-out", out}); err == nil {
		t.Error("facts without an origin were written")
	}
	if err := run([]string{"-extract", dir, "-out", out, "-branch", "b", "-commit", "c"}); err != nil {
		t.Fatal(err)
	}
	table := filepath.Join(t.TempDir(), "table.go")
	if err := run([]string{"-in", out, "-out", table}); err != nil {
		t.Fatal(err)
	}
	src, err := os.ReadFile(table)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(src), "branch b, commit c") {
		t.Errorf("no origin in\n%s", src)
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
