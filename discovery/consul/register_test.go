package consul

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/consul/api"

	"sluice/internal/testbed"
)

func TestServiceIDIsOfTheAddress(t *testing.T) {
	f := func(addr, want string) {
		t.Helper()
		if id := serviceID("sluice", "main", addr, "box"); id != want {
			t.Errorf("serviceID of %q is %q, want %q", addr, id, want)
		}
	}
	f("10.0.0.1:6379", "sluice-main-10.0.0.1-6379")
	f(":6379", "sluice-main-box-6379")
	f("0.0.0.0:6379", "sluice-main-box-6379")
	f("[::]:6379", "sluice-main-box-6379")
	f("[::1]:6379", "sluice-main-::1-6379")
	f("nonsense", "sluice-main-nonsense")
}

func TestMemberIsRegisteredAsItIs(t *testing.T) {
	t.Parallel()
	client := memberClient(t, testbed.Consul(t), "")
	var ready atomic.Bool
	admin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/-/ready" || !ready.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(admin.Close)
	addr := strings.TrimPrefix(admin.URL, "http://")
	m := startMember(t, client, func(c *MemberConfig) { c.Admin = addr })
	eventually(t, func() error { return checkIs(client, m, "critical") }) // Nothing is in force yet.
	service, _, err := client.Agent().Service("sluice-main-127.0.0.1-6379", nil)
	if err != nil {
		t.Fatal(err)
	}
	if service.Service != "sluice" || service.Address != "127.0.0.1" || service.Port != 6379 {
		t.Errorf("service %+v", service)
	}
	if diff := cmp.Diff([]string{"main", "1.0"}, service.Tags); diff != "" {
		t.Error(diff)
	}
	want := map[string]string{"admin": addr, "version": "1.0", "zone": "a", "proxy": "p1"}
	if diff := cmp.Diff(want, service.Meta); diff != "" {
		t.Error(diff)
	}

	m.Applied(1, "", false, 0)
	eventually(t, func() error { return checkIs(client, m, "passing") })
	m.SetZone("b")
	eventually(t, func() error {
		service, _, err := client.Agent().Service("sluice-main-127.0.0.1-6379", nil)
		if err == nil && service.Meta["zone"] != "b" {
			err = fmt.Errorf("zone %q", service.Meta["zone"])
		}
		return err
	})
	if found := healthy(t, client); found != 0 {
		t.Errorf("%d healthy services while /-/ready says no", found)
	}
	ready.Store(true)
	eventually(t, func() error {
		if healthy(t, client) != 1 {
			return errors.New("not healthy though ready")
		}
		return nil
	})
	m.unhealthy.Store(true)
	eventually(t, func() error {
		if check := m.Status().Check; check != "critical: the event loops make no progress" {
			return fmt.Errorf("status says %q", check)
		}
		return checkIs(client, m, "critical")
	})
	m.unhealthy.Store(false)
	eventually(t, func() error { return checkIs(client, m, "passing") })
	m.unready.Store(true)
	eventually(t, func() error { return checkIs(client, m, "critical") })
}

func healthy(t *testing.T, client *api.Client) int {
	t.Helper()
	entries, _, err := client.Health().Service("sluice", "", true, nil)
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// Loops that never answer must turn the check critical too: nobody feeds it then.
func TestMemberTurnsCriticalWhenHealthyHangs(t *testing.T) {
	t.Parallel()
	client := memberClient(t, testbed.Consul(t), "")
	var hang atomic.Pointer[chan struct{}]
	m := startMember(t, client, func(c *MemberConfig) {
		c.Healthy = func() bool {
			if h := hang.Load(); h != nil {
				<-*h
			}
			return true
		}
	})
	m.Applied(1, "", true, 0)
	eventually(t, func() error { return checkIs(client, m, "passing") })
	release := make(chan struct{})
	hang.Store(&release)
	t.Cleanup(func() { // Before Run is waited for.
		hang.Store(nil)
		close(release)
	})
	eventually(t, func() error { return checkIs(client, m, "critical") })
	m.Applied(2, "", true, 0) // Nothing else hangs.
	eventually(t, func() error { return memberHas(client, m, StateServing, 2) })
}

func TestMemberRegistersAgain(t *testing.T) {
	t.Parallel()
	client := memberClient(t, testbed.Consul(t), "")
	m := startMember(t, client, nil)
	m.Applied(1, "", false, 0)
	eventually(t, func() error { return checkIs(client, m, "passing") })
	if err := client.Agent().ServiceDeregister(m.serviceID); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if n := m.Status().Counts.Registrations; n != 2 {
			return fmt.Errorf("%d registrations", n)
		}
		return checkIs(client, m, "passing")
	})

	// Another process on this address, with an admin server that the next one does not have.
	m.stop()
	m = startMember(t, client, func(c *MemberConfig) { c.ID, c.Admin = "p2", "127.0.0.1:1" })
	m.Applied(1, "", false, 0)
	eventually(t, func() error { return checksAre(client, m, 2) })
	if err := client.Agent().EnableServiceMaintenance(m.serviceID, "an operator's"); err != nil {
		t.Fatal(err)
	}
	m.stop()
	m = startMember(t, client, func(c *MemberConfig) { c.ID = "p3" })
	m.Applied(1, "", false, 0)
	eventually(t, func() error { return checksAre(client, m, 2) }) // The TTL check and the maintenance.
	eventually(t, func() error { return checkIs(client, m, "passing") })
	if n := healthy(t, client); n != 0 {
		t.Error("the maintenance of an operator is gone")
	}
}

func checksAre(client *api.Client, m *testMember, want int) error {
	checks, err := client.Agent().ChecksWithFilter(fmt.Sprintf("ServiceID == %q", m.serviceID))
	if err == nil && len(checks) != want {
		err = fmt.Errorf("checks %v, want %d", checks, want)
	}
	return err
}

// The policies that are shipped allow all that is needed and no more.
func TestMemberWithTheShippedPolicies(t *testing.T) {
	t.Parallel()
	c := testbed.Consul(t, testbed.ConsulOptions{ACL: true})
	admin := memberClient(t, c, testbed.ConsulToken)
	proxy := memberClient(t, c, newToken(t, admin, policyFile(t, "proxy.hcl")))
	controller := memberClient(t, c, newToken(t, admin, policyFile(t, "controller.hcl")))

	m := startMember(t, proxy, func(c *MemberConfig) { c.Admin = "127.0.0.1:1" })
	m.Applied(3, "", true, 0)
	eventually(t, func() error {
		return errors.Join(memberHas(admin, m, StateServing, 3), checkIs(admin, m, "passing"))
	})
	put := func(client *api.Client, key string) error {
		_, err := client.KV().Put(&api.KVPair{Key: key, Value: []byte("{}")}, nil)
		return err
	}
	for _, key := range []string{"topology/epoch", "topology/slots", "format", "controller/leader"} {
		if put(proxy, "sluice/main/"+key) == nil {
			t.Errorf("a proxy may write %s", key)
		}
		if err := put(controller, "sluice/main/"+key); err != nil {
			t.Errorf("the controller: %v", err)
		}
	}
	if put(controller, "sluice/other/format") == nil || put(proxy, "sluice/other/acks/p1") == nil {
		t.Error("another pool's keys may be written")
	}
	pairs, _, err := proxy.KV().List("sluice/main/topology/", nil)
	if err != nil || len(pairs) != 2 {
		t.Errorf("a proxy sees %d keys of the topology, %v", len(pairs), err)
	}
	if _, _, err := proxy.Health().Service("redis", "", true, nil); err != nil {
		t.Error(err)
	}
	eventually(t, func() error { return checkIs(proxy, m, "passing") }) // What may not be read is left out without an error.
	// The controller forgets a member and makes a session.
	session, _, err := controller.Session().CreateNoChecks(&api.SessionEntry{TTL: "15s"}, nil)
	if err != nil {
		t.Error(err)
	}
	if _, err := controller.Session().Destroy(session, nil); err != nil {
		t.Error(err)
	}
	eventually(t, func() error { return checkIs(controller, m, "passing") })
	if _, err := controller.KV().Delete("sluice/main/members/p1", nil); err != nil {
		t.Error(err)
	}
	eventually(t, func() error { return memberHas(admin, m, StateServing, 3) })
	m.Drain(t.Context())
	if err := m.Leave(t.Context()); err != nil {
		t.Error(err)
	}
	if s := m.Status(); s.Err != "" {
		t.Errorf("status %+v", s)
	}
}

func policyFile(t *testing.T, name string) string {
	t.Helper()
	rules, err := os.ReadFile("../../etc/consul/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(rules)
}
