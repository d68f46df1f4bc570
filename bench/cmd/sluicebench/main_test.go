package main

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"sluice/bench/load"
	"sluice/bench/report"
	"sluice/internal/testbed"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestChooseCells(t *testing.T) {
	f := func(patterns string, want ...string) {
		t.Helper()
		cells, err := chooseCells(patterns)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, c := range cells {
			got = append(got, c.Name)
		}
		if strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("chooseCells(%q) = %v, want %v", patterns, got, want)
		}
	}
	f("c50-p16-*", report.P16Get, report.P16Set)
	f("c1-*,*-1k-set,c1-*", report.LargeSet, report.LoneGet)
	if cells, err := chooseCells(""); err != nil || len(cells) != len(report.Cells()) {
		t.Errorf("all: %d cells, %v", len(cells), err)
	}
	for _, patterns := range []string{"c7-*", "["} {
		if _, err := chooseCells(patterns); err == nil {
			t.Errorf("chooseCells(%q) has no error", patterns)
		}
	}
}

func TestQuickKeepsWhatWasGiven(t *testing.T) {
	o := options{rounds: 7, duration: 1, warmup: 2, idle: 3, profile: true}
	o.shorten(map[string]bool{"rounds": true, "profile": true})
	if o.rounds != 7 || !o.profile || o.duration == 1 || o.warmup == 2 || o.idle == 3 {
		t.Errorf("got %+v", o)
	}
}

func TestBadArgumentsAreRefused(t *testing.T) {
	f := func(want error, args ...string) {
		t.Helper()
		err := run(t.Context(), args)
		if err == nil || want != nil && !errors.Is(err, want) {
			t.Errorf("run(%q) = %v, want %v", args, err, want)
		}
	}
	f(flag.ErrHelp)
	f(flag.ErrHelp, "serve")
	f(load.ErrNotLoopback, "load", "-target", "192.0.2.1:6379")
	f(nil, "load", "-mix", "incr")
	f(nil, "load", "-dist", "normal")
	f(nil, "load", "127.0.0.1:6379")
	f(load.ErrNotLoopback, "check", "-addr", "192.0.2.1:6379")
	f(nil, "check", "-profile", "soft")
	f(nil, "check", "-slots", "9-1")
	f(nil, "check", "-consistency", "strong")
	f(nil, "check", "-profile", "mixed", "-consistency", "eventual")
	f(nil, "check", "-model", "redis")
	f(nil, "check", "-share", "0.5")
	f(nil, "compare", "-rounds", "0")
	f(nil, "compare", "-cells", "none")
	f(nil, "compare", "-only", "nobody")
}

// This test needs redis-server on the path.
func TestCompareReportsWhoIsMissing(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "RESULTS.md")
	var out bytes.Buffer
	err := runCompare(t.Context(), []string{
		"-quick", "-only", "direct,sluice", "-sluice", filepath.Join(dir, "none"),
		"-cells", "c50-p16-*,open-1k", "-duration", "50ms", "-out", file,
	}, &out)
	if err != nil {
		t.Fatalf("%v after\n%s", err, out.String())
	}
	page, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| sluice | – | 1 loop, codis slots over the servers | – | did not run: program not found",
		"| predixy | – | 1 worker, crc16, modula, latency monitors off | – | left out by -only |",
		"| GET c 50 P 16 3 B | ", "| c50-p16-set | direct | 1 | ", " 0 wrong, 0 errors; 100 % on server 1",
		"`sluicebench compare -cells=c50-p16-*,open-1k -duration=50ms -only=direct,sluice -quick=true`",
	} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if row := regexp.MustCompile(`\| 1000/s c 50 \| [0-9.]+ / [0-9.]+ / [0-9.]*[1-9][0-9.]* \|`); !row.Match(page) {
		t.Error("the page lacks the latencies of the open loop")
	}
	if strings.Contains(string(page), dir) {
		t.Error("the page names a directory of this machine")
	}
	if t.Failed() {
		t.Log(string(page))
	}
	if files, _ := filepath.Glob(filepath.Join(dir, "*")); len(files) != 1 {
		t.Errorf("files left: %v", files)
	}
}

func TestCheckPrintsAReport(t *testing.T) {
	server := testbed.Redis(t)
	var out bytes.Buffer
	err := runCheck(t.Context(), []string{
		"-addr", server.Addr(), "-profile", "mixed", "-n", "40", "-rate", "0", "-keys", "200", "-slots", "0-511", "-marks",
	}, strings.NewReader("during\n"), &out)
	if err != nil {
		t.Fatalf("%v after\n%s", err, out.String())
	}
	for _, want := range []string{"mixed: 16 clients, pipeline 4", "640 requests", "watched", "0 violations"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the report lacks %q:\n%s", want, out.String())
		}
	}
	out.Reset()
	err = runCheck(t.Context(), []string{
		"-addr", server.Addr(), "-profile", "reads", "-consistency", "read-your-writes", "-max-age", "10s", "-write-share", "0.2",
		"-observed", "50", "-observed-keys", "8", "-window", "16", "-n", "80", "-rate", "0", "-keys", "80",
	}, nil, &out)
	if err != nil {
		t.Fatalf("%v after\n%s", err, out.String())
	}
	for _, want := range []string{"reads: 16 clients, pipeline 8", "1280 requests", "read-your-writes", "over 10s", "0 violations"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the report lacks %q:\n%s", want, out.String())
		}
	}
	// A server without memory refuses writes.
	if v := server.Do("CONFIG", "SET", "maxmemory", "2mb"); v.Error() != nil {
		t.Fatal(v.Error())
	}
	args := []string{"-addr", server.Addr(), "-n", "400", "-rate", "0", "-keys", "200", "-d", "20000", "-prefix", "other"}
	if err := runCheck(t.Context(), args, nil, &out); err == nil {
		t.Errorf("no error after\n%s", out.String())
	}
}
