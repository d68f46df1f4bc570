package consul

import "sluice/router"

// shares is what the slots of a document ask of its groups. It is computed once for each document: who is in a
// group, and its master, is looked at several times a second, and a walk through all slots each time cost more than
// asking the nodes. Immutable; snapshots share its ranges.
type shares struct {
	owned  map[string][]router.Range // by group; a slot that moves belongs to the group that it goes to
	needed map[string]bool           // groups that have slots, or keys of slots that move
	moves  []slotsInMotion           // in the order of their first slots
}

// slotsInMotion are the slots of one Assignment that is not stable.
type slotsInMotion struct {
	Assignment
	slots []router.Range
}

// sharesOf deals out the slots of list, which has one Assignment for each.
func sharesOf(list []Assignment) shares {
	s := shares{owned: make(map[string][]router.Range), needed: make(map[string]bool)}
	moves := make(map[Assignment]int)
	for i, a := range list {
		slot, owner := router.Slot(i), a.Group
		if a.To != "" {
			owner = a.To
		}
		s.owned[owner] = appendSlot(s.owned[owner], slot)
		s.needed[owner], s.needed[a.Group] = true, true
		if a.State == Stable {
			continue
		}
		at, known := moves[a]
		if !known {
			at = len(s.moves)
			moves[a] = at
			s.moves = append(s.moves, slotsInMotion{Assignment: a})
		}
		s.moves[at].slots = appendSlot(s.moves[at].slots, slot)
	}
	return s
}

// appendSlot adds a slot behind all that are in ranges.
func appendSlot(ranges []router.Range, slot router.Slot) []router.Range {
	if n := len(ranges); n > 0 && ranges[n-1].To+1 == slot {
		ranges[n-1].To = slot
		return ranges
	}
	return append(ranges, router.Range{From: slot, To: slot})
}
