package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/internal/testbed"
)

// inConsul is the pool main of the fixture with its topology in Consul, as all is well.
func inConsul(accepted *[]string) func(cfg *Config, _ *fixture) {
	return func(cfg *Config, _ *fixture) {
		cfg.Consul = func() map[string]ConsulStatus {
			now := time.Now()
			return map[string]ConsulStatus{"main": {
				ID: "a1", Root: "sluice/main/", Up: true, LastContact: now, Epoch: 1842, Applied: now.Add(-time.Minute),
				LeaseSeconds: 12, LeaseSure: true, Register: true, Registered: true, IndexResets: 2,
			}}
		}
		cfg.Proxies = func(context.Context) map[string]PoolProxies {
			return map[string]PoolProxies{"main": {Self: "a1", Epoch: 1842, Proxies: []Proxy{{ID: "a1", State: "serving", Acked: 1840, Lease: "held"}}}}
		}
		cfg.Accept = func(pool string) { *accepted = append(*accepted, pool) }
	}
}

// troubled changes what the pool main knows of Consul.
func troubled(accepted *[]string, change func(st *ConsulStatus)) func(cfg *Config, f *fixture) {
	return func(cfg *Config, f *fixture) {
		inConsul(accepted)(cfg, f)
		was := cfg.Consul
		cfg.Consul = func() map[string]ConsulStatus {
			all := was()
			st := all["main"]
			change(&st)
			all["main"] = st
			return all
		}
	}
}

func (f *fixture) metric(t *testing.T, name string) []string {
	t.Helper()
	_, body := f.get("/metrics")
	var out []string
	for line := range strings.Lines(body) {
		if strings.HasPrefix(line, name+"{") {
			out = append(out, strings.TrimSpace(strings.TrimPrefix(line, name)))
		}
	}
	return out
}

func TestMetricsOfConsul(t *testing.T) {
	f := newFixture(t, inConsul(nil))
	g := func(name string, want ...string) {
		t.Helper()
		if got := f.metric(t, name); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	g("sluice_consul_up", `{pool="main"} 1`)
	g("sluice_consul_epoch", `{pool="main"} 1842`)
	g("sluice_consul_lease_seconds", `{pool="main"} 12`)
	g("sluice_consul_index_resets_total", `{pool="main"} 2`)
	g("sluice_topology_alarm", `{pool="main"} 0`)
	if got := f.metric(t, "sluice_topology_age_seconds"); len(got) != 1 || !strings.HasPrefix(got[0], `{pool="main"} 60.`) {
		t.Errorf("age %q", got)
	}
	if got := f.metric(t, "sluice_consul_last_contact_seconds"); len(got) != 1 {
		t.Errorf("last contact %q", got)
	}

	f = newFixture(t, troubled(nil, func(st *ConsulStatus) {
		st.Up, st.LastContact, st.LeaseSure, st.Alarms = false, time.Time{}, false, []Alarm{{AlarmRegressed, "epoch 12 is older"}}
	}))
	g("sluice_consul_up", `{pool="main"} 0`)
	g("sluice_consul_lease_seconds", `{pool="main"} 0`)
	g("sluice_consul_last_contact_seconds")
	g("sluice_topology_alarm", `{pool="main"} 1`)

	f = newFixture(t, nil)
	g("sluice_consul_up")
}

func (f *fixture) status(t *testing.T) Status {
	t.Helper()
	var st Status
	code, body := f.get("/api/v1/status")
	if err := json.Unmarshal([]byte(body), &st); code != http.StatusOK || err != nil {
		t.Fatalf("%d %v %s", code, err, body)
	}
	return st
}

func TestStatusSaysWhatIsWrongAndWhere(t *testing.T) {
	f := newFixture(t, func(cfg *Config, f *fixture) {
		replicated(cfg, f)
		troubled(nil, func(st *ConsulStatus) {
			st.Up, st.Error, st.LeaseSure, st.Registered = false, "connection refused", false, false
			st.LastContact = time.Now().Add(-90 * time.Second)
			st.Alarms = []Alarm{{AlarmRegressed, "epoch 12 is older"}}
			st.Warnings = []string{"group 1: 10.0.0.9:6379: its check fails, and it answers"}
		})(cfg, f)
		cfg.Sources = func() map[string]SourceStatus {
			return map[string]SourceStatus{"main": {Kind: "consul", Epoch: 3, LastError: "connection refused"}, "spare": {Kind: "static"}}
		}
	})
	var st Status
	testbed.Eventually(t, func() error {
		if st = f.status(t); st.Pools[0].GroupsServing != 1 {
			return errors.New("the master has not answered yet")
		}
		return nil
	}, 10*time.Second)
	want := []string{
		"pool main: group 1: replica " + f.replica + " is unknown: it has not answered yet",
		"pool main: 511 slots belong to no group: 512-599,601-1023",
		"pool main: topology_regressed, epoch 1842 stays in force: epoch 12 is older; sluice ctl topology accept lets it in",
		"pool main: Consul has not answered for 90s: connection refused",
		"pool main: the lease is lost: this proxy takes no part in moves",
		"pool main: not registered as a service of Consul",
		"pool main: group 1: 10.0.0.9:6379: its check fails, and it answers",
		"pool spare: no topology yet",
	}
	if !slices.Equal(st.Problems, want) || st.Well {
		t.Errorf("well %v\n%s\nwant\n%s", st.Well, strings.Join(st.Problems, "\n"), strings.Join(want, "\n"))
	}
	p := st.Pools[0]
	p.AgeSeconds, p.Consul = nil, nil
	if want := (PoolStatus{
		Name: "main", Source: "consul", Epoch: 1842, Alarm: AlarmRegressed, Error: "connection refused",
		Groups: 1, GroupsServing: 1, Replicas: 1, Slots: 1024, SlotsUncovered: 511,
	}); !reflect.DeepEqual(p, want) {
		t.Errorf("%+v\nwant\n%+v", p, want)
	}
}

func TestProxiesOfPoolsInConsul(t *testing.T) {
	f := newFixture(t, inConsul(nil))
	g := func(path, want string) {
		t.Helper()
		var list ProxyList
		code, body := f.get(path)
		if err := json.Unmarshal([]byte(body), &list); err != nil || code != http.StatusOK {
			t.Fatalf("%d %v", code, err)
		}
		got := ""
		for _, p := range list.Pools {
			got += fmt.Sprintf("%s %s %d:", p.Name, p.Self, p.Epoch)
			for _, x := range p.Proxies {
				got += fmt.Sprintf(" %s %s %d", x.ID, x.State, x.Acked)
			}
		}
		if got != want || list.Pools == nil {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	g("/api/v1/proxies", "main a1 1842: a1 serving 1840")
	g("/api/v1/proxies?pool=main", "main a1 1842: a1 serving 1840")
	g("/api/v1/proxies?pool=spare", "")
	f = newFixture(t, nil)
	g("/api/v1/proxies", "")
}

func TestAcceptNeedsSomethingToAccept(t *testing.T) {
	var accepted []string
	regressed := troubled(&accepted, func(st *ConsulStatus) { st.Alarms = []Alarm{{AlarmRegressed, "epoch 12 is older"}} })
	g := func(fill func(*Config, *fixture), path string, header http.Header, code int, want string) {
		t.Helper()
		accepted = nil
		f := newFixture(t, fill)
		w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, path, nil)
		r.Host = f.Addr()
		r.Header = header
		f.http.Handler.ServeHTTP(w, r)
		if w.Code != code || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
		if (code == http.StatusOK) != (len(accepted) == 1) {
			t.Errorf("%s: accepted %q", path, accepted)
		}
	}
	const path = "/api/v1/topology/accept"
	g(regressed, path, nil, 200, `"pool": "main"`)
	g(regressed, path+"?pool=main", nil, 200, `"alarm": "epoch 12 is older"`)
	g(troubled(&accepted, func(st *ConsulStatus) {
		st.Alarms = []Alarm{{"epoch_unacked", "late"}, {AlarmCatalog, "service redis has no instance"}}
	}), path, nil, 200, `"alarm": "service redis has no instance"`)
	g(troubled(&accepted, func(st *ConsulStatus) { st.Alarms = []Alarm{{"epoch_unacked", "late"}} }), path, nil, 409, "there is nothing to accept")
	g(regressed, path+"?pool=spare", nil, 400, `there is no pool "spare" with its topology in Consul`)
	g(regressed, path, http.Header{"Sec-Fetch-Site": {"cross-site"}}, 403, "")
	g(inConsul(&accepted), path, nil, 409, "there is nothing to accept: pool main has epoch 1842 in force")
	g(nil, path, nil, 409, "no pool has its topology in Consul")
}
