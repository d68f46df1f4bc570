package scan

import (
	"fmt"
	"slices"
	"testing"

	"sluice/router"
)

func groupsOf(ids ...router.GroupID) []*router.Group {
	var list []*router.Group
	for _, id := range ids {
		list = append(list, &router.Group{ID: id, Master: &router.Node{Addr: "m"}})
	}
	return list
}

func TestPlacesOfGroups(t *testing.T) {
	var p Places
	f := func(want string, ids ...router.GroupID) {
		t.Helper()
		if got := fmt.Sprint(p.Assign(groupsOf(ids...))); got != want {
			t.Errorf("%v: %s, want %s", ids, got, want)
		}
	}
	f("map[a m:0 b m:1]", "b", "a")
	f("map[0 m:2 a m:0 b m:1]", "b", "a", "0")
	f("map[0 m:2 b m:1]", "b", "0")
	f("map[0 m:2 a m:3 b m:1]", "b", "a", "0") // One that comes back is scanned last.
	for len(p.marks) < MaxPlaces {
		p.Assign(groupsOf("b", "a"))
		p.Assign(groupsOf("b", "a", "0"))
	}
	f("map[a m:3 b m:1]", "b", "a")
	f("map[a m:0 b m:1 z m:2]", "z", "b", "a")
}

// A mark is known where the same groups have come in the same order, and nowhere else.
func TestMarksTellHistoriesApart(t *testing.T) {
	after := func(steps ...[]*router.Group) []Mark {
		var p Places
		for _, groups := range steps {
			p.Assign(groups)
		}
		return p.marks
	}
	all := after(groupsOf("a", "b", "c"))
	if again := after(groupsOf("c", "b", "a")); !slices.Equal(again, all) {
		t.Errorf("the same groups: %v and %v", again, all)
	}
	if grown := after(groupsOf("a", "b"), groupsOf("a", "b", "c")); !slices.Equal(grown, all) {
		t.Errorf("the last group came later: %v and %v", grown, all)
	}
	if less := after(groupsOf("a", "b")); !slices.Equal(less, all[:2]) {
		t.Errorf("the last group is to come: %v and %v", less, all)
	}
	// Here c has another place, and b is another group's successor.
	other := after(groupsOf("a", "c"), groupsOf("a", "b", "c"))
	if other[0] != all[0] || slices.Contains(all, other[1]) || slices.Contains(all, other[2]) {
		t.Errorf("another order: %v and %v", other, all)
	}

	var p Places
	before := map[Mark]bool{0: true}
	for i := range MaxPlaces {
		p.Assign(groupsOf(router.GroupID(fmt.Sprint(i))))
	}
	for _, m := range p.marks {
		if before[m] || m >= 1<<markBits {
			t.Fatalf("the mark %d was given out twice, or is too large", m)
		}
		before[m] = true
	}
	old := p.marks
	p.Assign(groupsOf("4095", "new"))
	if len(p.marks) != 2 || before[p.marks[0]] || before[p.marks[1]] || len(old) != MaxPlaces {
		t.Errorf("marks after %d places: %v", MaxPlaces, p.marks)
	}
}
