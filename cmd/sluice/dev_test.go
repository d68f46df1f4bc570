package main

import (
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice/internal/testbed"
)

func TestDevEndsEverythingItStarted(t *testing.T) {
	t.Parallel()
	r := start(t, "dev", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
	r.waitFor(t, "Three things to try")
	endsAll(t, r, devAddr(t, r), 4)
}

// Two sidecars that find everything in a Consul.
func TestDevWithConsul(t *testing.T) {
	t.Parallel()
	r := start(t, "dev", "--consul", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
	r.waitFor(t, "Some things to try")
	sidecars := regexp.MustCompile(`clients (\S+), admin`).FindAllStringSubmatch(r.out.String(), -1)
	if len(sidecars) != devSidecars {
		t.Fatalf("%d sidecars", len(sidecars))
	}
	if got := do(t, connect(t, sidecars[0][1]), "SET hello world"); got != "+OK" {
		t.Errorf("SET: %q", got)
	}
	if got := do(t, connect(t, sidecars[1][1]), "GET hello"); got != "world" {
		t.Errorf("GET through the other: %q", got)
	}
	endsAll(t, r, sidecars[0][1], 5)
}

// endsAll uses the playground, interrupts it and sees that none of the servers is left.
func endsAll(t *testing.T, r *running, addr string, servers int) {
	t.Helper()
	conn := connect(t, addr)
	if got := do(t, conn, "MSET a 1 b 2 c 3"); got != "+OK" {
		t.Errorf("MSET: %q", got)
	}
	if got := do(t, conn, "EXISTS a b c"); got != ":3" {
		t.Errorf("EXISTS: %q", got)
	}
	pids := regexp.MustCompile(`pid (\d+)`).FindAllStringSubmatch(r.out.String(), -1)
	if len(pids) != servers {
		t.Fatalf("started %d servers, want %d", len(pids), servers)
	}
	if err := r.end(t, syscall.SIGINT); err != nil {
		t.Errorf("exit: %v", err)
	}
	for _, m := range pids {
		pid, _ := strconv.Atoi(m[1])
		testbed.Eventually(t, func() error {
			if err := syscall.Kill(pid, 0); err == nil {
				return fmt.Errorf("server %d is still there", pid)
			}
			return nil
		}, 10*time.Second)
	}
}

func TestDevEmbedded(t *testing.T) {
	t.Parallel()
	r := start(t, "dev", "--embedded", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
	r.waitFor(t, "Three things to try")
	conn := connect(t, devAddr(t, r))
	for i := range 20 {
		if got := do(t, conn, fmt.Sprintf("SET key%d v%d", i, i)); got != "+OK" {
			t.Fatal(got)
		}
	}
	for i := range 20 {
		if got := do(t, conn, fmt.Sprintf("GET key%d", i)); got != fmt.Sprintf("v%d", i) {
			t.Errorf("key%d: %q", i, got)
		}
	}
	if err := r.end(t, syscall.SIGINT); err != nil {
		t.Errorf("exit: %v", err)
	}
}

func TestDevSaysWhichPortIsTaken(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, stderr, exit := sluice(t, "dev", "--embedded", "--listen", ln.Addr().String(), "--admin", "127.0.0.1:0")
	if exit != 1 || !strings.Contains(stderr, ln.Addr().String()+" is in use") || !strings.Contains(stderr, "--listen") {
		t.Errorf("exit %d, %q", exit, stderr)
	}
}

func devAddr(t *testing.T, r *running) string {
	t.Helper()
	m := regexp.MustCompile(`point a client at\s+(\S+)`).FindStringSubmatch(r.out.String())
	if m == nil {
		t.Fatal("no address in the output")
	}
	return m[1]
}
