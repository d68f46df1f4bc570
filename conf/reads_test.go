package conf

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestReadsOfAUserAreThoseOfThePoolWhereUnset(t *testing.T) {
	c := mustParse(t, small+`
[pool.reads]
policy = "prefer-replica"
max_lag = "3s"
max_lag_bytes = "1mb"
zone = "a"
[[pool.auth.user]]
name = "unset"
password = "x"
read_policy = ""
read_max_lag = ""
read_max_lag_bytes = ""
[[pool.auth.user]]
name = "set"
password = "x"
read_policy = "master"
read_consistency = "monotonic"
read_max_lag = "1s"
read_max_lag_bytes = 0
`)
	p := c.Pools[0]
	if diff := cmp.Diff(p.Reads, p.Reads.For(&p.Auth.Users[0])); diff != "" {
		t.Errorf("a user without settings (-pool +user):\n%s", diff)
	}
	want := p.Reads
	want.Policy, want.Consistency, want.MaxLag, want.MaxLagBytes = ReadMaster, ConsistencyMonotonic, Duration(time.Second), 0
	if diff := cmp.Diff(want, p.Reads.For(&p.Auth.Users[1])); diff != "" {
		t.Errorf("a user with settings (-want +got):\n%s", diff)
	}
}

func TestNodesAreFoundHoweverTheyAreWritten(t *testing.T) {
	r := Reads{Weights: []Weight{{"Redis-1.example.com:6379", 2}, {"[FD00::5]:6379", 0}}}
	f := func(address string, share int, given bool) {
		t.Helper()
		if s, ok := r.Weight(address); s != share || ok != given {
			t.Errorf("%s has %d, %v; want %d, %v", address, s, ok, share, given)
		}
	}
	f("redis-1.example.com:6379", 2, true)
	f("[fd00:0::5]:6379", 0, true)
	f("redis-1.example.com:6380", 0, false)
	f("", 0, false)
	g := Group{Zones: []NodeZone{{"LOCALHOST:7001", "eu-1a"}}}
	if g.Zone("localhost:7001") != "eu-1a" || g.Zone("localhost:7002") != "" {
		t.Errorf("zones are %q and %q", g.Zone("localhost:7001"), g.Zone("localhost:7002"))
	}
}

func TestReadsBuiltInCodeAreChecked(t *testing.T) {
	c := mustParse(t, small)
	r := &c.Pools[0].Reads
	r.Weights = []Weight{{"127.0.0.1:7001", 5000}, {}}
	r.Policy = "any"
	c.Pools[0].Groups[0].Zones = []NodeZone{{"127.0.0.1:7001", ""}}
	want := `sluice.toml:6: pool.main.group 1.zones: "127.0.0.1:7001=" has no zone; hint: write the address and the zone: "127.0.0.1:7001=eu-1a"
sluice.toml:2: pool.main.reads.policy: "any" is not known; hint: one of "master", "prefer-replica", "replica", "nearest"
sluice.toml:2: pool.main.reads.weights: weight "5000" of "127.0.0.1:7001" is not a whole number from 0 to 1000; hint: 0 is never read, 1 is the share of a node that is not named
sluice.toml:2: pool.main.reads.weights: an address is empty; hint: write host:port, such as "10.0.0.5:6379" or "[fd00::5]:6379"`
	err := c.Validate()
	for _, line := range strings.Split(want, "\n") {
		if err == nil || !strings.Contains(err.Error(), line) {
			t.Errorf("no %q in\n%v", line, err)
		}
	}
	if n := strings.Count(fmt.Sprint(err), "\n"); n != 3 {
		t.Errorf("%d problems:\n%v", n+1, err)
	}
}

// TestPrintedReadsParseBack is about max_lag too: where it can't be proven, it is refused when it
// stands in the file, so that what nobody asked for must not be printed.
func TestPrintedReadsParseBack(t *testing.T) {
	const name = "testdata/ok-reads.toml"
	doc, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	c, err := Parse(name, doc)
	if err != nil {
		t.Fatal(err)
	}
	text := c.String()
	again, err := Parse(name, []byte(text))
	if err != nil {
		t.Fatalf("printed, it does not parse:\n%v\n%s", err, text)
	}
	if apply, restart := Diff(c, again); len(apply)+len(restart) > 0 {
		t.Errorf("differs after printing: %v %v", apply, restart)
	}
	if again.String() != text {
		t.Errorf("prints differently the second time:\n%s", cmp.Diff(text, again.String()))
	}
	for _, line := range []string{
		`zones = ["127.0.0.1:7002=eu-1a"]`, `weights = ["127.0.0.1:7002=2", "Redis-1.example.com:7001=0"]`,
		`read_max_lag = "1m"`, `read_max_lag_bytes = "0"`,
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no %s in\n%s", line, text)
		}
	}
	if n := strings.Count(text, "\nmax_lag = "); n != 2 {
		t.Errorf("%d pools have max_lag, want those that prove it:\n%s", n, text)
	}
}

func TestDiffOfReads(t *testing.T) {
	doc := strings.Replace(small, "slots = ", "replicas = [\"127.0.0.1:7002\"]\nslots = ", 1)
	f := func(old, new string, want ...string) {
		t.Helper()
		apply, restart := Diff(mustParse(t, doc+old), mustParse(t, doc+new))
		var got []string
		for _, c := range apply {
			got = append(got, c.String())
		}
		if diff := cmp.Diff(want, got); diff != "" || len(restart) > 0 {
			t.Errorf("%v (-want +got):\n%s", restart, diff)
		}
	}
	const user = "[[pool.auth.user]]\npassword = \"x\"\n"
	f("[pool.reads]\nmax_lag = \"10s\"\n", "")
	f("", "[pool.reads]\npolicy = \"replica\"\nheartbeat = true\nmax_lag_bytes = \"1mb\"\n",
		"pool.main.reads.policy: master -> replica", "pool.main.reads.max_lag_bytes: 0 -> 1mb", "pool.main.reads.heartbeat: false -> true")
	f("[pool.reads]\nweights = [\"127.0.0.1:7001=1\", \"127.0.0.1:7002=2\"]", "[pool.reads]\nweights = [\"127.0.0.1:7002=2\", \"127.0.0.1:7001=1\"]")
	f("", "[pool.reads]\nweights = [\"127.0.0.1:7001=1\", \"127.0.0.1:7002=2\"]",
		"pool.main.reads.weights: (none) -> 127.0.0.1:7001=1, 127.0.0.1:7002=2")
	f("", "zones = [\"127.0.0.1:7002=b\"]", "pool.main.group 1.zones: (none) -> 127.0.0.1:7002=b")
	f(user, user+"read_policy = \"nearest\"\nread_max_lag = \"1s\"\nread_max_lag_bytes = 0\n",
		"pool.main.auth.user default.read_policy: (none) -> nearest",
		"pool.main.auth.user default.read_max_lag: (none) -> 1s",
		"pool.main.auth.user default.read_max_lag_bytes: (none) -> 0")
	f(user+"read_max_lag = \"1s\"\n", user+"read_max_lag = \"1000ms\"\n")
}
