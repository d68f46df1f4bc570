package apps

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice/internal/testbed"
)

// appWait bounds a scenario. What works takes seconds.
const appWait = 5 * time.Minute

// app is an application: a scenario, and what has to run beside it.
type app struct {
	scenario []string
	workers  []worker
	can      trait
}

// worker runs for as long as the scenario does.
type worker struct {
	command []string
	ready   string // in its output, when it works
}

// python, ruby, php and node are commands that run a file of testdata. The first three are those that the packages of
// the distribution are made for, whatever else is on PATH.
func python(args ...string) []string { return append([]string{"/usr/bin/python3", "-u"}, args...) }
func ruby(args ...string) []string   { return append([]string{"/usr/bin/ruby"}, args...) }
func php(args ...string) []string    { return append([]string{"/usr/bin/php"}, args...) }
func node(args ...string) []string   { return append([]string{"node"}, args...) }

// play runs an application at every site that it has the traits for.
func play(t *testing.T, a app) {
	for _, s := range sites {
		if s.needs&a.can != s.needs {
			continue
		}
		t.Run(s.name, func(t *testing.T) { a.playAt(t, s.open(t)) })
	}
}

func (a app) playAt(t *testing.T, to *site) {
	until := filepath.Join(t.TempDir(), "until")
	env := environment(t, to, until)
	start := func(command []string) *testbed.Program {
		return testbed.StartProgram(t, env, command[0], command[1:]...)
	}
	for _, w := range a.workers {
		start(w.command).AwaitOutput(t, w.ready, startWait)
	}
	enough := func() {
		if err := os.WriteFile(until, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if to.failOver == nil {
		enough()
	}
	scenario := start(a.scenario)
	if to.failOver != nil {
		scenario.AwaitOutput(t, "round 1\n", appWait)
		to.failOver(t)
		// The round that is being played now has begun before, the next one has not.
		scenario.AwaitOutput(t, fmt.Sprintf("round %d\n", strings.Count(scenario.Output(), "round ")+2), appWait)
		enough()
	}
	ctx, cancel := context.WithTimeout(t.Context(), appWait)
	defer cancel()
	if err := scenario.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(scenario.Output(), "round 1\n") {
		t.Error("the scenario has checked nothing")
	}
}

// environment is what every program of an application is told; see the package's comment.
func environment(t *testing.T, to *site, until string) []string {
	t.Helper()
	host, port, err := net.SplitHostPort(to.addr)
	if err != nil {
		t.Fatal(err)
	}
	data, err := filepath.Abs("testdata")
	if err != nil {
		t.Fatal(err)
	}
	lossy := ""
	if to.failOver != nil {
		lossy = "yes" // What is published meanwhile may be lost, as with the servers alone.
	}
	return []string{
		"LOSSY=" + lossy,
		"REDIS_URL=redis://" + to.addr, "RQ_REDIS_URL=redis://" + to.addr, "REDIS_HOST=" + host, "REDIS_PORT=" + port,
		"KEY_PREFIX=" + to.prefix, "UNTIL=" + until,
		"PYTHONPATH=" + filepath.Join(data, "python"), "PYTHONDONTWRITEBYTECODE=1",
	}
}
