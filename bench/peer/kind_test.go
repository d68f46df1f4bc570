package peer

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sluice/conf"
)

func TestShareSlotsCoversAll(t *testing.T) {
	for n := 1; n <= 5; n++ {
		next := 0
		for _, s := range shareSlots(make([]Server, n)) {
			if s.FirstSlot != next || s.LastSlot < s.FirstSlot {
				t.Errorf("%d servers: %+v after slot %d", n, s, next-1)
			}
			next = s.LastSlot + 1
		}
		if next != slots {
			t.Errorf("%d servers: slots end at %d", n, next)
		}
	}
}

func TestConfigurationsNameAllServers(t *testing.T) {
	for _, k := range Kinds("unused") {
		s := setup{
			Dir: t.TempDir(), Listen: "127.0.0.1:7001", Admin: "127.0.0.1:7002",
			Servers: shareSlots([]Server{{"127.0.0.1:7003", "127.0.0.1:7103"}, {"127.0.0.1:7004", "127.0.0.1:7104"}}),
		}
		if err := k.render(&s); err != nil {
			t.Fatal(err)
		}
		args, err := k.args(s)
		if err != nil {
			t.Fatal(err)
		}
		var all strings.Builder
		for _, pattern := range []string{"*.conf", "*.toml", "*.yml", "*.cfg", "*.json"} {
			files, _ := filepath.Glob(filepath.Join(s.Dir, pattern))
			for _, file := range files {
				text, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				all.Write(text)
			}
		}
		want := []string{s.Listen, s.Servers[0].Addr, s.Servers[1].Addr}
		if k.Name == HAProxy {
			want = want[:2] // relays to one server
		}
		for _, addr := range want {
			if !strings.Contains(all.String(), addr) {
				t.Errorf("%s: %s is missing in\n%s", k.Name, addr, all.String())
			}
		}
		if !strings.Contains(strings.Join(args, " "), s.Config) {
			t.Errorf("%s: arguments %q do not name the configuration", k.Name, args)
		}
	}
}

// The keys of the template are Sluice's business; this test notices when they
// change.
func TestSluiceAcceptsItsConfiguration(t *testing.T) {
	f := func(name string, loops int, policy string) {
		t.Helper()
		s := setup{
			Dir: t.TempDir(), Listen: "127.0.0.1:7001", Admin: "127.0.0.1:7002",
			Servers: shareSlots([]Server{{"127.0.0.1:7003", "127.0.0.1:7103"}, {"127.0.0.1:7004", "127.0.0.1:7104"}}),
		}
		kinds := Kinds("unused")
		k := kinds[slices.IndexFunc(kinds, func(k Kind) bool { return k.Name == name })]
		if err := k.render(&s); err != nil {
			t.Fatal(err)
		}
		c, err := conf.Load(s.Config)
		if err != nil {
			t.Fatal(err)
		}
		if c.Proxy.Loops != loops || c.Proxy.Admin != s.Admin || len(c.Pools) != 1 || len(c.Pools[0].Groups) != 2 ||
			c.Pools[0].Groups[1].Master != s.Servers[1].Addr || string(c.Pools[0].Reads.Policy) != policy {
			t.Errorf("%s: got %+v", name, c)
		}
		replicas, want := c.Pools[0].Groups[1].Replicas, []string{"127.0.0.1:7104"}
		if policy != "master" && !slices.Equal(replicas, want) {
			t.Errorf("%s: replicas %v", name, replicas)
		}
	}
	f(Sluice, 1, "master")
	f(Sluice2, 2, "master")
	f(Reads, 1, "prefer-replica")
}

func TestCodisSlotsAreAllFilled(t *testing.T) {
	s := setup{Dir: t.TempDir(), Servers: shareSlots([]Server{{"a:1", "a:3"}, {"b:2", "b:4"}})}
	if _, err := codisArgs(s); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(s.Dir, "slots.json"))
	if err != nil {
		t.Fatal(err)
	}
	var table []map[string]any
	if err := json.Unmarshal(text, &table); err != nil {
		t.Fatal(err)
	}
	if len(table) != slots || table[511]["backend_addr"] != "a:1" || table[512]["backend_addr"] != "b:2" || table[512]["id"] != 512.0 {
		t.Errorf("%d slots, %v, %v", len(table), table[511], table[512])
	}
}

func TestFreePortsDiffer(t *testing.T) {
	addrs, err := freePorts(10)
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for _, a := range addrs {
		if seen[a] || !strings.HasPrefix(a, "127.0.0.1:") {
			t.Errorf("addresses %v", addrs)
		}
		seen[a] = true
	}
}
