package main

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestConfigDefaultIsAValidFile(t *testing.T) {
	t.Parallel()
	stdout, stderr, exit := sluice(t, "config", "default")
	if exit != 0 || stderr != "" {
		t.Fatalf("exit %d, %s", exit, stderr)
	}
	file := filepath.Join(t.TempDir(), "sluice.toml")
	write(t, file, stdout)
	stdout, stderr, exit = sluice(t, "config", "check", file)
	if exit != 0 || !strings.Contains(stdout, "is valid") {
		t.Errorf("exit %d, %s%s", exit, stdout, stderr)
	}
}

func TestConfigCheckPrintsAllProblems(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "bad.toml")
	write(t, file, `[proxy]
max_client = 5

[[pool]]
name = "main"
listen = ["tcp://nowhere"]
slot_model = "codis"
[[pool.group]]
id = "1"
master = "127.0.0.1:7001"
slots = "0-600"
[[pool.group]]
id = "2"
slots = "500-1000"
`)
	for _, args := range [][]string{{"config", "check", file}, {"serve", "--config", file}} {
		stdout, stderr, exit := sluice(t, args...)
		if exit != 1 || stdout != "" {
			t.Errorf("%v: exit %d, %s", args, exit, stdout)
		}
		for _, want := range []string{
			file + ":2: ", "max_clients", file + ":6:", "nowhere", "500-600", "1001-1023", "group 2.master",
		} {
			if !strings.Contains(stderr, want) {
				t.Errorf("%v: no %q in:\n%s", args, want, stderr)
			}
		}
	}
}

func TestUsageErrors(t *testing.T) {
	t.Parallel()
	f := func(want string, args ...string) {
		t.Helper()
		_, stderr, exit := sluice(t, args...)
		if exit != 1 || !strings.Contains(stderr, want) {
			t.Errorf("%v: exit %d, %q, want %q", args, exit, stderr, want)
		}
	}
	f(`unknown command "serv"`, "serv")
	f(`required flag(s) "config" not set`, "serve")
	f("no such file", "serve", "-c", "/does/not/exist.toml")
	f("accepts 1 arg", "config", "check")
}

func TestVersion(t *testing.T) {
	t.Parallel()
	stdout, _, exit := sluice(t, "version")
	if exit != 0 || !strings.HasPrefix(stdout, "sluice ") || !strings.Contains(stdout, "go1.") {
		t.Errorf("exit %d, %q", exit, stdout)
	}
}
