package codis

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/internal/testbed"
	"sluice/internal/testbed/dashboard"
	"sluice/internal/testbed/fakecodis"
	"sluice/router"
)

// history describes a slot in all tables so far, without repetitions.
func (s *testSource) history(slot int) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for _, table := range s.tables {
		all = append(all, describeSlot(table, router.Slot(slot)))
	}
	return slices.Compact(all)
}

func (s *testSource) wantsHistory(slot int, want ...string) {
	s.t.Helper()
	if got := s.history(slot); !slices.Equal(got, want) {
		s.t.Errorf("slot %d was:\n%s\nwant:\n%s", slot, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// startServers runs n codis-servers, the first one with a key in each slot from 0 to keys-1.
func startServers(t *testing.T, n, keys int) []*fakecodis.Server {
	t.Helper()
	servers := make([]*fakecodis.Server, n)
	for i := range servers {
		servers[i] = fakecodis.StartCodisServer(t, fakecodis.Options{})
	}
	found := make(map[int]bool)
	for i := 0; len(found) < keys; i++ {
		key := fmt.Sprint("k", i)
		if slot := servers[0].SlotOf(key); slot < keys && !found[slot] {
			found[slot] = true
			must(t, servers[0].Do("SET", key, "1").Error())
		}
	}
	return servers
}

func groupsOf(servers []*fakecodis.Server) []dashboard.Group {
	groups := make([]dashboard.Group, len(servers))
	for i, s := range servers {
		groups[i] = dashboard.Group{ID: i + 1, Servers: []string{s.Addr()}}
	}
	return groups
}

// The states of a slot on its way, as the proxy has them.
func TestMigrationByTheDashboard(t *testing.T) {
	for _, method := range []dashboard.Method{dashboard.SemiAsync, dashboard.Sync} {
		servers := startServers(t, 2, 4)
		a, b := servers[0].Addr(), servers[1].Addr()
		s := startSource(t, "127.0.0.1:0")
		d := startDashboard(t, nil, groupsOf(servers)...)
		must(t, d.Online(t.Context(), s.addr))
		s.wants("none")
		must(t, d.Assign(t.Context(), 1, dashboard.Slots(0, 3)...))
		r, err := d.Migrate(bounded(t), []int{1, 2}, 2, method)
		must(t, err)
		if r.Slots != 2 || r.Keys != 2 || len(r.Errors) != 0 || r.Steps < 2 {
			t.Errorf("%s: %+v", method, r)
		}
		for slot := range 4 {
			if slot == 0 || slot == 3 {
				s.wantsHistory(slot, "1:"+a)
				continue
			}
			s.wantsHistory(slot, "1:"+a,
				fmt.Sprintf("2:%s, locked on its way from group 1 to group 2 at %s, %s", b, a, method),
				fmt.Sprintf("2:%s, moving from group 1 to group 2 at %s, %s", b, a, method), "2:"+b)
		}
		if n := len(servers[1].Keys()); n != 2 {
			t.Errorf("%s: %d keys arrived", method, n)
		}
		command := "SLOTSMGRTTAGSLOT"
		if method == dashboard.SemiAsync {
			command += "-ASYNC"
		}
		if n := servers[0].Calls(command).Seen; n != r.Steps {
			t.Errorf("%d of %s, %d steps", n, command, r.Steps)
		}
	}
}

// Slots move at the same time when no group has part in two of them.
func TestGroupPairsMoveInParallel(t *testing.T) {
	servers := startServers(t, 4, 2)
	must(t, servers[1].Do("SET", "b", "1").Error())
	other := servers[1].SlotOf("b")
	s := startSource(t, "127.0.0.1:0")
	d := startDashboard(t, nil, groupsOf(servers)...)
	must(t, d.Assign(t.Context(), 1, 0, 1))
	must(t, d.Assign(t.Context(), 2, other))
	must(t, d.Online(t.Context(), s.addr))
	var all sync.WaitGroup
	move := func(target, slot int) {
		all.Go(func() {
			if _, err := d.Migrate(bounded(t), []int{slot}, target, dashboard.Sync); err != nil {
				t.Error(err)
			}
		})
	}
	hold := servers[0].Faults.Hold(fakecodis.Command, "SLOTSMGRTTAGSLOT")
	move(3, 0)
	receive(t, hold.Arrived())
	move(3, 1)
	move(4, other)
	eventually(t, 3, d.Actions)
	if len(s.history(1)) != 1 || len(s.history(other)) != 1 {
		t.Errorf("the round of slot 0 took others in: %q %q", s.history(1), s.history(other))
	}
	// The next round has both.
	first := servers[0].Faults.Hold(fakecodis.Command, "SLOTSMGRTTAGSLOT")
	second := servers[1].Faults.Hold(fakecodis.Command, "SLOTSMGRTTAGSLOT")
	hold.Release()
	receive(t, first.Arrived())
	receive(t, second.Arrived())
	for _, slot := range []int{1, other} {
		if got := s.history(slot); !strings.Contains(got[len(got)-1], "moving") {
			t.Errorf("slot %d: %q", slot, got)
		}
	}
	first.Release()
	second.Release()
	all.Wait()
	for slot, at := range map[int]int{0: 2, 1: 2, other: 3} {
		if got := describeSlot(s.table(), router.Slot(slot)); got != fmt.Sprintf("%d:%s", at+1, servers[at].Addr()) {
			t.Errorf("slot %d: %s", slot, got)
		}
	}
}

// A server that refuses to move keys is asked again, after a pause; the slot keeps moving meanwhile.
func TestMigrationGoesOnAfterErrors(t *testing.T) {
	servers := startServers(t, 2, 1)
	s := startSource(t, "127.0.0.1:0")
	d := startDashboard(t, nil, groupsOf(servers)...)
	must(t, d.Assign(t.Context(), 1, 0))
	must(t, d.Online(t.Context(), s.addr))
	servers[0].Faults.Answer("SLOTSMGRTTAGSLOT-ASYNC", "-ERR the specified DB(0) is being migrated\r\n", 3)
	r, err := d.Migrate(bounded(t), []int{0}, 2, dashboard.SemiAsync)
	must(t, err)
	if len(r.Errors) != 3 || r.Errors[0] != "slot 0: ERR the specified DB(0) is being migrated" || r.Keys != 1 {
		t.Errorf("%+v", r)
	}
	if got := s.history(0); len(got) != 4 {
		t.Errorf("history %q", got)
	}
}

// One proxy that does not answer keeps all slots where they are: the others take the lock back.
func TestMissingProxyStopsTheMigration(t *testing.T) {
	servers := startServers(t, 2, 1)
	a, b := servers[0].Addr(), servers[1].Addr()
	s, gone := startSource(t, "127.0.0.1:0"), startSource(t, "127.0.0.1:0")
	d := startDashboard(t, nil, groupsOf(servers)...)
	must(t, d.Assign(t.Context(), 1, 0))
	must(t, d.Online(t.Context(), s.addr))
	must(t, d.Online(t.Context(), gone.addr))
	gone.stop()
	done := make(chan error, 1)
	go func() {
		_, err := d.Migrate(bounded(t), []int{0}, 2, dashboard.Sync)
		done <- err
	}()
	eventually(t, true, func() bool { return len(s.history(0)) >= 5 })
	locked := fmt.Sprintf("2:%s, locked on its way from group 1 to group 2 at %s, sync", b, a)
	if got, want := s.history(0)[:3], []string{"1:" + a, locked, "1:" + a}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	must(t, d.Remove(t.Context(), gone.addr, true))
	must(t, receive(t, done))
	s.wants("0-0 2:" + b + "\n1-1023 offline")
}

// While a group promotes, its slots are locked; its clients feel no more than that.
func TestPromoteByTheDashboard(t *testing.T) {
	t.Parallel()
	for _, pika := range []bool{false, true} {
		master := testbed.Redis(t, "--requirepass", "secret")
		replica := testbed.Replica(t, master, "--requirepass", "secret")
		p := startPool(t, func(cfg *Config) { cfg.Auth = "secret" })
		d := startDashboard(t, func(o *dashboard.Options) { o.Pika, o.Auth = pika, "secret" }, dashboard.Group{
			ID: 1, Servers: []string{master.Addr(), replica.Addr()}, ReplicaReads: true,
		})
		must(t, d.Assign(t.Context(), 1, dashboard.Slots(0, 1023)...))
		must(t, d.Online(t.Context(), p.addr))
		c := p.dial()
		c.want("+OK", "SET k 1")
		eventually(t, "1", func() string { return replica.Do("GET", "k").String() })
		must(t, d.Promote(bounded(t), 1, replica.Addr()))
		p.wantsHistory(slotOfK(),
			fmt.Sprintf("1:%s +%s", master.Addr(), replica.Addr()),
			fmt.Sprintf("1:%s, locked in group 1", master.Addr()),
			"1:"+replica.Addr(),
		)
		eventually(t, "master", func() string {
			if strings.Contains(replica.Do("INFO", "replication").String(), "role:master") {
				return "master"
			}
			return fmt.Sprint(d.Errors())
		})
		c.want(":2", "INCR k")
		if got := replica.Do("GET", "k").String(); got != "2" {
			t.Errorf("k is %s at the new master", got)
		}
	}
}

// Promotion and migration exclude each other.
func TestPromoteIsRefusedDuringAMigration(t *testing.T) {
	servers := startServers(t, 2, 1)
	s := startSource(t, "127.0.0.1:0")
	d := startDashboard(t, nil, dashboard.Group{ID: 1, Servers: []string{servers[0].Addr(), addrC}},
		dashboard.Group{ID: 2, Servers: []string{servers[1].Addr()}})
	must(t, d.Assign(t.Context(), 1, 0))
	must(t, d.Online(t.Context(), s.addr))
	hold := servers[0].Faults.HoldNext(fakecodis.Command, "SLOTSMGRTTAGSLOT")
	done := make(chan error, 1)
	go func() {
		_, err := d.Migrate(bounded(t), []int{0}, 2, dashboard.Sync)
		done <- err
	}()
	receive(t, hold.Arrived())
	if err := d.Promote(bounded(t), 1, addrC); err == nil || err.Error() != "slots-migration is running = 1" {
		t.Errorf("promote: %v", err)
	}
	hold.Release()
	must(t, receive(t, done))
	if err := d.Promote(bounded(t), 1, servers[0].Addr()); err == nil || !strings.HasSuffix(err.Error(), "is the master") {
		t.Errorf("promote the master: %v", err)
	}
}

// Migrate tells what is left when its caller gives up.
func TestMigrateWithoutEnd(t *testing.T) {
	servers := startServers(t, 2, 1)
	d := startDashboard(t, nil, groupsOf(servers)...)
	must(t, d.Assign(t.Context(), 1, 0))
	servers[0].Faults.RefuseMigration(true)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := d.Migrate(ctx, []int{0}, 2, dashboard.Sync)
	const want = "1 of 1 slots have not arrived: context deadline exceeded; errors: [\"slot 0: IOERR "
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("%v", err)
	}
}
