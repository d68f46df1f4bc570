package discovery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"sluice/router"
)

// group reads a group as the tests write it: "ID SLOTS MASTER REPLICA …"; "-" are no slots.
func group(text string) router.GroupSpec {
	words := strings.Fields(text)
	g := router.GroupSpec{ID: router.GroupID(words[0])}
	if words[1] != "-" {
		for part := range strings.SplitSeq(words[1], ",") {
			var r router.Range
			if n, _ := fmt.Sscanf(part, "%d-%d", &r.From, &r.To); n != 2 {
				panic("BUG: slots " + part)
			}
			g.Slots = append(g.Slots, r)
		}
	}
	if len(words) > 2 {
		g.Master, g.Replicas = words[2], words[3:]
	}
	return g
}

// snapshot reads groups that are separated by semicolons.
func snapshot(text string) Snapshot {
	var s Snapshot
	for part := range strings.SplitSeq(text, ";") {
		s.Groups = append(s.Groups, group(part))
	}
	return s
}

func TestValidate(t *testing.T) {
	model := router.CodisModel(16)
	f := func(s Snapshot, want ...string) {
		t.Helper()
		got := []string{}
		if err := s.Validate(model); err != nil {
			got = strings.Split(err.Error(), "\n")
		}
		if !slices.Equal(got, want) && len(got)+len(want) > 0 {
			t.Errorf("%v:\n got %q\nwant %q", s, got, want)
		}
	}
	f(snapshot("1 0-7 a:1 a:2; 2 8-15 b:1"))
	f(snapshot("1 0-7 a:1; 2 - b:1"))
	f(snapshot("1 0-3,2-7 a:1")) // Its own slots twice: no contradiction.
	f(snapshot("1 0-7 [::1]:1 host.example:65535"))
	f(Snapshot{}, "no group owns a slot")
	f(snapshot("1 - a:1"), "no group owns a slot")
	f(snapshot("1 0-7"), `master of group 1: address "" is not host:port`)
	f(snapshot("1 0-7 a"), `master of group 1: address "a" is not host:port`)
	f(snapshot("1 0-7 :1"), `master of group 1: address ":1" has no host`)
	f(snapshot("1 0-7 a:0"), `master of group 1: address "a:0": the port is not in 1-65535`)
	f(snapshot("1 0-7 a:1 b:x"), `replica of group 1: address "b:x": the port is not in 1-65535`)
	f(snapshot("1 0-7 a:1 b:65536"), `replica of group 1: address "b:65536": the port is not in 1-65535`)
	f(snapshot("1 0-7 a:1; 1 8-9 b:1"), "group 1 is listed twice")
	f(snapshot("1 0-7 a:1; 2 8-9 a:1"), "a:1 is master of group 1 and master of group 2")
	f(snapshot("1 0-7 a:1 a:1"), "a:1 is master of group 1 and replica of group 1")
	f(snapshot("1 0-7 a:1 c:1; 2 8-9 b:1 c:1"), "c:1 is replica of group 1 and replica of group 2")
	f(snapshot("1 0-16 a:1; 2 0-1 b:1"), "group 1: slots 0-16 are outside 0-15")
	f(snapshot("1 7-6 a:1; 2 0-1 b:1"), "group 1: slots 7-6 are outside 0-15")
	f(snapshot("1 0-9 a:1; 2 3-4,8-12 b:1; 3 12-13 c:1"),
		"slots 3-4,8-9 belong to group 1 and to group 2", "slots 12 belong to group 2 and to group 3")
	nameless := snapshot("1 0-7 a:1")
	nameless.Groups[0].ID = ""
	f(nameless, `the group of master "a:1" has no id`)
	if err := (Snapshot{}).Validate(model); !errors.Is(err, ErrNoSlots) {
		t.Errorf("%v is not ErrNoSlots", err)
	}
}

func TestEqual(t *testing.T) {
	f := func(a, b string, want bool) {
		t.Helper()
		x, y := snapshot(a), snapshot(b)
		if x.Equal(y) != want || y.Equal(x) != want {
			t.Errorf("%q and %q: equal %v, want %v", a, b, !want, want)
		}
	}
	const base = "1 0-7 a:1 a:2 a:3; 2 8-15 b:1"
	f(base, base, true)
	f(base, "2 8-15 b:1; 1 0-7 a:1 a:3 a:2", true)
	f(base, "1 4-7,0-3 a:1 a:2 a:3; 2 8-15,9-12 b:1", true)
	f(base, "1 0-7 a:1 a:2; 2 8-15 b:1", false)
	f(base, "1 0-7 a:1 a:2 a:4; 2 8-15 b:1", false)
	f(base, "1 0-7 a:2 a:1 a:3; 2 8-15 b:1", false)
	f(base, "1 0-6 a:1 a:2 a:3; 2 8-15 b:1", false)
	f(base, "3 0-7 a:1 a:2 a:3; 2 8-15 b:1", false)
	f(base, "1 0-7 a:1 a:2 a:3", false)
	f(base, base+"; 3 - c:1", false)
}

func drawSnapshot(t *rapid.T) Snapshot {
	addr := rapid.SampledFrom([]string{"a:1", "b:1", "c:1", "d:1", "e:1", "f:1", "a", ""})
	groups := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) router.GroupSpec {
		slot := rapid.Map(rapid.IntRange(0, 16), func(n int) router.Slot { return router.Slot(n) })
		return router.GroupSpec{
			ID:       rapid.SampledFrom([]router.GroupID{"1", "2", "3", ""}).Draw(t, "id"),
			Master:   addr.Draw(t, "master"),
			Replicas: rapid.SliceOfN(addr, 0, 2).Draw(t, "replicas"),
			Slots: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) router.Range {
				return router.Range{From: slot.Draw(t, "from"), To: slot.Draw(t, "to")}
			}), 0, 2).Draw(t, "slots"),
		}
	}), 0, 3).Draw(t, "groups")
	return Snapshot{Groups: groups}
}

// The Keeper relies on it: what Validate lets pass, Build builds.
func TestValidSnapshotsBuild(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSnapshot(t)
		model := router.CodisModel(16)
		if s.Validate(model) != nil {
			return
		}
		table, err := router.NewBuilder(model).Build(router.Spec{Groups: s.Groups, Moves: s.Moves})
		if err != nil {
			t.Fatalf("%v: %v", s, err)
		}
		for slot, owner := range s.owners(model) {
			g := table.Owner(router.Slot(slot))
			if (g == nil) != (owner == "") || g != nil && g.Master.Addr != owner {
				t.Fatalf("%v: slot %d is with %v in the table, with %q in owners", s, slot, g, owner)
			}
		}
	})
}

func TestSnapshotMoves(t *testing.T) {
	model := router.CodisModel(8)
	groups := []router.GroupSpec{{ID: "1", Master: "a:1", Slots: []router.Range{{From: 0, To: 3}}}}
	f := func(want string, moves ...router.MoveSpec) {
		t.Helper()
		err := Snapshot{Groups: groups, Moves: moves}.Validate(model)
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	slot := func(s router.Slot) []router.Range { return []router.Range{{From: s, To: s}} }
	f("", router.MoveSpec{Slots: slot(1), Phase: router.Moving, From: "b:1", FromID: "2"})
	f("", router.MoveSpec{Slots: slot(5), Phase: router.Locked})
	f("slots 9 that move are outside 0-7", router.MoveSpec{Slots: slot(9), Phase: router.Locked})
	f("slot 1 moves twice", router.MoveSpec{Slots: append(slot(1), slot(1)...), Phase: router.Locked})
	f("slot 5 moves to nowhere", router.MoveSpec{Slots: slot(5), Phase: router.Moving, From: "b:1"})
	f("slot 1 moves from a:1 to itself", router.MoveSpec{Slots: slot(1), Phase: router.Moving, From: "a:1"})
	f(`source of the move of slots 1: address "b" is not host:port`, router.MoveSpec{Slots: slot(1), Phase: router.Moving, From: "b"})

	one := Snapshot{Groups: groups, Moves: []router.MoveSpec{{Slots: slot(1), Phase: router.Locked}, {Slots: slot(2), Phase: router.Locked}}}
	two := Snapshot{Groups: groups, Moves: []router.MoveSpec{{Slots: []router.Range{{From: 1, To: 2}}, Phase: router.Locked}}}
	if !one.Equal(two) || one.Equal(Snapshot{Groups: groups}) {
		t.Error("Equal does not compare the moves slot by slot")
	}
}

func TestKeeperTellsWhenASnapshotIsInForce(t *testing.T) {
	var applied atomic.Pointer[router.Table]
	src := &doneSource{in: make(chan Snapshot)}
	k := NewKeeper(Config{Model: router.CodisModel(8), Source: src, Name: "test", Apply: func(table *router.Table) { applied.Store(table) }})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- k.Run(ctx) }()
	send := func(s Snapshot) error {
		done := make(chan error, 1)
		s.Done = done
		src.in <- s
		return <-done
	}
	groups := []router.GroupSpec{{ID: "1", Master: "a:1", Slots: []router.Range{{From: 0, To: 3}}}}
	if err := send(Snapshot{Groups: groups}); err != nil || applied.Load() == nil {
		t.Errorf("first snapshot: %v, table %v", err, applied.Load())
	}
	locked := []router.MoveSpec{{Slots: []router.Range{{From: 1, To: 1}}, Phase: router.Locked}}
	if err := send(Snapshot{Groups: groups, Moves: locked}); err != nil || applied.Load().Move(1) == nil {
		t.Errorf("lock: %v", err)
	}
	if err := send(Snapshot{Groups: groups, Moves: append(locked, locked...)}); err == nil {
		t.Error("an invalid snapshot is reported as in force")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// doneSource publishes what it is sent.
type doneSource struct{ in chan Snapshot }

func (s *doneSource) Run(ctx context.Context, publish func(Snapshot)) error {
	for {
		select {
		case snapshot := <-s.in:
			publish(snapshot)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *doneSource) Refresh() {}
