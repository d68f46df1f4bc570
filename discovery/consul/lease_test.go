package consul

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"sluice/internal/testbed"
)

func TestLeaseIsTheLaterClock(t *testing.T) {
	f := func(monotonic, wall, want time.Duration) {
		t.Helper()
		if left := leaseAfter(15*time.Second, monotonic, wall); left != want {
			t.Errorf("left %s, want %s", left, want)
		}
	}
	f(0, 0, 15*time.Second)
	f(5*time.Second, 5*time.Second, 10*time.Second)
	f(time.Second, time.Hour, 0)                 // The machine was suspended.
	f(5*time.Second, -time.Hour, 10*time.Second) // The clock was set back.
	f(15*time.Second, 15*time.Second, 0)
	if left := (lease{ttl: time.Hour}).left(time.Now()); left != 0 {
		t.Errorf("without a renew %s", left)
	}
}

func TestMemberFencesWhileItsLeaseIsLost(t *testing.T) {
	t.Parallel()
	c := testbed.Consul(t)
	client := memberClient(t, c, "")
	var fresh atomic.Int32
	m := startMember(t, client, func(cfg *MemberConfig) {
		shortTTL(cfg)
		cfg.OnLoss = OnLossFence
		cfg.Fresh = func(context.Context) error {
			if fresh.Add(1) == 1 {
				return errors.New("not read yet")
			}
			return nil
		}
	})
	m.Applied(1, "", true, 0)
	eventually(t, func() error { return memberHas(client, m, StateServing, 1) })
	if err := c.Stop(); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error { return fencedIs(m, true) })
	for epoch := range uint64(1000) { // None blocks.
		m.Applied(2+epoch, "", true, 0)
	}
	if err := c.Cont(); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error { return fencedIs(m, false) })
	eventually(t, func() error { return memberHas(client, m, StateServing, 1001) })
	m.stop()
	seen := m.fencesSeen()
	for i, on := range seen { // A slow machine may have lost its lease more than once.
		if on != (i%2 == 0) {
			t.Errorf("fences %v: not once per change", seen)
		}
	}
	if fresh.Load() < 2 {
		t.Error("the fence was lifted before the topology was fresh")
	}
	if s := m.Status(); s.Counts.LeaseLosses == 0 || s.Counts.Fences != uint64(len(seen)+1)/2 {
		t.Errorf("counts %+v, fences %v", s.Counts, seen)
	}
}

// Who has a lease is not fenced.
func TestMemberBeginsWithTheLeaseOfItsJoin(t *testing.T) {
	t.Parallel()
	client := memberClient(t, testbed.Consul(t), "")
	m := startMember(t, client, func(cfg *MemberConfig) { cfg.OnLoss = OnLossFence })
	eventually(t, func() error {
		if m.Status().Counts.Renews == 0 {
			return errors.New("not renewed yet")
		}
		return nil
	})
	m.stop()
	if seen := m.fencesSeen(); seen != nil {
		t.Errorf("fences %v", seen)
	}
}

func fencedIs(m *testMember, want bool) error {
	s := m.Status()
	if _, sure := m.Lease(); s.Fenced != want || sure == want {
		return fmt.Errorf("fenced is not %t: %+v", want, s)
	}
	return nil
}

// Who never had a lease must not begin as if it had.
func TestMemberBeginsFencedWithoutConsul(t *testing.T) {
	t.Parallel()
	c := testbed.Consul(t)
	if err := c.Kill(); err != nil {
		t.Fatal(err)
	}
	client := memberClient(t, c, "")
	strict := newMember(t, client, func(cfg *MemberConfig) { cfg.OnLoss = OnLossFence })
	serving := newMember(t, client, func(cfg *MemberConfig) { cfg.ID = "p2" })
	if err := strict.Join(t.Context()); err == nil {
		t.Error("joined without a Consul")
	}
	strict.run(t)
	serving.run(t)
	eventually(t, func() error { return fencedIs(strict, true) })
	if err := c.Restart(); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error { return fencedIs(strict, false) })
	eventually(t, func() error {
		if _, sure := serving.Lease(); !sure {
			return fmt.Errorf("status %+v", serving.Status())
		}
		return nil
	})
	if seen := serving.fencesSeen(); seen != nil {
		t.Errorf("fences %v with on_loss = serve", seen)
	}
}
