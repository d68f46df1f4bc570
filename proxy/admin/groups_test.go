package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice/discovery/replication"
	"sluice/internal/testbed"
)

var since = time.Date(2026, 11, 21, 9, 8, 7, 0, time.UTC)

// replicated says that the master of the fixture serves and that nothing is known of its replica.
func replicated(cfg *Config, f *fixture) {
	cfg.Groups = func() map[string]replication.Status {
		return map[string]replication.Status{"main": {Groups: []replication.GroupStatus{{ID: "1", Nodes: []replication.NodeStatus{
			{
				Addr: f.master, Zone: "a", Role: "master", Says: "master", State: "serving", Reason: "it is the master",
				Since: since, EvidenceAge: 1500 * time.Millisecond, Offset: 42, ReplID: "8371b4",
			},
			{
				Addr: f.replica, Role: "replica", Says: "unknown", State: "unknown", Reason: "it has not answered yet",
				Since: since, Lag: -1, LagBytes: -1, EvidenceAge: -1, Offset: -1,
			},
		}}, {ID: "2"}}}}
	}
	cfg.Reads = func() map[string]map[string]uint64 {
		return map[string]map[string]uint64{"main": {f.master: 3, f.replica: 1, "10.0.0.9:6379": 70}}
	}
}

func (f *fixture) groups(t *testing.T, query string) GroupList {
	t.Helper()
	code, body := f.get("/api/v1/groups" + query)
	if code != http.StatusOK {
		t.Fatalf("%d %s", code, body)
	}
	var list GroupList
	if err := json.Unmarshal([]byte(body), &list); err != nil {
		t.Fatal(err)
	}
	return list
}

func TestGroupsTellsWhatIsKnownOfEachNode(t *testing.T) {
	f := newFixture(t, replicated)
	var nodes []GroupNode
	testbed.Eventually(t, func() error {
		list := f.groups(t, "?group=1&pool=main")
		nodes = list.Pools[0].Groups[0].Nodes
		if !nodes[0].Available || nodes[0].RTTMicros == 0 || nodes[1].Available || nodes[1].Error == "" {
			return fmt.Errorf("%+v", nodes)
		}
		return nil
	}, 10*time.Second)
	if !strings.Contains(nodes[1].Error, "refused") {
		t.Errorf("the error of the replica: %q", nodes[1].Error)
	}
	nodes[0].RTTMicros, nodes[1].Error = 0, ""
	p := func(x float64) *float64 { return &x }
	n := func(x int64) *int64 { return &x }
	want := []GroupNode{{
		Addr: f.master, Zone: "a", Role: "master", Says: "master", State: "serving", Reason: "it is the master", Since: since,
		LagSeconds: p(0), LagBytes: n(0), EvidenceAgeSeconds: p(1.5), Offset: n(42), ReplicationID: "8371b4",
		Available: true, Reads: 3, ReadShare: p(0.75),
	}, {
		Addr: f.replica, Role: "replica", Says: "unknown", State: "unknown", Reason: "it has not answered yet", Since: since,
		Reads: 1, ReadShare: p(0.25),
	}}
	if diff := cmp.Diff(want, nodes); diff != "" {
		t.Error(diff)
	}
	if _, body := f.get("/api/v1/groups"); !strings.Contains(body, `"lag_seconds": null`) || !strings.Contains(body, `"lag_bytes": null`) {
		t.Errorf("what is unknown is not null: %s", body)
	}
}

func TestGroupsCanBeFiltered(t *testing.T) {
	f := newFixture(t, replicated)
	names := func(query string) string {
		var out []string
		for _, p := range f.groups(t, query).Pools {
			out = append(out, p.Name)
			for _, g := range p.Groups {
				out = append(out, g.ID+"="+g.Slots)
			}
		}
		return strings.Join(out, " ")
	}
	for query, want := range map[string]string{
		"":                    "main 1=0-511,600 2= spare",
		"?pool=main":          "main 1=0-511,600 2=",
		"?group=2":            "main 2= spare",
		"?pool=main&group=1":  "main 1=0-511,600",
		"?pool=spare&group=1": "spare",
		"?pool=nosuch":        "",
	} {
		if got := names(query); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
}

func TestReadShareIsUnknownWithoutReads(t *testing.T) {
	f := newFixture(t, func(cfg *Config, f *fixture) {
		replicated(cfg, f)
		cfg.Reads = nil
	})
	for _, n := range f.groups(t, "").Pools[0].Groups[0].Nodes {
		if n.Reads != 0 || n.ReadShare != nil {
			t.Errorf("%s: %d reads, share %v", n.Addr, n.Reads, n.ReadShare)
		}
	}
}

func TestWithoutReplicationTheAnswersAreEmpty(t *testing.T) {
	f := newFixture(t, nil)
	squeeze := func(body string) string { return strings.Join(strings.Fields(body), "") }
	for path, want := range map[string]string{
		"/api/v1/groups": `{"pools":[{"name":"main","groups":[]},{"name":"spare","groups":[]}]}`,
		"/api/v1/events": `{"events":[]}`,
	} {
		if code, body := f.get(path); code != http.StatusOK || squeeze(body) != want {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	if _, body := f.get("/metrics"); strings.Contains(body, "sluice_node_state{") {
		t.Error("a node without a state has one in the metrics")
	}
	if _, body := f.get("/"); !strings.Contains(body, "/api/v1/groups") || !strings.Contains(body, "/api/v1/events") {
		t.Errorf("the index: %s", body)
	}
}

func TestReplicaMetrics(t *testing.T) {
	f := newFixture(t, replicated)
	_, body := f.get("/metrics")
	sample := func(name, node, more string) string {
		return fmt.Sprintf("%s{pool=%q,group=%q,node=%q%s} ", name, "main", "1", node, more)
	}
	has := func(line string) {
		t.Helper()
		if !strings.Contains(body, "\n"+line+"\n") {
			t.Errorf("no %s", line)
		}
	}
	has("# TYPE sluice_node_state gauge")
	has(sample("sluice_node_state", f.master, `,state="serving"`) + "1")
	has(sample("sluice_node_state", f.master, `,state="in sync"`) + "0")
	has(sample("sluice_node_state", f.replica, `,state="unknown"`) + "1")
	has(sample("sluice_node_readable", f.replica, "") + "0")
	has(sample("sluice_node_lag_seconds", f.master, "") + "0")
	has(sample("sluice_node_evidence_age_seconds", f.master, "") + "1.5")
	has("# TYPE sluice_node_reads_total counter")
	has(sample("sluice_node_reads_total", f.master, `,role="master"`) + "3")
	has(sample("sluice_node_reads_total", f.replica, `,role="replica"`) + "1")
	for _, name := range []string{"sluice_node_lag_seconds", "sluice_node_lag_bytes", "sluice_node_evidence_age_seconds"} {
		if strings.Contains(body, sample(name, f.replica, "")) {
			t.Errorf("%s of a node of which nothing is known", name)
		}
	}
	if err := oneFamilyAtATime(body); err != nil {
		t.Error(err)
	}
}

// oneFamilyAtATime checks that the samples of the families of nodes stand behind their TYPE line.
func oneFamilyAtATime(body string) error {
	family := ""
	for line := range strings.Lines(body) {
		if rest, ok := strings.CutPrefix(line, "# TYPE "); ok {
			family = strings.Fields(rest)[0]
		}
		if name, _, ok := strings.Cut(line, "{"); ok && strings.HasPrefix(name, "sluice_node_") && name != family {
			return errors.New("outside its family: " + line)
		}
	}
	return nil
}
