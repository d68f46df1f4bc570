package consul

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/consul/api"

	"sluice/internal/testbed"
)

// memberWait bounds all waiting; nothing that works takes that long.
const memberWait = 2 * time.Minute

// testMember is a Member as a proxy has it. mu guards fences.
type testMember struct {
	*Member
	unhealthy, unready atomic.Bool
	stop               func() // ends Run and waits for it

	mu     sync.Mutex
	fences []bool
}

// newMember returns a Member that does not run.
func newMember(t *testing.T, client *api.Client, change func(*MemberConfig)) *testMember {
	t.Helper()
	m := new(testMember)
	cfg := MemberConfig{
		Client: client, Root: "sluice/main/", ID: "p1", Pool: "main", Version: "1.0", Addr: "127.0.0.1:6379", Zone: "a",
		CheckTTL: time.Second, // The session's TTL is short only where it has to end.
		Healthy:  func() bool { return !m.unhealthy.Load() },
		Ready:    func() bool { return !m.unready.Load() },
		Fence: func(on bool) {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.fences = append(m.fences, on)
		},
	}
	if change != nil {
		change(&cfg)
	}
	m.Member = NewMember(cfg)
	return m
}

// startMember joins and runs a Member until the test ends.
func startMember(t *testing.T, client *api.Client, change func(*MemberConfig)) *testMember {
	t.Helper()
	m := newMember(t, client, change)
	if err := m.Join(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.run(t)
	return m
}

func (m *testMember) run(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		m.Run(ctx)
	}()
	m.stop = func() {
		cancel()
		<-ended
	}
	t.Cleanup(m.stop)
}

func (m *testMember) fencesSeen() []bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.fences)
}

// memberClient returns a client that leaves no connection behind.
func memberClient(t *testing.T, c *testbed.ConsulServer, token string) *api.Client {
	t.Helper()
	return clientOf(t, c.URL(), token)
}

func clientOf(t *testing.T, url, token string) *api.Client {
	t.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: 200}
	t.Cleanup(transport.CloseIdleConnections)
	cfg := api.DefaultConfig()
	cfg.Address, cfg.Token, cfg.HttpClient = url, token, &http.Client{Transport: transport}
	client, err := api.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// shortTTL is for tests in which a lease ends.
func shortTTL(c *MemberConfig) { c.TTL = time.Second }

// eventually waits until cond holds.
func eventually(t *testing.T, cond func() error) {
	t.Helper()
	testbed.Eventually(t, cond, memberWait)
}

// readKey reads a key of member p1 into v and returns the session that holds it.
func readKey(client *api.Client, key string, v any) (string, error) {
	pair, _, err := client.KV().Get("sluice/main/"+key, nil)
	if err != nil {
		return "", err
	}
	if pair == nil {
		return "", fmt.Errorf("there is no key %s", key)
	}
	if err := json.Unmarshal(pair.Value, v); err != nil {
		return "", fmt.Errorf("key %s: %w", key, err)
	}
	return pair.Session, nil
}

// memberHas returns nil when the keys of p1 are held by its session and say state and epoch; epoch 0 is no ack.
func memberHas(client *api.Client, m *testMember, state string, epoch uint64) error {
	var member MemberRecord
	if _, err := readKey(client, "members/p1", &member); err != nil {
		return err
	}
	var proxy ProxyRecord
	holder, err := readKey(client, "proxies/p1", &proxy)
	if err != nil {
		return err
	}
	s := m.Status()
	if holder == "" || holder != s.Session || proxy.State != state || !s.Sure {
		return fmt.Errorf("proxies/p1 is %q of session %q, want %q; status %+v", proxy.State, holder, state, s)
	}
	var ack AckRecord
	holder, err = readKey(client, "acks/p1", &ack)
	if epoch == 0 {
		if err == nil {
			return fmt.Errorf("an ack of %d, want none", ack.Epoch)
		}
		return nil
	}
	if err == nil && (holder != s.Session || ack.Epoch != epoch || s.AckWaits) {
		err = fmt.Errorf("acks/p1 is of epoch %d and session %q, want %d; status %+v", ack.Epoch, holder, epoch, s)
	}
	return err
}

// checkIs returns nil when the catalog has the TTL check of p1 with that status.
func checkIs(client *api.Client, m *testMember, want string) error {
	entries, _, err := client.Health().Service("sluice", "", false, nil)
	if err != nil {
		return err
	}
	for _, e := range entries {
		for _, c := range e.Checks {
			if c.CheckID != m.ttlCheck() {
				continue
			}
			if c.Status != want {
				return fmt.Errorf("check %s is %q (%s), want %q", c.CheckID, c.Status, c.Output, want)
			}
			return nil
		}
	}
	return fmt.Errorf("no check %s in the catalog", m.ttlCheck())
}

func TestMemberKeysAreThereWhenJoinReturns(t *testing.T) {
	t.Parallel()
	client := memberClient(t, testbed.Consul(t), "")
	m := newMember(t, client, func(c *MemberConfig) { c.Admin = "127.0.0.1:9000" })
	for range 2 { // The second changes nothing.
		if err := m.Join(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := memberHas(client, m, StateJoining, 0); err != nil {
		t.Fatal(err)
	}
	var member MemberRecord
	readKey(client, "members/p1", &member)
	if diff := cmp.Diff(MemberRecord{ID: "p1", Name: "sluice:p1"}, member); diff != "" {
		t.Error(diff)
	}
	var proxy ProxyRecord
	readKey(client, "proxies/p1", &proxy)
	want := m.record
	want.Addr, want.Admin, want.State = "127.0.0.1:6379", "127.0.0.1:9000", StateJoining
	if diff := cmp.Diff(want, proxy); diff != "" {
		t.Error(diff)
	}
	pairs, _, err := client.KV().List("sluice/main/", nil) // In the order of their names: members, proxies.
	if err != nil || len(pairs) != 2 || pairs[0].ModifyIndex >= pairs[1].CreateIndex {
		t.Errorf("members/p1 must be there before proxies/p1: %v, %v", pairs, err)
	}
	sessions, _, err := client.Session().List(nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(sessions) != 1 {
		t.Fatalf("%d sessions, want 1", len(sessions))
	}
	s := sessions[0]
	checks := len(s.NodeChecks) + len(s.Checks) + len(s.ServiceChecks)
	if checks != 0 || s.TTL != "15s" || s.LockDelay != time.Millisecond || s.Behavior != "delete" {
		t.Errorf("session %+v", s)
	}
	if left, sure := m.Lease(); !sure || left > 15*time.Second {
		t.Errorf("lease of %s, sure %t", left, sure)
	}
}

func TestMemberAcksBarriersOnly(t *testing.T) {
	t.Parallel()
	client := memberClient(t, testbed.Consul(t), "")
	m := startMember(t, client, nil)
	m.Applied(1, "", false, time.Millisecond)
	eventually(t, func() error { return memberHas(client, m, StateServing, 0) })
	m.Applied(2, "", true, 12*time.Millisecond)
	eventually(t, func() error { return memberHas(client, m, StateServing, 2) })
	var ack AckRecord
	readKey(client, "acks/p1", &ack)
	if ack != (AckRecord{Epoch: 2, TookMS: 12}) {
		t.Errorf("ack %+v", ack)
	}
	m.Applied(2, "", true, time.Second) // Published again.
	m.Applied(3, "", false, time.Millisecond)
	m.Drain(t.Context())
	eventually(t, func() error { return memberHas(client, m, StateDraining, 2) }) // Acks are written before states.
	if s := m.Status(); s.Counts.Acks != 1 || s.Epoch != 3 || s.Acked != 2 {
		t.Errorf("status %+v", s)
	}
}

func TestMemberMakesALostSessionAnew(t *testing.T) {
	t.Parallel()
	client := memberClient(t, testbed.Consul(t), "")
	m := startMember(t, client, func(c *MemberConfig) { c.TTL = 3 * time.Second }) // A third is how soon it finds out.
	m.Applied(7, "", true, 0)
	eventually(t, func() error { return memberHas(client, m, StateServing, 7) })
	first := m.Status().Session
	if _, err := client.Session().Destroy(first, nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if m.Status().Session == first {
			return errors.New("still the first session")
		}
		return memberHas(client, m, StateServing, 7)
	})
	if s := m.Status(); s.Counts.SessionsLost == 0 || s.Counts.Sessions < 2 {
		t.Errorf("counts %+v", s.Counts)
	}
	var member MemberRecord
	if readKey(client, "members/p1", &member); member.LastSeenEpoch != 7 {
		t.Errorf("members/p1 says %+v", member)
	}
	for _, key := range []string{"members/p1", "proxies/p1", "acks/p1"} {
		if _, err := client.KV().Delete("sluice/main/"+key, nil); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() error { return memberHas(client, m, StateServing, 7) })
	}
	if s := m.Status(); s.Counts.KeysLost == 0 {
		t.Errorf("counts %+v", s.Counts)
	}
}

func TestMemberComesBackAfterAKilledAgent(t *testing.T) {
	t.Parallel()
	c := testbed.Consul(t)
	client := memberClient(t, c, "")
	m := startMember(t, client, shortTTL)
	m.Applied(7, "", true, 0)
	back := func() error { return errors.Join(memberHas(client, m, StateServing, 7), checkIs(client, m, "passing")) }
	eventually(t, back)
	for _, restart := range []func() error{c.Restart, c.RestartEmpty} {
		if err := c.Kill(); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() error {
			if s := m.Status(); s.Err == "" || s.Sure {
				return fmt.Errorf("nothing is wrong without a Consul: %+v", s)
			}
			return nil
		})
		if err := restart(); err != nil {
			t.Fatal(err)
		}
		eventually(t, back)
		eventually(t, func() error {
			if s := m.Status(); s.Err != "" || s.LastErr == "" || !s.Registered {
				return fmt.Errorf("status %+v", s)
			}
			return nil
		})
	}
}

// Two proxies with one id: the second must not take the first one's keys, nor take them away.
func TestMemberDoesNotShareItsID(t *testing.T) {
	t.Parallel()
	client := memberClient(t, testbed.Consul(t), "")
	first := startMember(t, client, nil)
	second := newMember(t, client, nil)
	if err := second.Join(t.Context()); !errors.Is(err, ErrIDTaken) {
		t.Fatalf("Join: %v", err)
	}
	if _, sure := second.Lease(); sure {
		t.Error("the second is sure")
	}
	if err := second.withdrawKeys(t.Context()); !errors.Is(err, ErrIDTaken) {
		t.Errorf("withdrawKeys: %v", err)
	}
	if err := memberHas(client, first, StateJoining, 0); err != nil {
		t.Error(err)
	}
	second.run(t)
	if err := first.Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error { return memberHas(client, second, StateJoining, 0) })
}

func TestMemberLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	client := memberClient(t, testbed.Consul(t), "")
	m := startMember(t, client, nil)
	m.Applied(7, "", true, 0)
	eventually(t, func() error {
		return errors.Join(memberHas(client, m, StateServing, 7), checkIs(client, m, "passing"))
	})
	m.Drain(t.Context())
	eventually(t, func() error {
		return errors.Join(memberHas(client, m, StateDraining, 7), checkIs(client, m, "critical"))
	})
	for range 2 {
		if err := m.Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	m.stop() // It has ended by itself, but for what it was doing.
	keys, _, err := client.KV().Keys("", "", nil)
	if err != nil || len(keys) != 0 {
		t.Errorf("keys %q, %v", keys, err)
	}
	sessions, _, err := client.Session().List(nil)
	if err != nil || len(sessions) != 0 {
		t.Errorf("%d sessions, %v", len(sessions), err)
	}
	services, err := client.Agent().ServicesWithFilter(`Service == "sluice"`)
	if err != nil || len(services) != 0 {
		t.Errorf("%d services, %v", len(services), err)
	}
	if _, sure := m.Lease(); sure {
		t.Error("who has left is sure")
	}
	if err := m.Join(t.Context()); err == nil {
		t.Error("who has left has joined")
	}
}

func TestMemberLeavesAConsulThatIsAway(t *testing.T) {
	t.Parallel()
	c := testbed.Consul(t)
	client := memberClient(t, c, "")
	leave := func(away func() error) {
		t.Helper()
		m := startMember(t, client, shortTTL)
		if err := away(); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		left := make(chan error, 1)
		go func() { left <- m.Leave(context.Background()) }()
		select {
		case err := <-left:
			t.Logf("Leave took %s: %v", time.Since(began), err)
			if err == nil {
				t.Error("Leave returned no error")
			}
		case <-time.After(memberWait):
			t.Fatal("Leave does not return")
		}
		m.stop()
	}
	leave(c.Stop)
	if err := c.Cont(); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error { // What was on its way may still come, and the session goes by itself.
		_, err := readKey(client, "proxies/p1", new(ProxyRecord))
		if err == nil {
			return errors.New("proxies/p1 is still there")
		}
		return nil
	})
	leave(c.Kill)
}

func TestMemberWithoutRightsSaysWhatItNeeds(t *testing.T) {
	t.Parallel()
	c := testbed.Consul(t, testbed.ConsulOptions{ACL: true})
	admin := memberClient(t, c, testbed.ConsulToken)
	client := memberClient(t, c, newToken(t, admin, `key_prefix "sluice/main/" { policy = "read" }`))
	m := newMember(t, client, func(c *MemberConfig) { c.OnLoss = OnLossFence })
	err := m.Join(t.Context())
	if err == nil || !strings.Contains(err.Error(), "token is refused") || !strings.Contains(err.Error(), "main/members/") {
		t.Errorf("Join: %v", err)
	}
	m.run(t)
	m.Applied(1, "", true, 0)
	eventually(t, func() error {
		s := m.Status()
		said := strings.Contains(s.Err, "sluice/main/members/") && strings.Contains(s.Err, `service "sluice"`)
		if !said || s.Sure || s.Registered {
			return fmt.Errorf("status %+v", s)
		}
		return nil
	})
	t.Log(m.Status().Err)
	m.Drain(t.Context())
	if err := m.Leave(t.Context()); err == nil {
		t.Error("Leave returned no error")
	}
	m.stop()
	if seen := m.fencesSeen(); !slices.Equal(seen, []bool{true}) {
		t.Errorf("fences %v", seen)
	}
}

// newToken makes a token with one policy.
func newToken(t *testing.T, admin *api.Client, rules string) string {
	t.Helper()
	name := fmt.Sprintf("p%d", time.Now().UnixNano())
	policy, _, err := admin.ACL().PolicyCreate(&api.ACLPolicy{Name: name, Rules: rules}, nil)
	if err != nil {
		t.Fatal(err)
	}
	token, _, err := admin.ACL().TokenCreate(&api.ACLToken{Policies: []*api.ACLTokenPolicyLink{{ID: policy.ID}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return token.SecretID
}

// A reply that is late must not make the lease longer.
func TestMemberLeaseCountsFromBeforeTheRenew(t *testing.T) {
	received := make(chan time.Time, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/v1/session/renew/") {
			received <- time.Now()
			fmt.Fprint(w, `[{"ID":"s1","TTL":"1s"}]`)
			return
		}
		fmt.Fprint(w, `{"Results":[]}`)
	}))
	t.Cleanup(server.Close)
	m := newMember(t, clientOf(t, server.URL, ""), nil)
	m.session, m.joined = "s1", true
	if err := m.renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	if m.lease.from.IsZero() || m.lease.from.After(<-received) {
		t.Errorf("the lease counts from %s", m.lease.from)
	}
}
