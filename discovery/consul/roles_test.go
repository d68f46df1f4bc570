package consul

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sluice/backend"
	"sluice/internal/clock"
	"sluice/internal/control"
	"sluice/internal/testbed"
	"sluice/router/lag"
)

func TestFailoverIsSeenByRoles(t *testing.T) {
	t.Parallel()
	a := testbed.Redis(t)
	b, c := testbed.Replica(t, a), testbed.Replica(t, a)
	p := newPool(t, sharedConsul(t)).start()
	p.write(document([]string{a.Addr(), b.Addr(), c.Addr()}))
	sorted := func(x, y string) string { return "+" + min(x, y) + "+" + max(x, y) }
	p.wants("1:%s%s 0-15", a.Addr(), sorted(b.Addr(), c.Addr()))

	if err := a.Kill(); err != nil {
		t.Fatal(err)
	}
	p.node(a.Addr(), func(n NodeStatus) bool { return n.Err != "" && n.Master }) // Nobody else is one.
	if err := errors.Join(b.NoOne(), c.ReplicaOf(b.Addr())); err != nil {
		t.Fatal(err)
	}
	p.wants("1:%s%s 0-15", b.Addr(), sorted(a.Addr(), c.Addr()))

	// The old one comes back and thinks that it is the master still.
	if err := a.Restart(); err != nil {
		t.Fatal(err)
	}
	p.node(a.Addr(), func(n NodeStatus) bool { return n.Role == "master" && !n.Master })
	p.wants("1:%s%s 0-15", b.Addr(), sorted(a.Addr(), c.Addr()))
}

func TestServerWithoutHistoryDoesNotBecomeTheMaster(t *testing.T) {
	t.Parallel()
	a, stranger := testbed.Redis(t), testbed.Redis(t)
	replica := testbed.Replica(t, a)
	p := newPool(t, sharedConsul(t)).start()
	d := document([]string{a.Addr(), replica.Addr()})
	p.write(d)
	p.wants("1:%s+%s 0-15", a.Addr(), replica.Addr())
	d.Groups[0].Nodes = append(d.Groups[0].Nodes, Node{Addr: stranger.Addr()})
	p.write(d)
	with := fmt.Sprintf("1:%s+%s+%s 0-15", a.Addr(), min(replica.Addr(), stranger.Addr()), max(replica.Addr(), stranger.Addr()))
	p.wants("%s", with)
	p.node(stranger.Addr(), func(n NodeStatus) bool { return n.Role == "master" && !n.Master })
	if err := a.Kill(); err != nil {
		t.Fatal(err)
	}
	p.eventually(func() error {
		if text := strings.Join(p.Status().Problems, " "); !strings.Contains(text, "nothing shows that it has the data") {
			return errors.New("no problem is named")
		}
		return nil
	})
	if got := p.routes(); got != with {
		t.Errorf("routes %q, want %q", got, with)
	}
	if err := replica.NoOne(); err != nil { // Two say it now, and only one has been a replica.
		t.Fatal(err)
	}
	p.wants("1:%s+%s+%s 0-15", replica.Addr(), min(a.Addr(), stranger.Addr()), max(a.Addr(), stranger.Addr()))
}

func TestSetMasterHoldsUntilTheNodesSayOtherwise(t *testing.T) {
	t.Parallel()
	a := testbed.Redis(t)
	b := testbed.Replica(t, a)
	p := newPool(t, sharedConsul(t)).start()
	p.write(document([]string{a.Addr(), b.Addr()}))
	p.wants("1:%s+%s 0-15", a.Addr(), b.Addr())
	p.SetMaster("1", "127.0.0.1:1") // Not a node of the group.
	p.SetMaster("2", a.Addr())      // No group.
	if err := a.Kill(); err != nil {
		t.Fatal(err)
	}
	p.node(a.Addr(), func(n NodeStatus) bool { return n.Err != "" })
	p.SetMaster("1", b.Addr())
	p.wants("1:%s+%s 0-15", b.Addr(), a.Addr())
	if err := a.Restart(); err != nil {
		t.Fatal(err)
	}
	p.wants("1:%s+%s 0-15", a.Addr(), b.Addr()) // b is its replica, still.
}

func TestPasswordOfTheNodesMayChange(t *testing.T) {
	t.Parallel()
	a := testbed.Redis(t, "--requirepass", "secret")
	p := newPool(t, sharedConsul(t)).start()
	p.write(document([]string{a.Addr()}))
	p.raises(AlarmWaiting, "none of "+a.Addr()+" (it does not answer: ")
	p.node(a.Addr(), func(n NodeStatus) bool { return strings.Contains(n.Err, "NOAUTH") })
	p.nodes.setPassword("secret")
	p.Refresh()
	p.wants("1:%s 0-15", a.Addr())
}

// hears is a Source that watches the node "a", and takes what a test says of it.
type hears struct {
	*roles
	t     *testing.T
	began int64 // clock.Now when the node came to be watched
}

func newHears(t *testing.T) *hears {
	h := &hears{t: t, roles: New(Config{Pool: "p", Watch: func([]string, time.Duration) {}, Ask: func() {}}).roles}
	h.watch(map[string]bool{"a": true})
	h.began = clock.Now()
	return h
}

// says takes an outcome that was asked for and given at times after the beginning.
func (h *hears) says(asked, answered time.Duration, info string, err error) {
	o := backend.Observation{Asked: h.began + int64(asked), Answered: h.began + int64(answered), Err: err}
	o.Info = control.Value{Kind: control.Bulk, Text: info}
	h.observe("a", o)
}

// wants checks the evidence, and whether Run was woken for it.
func (h *hears) wants(what string, role lag.Role, failures int, woken bool) {
	h.t.Helper()
	e, wakes := h.last("a"), len(h.wake) > 0
	if wakes {
		<-h.wake
	}
	if e.repl.Role != role || e.failures != failures || wakes != woken || e.answers() != (role != lag.RoleUnknown) {
		h.t.Errorf("%s: %+v, Run was woken: %t; want %s, %d failures, %t", what, e, wakes, role, failures, woken)
	}
}

const (
	isMaster  = "role:master\r\n"
	isReplica = "role:slave\r\nmaster_host:h\r\nmaster_port:1\r\n"
)

func TestEvidenceIsWhatTheProbeBrings(t *testing.T) {
	h, gone := newHears(t), errors.New("gone")
	h.wants("nothing yet", lag.RoleUnknown, 0, false)
	h.says(-time.Millisecond, time.Millisecond, isMaster, nil)
	h.wants("it was asked before it was watched", lag.RoleUnknown, 0, false)
	if h.last("a").asked {
		t.Error("it counts as asked")
	}
	h.says(1, 2, isMaster, nil)
	h.wants("a master", lag.Master, 0, true)
	h.says(3, 4, isMaster, nil)
	h.wants("the same again", lag.Master, 0, false)
	if e := h.last("a"); !e.begun.Equal(clock.Time(h.began+3)) || !e.answered.Equal(clock.Time(h.began+4)) {
		t.Errorf("asked at %v, answered at %v, want 3 and 4 ns after %v", e.begun, e.answered, clock.Time(h.began))
	}
	h.observe("a", backend.Observation{Asked: h.began + 5, Answered: h.began + 6, Err: gone, Ended: true})
	h.wants("its connection has ended", lag.Master, 0, false)
	h.says(7, 8, isReplica, nil)
	h.wants("a replica", lag.Replica, 0, true)
	h.observe("b", backend.Observation{Asked: h.began + 7, Answered: h.began + 8})
	if h.last("b").asked {
		t.Error("a node was taken that nobody watches")
	}
	busy := control.Value{Kind: control.Error, Text: "BUSY x"}
	h.observe("a", backend.Observation{Asked: h.began + 9, Answered: h.began + 10, Info: busy})
	h.wants("an error", lag.RoleUnknown, 1, true)
	if err := h.last("a").err; err == nil || err.Error() != "a: INFO: BUSY x" {
		t.Errorf("error %v", err)
	}
	h.watch(nil)
	h.watch(map[string]bool{"a": true})
	h.wants("it is watched anew", lag.RoleUnknown, 0, false)
}

func TestFailuresAreCountedWhenTheyAreApart(t *testing.T) {
	h, gone := newHears(t), errors.New("gone")
	h.says(1, 2, isMaster, nil)
	h.wants("a master", lag.Master, 0, true)
	first := 10 * time.Millisecond
	h.says(first, first, "", gone)
	h.wants("it fails", lag.RoleUnknown, 1, true)
	h.says(first+minAskGap-1, first+minAskGap, "", gone)
	h.wants("it is asked in a hurry", lag.RoleUnknown, 1, false)
	h.says(first+minAskGap, first+2*minAskGap, "", gone)
	h.wants("again", lag.RoleUnknown, 2, false)
	if e := h.last("a"); !e.failing.Equal(clock.Time(h.began + int64(first))) {
		t.Errorf("it fails since %v, want %v", e.failing, clock.Time(h.began+int64(first)))
	}
	h.says(first+4*minAskGap, first+4*minAskGap, isMaster, nil)
	h.wants("it is back", lag.Master, 0, true)
}

func TestOldAnswerIsNone(t *testing.T) {
	h := newHears(t)
	h.mu.Lock()
	h.nodes["a"].since -= int64(time.Hour)
	age := h.maxAge()
	h.mu.Unlock()
	if want := time.Second + time.Second/5 + 2*time.Second; age != want {
		t.Errorf("an answer is believed for %s, want %s", age, want)
	}
	h.says(-age, 0, isMaster, nil)
	h.wants("an old answer", lag.RoleUnknown, 0, true)
	if e := h.last("a"); !errors.Is(e.err, errOld) || !e.asked {
		t.Errorf("evidence %+v", e)
	}
	h.says(0, 1, isMaster, nil)
	h.wants("a new one", lag.Master, 0, false)
}

func TestRefreshIsNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked []time.Duration
		begun := time.Now()
		s := New(Config{Pool: "p", Ask: func() { asked = append(asked, time.Since(begun)) }})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { s.roles.run(ctx); close(done) }()
		for range 4 {
			s.Refresh()
			time.Sleep(minAskGap / 4) // Of the bubble.
		}
		time.Sleep(time.Hour)
		cancel()
		<-done
		if want := []time.Duration{0, minAskGap}; !slices.Equal(asked, want) {
			t.Errorf("asked at %v, want %v", asked, want)
		}
	})
}
