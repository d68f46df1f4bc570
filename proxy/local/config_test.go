package local

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// testConfig is what testParams are about.
type testConfig struct {
	number, size int
	wait         time.Duration
	on           bool
	level        slog.Level
}

var testParams = Params[testConfig]{
	Int("number", func(in *testConfig) *int { return &in.number }, 1, 10),
	Bytes("hold.size", func(in *testConfig) *int { return &in.size }, 1<<10, 1<<30),
	Duration("wait", func(in *testConfig) *time.Duration { return &in.wait }, time.Millisecond, time.Hour),
	Bool("on", func(in *testConfig) *bool { return &in.on }),
	Level("loglevel", func(in *testConfig) *slog.Level { return &in.level }),
	Fixed[testConfig]("timeout", "0"),
}

func TestParamsTakeAndShowValues(t *testing.T) {
	f := func(name, value, wrong, shown string) {
		t.Helper()
		var in testConfig
		p := testParams.Named(strings.ToUpper(name))
		if got := p.Set(&in, value); got != wrong {
			t.Errorf("%s %s: %q, want %q", name, value, got, wrong)
		}
		if got := p.Get(&in); wrong == "" && got != shown {
			t.Errorf("%s %s shows %s, want %s", name, value, got, shown)
		}
	}
	f("number", "10", "", "10")
	f("number", "11", "argument must be between 1 and 10 inclusive", "")
	f("number", "1.5", "argument couldn't be parsed into an integer", "")
	f("hold.size", "64kb", "", "65536")
	f("hold.size", "1M", "", "1000000")
	f("hold.size", "2gb", "argument must be between 1024 and 1073741824 inclusive", "")
	f("hold.size", "99999999999gb", "argument must be a memory value", "")
	f("hold.size", "64qb", "argument must be a memory value", "")
	f("wait", "60s", "", "1m")
	f("wait", "1h", "", "1h")
	f("wait", "90s", "", "1m30s")
	f("wait", "0s", "argument must be between 1ms and 1h inclusive", "")
	f("wait", "1", `argument must be a duration with a unit, such as "500ms"`, "")
	f("on", "YES", "", "yes")
	f("on", "1", "argument must be 'yes' or 'no'", "")
	f("loglevel", "verbose", "", "debug")
	f("loglevel", "warning", "", "warning")
	f("loglevel", "x", "argument(s) must be one of the following: debug, verbose, notice, warning", "")
}

func TestParamsAreFoundByNameAndPattern(t *testing.T) {
	in := &testConfig{number: 3}
	f := func(want string, names ...string) {
		t.Helper()
		if got := fmt.Sprint(testParams.Matching(in, bytesOf(names))); got != want {
			t.Errorf("%q: %s, want %s", names, got, want)
		}
	}
	f("map[Number:3]", "Number", "number")
	f("map[number:3 on:no]", "*n*", "ON", "nosuch")
	for name, want := range map[string]bool{"WAIT": true, "Hold.x": true, "proxy.*": true, "hold": false, "maxmemory": false} {
		if got := testParams.Owns([]byte(name)); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
	set := func(want string, pairs ...string) {
		t.Helper()
		params, refusal := testParams.ToSet(bytesOf(pairs))
		if refusal == "" {
			refusal = SetAll(in, params, bytesOf(pairs))
		}
		if refusal != want {
			t.Errorf("%q: %q, want %q", pairs, refusal, want)
		}
	}
	set("", "number", "4", "on", "yes")
	set("ERR CONFIG SET failed (possibly related to argument 'timeout') - can't set immutable config", "timeout", "1")
	set("ERR CONFIG SET failed (possibly related to argument 'NUMBER') - duplicate parameter", "number", "4", "NUMBER", "5")
	set("ERR CONFIG SET failed (possibly related to argument 'On') - argument must be 'yes' or 'no'", "number", "4", "On", "x")
	set("ERR Unknown option or number of arguments for CONFIG SET - 'x'", "x", "1")
	reply := AppendParameters(nil, testParams.Matching(in, bytesOf([]string{"on", "number"})), true)
	if want := "%2\r\n$6\r\nnumber\r\n$1\r\n4\r\n$2\r\non\r\n$3\r\nyes\r\n"; string(reply) != want {
		t.Errorf("%q, want %q", reply, want)
	}
}

func TestGuardedParameters(t *testing.T) {
	for name, why := range map[string]string{
		"maxmemory": "", "save": "", "tls-auth-clients": "who may connect", "RequirePass": "who may connect",
		"my_password":       "who may connect",
		"repl_backlog_size": "replication", "dir": "files", "directory": "", "maxmemory-clients": "share",
	} {
		if got := Guarded(name, nil); (got == "") != (why == "") || !strings.Contains(got, why) {
			t.Errorf("%s: %q", name, got)
		}
	}
	if got := Guarded("save", make([]byte, longestParameter+1)); !strings.Contains(got, "more than 65536 bytes") {
		t.Errorf("a long value: %q", got)
	}
	for name, want := range map[string]bool{
		"requirepass": true, "masterauth": true, "tls-auth-clients": false, "namespace.x": true, "hz": false,
	} {
		if IsSecret(name) != want {
			t.Errorf("IsSecret(%q) is %v", name, !want)
		}
	}
}

func TestKeptParameters(t *testing.T) {
	var k Kept
	k.Set(bytesOf([]string{"HZ", "10", "save", ""}))
	k.Set(bytesOf([]string{"hz", "20"}))
	k.Doubt()
	list, version := k.List()
	if fmt.Sprint(list) != "[{save } {hz 20}]" || version != 3 {
		t.Errorf("%v, %d", list, version)
	}
	k.Adopt("hz", "30", version-1)
	k.Adopt("other", "1", version)
	if now, _ := k.List(); fmt.Sprint(now) != fmt.Sprint(list) {
		t.Errorf("adopted too late: %v", now)
	}
	k.Adopt("hz", "30", version)
	if now, _ := k.List(); fmt.Sprint(now) != "[{save } {hz 30}]" || fmt.Sprint(list) != "[{save } {hz 20}]" {
		t.Errorf("%v, and the list of before is %v", now, list)
	}
}
