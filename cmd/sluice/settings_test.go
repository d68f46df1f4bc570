package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"sluice/internal/testbed"
)

// Keys that nothing but the event loops looks at arrive there: each of them stands in the file with another value than its
// default, and shows.
func TestSettingsReachTheEventLoops(t *testing.T) {
	t.Parallel()
	a, b := testbed.Redis(t), testbed.Redis(t)
	config := strings.NewReplacer(
		"[[pool]]\n", "slowlog_slower_than = \"0s\"\nslowlog_max_len = 2\n[proxy.limits]\npubsub_output = \"64kb\"\n[[pool]]\nmulti_key = \"slot\"\ncluster_emulation = true\nlearn_commands = true\nserver_config = \"get\"\n",
		"[pool.backend]\n", "[pool.backend]\nmax_dedicated = 1\n",
	).Replace(configFor(a.Addr(), b.Addr(), 511))
	s := serve(t, config)

	t.Run("slowlog_slower_than and slowlog_max_len", func(t *testing.T) {
		conn := connect(t, s.addr)
		for i := range 3 {
			do(t, conn, fmt.Sprint("SET k ", i))
		}
		if got := do(t, conn, "SLOWLOG LEN"); got != ":2" {
			t.Errorf("%s requests are kept, want 2", got)
		}
	})
	t.Run("max_dedicated", func(t *testing.T) {
		if got := do(t, connect(t, s.addr), "WATCH k"); got != "+OK" {
			t.Fatal(got)
		}
		if got := do(t, connect(t, s.addr), "WATCH k"); !strings.HasPrefix(got, "-ERR 1 connections to backend") {
			t.Error(got)
		}
	})
	t.Run("pubsub_output", func(t *testing.T) {
		subscriber := connect(t, s.addr)
		r := bufio.NewReader(subscriber)
		if _, err := io.WriteString(subscriber, "SUBSCRIBE news\r\n"); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"*3", "subscribe", "news", ":1"} {
			if got := readReply(t, r); got != want {
				t.Fatalf("%q, want %q", got, want)
			}
		}
		message := strings.Repeat("x", 100<<10)
		do(t, connect(t, s.addr), fmt.Sprintf("*3\r\n$7\r\nPUBLISH\r\n$4\r\nnews\r\n$%d\r\n%s", len(message), message))
		_ = subscriber.SetDeadline(time.Now().Add(2 * time.Minute))
		if rest, err := io.ReadAll(r); os.IsTimeout(err) || len(rest) > len(message) {
			t.Errorf("%d bytes and %v, want the end of the connection", len(rest), err)
		}
	})
	t.Run("multi_key", func(t *testing.T) {
		if got := do(t, connect(t, s.addr), "SUNION a b"); !strings.HasPrefix(got, "-CROSSSLOT ") {
			t.Error(got)
		}
	})
	t.Run("cluster_emulation", func(t *testing.T) {
		if got := do(t, connect(t, s.addr), "CLUSTER INFO"); got != "cluster_state:ok" {
			t.Error(got)
		}
	})
	t.Run("server_config", func(t *testing.T) {
		if got := do(t, connect(t, s.addr), "CONFIG SET hz 20"); !strings.Contains(got, `server_config is "get"`) {
			t.Error(got)
		}
	})
	t.Run("learn_commands", func(t *testing.T) {
		s.waitFor(t, "servers have told their commands")
	})
}
