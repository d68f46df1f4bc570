package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/tidwall/resp"

	"sluice/bench/check"
	"sluice/discovery/consul"
	"sluice/internal/testbed"
	"sluice/internal/testbed/fakecodis"
	"sluice/router"
)

// consulSite is a Consul, two groups of real servers and some sidecars.
type consulSite struct {
	*testing.T
	dialect string
	// tokenFile has the token of the sidecars.
	tokenFile string
	consul    *testbed.ConsulServer
	client    *api.Client
	masters   []*testbed.Server
	proxies   []*served
}

const consulRoot = "sluice/main/"

// startSite registers two masters as services, writes the first topology and starts sidecars.
func startSite(t *testing.T, sidecars int, opts testbed.ConsulOptions, settings string) *consulSite {
	t.Helper()
	a, b := testbed.Redis(t), testbed.Redis(t)
	s := startSiteOf(t, sidecars, opts, "redis", settings, a, b)
	s.masters = []*testbed.Server{a, b}
	return s
}

func startSiteOf(t *testing.T, sidecars int, opts testbed.ConsulOptions, dialect, settings string, masters ...node) *consulSite {
	t.Helper()
	s := &consulSite{T: t, dialect: dialect, consul: testbed.Consul(t, opts)}
	client, err := consul.NewClient(consul.ClientConfig{Address: s.consul.Addr(), Token: s.consul.Token()})
	if err != nil {
		t.Fatal(err)
	}
	s.client = client
	s.tokenFile = filepath.Join(t.TempDir(), "token")
	write(t, s.tokenFile, cmp.Or(s.consul.Token(), "not asked for"))
	for i, m := range masters {
		s.register(m, fmt.Sprint(i+1))
	}
	s.topology(0, "first", false, ranges("0-511", "1"), ranges("512-1023", "2"))
	for range sidecars {
		s.proxies = append(s.proxies, s.sidecar(settings))
	}
	return s
}

// node is a server of a group, real or not.
type node interface {
	Addr() string
	Port() int
}

func (s *consulSite) register(m node, group string) {
	s.Helper()
	err := s.client.Agent().ServiceRegister(&api.AgentServiceRegistration{
		ID: m.Addr(), Name: "redis", Address: "127.0.0.1", Port: m.Port(), Meta: map[string]string{"pool": "main", "group": group},
	})
	if err != nil {
		s.Fatal(err)
	}
}

func (s *consulSite) sidecar(settings string) *served {
	s.Helper()
	return s.sidecarThatHolds("30s", settings)
}

func (s *consulSite) sidecarThatHolds(maxWait, settings string) *served {
	s.Helper()
	return serve(s.T, fmt.Sprintf(`[proxy]
admin = "127.0.0.1:0"
log_format = "text"
[consul]
address = %q
token_file = %q
session_ttl = "2s"
check_ttl = "2s"
[[pool]]
name = "main"
listen = ["tcp://127.0.0.1:%d"]
slot_model = "codis"
dialect = %q
[pool.backend]
request_timeout = "30s"
[pool.hold]
max_wait = %q
[pool.discovery]
kind = "consul"
%s`, s.consul.Addr(), s.tokenFile, testbed.FreePort(s.T), s.dialect, maxWait, settings))
}

func ranges(slots, group string) consul.SlotRange {
	return consul.SlotRange{Slots: slots, Group: group, State: "stable"}
}

// topology writes the epoch behind epoch, which is in force.
func (s *consulSite) topology(epoch uint64, change string, barrier bool, slots ...consul.SlotRange) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), 20*time.Second)
	defer cancel()
	var index uint64
	if epoch > 0 {
		_, at, err := consul.ReadDocument(ctx, s.client.KV(), consulRoot)
		if err != nil {
			s.Fatal(err)
		}
		index = at
	}
	d := &consul.Document{
		Format: consul.FormatOf(router.CodisModel(1024)),
		Epoch:  consul.Epoch{Epoch: epoch, Change: change, Barrier: barrier},
		Groups: []consul.Group{{ID: "1"}, {ID: "2"}}, Slots: slots,
	}
	if err := consul.WriteDocument(ctx, s.client.KV(), consulRoot, index, d); err != nil {
		s.Fatal(err)
	}
}

// awaitAcks waits until every proxy has acknowledged a barrier.
func (s *consulSite) awaitAcks(epoch uint64) {
	s.Helper()
	testbed.Eventually(s.T, func() error {
		members, _, err := s.client.KV().List(consulRoot+"members/", nil)
		if err != nil {
			return err
		}
		acks, _, err := s.client.KV().List(consulRoot+"acks/", nil)
		if err != nil {
			return err
		}
		acked := make(map[string]uint64)
		for _, pair := range acks {
			var a consul.AckRecord
			if err := json.Unmarshal(pair.Value, &a); err != nil {
				return err
			}
			acked[strings.TrimPrefix(pair.Key, consulRoot+"acks/")] = a.Epoch
		}
		for _, pair := range members {
			if id := strings.TrimPrefix(pair.Key, consulRoot+"members/"); acked[id] < epoch {
				return fmt.Errorf("%.8s has acknowledged %d, not %d", id, acked[id], epoch)
			}
		}
		if len(members) != len(s.proxies) {
			return fmt.Errorf("%d members", len(members))
		}
		return nil
	}, 30*time.Second)
}

// awaitEpoch waits until every proxy has an epoch in force.
func (s *consulSite) awaitEpoch(epoch uint64) {
	s.Helper()
	testbed.Eventually(s.T, func() error {
		for _, p := range s.proxies {
			if _, body := get(s.T, p.admin+"/metrics"); !strings.Contains(body, fmt.Sprintf("sluice_consul_epoch{pool=\"main\"} %d\n", epoch)) {
				return fmt.Errorf("not at epoch %d", epoch)
			}
		}
		return nil
	}, 60*time.Second)
}

// move is what a controller does: lock, move the keys, unlock at the new owner. Slots below cut go from one group to the
// other, in both directions.
func (s *consulSite) move(epoch uint64, cut int, to string) uint64 {
	s.Helper()
	from, source, target := "1", s.masters[0], s.masters[1]
	if to == "1" {
		from, source, target = "2", s.masters[1], s.masters[0]
	}
	rest := []consul.SlotRange{ranges(fmt.Sprintf("%d-511", cut), "1"), ranges("512-1023", "2")}
	moving := fmt.Sprintf("0-%d", cut-1)
	s.topology(epoch, "lock", true, append(rest, consul.SlotRange{Slots: moving, Group: from, State: "locked", To: to})...)
	s.awaitAcks(epoch + 1)
	for _, key := range source.Do("KEYS", "*").Array() {
		if check.CodisSlot([]byte(key.String())) >= cut {
			continue
		}
		v := source.Do("MIGRATE", "127.0.0.1", fmt.Sprint(target.Port()), key.String(), "0", "10000")
		if v.Error() != nil {
			s.Fatal(v.Error())
		}
	}
	s.topology(epoch+1, "moved", true, append(rest, ranges(moving, to))...)
	s.awaitAcks(epoch + 2)
	return epoch + 2
}

// load runs a checker against each sidecar. That of the first has sessions, too, and much of its load in the first slots,
// if there are to be some that move.
func (s *consulSite) load(moving int, sessions check.Sessions) []*check.Run {
	s.Helper()
	var runs []*check.Run
	for i, p := range s.proxies {
		cfg := check.Defaults(check.Mixed)
		if i == 0 && moving > 0 {
			cfg.Sessions, cfg.WatchShare = sessions, 0.25
			cfg.Watch = func(key []byte) bool { return check.CodisSlot(key) < moving }
		}
		cfg.Addr, cfg.Slot, cfg.Prefix = p.addr, check.CodisSlot, fmt.Sprintf("p%d", i)
		cfg.Clients, cfg.Rate, cfg.Keys = 6, 1000, 2000
		run, err := check.Start(s.Context(), cfg)
		if err != nil {
			s.Fatal(err)
		}
		runs = append(runs, run)
	}
	return runs
}

func (s *consulSite) finish(runs []*check.Run) {
	s.Helper()
	for i, run := range runs {
		report := run.Stop()
		s.Logf("sidecar %d\n%s", i+1, report)
		if err := report.Err(); err != nil {
			s.Errorf("sidecar %d: %v", i+1, err)
		}
	}
}

func warmAll(t *testing.T, runs []*check.Run) {
	t.Helper()
	for _, run := range runs {
		before, _ := run.Progress()
		testbed.Eventually(t, func() error {
			if now, _ := run.Progress(); now < before+800 {
				return fmt.Errorf("%d replies", now-before)
			}
			return nil
		}, 60*time.Second)
	}
}

// Three sidecars acknowledge epochs to a controller that moves slots between real servers. No client sees an error, and
// nothing is lost.
func TestConsulMovesUnderLoad(t *testing.T) {
	t.Parallel()
	s := startSite(t, 3, testbed.ConsulOptions{InMemory: true}, "")
	s.awaitEpoch(1)
	const moving = 128
	runs := s.load(moving, check.Defaults(check.Full).Sessions)
	warmAll(t, runs)
	epoch := uint64(1)
	times := 1
	if testbed.Soak() {
		times = 10
	}
	for range times {
		epoch = s.move(epoch, moving, "2")
		warmAll(t, runs)
		epoch = s.move(epoch, moving, "1")
		warmAll(t, runs)
	}
	s.finish(runs)
	code, body := get(t, s.proxies[0].admin+"/api/v1/proxies")
	if code != 200 || strings.Count(body, `"state": "serving"`) != 3 {
		t.Errorf("proxies: %d %s", code, body)
	}
}

// The same between two codis-servers, whose keys move while commands run: locked, moving, stable, each with a barrier.
func TestConsulMovesKeyByKeyUnderLoad(t *testing.T) {
	t.Parallel()
	a, b := fakecodis.StartCodisServer(t, fakecodis.Options{}), fakecodis.StartCodisServer(t, fakecodis.Options{})
	s := startSiteOf(t, 3, testbed.ConsulOptions{InMemory: true}, "codis", "", a, b)
	s.awaitEpoch(1)
	const cut = 16
	sessions := oldSessions()
	if !testbed.Soak() {
		sessions.Pops = 0 // As in migration.load.
	}
	runs := s.load(cut, sessions)
	warmAll(t, runs)
	rest := []consul.SlotRange{ranges(fmt.Sprintf("%d-511", cut), "1"), ranges("512-1023", "2")}
	epoch := uint64(1)
	step := func(change string, r consul.SlotRange) {
		t.Helper()
		r.Slots = fmt.Sprintf("0-%d", cut-1)
		s.topology(epoch, change, true, append(rest[:2:2], r)...)
		epoch++
		s.awaitAcks(epoch)
	}
	for _, to := range []string{"2", "1"} {
		from, source, target := "1", a, b
		if to == "1" {
			from, source, target = "2", b, a
		}
		step("lock", consul.SlotRange{Group: from, State: consul.Locked, To: to})
		step("move", consul.SlotRange{Group: from, State: consul.Moving, To: to, Method: consul.MethodSemiAsync})
		warmAll(t, runs)
		conn := connect(t, source.Addr())
		w, r := resp.NewWriter(conn), resp.NewReader(conn)
		for slot := range cut {
			for left := 1; left > 0; {
				err := w.WriteMultiBulk("SLOTSMGRTTAGSLOT-ASYNC", "127.0.0.1", fmt.Sprint(target.Port()), "10000", "100", "1000000", fmt.Sprint(slot), "100")
				if err != nil {
					t.Fatal(err)
				}
				v, _, err := r.ReadValue()
				if err != nil || len(v.Array()) != 2 {
					t.Fatal(v, err)
				}
				left = v.Array()[1].Integer()
			}
		}
		step("moved", consul.SlotRange{Group: to, State: consul.Stable})
		warmAll(t, runs)
	}
	s.finish(runs)
}

// Consul may be restarted, frozen, lose its keys, its catalog: traffic goes on with the last good topology.
func TestConsulFaultsUnderLoad(t *testing.T) {
	t.Parallel()
	s := startSite(t, 1, testbed.ConsulOptions{}, "")
	s.awaitEpoch(1)
	runs := s.load(0, check.Sessions{})
	step := func(name string, do func() error) {
		t.Helper()
		for _, run := range runs {
			run.Mark(name)
		}
		if err := do(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		warmAll(t, runs)
	}
	kv := func(path string) func() error {
		return func() error {
			_, err := s.client.KV().DeleteTree(path, nil)
			return err
		}
	}
	warmAll(t, runs)
	step("killed", s.consul.Kill)
	step("restarted", s.consul.Restart)
	step("frozen", s.consul.Stop)
	step("thawed", s.consul.Cont)
	snapshot, err := s.consul.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	step("without a leader", s.consul.RestartWithoutLeader)
	step("with a leader", s.consul.Restart)
	step("restored to an older index", func() error { return s.consul.Restore(snapshot) })
	step("keys deleted", kv(consulRoot+"topology/"))
	testbed.Eventually(t, func() error {
		if _, body := get(t, s.proxies[0].admin+"/metrics"); !strings.Contains(body, `sluice_topology_alarm{pool="main"} 1`) {
			return fmt.Errorf("no alarm")
		}
		return nil
	}, 30*time.Second)
	step("written again", func() error {
		s.topology(0, "again", false, ranges("0-511", "1"), ranges("512-1023", "2"))
		return nil
	})
	step("service deregistered", func() error { return s.client.Agent().ServiceDeregister(s.masters[0].Addr()) })
	step("registered", func() error { s.register(s.masters[0], "1"); return nil })
	s.finish(runs)
}

// A token is revoked and replaced.
func TestConsulTokenRevokedUnderLoad(t *testing.T) {
	t.Parallel()
	s := startSite(t, 1, testbed.ConsulOptions{InMemory: true, ACL: true}, "")
	s.awaitEpoch(1)
	runs := s.load(0, check.Sessions{})
	warmAll(t, runs)
	write(t, s.tokenFile, "00000000-0000-0000-0000-000000000000")
	testbed.Eventually(t, func() error {
		if _, body := get(t, s.proxies[0].admin+"/api/v1/status"); strings.Contains(body, `"well": true`) {
			return fmt.Errorf("well without a token")
		}
		return nil
	}, 60*time.Second)
	warmAll(t, runs)
	write(t, s.tokenFile, s.consul.Token())
	testbed.Eventually(t, func() error {
		if _, body := get(t, s.proxies[0].admin+"/api/v1/status"); !strings.Contains(body, `"well": true`) {
			return fmt.Errorf("%s", body)
		}
		return nil
	}, 60*time.Second)
	warmAll(t, runs)
	s.finish(runs)
}

// A start without Consul serves by the last good file, or says why not.
func TestColdStartWithoutConsul(t *testing.T) {
	t.Parallel()
	state := filepath.Join(t.TempDir(), "state.json")
	s := startSite(t, 0, testbed.ConsulOptions{InMemory: true}, "")
	settings := fmt.Sprintf("state_file = %q\n", state)
	first := s.sidecar(settings)
	testbed.Eventually(t, func() error {
		_, err := os.Stat(state)
		return err
	}, 20*time.Second)
	if err := first.end(t, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := s.consul.Kill(); err != nil {
		t.Fatal(err)
	}
	ask := func(p *served, want string) {
		t.Helper()
		conn := connect(t, p.addr)
		if _, err := conn.Write([]byte("SET a 1\r\n")); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 256)
		n, err := conn.Read(buf)
		if err != nil || !strings.HasPrefix(string(buf[:n]), want) {
			t.Errorf("%q %v, want %s", buf[:n], err, want)
		}
	}
	ask(s.sidecar(settings), "+OK")
	ask(s.sidecarThatHolds("0s", "require_consul = true\n"), "-")
}
