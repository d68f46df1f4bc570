package main

import (
	"bufio"
	"fmt"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"sluice/internal/testbed"
)

// TestOneProbeServesConsulAndReplication: a sidecar asks a node what it is on one connection, and has no other one to
// it while it has no clients, whether replicas are read or not.
func TestOneProbeServesConsulAndReplication(t *testing.T) {
	for _, policy := range []string{"master", "prefer-replica"} {
		t.Run(policy, func(t *testing.T) {
			a, b := testbed.Redis(t), testbed.Redis(t)
			r := testbed.Replica(t, a)
			s := startSiteOf(t, 0, testbed.ConsulOptions{InMemory: true}, "redis", "", a, b)
			s.register(r, "1")
			s.proxies = append(s.proxies, s.sidecar(fmt.Sprintf("[pool.reads]\npolicy = %q\n", policy)))
			s.awaitEpoch(1)
			for _, node := range []*testbed.Server{a, b, r} {
				if from := askers(t, node, 8); len(from) != 1 {
					t.Errorf("%s is asked for its role from %d connections: %v", node.Addr(), len(from), from)
				}
				testbed.Eventually(t, func() error {
					if n := strings.Count(node.Do("CLIENT", "LIST").String(), "name=sluice:"); n != 1 {
						return fmt.Errorf("%s has %d connections, want 1", node.Addr(), n)
					}
					return nil
				}, 30*time.Second)
			}
		})
	}
}

// askers counts, by connection, how often a node is asked for its role until that was questions times.
func askers(t *testing.T, node *testbed.Server, questions int) map[string]int {
	t.Helper()
	conn, err := net.Dial("tcp", node.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("MONITOR\r\n")); err != nil {
		t.Fatal(err)
	}
	question := regexp.MustCompile(`\[0 (\S+)\] "INFO" "replication"`)
	from := make(map[string]int)
	for lines := bufio.NewScanner(conn); questions > 0; {
		if !lines.Scan() {
			t.Fatalf("%s: %v", node.Addr(), lines.Err())
		}
		if m := question.FindStringSubmatch(lines.Text()); m != nil {
			from[m[1]]++
			questions--
		}
	}
	return from
}
