package consul

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice/discovery"
	"sluice/internal/testbed"
	"sluice/router"
)

func TestTopologyAppearsAndFollowsEpochs(t *testing.T) {
	a, b := testbed.Redis(t), testbed.Redis(t)
	replica := testbed.Replica(t, a)
	p := newPool(t, sharedConsul(t)).start()
	p.raises(AlarmMissing, "sluice ctl topology init")

	d := document([]string{replica.Addr(), a.Addr()}, []string{b.Addr()})
	d.Groups[0].Nodes[1].Zone = "east"
	p.write(d)
	p.wants("1:%s+%s 0-7; 2:%s 8-15", a.Addr(), replica.Addr(), b.Addr())
	p.raises(AlarmMissing, "")
	p.eventually(p.Err)
	p.mu.Lock()
	zone := p.tables[len(p.tables)-1].Groups[0].Zones[a.Addr()]
	p.mu.Unlock()
	if zone != "east" {
		t.Errorf("zone %q, want east", zone)
	}

	d.Slots = []SlotRange{{Slots: "0-3", Group: "1", State: Stable}, {Slots: "4-15", Group: "2", State: Stable}}
	p.write(d)
	p.wants("1:%s+%s 0-3; 2:%s 4-15", a.Addr(), replica.Addr(), b.Addr())
	p.eventually(func() error {
		if got := p.said(); !slices.Equal(got, []string{"applied 1 false", "applied 2 false"}) {
			return fmt.Errorf("events %q", got)
		}
		return nil
	})
	p.eventually(func() error { // The event comes first.
		if st := p.Status(); st.Epoch != 2 || st.Pending != 0 || st.LastContact.IsZero() || st.Degraded {
			return fmt.Errorf("status %+v", st)
		}
		return nil
	})
}

func TestMoveIsAcknowledgedAfterTheAnswersOfBefore(t *testing.T) {
	a, b := testbed.Redis(t), testbed.Redis(t)
	p := newPool(t, sharedConsul(t)).start()
	d := document([]string{a.Addr()}, []string{b.Addr()})
	p.write(d)
	p.wants("1:%s 0-7; 2:%s 8-15", a.Addr(), b.Addr())
	step := func(change SlotRange, want string) {
		t.Helper()
		d.Slots = []SlotRange{{Slots: "0-6", Group: "1", State: Stable}, change, {Slots: "8-15", Group: "2", State: Stable}}
		d.Epoch.Barrier = true
		p.write(d)
		p.wants("1:%s 0-6; 2:%s 7-15%s", a.Addr(), b.Addr(), want)
		p.eventually(func() error {
			if got := p.said(); got[len(got)-1] != fmt.Sprintf("applied %d true", d.Epoch.Epoch) {
				return fmt.Errorf("events %q", got)
			}
			return nil
		})
	}
	step(SlotRange{Slots: "7", Group: "1", State: Locked, To: "2"}, "; 7 locked on its way from group 1 to group 2")
	step(SlotRange{Slots: "7", Group: "1", State: Moving, To: "2", Method: MethodSync}, "; 7 moving from group 1 to group 2")
	step(SlotRange{Slots: "7", Group: "2", State: Stable}, "")
	both := []string{a.Addr(), b.Addr()}
	slices.Sort(both)
	want := []string{
		"applied 1 false",
		"await " + strings.Join(both, " "), "applied 2 true",
		"await " + strings.Join(both, " "), "applied 3 true",
		"await " + strings.Join(both, " "), "applied 4 true",
	}
	if diff := cmp.Diff(want, p.said()); diff != "" {
		t.Error(diff)
	}
}

func TestNoNewLockWithoutASureLease(t *testing.T) {
	t.Parallel()
	a, b := testbed.Redis(t), testbed.Redis(t)
	var sure atomic.Bool
	p := newPool(t, sharedConsul(t), func(cfg *Config) { cfg.MayMove = sure.Load }).start()
	d := document([]string{a.Addr()}, []string{b.Addr()})
	p.write(d)
	p.wants("1:%s 0-7; 2:%s 8-15", a.Addr(), b.Addr())
	d.Slots[0] = SlotRange{Slots: "0-7", Group: "1", State: Locked}
	p.write(d)
	p.raises(AlarmWaiting, "not sure of its membership")
	if got := p.said(); slices.Contains(got, "applied 2 false") || strings.Contains(p.routes(), "locked") {
		t.Errorf("the lock is in force: %q, %s", got, p.routes())
	}
	sure.Store(true)
	p.eventually(func() error {
		if p.Status().Epoch != 2 {
			return fmt.Errorf("epoch %d", p.Status().Epoch)
		}
		return nil
	})
	p.raises(AlarmWaiting, "")
}

func TestOlderEpochIsRefusedUntilAccepted(t *testing.T) {
	a, b := testbed.Redis(t), testbed.Redis(t)
	p := newPool(t, sharedConsul(t)).start()
	d := document([]string{a.Addr()}, []string{b.Addr()})
	d.Epoch.Epoch = 6
	p.write(d)
	before := fmt.Sprintf("1:%s 0-7; 2:%s 8-15", a.Addr(), b.Addr())
	p.wants("%s", before)

	older := document([]string{b.Addr()}, []string{a.Addr()})
	older.Epoch.Epoch = 4
	p.write(older)
	p.raises(AlarmRegressed, "epoch 5 in Consul is older than what is in force (7)")
	if got := p.routes(); got != before {
		t.Errorf("routes %q, want %q", got, before)
	}
	other := document([]string{b.Addr()}, []string{a.Addr()})
	other.Epoch.Epoch = 6
	p.write(other)
	p.raises(AlarmRegressed, "epoch 7 in Consul is another one")
	if got := p.routes(); got != before {
		t.Errorf("routes %q, want %q", got, before)
	}

	older.Epoch.Epoch = 4
	p.write(older)
	p.raises(AlarmRegressed, "epoch 5 in Consul is older")
	p.Accept()
	p.wants("1:%s 0-7; 2:%s 8-15", b.Addr(), a.Addr())
	p.raises(AlarmRegressed, "")
	older.Epoch.Epoch = 3
	p.write(older)
	p.raises(AlarmRegressed, "epoch 4 in Consul is older")

	// Once is once: what was accepted is refused when it comes back after a newer one.
	accepted := document([]string{b.Addr()}, []string{a.Addr()})
	accepted.Epoch.Epoch = 4
	newer := document([]string{a.Addr()}, []string{b.Addr()})
	newer.Epoch.Epoch = 8
	p.write(newer)
	p.wants("%s", before)
	p.write(accepted)
	p.raises(AlarmRegressed, "epoch 5 in Consul is older than what is in force (9)")
	if got := p.routes(); got != before {
		t.Errorf("routes %q, want %q", got, before)
	}
}

func TestDamageKeepsTheLastGood(t *testing.T) {
	a := testbed.Redis(t)
	p := newPool(t, sharedConsul(t)).start()
	d := document([]string{a.Addr()})
	p.write(d)
	good := fmt.Sprintf("1:%s 0-15", a.Addr())
	p.wants("%s", good)
	kv := p.client.KV()
	damage := func(kind, text string, do func() error) {
		t.Helper()
		if err := do(); err != nil {
			t.Fatal(err)
		}
		p.raises(kind, text)
		if got := p.routes(); got != good {
			t.Errorf("routes %q, want %q", got, good)
		}
		if p.Err() == nil {
			t.Error("no error")
		}
		p.write(d)
		p.raises(kind, "")
		p.eventually(p.Err)
	}
	damage(AlarmMissing, "there is no topology", func() error {
		_, err := kv.DeleteTree(p.root(), nil)
		return err
	})
	damage(AlarmInvalid, "topology/slots is missing", func() error {
		_, err := kv.Delete(p.root()+keySlots, nil)
		return firstError(err, p.ring())
	})
	damage(AlarmInvalid, "the digest of epoch", func() error {
		pair, _, err := kv.Get(p.root()+keySlots, nil)
		if err != nil {
			return err
		}
		pair.Value = []byte(strings.Replace(string(pair.Value), "0-15", "0-14", 1))
		_, err = kv.Put(pair, nil)
		return firstError(err, p.ring())
	})
	damage(AlarmInvalid, "there is no group \"9\"", func() error {
		bad := document([]string{a.Addr()})
		bad.Slots[0].Group = "9"
		bad.Epoch = d.Epoch
		_, index, err := ReadDocument(t.Context(), kv, p.root())
		if err != nil {
			return err
		}
		return WriteDocument(t.Context(), kv, p.root(), index, bad)
	})
}

// ring changes the epoch key and nothing else.
func (p *pool) ring() error {
	kv := p.client.KV()
	pair, _, err := kv.Get(p.root()+keyEpoch, nil)
	if err != nil {
		return err
	}
	pair.Value = append(pair.Value, ' ')
	_, err = kv.Put(pair, nil)
	return err
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// TestNewsWhileASnapshotIsUnderWay leaves out Run: between publish and the Keeper's answer are microseconds.
func TestNewsWhileASnapshotIsUnderWay(t *testing.T) {
	f := func(name string, epoch uint64, wantEpoch uint64, wantNext bool, wantAlarm string) {
		t.Helper()
		s := New(Config{Pool: "p", Model: router.CodisModel(slots), Watch: func([]string, time.Duration) {}})
		numbered := func(epoch uint64) *Document {
			d := document([]string{"a:1"})
			d.Epoch = Epoch{Epoch: epoch, Digest: fmt.Sprint(epoch)}
			return d
		}
		s.current = newTopology(numbered(5), s.cfg.Model, nil)
		s.current.groups["1"].members["a:1"] = &member{addr: "a:1"}
		s.current.groups["1"].master = "a:1"
		published := 0
		step := func() { s.step(func(discovery.Snapshot) { published++ }, time.Now()) }
		s.judge(news{doc: numbered(7)})
		step()
		s.judge(news{doc: numbered(epoch)})
		step()
		if published != 1 {
			t.Fatalf("%s: %d snapshots under way, want 1", name, published)
		}
		s.answered(nil)
		if got := s.current.doc.Epoch.Epoch; got != wantEpoch || (s.next != nil) != wantNext || !strings.Contains(s.alarms[AlarmRegressed], wantAlarm) || (wantAlarm == "") != (s.alarms[AlarmRegressed] == "") {
			t.Errorf("%s: epoch %d is in force, one is to come: %t, alarms %v", name, got, s.next != nil, s.alarms)
		}
	}
	f("the same again", 7, 7, false, "")
	f("a newer one", 8, 7, true, "")
	f("an older one, newer than what was in force", 6, 7, false, "epoch 6 in Consul is older than what is in force (7)")
	f("what was in force", 5, 7, false, "epoch 5 in Consul is older than what is in force (7)")
}

// TestRefusedSnapshotDoesNotStopTheRest has a Keeper that refuses.
func TestRefusedSnapshotDoesNotStopTheRest(t *testing.T) {
	a, b := testbed.Redis(t), testbed.Redis(t)
	p := newPool(t, sharedConsul(t))
	p.Source = New(p.cfg)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	var refuse atomic.Int32
	go func() {
		done <- p.Run(ctx, func(snap discovery.Snapshot) {
			if len(snap.Groups) == 2 {
				refuse.Add(1)
				snap.Done <- errors.New("not this one")
				return
			}
			snap.Done <- nil
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	d := document([]string{a.Addr()})
	p.write(d)
	p.eventually(func() error {
		if p.Status().Epoch != 1 {
			return errors.New("want epoch 1")
		}
		return nil
	})
	bad := document([]string{a.Addr()}, []string{b.Addr()})
	bad.Epoch = d.Epoch
	p.write(bad)
	p.raises(AlarmRefused, "not this one")
	if st := p.Status(); st.Epoch != 1 || st.Pending != 2 || slices.Contains(p.said(), "applied 2 false") {
		t.Errorf("status %+v, %q", st, p.said())
	}
	good := document([]string{b.Addr()})
	good.Epoch = bad.Epoch
	p.write(good)
	p.eventually(func() error {
		if st := p.Status(); st.Epoch != 3 || len(st.Alarms) > 0 {
			return errors.New("want epoch 3")
		}
		return nil
	})
	if n := refuse.Load(); n != 1 {
		t.Errorf("refused %d times, want once", n)
	}
}

func TestBarrierIsToldWhenAllHaveAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var events []string
		fail := true
		var a *acker
		a = &acker{
			wake: make(chan struct{}, 1), log: slog.New(slog.DiscardHandler),
			await: func(_ context.Context, addrs []string) error {
				events = append(events, "await "+strings.Join(addrs, " "))
				if fail {
					fail = false
					a.add(inForce{epoch: 4, barrier: true}, []string{"c:1"}) // The next one comes meanwhile.
					return errors.New("no answer")
				}
				return nil
			},
			applied: func(epoch uint64, _ string, barrier bool, _ time.Duration) {
				events = append(events, fmt.Sprintf("applied %d %t", epoch, barrier))
			},
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { a.run(ctx); close(done) }()
		for _, e := range []inForce{{epoch: 2}, {epoch: 3, barrier: true}, {epoch: 5, barrier: true}} {
			a.add(e, []string{fmt.Sprintf("%c:1", 'a'+e.epoch-2)})
			time.Sleep(time.Minute) // Of the bubble.
			synctest.Wait()
		}
		cancel()
		<-done
		want := []string{"applied 2 false", "await a:1 b:1", "await a:1 b:1 c:1", "applied 4 true", "await d:1", "applied 5 true"}
		if diff := cmp.Diff(want, events); diff != "" {
			t.Error(diff)
		}
		if err := a.lastErr(); err != nil {
			t.Error(err)
		}
	})
}
