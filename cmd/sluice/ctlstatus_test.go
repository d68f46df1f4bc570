package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"sluice/discovery/consul"
	"sluice/internal/testbed"
	"sluice/proxy/admin"
)

func listProxiesOf(t *testing.T, server *testbed.ConsulServer) admin.PoolProxies {
	t.Helper()
	client, err := api.NewClient(&api.Config{Address: server.Addr()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	list := listProxies(ctx, client.KV(), "sluice/main/", "a")
	if list.Error != "" {
		t.Error(list.Error)
	}
	return list
}

func someStatus() *admin.Status {
	age := 61.0
	return &admin.Status{Well: true, Problems: []string{}, Version: "1.2", UptimeSeconds: 7200, Clients: 3, Pools: []admin.PoolStatus{{
		Name: "main", Source: "consul", Epoch: 1842, AgeSeconds: &age, Groups: 2, GroupsServing: 2, Replicas: 3, ReplicasGood: 3,
		Slots: 1024, SlotsLocked: 2, SlotsMoving: 30, RequestsHeld: 1,
		MultiSlot: map[string]uint64{"evalsha": 900, "brpop": 12, "exec": 12, "sunion": 1},
		Consul:    &admin.ConsulStatus{Up: true, LeaseSeconds: 12.5, LeaseSure: true, Register: true, Registered: true},
	}}}
}

func TestCtlStatusSaysWellInFewLines(t *testing.T) {
	t.Parallel()
	body, err := json.Marshal(someStatus())
	if err != nil {
		t.Fatal(err)
	}
	addr := answering(t, 200, "application/json", string(body))
	want := `well   sluice 1.2, up 2h00m, 3 client(s)
pool main
  topology   consul, epoch 1842, applied 1m01s ago
  groups     2 of 2 serving, 3 of 3 replicas in sync
  slots      1024: 0 uncovered, 2 locked, 30 moving; 1 request(s) held
  multi_key  925 request(s) needed several slots in one group: evalsha 900, brpop 12, exec 12, ...
  consul     reachable, never seen, lease 12.5s, registered
`
	if out, notes, exit := sluice(t, "ctl", "status", "--admin", addr); exit != 0 || out != want || notes != "" {
		t.Errorf("exit %d %s\n%s\nwant\n%s", exit, notes, out, want)
	}
	if out, _, exit := sluice(t, "ctl", "status", "-o", "json", "--admin", addr); exit != 0 || out != string(body) {
		t.Errorf("exit %d\n%s", exit, out)
	}
}

func TestCtlStatusSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	st := someStatus()
	st.Well, st.Problems = false, []string{"pool main: the lease is lost", "pool main: 4\x1b[2J slots"}
	st.Pools[0].Alarm = admin.AlarmRegressed
	st.Pools[0].Consul = &admin.ConsulStatus{LastContact: time.Now(), Register: true}
	body, err := json.Marshal(st)
	if err != nil {
		t.Fatal(err)
	}
	out, notes, exit := sluice(t, "ctl", "status", "--admin", answering(t, 200, "application/json", string(body)))
	for _, line := range []string{
		"NOT WELL, 2 problem(s)   sluice 1.2", "applied 1m01s ago, ALARM topology_regressed\n", "ago, lease LOST, NOT REGISTERED\n",
		"problems:\n  pool main: the lease is lost\n  pool main: 4 [2J slots\n",
	} {
		if !strings.Contains(out, line) {
			t.Errorf("no %q", line)
		}
	}
	if exit != 1 || notes != "" {
		t.Errorf("exit %d\n%s%s", exit, out, notes)
	}
}

func TestCtlStatusHasTwentyLinesAtMost(t *testing.T) {
	t.Parallel()
	f := func(pools, problems int, want ...string) {
		t.Helper()
		st := someStatus()
		st.Pools[0].Name, st.Pools[0].MultiSlot = "p1", nil
		for i := 2; i <= pools; i++ {
			p := st.Pools[0]
			p.Name = fmt.Sprintf("p%d", i)
			st.Pools = append(st.Pools, p)
		}
		for i := range problems {
			st.Problems = append(st.Problems, fmt.Sprintf("problem %d", i+1))
		}
		text := describeStatus(st, time.Now())
		if lines := strings.Count(text, "\n"); lines > 20 {
			t.Errorf("%d lines", lines)
		}
		for _, line := range want {
			if !strings.Contains(text, line+"\n") {
				t.Errorf("%d pools, %d problems: no line %q in\n%s", pools, problems, line, text)
			}
		}
	}
	f(1, 13, "  problem 13")
	f(1, 40, "pool p1", "  problem 12", "  and 28 more; --output json has them all")
	f(3, 0, "pool p3")
	f(9, 0, "pool p3", "and 6 more pool(s); --output json has them all")
	f(9, 9, "pool p1", "pool p2", "and 7 more pool(s); --output json has them all", "  problem 1")
}

func TestCtlStatusIsTwoWhenNobodyAnswers(t *testing.T) {
	t.Parallel()
	addr := freeAddr(t)
	out, notes, exit := sluice(t, "ctl", "status", "--admin", addr)
	if exit != 2 || out != "" || strings.Count(notes, "\n") != 1 || !strings.Contains(notes, "connection refused; is Sluice running") {
		t.Errorf("exit %d\n%s%s", exit, out, notes)
	}
	if _, notes, exit = sluice(t, "ctl", "status", "--admin", answering(t, 404, "text/plain", "404 page not found")); exit != 2 || !strings.Contains(notes, "not an older one") {
		t.Errorf("exit %d %s", exit, notes)
	}
}

func TestCtlProxiesPrintsATable(t *testing.T) {
	t.Parallel()
	addr := answering(t, 200, "application/json", `{"pools": [{"name": "main", "self": "a1", "epoch": 1842, "barrier": true, "proxies": [
  {"id": "a1", "addr": "10.0.0.5:6380", "version": "1.2", "state": "serving", "acked": 1842, "lease": "held"},
  {"id": "b2", "addr": "", "version": "", "state": "gone", "acked": 0, "lease": "lost"}]}]}`)
	out, _, err := runCtl(t, "proxies", "--admin", addr)
	want := `pool main, epoch 1842, to be acknowledged by all
ID    ADDR           VERSION  STATE    ACKED  LEASE
a1 *  10.0.0.5:6380  1.2      serving  1842   held
b2    -              -        gone     -      lost
`
	if err != nil || out != want {
		t.Errorf("%v\n%s\nwant\n%s", err, out, want)
	}
	f := func(body, want string) {
		t.Helper()
		if _, _, err := runCtl(t, "proxies", "--admin", answering(t, 200, "application/json", body)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", body, err)
		}
	}
	f(`{"pools": []}`, "no pool of this Sluice has its topology in Consul")
	f(`{"pools": [{"name": "main", "error": "consul: no leader"}]}`, "pool main: consul: no leader")
	f(`{}`, notSluice)
}

func TestCtlAcceptSaysWhatItDid(t *testing.T) {
	t.Parallel()
	addr := answering(t, 200, "application/json", `{"pool": "main", "epoch": 1842, "alarm": "epoch 12 is older", "result": "it is read again"}`)
	out, _, err := runCtl(t, "topology", "accept", "--admin", addr)
	if want := "pool main, where epoch 1842 is in force: it is read again\nit was refused because: epoch 12 is older\n"; err != nil || out != want {
		t.Errorf("%v\n%s", err, out)
	}
	addr = answering(t, 409, "text/plain", "there is nothing to accept\n")
	if _, _, err := runCtl(t, "topology", "accept", "--admin", addr); err == nil || !strings.HasSuffix(err.Error(), "/api/v1/topology/accept: there is nothing to accept") || !strings.HasPrefix(err.Error(), "POST http://") {
		t.Error(err)
	}
}

// TestProxiesAreThoseThatHaveJoined is about what a member really writes.
func TestProxiesAreThoseThatHaveJoined(t *testing.T) {
	t.Parallel()
	server := testbed.Consul(t)
	client, err := consul.NewClient(consul.ClientConfig{Address: server.Addr()})
	if err != nil {
		t.Fatal(err)
	}
	m := consul.NewMember(consul.MemberConfig{
		Client: client, Root: "sluice/main/", ID: "a", Pool: "main", Addr: "10.0.0.5:6380", Version: "1.2", TTL: 10 * time.Second,
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := m.Join(ctx); err != nil {
		t.Fatal(err)
	}
	list := listProxiesOf(t, server)
	if len(list.Proxies) != 1 {
		t.Fatalf("%+v", list)
	}
	p := list.Proxies[0]
	if p.ID != "a" || p.Addr != "10.0.0.5:6380" || p.Version != "1.2" || p.State != "joining" || p.Lease != "held" || !p.Member || p.Session == "" || p.Started.IsZero() {
		t.Errorf("%+v", p)
	}
	st := consulStatus("sluice/main/", consul.Status{Nodes: []consul.NodeStatus{{Group: "1", Addr: "h:1", Warning: "odd"}}}, m.Status(), true)
	if st.ID != "a" || !st.LeaseSure || st.LeaseSeconds <= 0 || st.Up || st.Registered || len(st.Warnings) != 1 {
		t.Errorf("%+v", st)
	}
	if err := m.Leave(ctx); err != nil {
		t.Fatal(err)
	}
	if list := listProxiesOf(t, server); len(list.Proxies) != 0 {
		t.Errorf("%+v", list)
	}
}
