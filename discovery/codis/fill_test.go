package codis

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"sluice/internal/testbed/dashboard"
)

const (
	addrA = "127.0.0.1:1"
	addrB = "127.0.0.1:2"
	addrC = "127.0.0.1:3"
	addrD = "127.0.0.1:4"
)

func TestFillsBecomeTables(t *testing.T) {
	semi := int(dashboard.SemiAsync)
	// Each fill comes on top of those before.
	const (
		lockedFor = "2:" + addrB + ", locked on its way from group 1 to group 2 at " + addrA + ", "
		movingTo2 = "2:" + addrB + ", moving from group 1 to group 2 at " + addrA + ", "
	)
	move := dashboard.Slot{ID: 2, BackendAddr: addrB, BackendAddrGroupID: 2, MigrateFrom: addrA, MigrateFromGroupID: 1}
	lockedMove, semiMove := move, move
	lockedMove.Locked, lockedMove.ForwardMethod, semiMove.ForwardMethod = true, semi, semi
	s := startSource(t, "127.0.0.1:0", func(cfg *Config) { cfg.Slots = 8 })
	f := func(want string, slots ...dashboard.Slot) {
		t.Helper()
		s.fillIn(slots...)
		s.wants(want)
		if err := s.Err(); err != nil {
			t.Error(err)
		}
	}
	all := func(addr string, group int) []dashboard.Slot {
		var slots []dashboard.Slot
		for slot := range 8 {
			slots = append(slots, owned(slot, group, addr))
		}
		return slots
	}
	f("0-7 1:"+addrA, all(addrA, 1)...)
	f("0-3 1:127.0.0.1:1\n4-7 2:127.0.0.1:2", all(addrB, 2)[4:]...)
	f("0-1 1:127.0.0.1:1\n2-2 "+lockedFor+"semi-async\n3-3 1:127.0.0.1:1\n4-7 2:127.0.0.1:2", lockedMove)
	f("0-1 1:127.0.0.1:1\n2-2 "+movingTo2+"semi-async\n3-3 1:127.0.0.1:1\n4-7 2:127.0.0.1:2", semiMove)
	f("0-1 1:127.0.0.1:1\n2-2 "+movingTo2+"sync\n3-3 1:127.0.0.1:1\n4-7 2:127.0.0.1:2", move)
	f("0-1 1:127.0.0.1:1\n2-2 2:127.0.0.1:2\n3-3 1:127.0.0.1:1\n4-7 2:127.0.0.1:2", owned(2, 2, addrB))

	// A group that promotes: locked, then another address.
	f("0-1 1:127.0.0.1:1\n2-2 2:127.0.0.1:2\n3-3 1:127.0.0.1:1, locked in group 1\n4-7 2:127.0.0.1:2",
		dashboard.Slot{ID: 3, Locked: true, BackendAddr: addrA, BackendAddrGroupID: 1})
	// For a moment group 1 has two masters, when its slots are filled in by two calls.
	f("0-1 1:127.0.0.1:1\n2-2 2:127.0.0.1:2\n3-3 1@127.0.0.1:3:127.0.0.1:3\n4-7 2:127.0.0.1:2", owned(3, 1, addrC))
	f("0-1 1:127.0.0.1:3\n2-2 2:127.0.0.1:2\n3-3 1:127.0.0.1:3\n4-7 2:127.0.0.1:2", owned(0, 1, addrC), owned(1, 1, addrC))

	// A slot that is offline; one without a group number; a slot that "moves" to where it is.
	f("0-0 offline\n1-1 127.0.0.1:4:127.0.0.1:4\n2-2 2:127.0.0.1:2\n3-3 1:127.0.0.1:3\n4-7 2:127.0.0.1:2",
		dashboard.Slot{ID: 0}, dashboard.Slot{ID: 1, BackendAddr: addrD})
	f("0-0 offline, locked in group \n"+
		"1-1 127.0.0.1:4:127.0.0.1:4\n2-2 2:127.0.0.1:2\n3-3 1:127.0.0.1:3\n4-7 2:127.0.0.1:2",
		dashboard.Slot{ID: 0, Locked: true},
		dashboard.Slot{ID: 2, BackendAddr: addrB, BackendAddrGroupID: 2, MigrateFrom: addrB, MigrateFromGroupID: 2})
	// Where a slot comes from need not own a slot any more.
	f("0-0 1:127.0.0.1:3, moving from group 9 to group 1 at 127.0.0.1:1, sync\n"+
		"1-1 127.0.0.1:4:127.0.0.1:4\n2-2 2:127.0.0.1:2\n3-3 1:127.0.0.1:3\n4-7 2:127.0.0.1:2",
		dashboard.Slot{ID: 0, BackendAddr: addrC, BackendAddrGroupID: 1, MigrateFrom: addrA, MigrateFromGroupID: 9})
	// The last of two that name one slot counts.
	f("0-7 1:"+addrA, append([]dashboard.Slot{owned(0, 2, addrB)}, all(addrA, 1)...)...)
}

func TestReplicaGroups(t *testing.T) {
	s := startSource(t, "127.0.0.1:0", func(cfg *Config) { cfg.Slots = 4 })
	with := func(slot dashboard.Slot, replicas ...[]string) dashboard.Slot {
		slot.ReplicaGroups = replicas
		return slot
	}
	// Pika's fork lists the master, too; a server counts once, and as a master if it is one.
	s.fillIn(with(owned(0, 1, addrA), []string{addrA, addrC}, []string{addrD}), with(owned(1, 1, addrA), []string{addrC, addrA}),
		with(owned(2, 2, addrB), []string{addrB, addrD, addrA}), owned(3, 2, addrB))
	s.wants("0-1 1:127.0.0.1:1 +127.0.0.1:3 +127.0.0.1:4\n2-3 2:127.0.0.1:2")
	s.fillIn(owned(0, 1, addrA), owned(1, 1, addrA))
	s.wants("0-1 1:127.0.0.1:1\n2-3 2:127.0.0.1:2 +127.0.0.1:4")
}

func TestFillsThatAreRefused(t *testing.T) {
	f := func(slots int, cause string, fill ...dashboard.Slot) {
		t.Helper()
		s := startSource(t, "127.0.0.1:0", func(cfg *Config) { cfg.Slots = slots })
		s.fillIn(owned(0, 1, addrA))
		before := describe(s.table())
		s.api(http.MethodPut, "fillslots", "", slotsJSON(t, fill...)).is(800, cause)
		s.wants(before)
		if got := s.Slots()[1]; got.BackendAddr != "" {
			t.Errorf("a part of it was kept: %+v", got)
		}
		text := strings.ReplaceAll(cause, `\"`, `"`)
		if err := s.keeper.Status().LastError; err == nil || strings.Count(err.Error(), text) != 1 {
			t.Errorf("status %v, want %s, once", err, text)
		}
		s.fillIn(owned(1, 1, addrA))
		if err := s.keeper.Status().LastError; err != nil {
			t.Errorf("after a good one: %v", err)
		}
	}
	good := owned(1, 1, addrA)
	f(1024, "slot 1024 is outside 0-1023: slots of the pool and max_slot_num of the dashboard differ", good, owned(1024, 1, addrA))
	f(512, "slot 512 is outside 0-511", good, owned(512, 1, addrA))
	f(16384, "slot -1 is outside 0-16383", good, owned(-1, 1, addrA))
	f(8, "slot 2 has forward_method 2, known are 0 (sync) and 1 (semi-async)", good, dashboard.Slot{ID: 2, ForwardMethod: 2})
	f(8, "slot 2 moves from 127.0.0.1:1 to nowhere", good, dashboard.Slot{ID: 2, MigrateFrom: addrA})
	f(8, `address \"nonsense\" is not host:port`, good, owned(2, 2, "nonsense"))
	f(8, `source of the move of slots 2: address \"nonsense\" is not host:port`, good,
		dashboard.Slot{ID: 2, BackendAddr: addrA, BackendAddrGroupID: 1, MigrateFrom: "nonsense"})
	f(8, "no group owns a slot", dashboard.Slot{ID: 0})
}

func TestNewProductHasNoSlots(t *testing.T) {
	s := startSource(t, "127.0.0.1:0")
	if err := s.keeper.Status().LastError; err == nil || !strings.Contains(err.Error(), "codis-admin --create-proxy -x "+s.addr) {
		t.Errorf("before the first fill: %v", err)
	}
	var slots []dashboard.Slot
	for slot := range 1024 {
		slots = append(slots, dashboard.Slot{ID: slot, ForwardMethod: 1})
	}
	s.fillIn(slots...)
	s.wants("none")
	if err := s.keeper.Status().LastError; err != nil {
		t.Error(err)
	}
	s.fillIn(owned(5, 1, addrA))
	s.wants("0-4 offline\n5-5 1:127.0.0.1:1\n6-1023 offline")
}

func TestFillWithoutNews(t *testing.T) {
	s := startSource(t, "127.0.0.1:0")
	s.fillIn(owned(0, 1, addrA), owned(1, 2, addrB))
	tables := s.applied()
	for range 3 {
		s.fillIn(owned(0, 1, addrA))
		s.fillIn(owned(1, 2, addrB), owned(0, 1, addrA))
	}
	if n := s.applied(); n != tables {
		t.Errorf("%d tables, want %d", n, tables)
	}
	if s.mu.Lock(); !slices.Equal(s.waits, []string{""}) {
		t.Errorf("waited for %q", s.waits)
	}
	s.mu.Unlock()
}

// A fill waits for the servers that commands on its slots were sent to, and for no other.
func TestWhomAFillWaitsFor(t *testing.T) {
	s := startSource(t, "127.0.0.1:0")
	f := func(want string, slots ...dashboard.Slot) {
		t.Helper()
		s.mu.Lock()
		s.waits = nil
		s.mu.Unlock()
		s.fillIn(slots...)
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.waits) != 1 || s.waits[0] != want {
			t.Errorf("waited for %q, want %q", s.waits, want)
		}
	}
	move := dashboard.Slot{ID: 1, BackendAddr: addrB, BackendAddrGroupID: 2, MigrateFrom: addrA, MigrateFromGroupID: 1}
	locked := move
	locked.Locked = true
	f("", owned(0, 3, addrC), owned(1, 1, addrA))
	f(addrA, locked)
	f("", move) // A locked slot has nothing on its way.
	async := move
	async.ForwardMethod = 1
	f(addrA+" "+addrB, async)
	f(addrA+" "+addrB, owned(1, 2, addrB))
	replicas := owned(1, 2, addrB)
	replicas.ForwardMethod, replicas.ReplicaGroups = 0, [][]string{{addrD}}
	f("", replicas)
	f(addrB+" "+addrC, owned(0, 4, addrD), owned(1, 1, addrA))
}

// What a fill was not able to wait for, the next one waits for, also when it has nothing to change: a dashboard that
// asks for a lock again must not hear that it is there.
func TestFailedWaitIsOwed(t *testing.T) {
	var (
		mu    sync.Mutex
		fail  = true
		waits []string
	)
	s := startSource(t, "127.0.0.1:0", func(cfg *Config) {
		cfg.AwaitAnswered = func(_ context.Context, addrs []string) error {
			mu.Lock()
			defer mu.Unlock()
			waits = append(waits, strings.Join(addrs, " "))
			if fail && len(addrs) > 0 {
				return errors.New("not answered yet: " + addrs[0])
			}
			return nil
		}
	})
	locked := owned(0, 1, addrA)
	locked.Locked = true
	s.fillIn(owned(0, 1, addrA), owned(1, 2, addrB))
	for range 2 {
		s.api(http.MethodPut, "fillslots", "", slotsJSON(t, locked)).is(800, "commands sent before are not answered yet: "+addrA)
		s.wants("0-0 1:127.0.0.1:1, locked in group 1\n1-1 2:127.0.0.1:2\n2-1023 offline")
	}
	mu.Lock()
	fail = false
	mu.Unlock()
	s.fillIn(owned(1, 3, addrC))
	s.fillIn(locked)
	mu.Lock()
	defer mu.Unlock()
	if want := []string{"", addrA, addrA, addrA + " " + addrB}; !slices.Equal(waits, want) {
		t.Errorf("waited for %q, want %q", waits, want)
	}
}

// A dashboard that gives up its call does not leave half a fill behind, and its next call comes after it.
func TestClientOfAFillGivesUp(t *testing.T) {
	entered, release := make(chan struct{}, 4), make(chan struct{})
	s := startSource(t, "127.0.0.1:0", func(cfg *Config) {
		cfg.AwaitAnswered = func(ctx context.Context, addrs []string) error {
			if len(addrs) == 0 {
				return nil
			}
			entered <- struct{}{}
			select {
			case <-release:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
	s.fillIn(owned(0, 1, addrA))
	ctx, cancel := context.WithCancel(t.Context())
	body := slotsJSON(t, owned(0, 2, addrB))
	url := "http://" + s.addr + "/api/proxy/fillslots/" + s.xauth
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, url, strings.NewReader(body))
	must(t, err)
	gone := make(chan error)
	go func() {
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		rsp, err := client.Do(req)
		if err == nil {
			_ = rsp.Body.Close()
		}
		gone <- err
	}()
	receive(t, entered)
	cancel()
	if err := receive(t, gone); err == nil {
		t.Fatal("the call was answered")
	}
	s.wants("0-0 2:127.0.0.1:2\n1-1023 offline")

	// Everything else is answered meanwhile.
	s.api(http.MethodGet, "xping", "", "").is(http.StatusOK)
	s.api(http.MethodGet, "stats", "", "").is(http.StatusOK)
	s.api(http.MethodPut, "start", "", "").is(http.StatusOK)

	done := make(chan answered, 1)
	go func() { done <- s.api(http.MethodPut, "fillslots", "", slotsJSON(t, owned(0, 3, addrC))) }()
	select {
	case a := <-done:
		t.Fatalf("the next fill did not wait: %+v", a)
	default:
	}
	close(release)
	a := receive(t, done)
	a.is(http.StatusOK)
	s.wants("0-0 3:127.0.0.1:3\n1-1023 offline")
}

func TestFillsAtTheSameTime(t *testing.T) {
	t.Parallel()
	s := startSource(t, "127.0.0.1:0")
	s.fillIn(owned(1023, 1, addrA))
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for slot := i * 8; slot < i*8+8; slot++ {
				s.fillIn(owned(slot, 1+i%2, []string{addrA, addrB}[i%2]))
			}
		})
	}
	all.Wait()
	var want []string
	for i := range 8 {
		want = append(want, fmt.Sprintf("%d-%d %d:%s", i*8, i*8+7, 1+i%2, []string{addrA, addrB}[i%2]))
	}
	s.wants(strings.Join(append(want, "64-1022 offline", "1023-1023 1:127.0.0.1:1"), "\n"))
}

// The end of the process does not wait for a fill that waits.
func TestFillEndsWithTheSource(t *testing.T) {
	entered := make(chan struct{}, 1)
	s := startSource(t, "127.0.0.1:0", func(cfg *Config) {
		cfg.AwaitAnswered = func(ctx context.Context, addrs []string) error {
			if len(addrs) == 0 {
				return nil
			}
			entered <- struct{}{}
			<-ctx.Done()
			return ctx.Err()
		}
	})
	s.fillIn(owned(0, 1, addrA))
	done := make(chan answered, 1)
	go func() { done <- s.api(http.MethodPut, "fillslots", "", slotsJSON(t, owned(0, 2, addrB))) }()
	receive(t, entered)
	s.stop()
	a := receive(t, done)
	a.is(800, "commands sent before are context canceled")
}
