package peer

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sluice/bench/load"
)

// script writes an executable shell script.
func script(t *testing.T, lines string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+lines+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestStopEndsTheProcess(t *testing.T) {
	p, err := start("sleeper", t.TempDir(), script(t, "exec sleep 60"))
	if err != nil {
		t.Fatal(err)
	}
	p.Stop()
	select {
	case <-p.Over():
	default:
		t.Error("Stop returned while the process was running")
	}
	p.Stop() // once more does no harm
	if err := p.obituary(); !strings.Contains(err.Error(), "sleeper: signal: terminated") {
		t.Errorf("obituary: %v", err)
	}
}

func TestLaunchTellsWhyAProgramEnded(t *testing.T) {
	bin := script(t, "echo first line; echo $PWD/x.conf: no such pool >&2; exit 3")
	tries := 0
	_, err := launch(t.Context(), t.TempDir(), "proxy", bin, func(string, string, string) ([]string, error) {
		tries++
		return nil, nil
	})
	if err == nil || err.Error() != "proxy: exit status 3: x.conf: no such pool" {
		t.Errorf("got %v", err)
	}
	if tries != startTries {
		t.Errorf("%d tries, want %d: the port may have been taken", tries, startTries)
	}
}

func TestLaunchEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	_, err := launch(ctx, t.TempDir(), "proxy", script(t, "exec sleep 60"), func(string, string, string) ([]string, error) {
		cancel()
		return nil, nil
	})
	if err == nil || !strings.Contains(err.Error(), "proxy: not ready") {
		t.Errorf("got %v", err)
	}
}

// This test needs redis-server on the path.
func TestServerRunsUntilStopped(t *testing.T) {
	s, err := LaunchServer(t.Context(), t.TempDir(), "server")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	if err := s.Alive(); err != nil {
		t.Error(err)
	}
	before, err := Commands(s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	cfg := load.Default()
	cfg.Target, cfg.Requests = s.Addr, 500
	if res, err := load.Run(t.Context(), cfg); err != nil || res.Failures() > 0 || res.Requests != 500 {
		t.Errorf("%+v, %v", res, err)
	}
	if after, err := Commands(s.Addr); err != nil || after-before < 500 || after-before > 502 {
		t.Errorf("%d commands counted, %v; want 500", after-before, err)
	}
	if u, err := Measure(s.PID()); err != nil || u.CPU == 0 || u.RSSBytes == 0 {
		t.Errorf("usage %+v, %v", u, err)
	}
	if err := ResetPeak(s.PID()); err != nil {
		t.Error(err)
	}
	s.Stop()
	if err := s.Alive(); err == nil {
		t.Error("alive after Stop")
	}
	if _, err := Commands(s.Addr); err == nil {
		t.Error("answers after Stop")
	}
}

func TestMissingProgramsAreNamed(t *testing.T) {
	t.Setenv("SLUICE_BENCH_PREDIXY", "")
	t.Setenv("SLUICE_BENCH_CODIS_PROXY", filepath.Join(t.TempDir(), "none"))
	found := 0
	for _, k := range Kinds(t.TempDir()) {
		if k.Name != Sluice && k.Name != Predixy && k.Name != Codis {
			continue // looked for on the path, may be there
		}
		found++
		_, err := k.Launch(t.Context(), t.TempDir(), []Server{{Addr: "127.0.0.1:1"}, {Addr: "127.0.0.1:2"}})
		if !errors.Is(err, ErrNotFound) || strings.Contains(err.Error(), string(filepath.Separator)) {
			t.Errorf("%s: got %v, want %q without a path", k.Name, err, ErrNotFound)
		}
		if v := k.Version(); v != "" {
			t.Errorf("%s: version %q of a missing program", k.Name, v)
		}
	}
	if found != 3 {
		t.Errorf("%d kinds looked at, want 3", found)
	}
}

func TestVersionIsTheFirstLine(t *testing.T) {
	f := func(lines, want string) {
		t.Helper()
		if got := firstLine(script(t, lines)); got != want {
			t.Errorf("%s: got %q, want %q", lines, got, want)
		}
	}
	f("echo v1; echo built today; exit 1", "v1")
	f("echo noise >&2; echo v1", "v1")
	f("echo v1 >&2", "v1")
	f("echo $0 v1", "program v1")
}

func TestSpinnersEnd(t *testing.T) {
	all, err := Spin(t.TempDir(), 2)
	if err != nil || len(all) != 2 {
		t.Fatalf("%d, %v", len(all), err)
	}
	for _, p := range all {
		p.Stop()
		<-p.Over()
	}
}
