package router

import "testing"

func TestBuilderMoves(t *testing.T) {
	groups := []GroupSpec{
		{ID: "1", Master: "a:1", Slots: []Range{{From: 0, To: 3}}},
		{ID: "2", Master: "b:1", Slots: []Range{{From: 4, To: 6}}},
	}
	b := NewBuilder(CodisModel(8))
	build := func(moves ...MoveSpec) *Table {
		t.Helper()
		table, err := b.Build(Spec{Groups: groups, Moves: moves})
		if err != nil {
			t.Fatal(err)
		}
		return table
	}
	moving := MoveSpec{Slots: []Range{{From: 4, To: 4}}, Phase: Moving, From: "a:1", FromID: "1"}
	locked := MoveSpec{Slots: []Range{{From: 5, To: 5}}, Phase: Locked}

	first := build()
	if first.Move(4) != nil || len(first.Moves()) != 0 {
		t.Error("a settled table has moves")
	}
	second := build(moving, locked)
	m := second.Move(4)
	if m == nil || m.From.Addr != "a:1" || m.To.Addr != "b:1" || m.String() != "moving from group 1 to group 2" {
		t.Errorf("move of slot 4: %v", m)
	}
	if l := second.Move(5); l == nil || l.From != nil || l.String() != "locked in group 2" {
		t.Errorf("lock of slot 5: %v", l)
	}
	if first.SameOwner(second, 4) || first.SameOwner(second, 5) || !first.SameOwner(second, 6) {
		t.Error("SameOwner does not see that a slot started to move")
	}
	third := build(moving)
	if third.Move(4) != m || !second.SameOwner(third, 4) {
		t.Error("an unchanged move is not the same move in the next table")
	}
	moving.Method = Sync
	if fourth := build(moving); fourth.Move(4) == m || fourth.Move(4).Since != fourth.Epoch {
		t.Error("a changed move is the old one")
	}
}

func TestBuilderRefusesMoves(t *testing.T) {
	groups := []GroupSpec{{ID: "1", Master: "a:1", Slots: []Range{{From: 0, To: 3}}}}
	f := func(want string, moves ...MoveSpec) {
		t.Helper()
		b := NewBuilder(CodisModel(8))
		if _, err := b.Build(Spec{Groups: groups, Moves: moves}); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	slot := func(s Slot) []Range { return []Range{{From: s, To: s}} }
	f("move: slots 8 are outside 0-7", MoveSpec{Slots: slot(8), Phase: Locked})
	f("slot 1 moves twice", MoveSpec{Slots: slot(1), Phase: Locked}, MoveSpec{Slots: slot(1), Phase: Locked})
	f("slot 1 is in an unknown state, Phase(0)", MoveSpec{Slots: slot(1)})
	f("slot 1 moves from nowhere", MoveSpec{Slots: slot(1), Phase: Moving})
	f("slot 5 moves to nowhere", MoveSpec{Slots: slot(5), Phase: Moving, From: "b:1"})
	f("slot 1 moves from a:1 to itself", MoveSpec{Slots: slot(1), Phase: Moving, From: "a:1"})
}
