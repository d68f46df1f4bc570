package router

import (
	"fmt"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestBuildRefuses(t *testing.T) {
	f := func(want string, specs ...GroupSpec) {
		t.Helper()
		b := NewBuilder(CodisModel(16))
		if _, err := b.Build(Spec{Groups: specs}); err == nil || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
		table, err := b.Build(Spec{})
		if err != nil || table.Epoch != 1 {
			t.Errorf("a refused build took an epoch: %v, %v", table, err)
		}
	}
	f("group 1 has no master", GroupSpec{ID: "1"})
	f("group 1 is listed twice", GroupSpec{ID: "1", Master: "a:1"}, GroupSpec{ID: "1", Master: "b:1"})
	f("group 1: slots 15-16 are outside 0-15", GroupSpec{ID: "1", Master: "a:1", Slots: []Range{{15, 16}}})
	f("group 1: slots 5-4 are outside 0-15", GroupSpec{ID: "1", Master: "a:1", Slots: []Range{{5, 4}}})
	f("slot 3 belongs to group 1 and to group 2",
		GroupSpec{ID: "1", Master: "a:1", Slots: []Range{{0, 3}}},
		GroupSpec{ID: "2", Master: "b:1", Slots: []Range{{3, 5}}})
}

func TestTableOwners(t *testing.T) {
	b := NewBuilder(CodisModel(16))
	specs := []GroupSpec{
		{ID: "1", Master: "a:1", Replicas: []string{"a:2"}, Slots: []Range{{0, 7}}},
		{ID: "2", Master: "b:1", Slots: []Range{{8, 14}}},
	}
	old, err := b.Build(Spec{Groups: specs})
	if err != nil {
		t.Fatal(err)
	}
	if got := old.Owner(7).Master.Addr; got != "a:1" {
		t.Errorf("owner of 7: %s", got)
	}
	if got := FormatRanges(old.Uncovered()); got != "15" {
		t.Errorf("uncovered: %s", got)
	}
	if len(old.Nodes) != 3 {
		t.Errorf("nodes: %v", old.Nodes)
	}

	moved, err := b.Build(Spec{Groups: specs, Moved: map[Slot]string{2: "b:1", 3: "c:1", 4: "a:2"}})
	if err != nil {
		t.Fatal(err)
	}
	f := func(slot Slot, owner string, same bool) {
		t.Helper()
		if got := moved.Owner(slot).Master.Addr; got != owner {
			t.Errorf("owner of %d: %s, want %s", slot, got, owner)
		}
		if got := old.SameOwner(moved, slot); got != same {
			t.Errorf("slot %d: same owner %v, want %v", slot, got, same)
		}
	}
	f(1, "a:1", true)
	f(2, "b:1", false)
	f(3, "c:1", false)
	f(4, "a:2", false)
	f(9, "b:1", true)
	if n := len(moved.Owner(0).Replicas); n != 0 {
		t.Errorf("a promoted replica is still listed as one: %d", n)
	}
	if old.Owner(0).Master.Index != moved.Owner(0).Master.Index {
		t.Error("an address changed its index")
	}
	if got := FormatRanges(moved.Ranges(moved.Owner(0))); got != "0-1,5-7" {
		t.Errorf("ranges: %s", got)
	}
	if moved.Epoch != 2 {
		t.Errorf("epoch %d", moved.Epoch)
	}
}

func TestSameDivision(t *testing.T) {
	model := CodisModel(4)
	table := func(groups ...GroupSpec) *Table {
		t.Helper()
		table, err := NewBuilder(model).Build(Spec{Groups: groups})
		if err != nil {
			t.Fatal(err)
		}
		return table
	}
	group := func(id GroupID, master string, from, to Slot) GroupSpec {
		return GroupSpec{ID: id, Master: master, Slots: []Range{{From: from, To: to}}}
	}
	a := table(group("1", "a:1", 0, 1), group("2", "b:1", 2, 3))
	f := func(want bool, b *Table) {
		t.Helper()
		if a.SameDivision(b) != want || b.SameDivision(a) != want {
			t.Errorf("same division: %v, %v, want %v", a.SameDivision(b), b.SameDivision(a), want)
		}
	}
	f(true, a)
	f(true, table(group("2", "b:1", 2, 3), group("x", "c:1", 0, 1)))
	f(true, table(group("1", "a:1", 2, 3), group("2", "b:1", 0, 1))) // They have changed places.
	f(false, table(group("1", "a:1", 0, 2), group("2", "b:1", 3, 3)))
	f(false, table(group("1", "a:1", 0, 3)))
	f(false, table(group("1", "a:1", 0, 1), group("2", "b:1", 2, 2)))
	f(false, table(group("1", "a:1", 0, 1), group("2", "b:1", 2, 2), group("3", "c:1", 3, 3)))
	f(false, table(group("1", "a:1", 0, 1)))
}

// Nodes that come and go need no more indexes than there are nodes at one time, and who stays keeps its own.
func TestIndexesAreReused(t *testing.T) {
	b := NewBuilder(CodisModel(16))
	build := func(addrs ...string) *Table {
		t.Helper()
		var spec Spec
		for i, addr := range addrs {
			spec.Groups = append(spec.Groups, GroupSpec{ID: GroupID(addr), Master: addr, Slots: []Range{{Slot(i), Slot(i)}}})
		}
		table, err := b.Build(spec)
		if err != nil {
			t.Fatal(err)
		}
		return table
	}
	stays := build("a:1", "b:1", "c:1").Owner(1).Master
	build("a:1", "b:1", "c:1", "d:1", "e:1")
	build("b:1", "e:1") // Fewer nodes than the highest index.
	for i := range 1000 {
		table := build(fmt.Sprint("x", i, ":1"), "b:1", fmt.Sprint("y", i, ":1"))
		if table.Owner(1).Master != stays {
			t.Fatal("who stays is another node")
		}
		seen := make(map[int]bool)
		for _, n := range table.Nodes {
			if n.Index > 5 || seen[n.Index] {
				t.Fatalf("table %d: index %d", i, n.Index)
			}
			seen[n.Index] = true
		}
	}
}
