package proxy

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func runIORedis(t *testing.T, to *site) { runNode(t, "single", to) }

func runIORedisCluster(t *testing.T, to *site) { runNode(t, "cluster", to) }

// runNode runs the scenarios in JavaScript. The program prints a line for each: "ok name" or "FAIL name: why". It is
// told the servers too, which alone know whether a client is blocked.
func runNode(t *testing.T, mode string, to *site) {
	t.Helper()
	const dir = "testdata/ioredis"
	node, err := exec.LookPath("node")
	if err != nil {
		t.Fatal("no node on PATH: `make test` installs it")
	}
	if _, err := os.Stat(filepath.Join(dir, "node_modules", "ioredis")); err != nil {
		t.Fatalf("no ioredis: `make test` installs it: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	args := []string{filepath.Join(dir, "scenarios.js"), mode, to.addr}
	for _, n := range to.nodes {
		args = append(args, n.Addr())
	}
	cmd := exec.CommandContext(ctx, node, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	results := make(map[string]string)
	for line := range strings.Lines(string(out)) {
		verdict, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		name, why, _ := strings.Cut(rest, ": ")
		switch verdict {
		case "ok":
			results[name] = "ok"
		case "FAIL":
			results[name] = why
		default:
			t.Errorf("the program says %q", line)
		}
	}
	for _, scenario := range scenarios {
		t.Run(scenario.name, func(t *testing.T) {
			result, played := results[scenario.name]
			if !played {
				t.Fatal("the program has not come to this")
			}
			if result != "ok" {
				t.Error(result)
			}
		})
	}
	if err != nil || t.Failed() {
		t.Errorf("the program ended with %v\n%s", err, stderr.Bytes())
	}
}
