package cluster

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"sluice/internal/control"
	"sluice/router"
)

// TestReplies parses every reply in testdata as if it had come from asked.example.
func TestReplies(t *testing.T) {
	files, err := filepath.Glob("testdata/*-s*s.resp")
	if err != nil || len(files) < 30 {
		t.Fatalf("%d replies, %v", len(files), err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		got := describe(parse(file, raw))
		golden := strings.TrimSuffix(file, ".resp") + ".golden"
		if *update {
			if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil || got != string(want) {
			t.Errorf("%s (%v): got\n%swant\n%s", file, err, got, want)
		}
	}
}

func parse(name string, raw []byte) ([]shard, error) {
	v, err := control.NewReader(bytes.NewReader(raw), limits).Read()
	if err != nil {
		return nil, err
	}
	if strings.HasSuffix(name, "-slots.resp") {
		return parseSlots(v, "asked.example")
	}
	return parseShards(v, "asked.example")
}

// describe writes shards for the golden files, with ids cut to 8 letters.
func describe(shards []shard, err error) string {
	if err != nil {
		return fmt.Sprintf("error: %v\n", err)
	}
	var b strings.Builder
	short := func(n node) string { return fmt.Sprintf("%s (%.8s)", n.addr, n.id) }
	for _, sh := range shards {
		fmt.Fprintf(&b, "slots %q master %s", router.FormatRanges(sh.slots), short(sh.master))
		if sh.failed {
			b.WriteString(" failed")
		}
		for _, n := range sh.replicas {
			fmt.Fprintf(&b, " replica %s", short(n))
		}
		b.WriteString("\n")
	}
	return b.String()
}

func TestKnowsCluster(t *testing.T) {
	f := func(raw, want string) {
		t.Helper()
		v, err := control.NewReader(strings.NewReader(raw), limits).Read()
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if err := knowsCluster(v); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q: %q, want %q", raw, got, want)
		}
	}
	for file, want := range map[string]string{"redis-7.0-info": "", "redis-7.0-dead-master-info": "cluster_state:fail"} {
		raw, err := os.ReadFile("testdata/" + file + ".resp")
		if err != nil {
			t.Fatal(err)
		}
		f(string(raw), want)
	}
	f("$18\r\ncluster_state:ok\r\n\r\n", "")
	f("$5\r\nhello\r\n", "no cluster_state")
	f("$-1\r\n", "unexpected null")
	f("+cluster_state:ok\r\n", `unexpected status "cluster_state:ok"`)
	f("-ERR This instance has cluster support disabled\r\n", "ERR This instance has cluster support disabled")
	f("-NOAUTH Authentication required.\r\n", "NOAUTH Authentication required.")
}

// FuzzReplies: whatever a node sends, the parsers return, and what they return is usable.
func FuzzReplies(f *testing.F) {
	files, err := filepath.Glob("testdata/*.resp")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, name := range []string{"-shards.resp", "-slots.resp"} {
			shards, err := parse(name, raw)
			if err != nil {
				continue
			}
			for _, sh := range shards {
				for _, n := range append(sh.replicas, sh.master) {
					_, port, err := net.SplitHostPort(n.addr)
					if p, _ := strconv.Atoi(port); err != nil || p < 1 || p > 65535 {
						t.Errorf("%s: address %q", name, n.addr)
					}
				}
				for _, r := range sh.slots {
					if r.From > r.To || r.To >= router.ClusterSlots {
						t.Errorf("%s: slots %s", name, r)
					}
				}
			}
			merge([]view{{from: "a", shards: shards}}, nil)
		}
	})
}
