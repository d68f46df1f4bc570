package consul

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/consul/api"

	"sluice/internal/testbed"
)

// register puts a node into the catalog, with a TTL check that is passing; check changes that.
func (p *pool) register(addr, group string, tags bool) {
	p.t.Helper()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		p.t.Fatal(err)
	}
	n, _ := strconv.Atoi(port)
	reg := &api.AgentServiceRegistration{
		ID: p.name + addr, Name: p.cfg.Service, Address: host, Port: n,
		Check: &api.AgentServiceCheck{CheckID: p.name + addr, TTL: "1h", Status: api.HealthPassing},
	}
	if tags {
		reg.Tags = []string{"pool=" + p.name, "group=" + group, "zone=west"}
	} else {
		reg.Meta = map[string]string{"pool": p.name, "group": group, "zone": "west"}
	}
	if err := p.client.Agent().ServiceRegister(reg); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = p.client.Agent().ServiceDeregister(reg.ID) }) // It may be gone already.
}

func (p *pool) check(addr, status string) {
	p.t.Helper()
	if err := p.client.Agent().UpdateTTL(p.name+addr, "", status); err != nil {
		p.t.Fatal(err)
	}
}

func (p *pool) deregister(addr string) {
	p.t.Helper()
	if err := p.client.Agent().ServiceDeregister(p.name + addr); err != nil {
		p.t.Fatal(err)
	}
}

// catalogDocument has groups whose nodes are in the catalog.
func catalogDocument(n int) *Document { return document(make([][]string, n)...) }

func TestNodesComeFromTheCatalog(t *testing.T) {
	t.Parallel()
	a, b, down := testbed.Redis(t), testbed.Redis(t), testbed.Redis(t)
	replica := testbed.Replica(t, a)
	p := newPool(t, sharedConsul(t)).start()
	p.write(catalogDocument(2))
	p.raises(AlarmWaiting, "group 1: neither the document nor the catalog has nodes of it")
	p.register(a.Addr(), "1", false)
	p.register(down.Addr(), "1", false)
	p.check(down.Addr(), api.HealthCritical)
	p.raises(AlarmWaiting, "group 2: neither")
	p.register(b.Addr(), "2", true)
	p.register(replica.Addr(), "1", true)
	p.eventually(func() error { // Whether down was seen while it was passing is a matter of luck.
		got := strings.ReplaceAll(p.routes(), "+"+down.Addr(), "")
		if want := fmt.Sprintf("1:%s+%s 0-7; 2:%s 8-15", a.Addr(), replica.Addr(), b.Addr()); got != want {
			return fmt.Errorf("routes %q, want %q", got, want)
		}
		return nil
	})
	p.node(replica.Addr(), func(n NodeStatus) bool {
		return n.Zone == "west" && n.Role == "replica" && n.Catalog == "passing" && !n.Master
	})
}

func TestWhoLeavesTheCatalogIsDrained(t *testing.T) {
	t.Parallel()
	a := testbed.Redis(t)
	replica, gone := testbed.Replica(t, a), testbed.Replica(t, a)
	p := newPool(t, sharedConsul(t), func(cfg *Config) { cfg.Flap = 300 * time.Millisecond })
	for _, s := range []*testbed.Server{a, replica, gone} {
		p.register(s.Addr(), "1", false)
	}
	p.start()
	p.write(catalogDocument(1))
	p.eventually(func() error {
		if got := p.routes(); strings.Count(got, "+") != 2 {
			return fmt.Errorf("routes %q", got)
		}
		return nil
	})
	if err := gone.Kill(); err != nil {
		t.Fatal(err)
	}
	p.node(gone.Addr(), func(n NodeStatus) bool { return n.Err != "" && n.Warning != "" }) // It stays while Consul has it.
	p.deregister(gone.Addr())
	p.wants("1:%s+%s 0-15", a.Addr(), replica.Addr())
	p.deregister(replica.Addr()) // It answers: after Flap.
	p.wants("1:%s 0-15", a.Addr())
}

func TestMasterAndLastNodesStay(t *testing.T) {
	t.Parallel()
	a := testbed.Redis(t)
	replica := testbed.Replica(t, a)
	p := newPool(t, sharedConsul(t), func(cfg *Config) { cfg.Flap = 10 * time.Millisecond })
	p.register(a.Addr(), "1", false)
	p.register(replica.Addr(), "1", false)
	p.start()
	p.write(catalogDocument(1))
	all := fmt.Sprintf("1:%s+%s 0-15", a.Addr(), replica.Addr())
	p.wants("%s", all)
	p.deregister(a.Addr())
	p.node(a.Addr(), func(n NodeStatus) bool {
		return n.Master && strings.Contains(n.Warning, "no other node of the group is a master")
	})
	p.deregister(replica.Addr())
	p.raises(AlarmCatalog, "has no instance of pool")
	if got := p.routes(); got != all {
		t.Errorf("routes %q, want %q", got, all)
	}
	p.Accept()
	p.wants("1:%s 0-15", a.Addr())
	p.register(replica.Addr(), "1", false)
	p.register(a.Addr(), "1", false)
	p.wants("%s", all)
	p.raises(AlarmCatalog, "")
}

func TestChecksOfConsulDoNotFlapTheRouting(t *testing.T) {
	t.Parallel()
	a := testbed.Redis(t)
	replica := testbed.Replica(t, a)
	p := newPool(t, sharedConsul(t), func(cfg *Config) { cfg.Flap = time.Hour })
	p.register(a.Addr(), "1", false)
	p.register(replica.Addr(), "1", false)
	p.start()
	p.write(catalogDocument(1))
	all := fmt.Sprintf("1:%s+%s 0-15", a.Addr(), replica.Addr())
	p.wants("%s", all)
	p.mu.Lock()
	tables := len(p.tables)
	p.mu.Unlock()
	for _, status := range []string{api.HealthCritical, api.HealthPassing, api.HealthWarning} {
		p.check(replica.Addr(), status)
		p.node(replica.Addr(), func(n NodeStatus) bool {
			return n.Catalog == status && (n.Warning != "") == (status != api.HealthPassing)
		})
	}
	// A node that neither Consul nor we find well stays for Flap.
	if err := replica.Kill(); err != nil {
		t.Fatal(err)
	}
	p.node(replica.Addr(), func(n NodeStatus) bool { return n.Err != "" })
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.tables) != tables {
		t.Errorf("%d tables, want %d", len(p.tables), tables)
	}
}

func TestSickOnBothSidesLeavesAfterFlap(t *testing.T) {
	t.Parallel()
	a := testbed.Redis(t)
	replica := testbed.Replica(t, a)
	p := newPool(t, sharedConsul(t), func(cfg *Config) { cfg.Flap = 100 * time.Millisecond })
	p.register(a.Addr(), "1", false)
	p.register(replica.Addr(), "1", false)
	p.start()
	p.write(catalogDocument(1))
	p.wants("1:%s+%s 0-15", a.Addr(), replica.Addr())
	p.check(replica.Addr(), api.HealthCritical)
	if err := replica.Kill(); err != nil {
		t.Fatal(err)
	}
	p.wants("1:%s 0-15", a.Addr())
	p.check(a.Addr(), api.HealthCritical)
	if err := a.Kill(); err != nil {
		t.Fatal(err)
	}
	p.node(a.Addr(), func(n NodeStatus) bool { return n.Master && strings.Contains(n.Warning, "it is to leave") })
}

func TestReadListing(t *testing.T) {
	entry := func(id, group string, port int, status string, meta ...string) *api.ServiceEntry {
		m := map[string]string{"pool": "p", "group": group}
		for i := 0; i+1 < len(meta); i += 2 {
			m[meta[i]] = meta[i+1]
		}
		return &api.ServiceEntry{
			Node:    &api.Node{Address: "10.0.0.1"},
			Service: &api.AgentService{ID: id, Port: port, Meta: m},
			Checks:  api.HealthChecks{{CheckID: "c", Status: status}},
		}
	}
	maintenance := entry("m", "1", 5, api.HealthPassing)
	maintenance.Checks = append(maintenance.Checks, &api.HealthCheck{CheckID: api.ServiceMaintPrefix + "m", Status: api.HealthCritical})
	l := readListing([]*api.ServiceEntry{
		entry("a", "1", 1, api.HealthPassing, "zone", "z"), entry("other", "1", 2, api.HealthPassing, "pool", "q"),
		entry("nogroup", "", 3, api.HealthPassing), entry("noport", "1", 0, api.HealthPassing),
		entry("b", "2", 4, api.HealthCritical), entry("b2", "2", 4, api.HealthPassing), maintenance,
		entry("c", "2", 6, api.HealthPassing), entry("c1", "1", 6, api.HealthPassing),
	}, "p")
	want := map[string]instance{
		"10.0.0.1:1": {group: "1", addr: "10.0.0.1:1", zone: "z", passing: true, status: "passing"},
		"10.0.0.1:4": {group: "2", addr: "10.0.0.1:4", passing: true, status: "passing"},
		"10.0.0.1:5": {group: "1", addr: "10.0.0.1:5", leaving: true, status: "maintenance"},
		"10.0.0.1:6": {group: "1", addr: "10.0.0.1:6", passing: true, status: "passing"},
	}
	if diff := cmp.Diff(want, l.nodes, cmp.AllowUnexported(instance{})); diff != "" {
		t.Error(diff)
	}
	wantProblems := []string{
		"10.0.0.1:6 is registered for group 1 and for group 2: the first by name counts",
		"service nogroup has no group", "service noport has no usable address: 10.0.0.1:0",
	}
	if diff := cmp.Diff(wantProblems, l.problems); diff != "" {
		t.Error(diff)
	}
}
