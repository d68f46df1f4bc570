package consul

import (
	"errors"
	"fmt"

	"sluice/router"
)

// The states of a slot in the document.
const (
	Stable = "stable" // its group serves it
	Locked = "locked" // nobody serves it: its owner is being agreed on
	Moving = "moving" // each of its keys is at the group still, or at the group that it moves to already
)

// The methods of a move, by their names in the document.
const (
	MethodSync      = "sync"
	MethodSemiAsync = "semi-async" // also when none is named
)

// Assignment is what the document says of one slot. The zero value is a slot of nobody.
type Assignment struct {
	Group  string // the present owner; of a move, the source
	State  string
	To     string
	Method string
	// Token is the epoch that has begun a move: servers that know nothing of slots refuse to bring a key by an older one.
	// 0: nobody has made the servers ready for that, and the slot is held until the move is over.
	Token uint64
}

// String describes the assignment for people.
func (a Assignment) String() string {
	switch {
	case a == Assignment{}:
		return "nobody"
	case a.State == Stable:
		return "group " + a.Group
	case a.To == "":
		return fmt.Sprintf("group %s, %s", a.Group, a.State)
	case a.Method == "":
		return fmt.Sprintf("group %s, %s to %s", a.Group, a.State, a.To)
	}
	return fmt.Sprintf("group %s, %s to %s (%s)", a.Group, a.State, a.To, a.Method)
}

// Assignments lists what the document says of each slot. With an error it has what could be understood, and of a slot that
// is listed twice the first.
func (d *Document) Assignments(model router.Model) ([]Assignment, error) {
	var errs []error
	list := make([]Assignment, model.Slots())
	for _, s := range d.Slots {
		ranges, err := router.ParseRanges(s.Slots)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, r := range ranges {
			if int(r.To) >= len(list) {
				errs = append(errs, fmt.Errorf("slots %s are outside 0-%d", r, len(list)-1))
				continue
			}
			twice := false
			for slot := r.From; slot <= r.To; slot++ {
				if list[slot] != (Assignment{}) {
					twice = true
					continue
				}
				list[slot] = s.Assignment()
			}
			if twice {
				errs = append(errs, fmt.Errorf("slots %s (group %s) are listed twice, in part or all", r, s.Group))
			}
		}
	}
	return list, errors.Join(errs...)
}

// SlotRanges is the opposite of Assignments: the shortest list that says the same.
func SlotRanges(list []Assignment) []SlotRange {
	var order []Assignment
	seen := make(map[Assignment]bool)
	for _, a := range list {
		if a != (Assignment{}) && !seen[a] {
			seen[a] = true
			order = append(order, a)
		}
	}
	ranges := make([]SlotRange, 0, len(order))
	for _, a := range order {
		slots := router.RangesOf(len(list), func(s router.Slot) bool { return list[s] == a })
		ranges = append(ranges, SlotRange{
			Slots: router.FormatRanges(slots), Group: a.Group, State: a.State, To: a.To, Method: a.Method,
			Token: a.Token,
		})
	}
	return ranges
}
