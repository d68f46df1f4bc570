package controller

import (
	"cmp"
	"slices"
)

// weighed moves slots until each group has about the weight that it is to have. It is greedy: the group that has most
// too much gives the one that lacks most the slot that comes nearest to what has to move between them, so that few slots
// move. It ends when no group is off by more than half the mean weight of a slot, or by a hundredth of the mean weight of a
// group if that is more, or when no slot helps.
//
// A group of weight 0 gives all it has, its heaviest slots first.
func (w *rebalance) weighed(wanted []float64) {
	b := &weighing{rebalance: w, excess: make([]float64, len(w.Shares)), may: make([][]int, len(w.Shares))}
	total := 0.0
	for slot, g := range w.owner {
		total += w.weights[slot]
		b.excess[g] += w.weights[slot]
	}
	for g := range w.Shares {
		b.excess[g] -= wanted[g]
		b.may[g] = w.movable(g)
		slices.SortStableFunc(b.may[g], b.byWeight)
	}
	b.empty()
	if len(w.owner) > 0 {
		b.even(total * max(0.5/float64(len(w.owner)), 0.01/float64(len(w.Shares))))
	}
}

// weighing is the work of weighed.
type weighing struct {
	*rebalance
	excess []float64 // what each group has too much; below 0: what it lacks
	may    [][]int   // the slots that each group may give, the lightest first
	moved  int       // slots that have left their owner
}

func (b *weighing) byWeight(x, y int) int { return cmp.Compare(b.weights[x], b.weights[y]) }

// enough reports whether as many slots move as may.
func (b *weighing) enough() bool { return b.AtMost > 0 && b.moved >= b.AtMost }

// empty takes all that they may give from the groups of weight 0.
func (b *weighing) empty() {
	var slots []int
	for g, s := range b.Shares {
		if s.Weight == 0 {
			slots = append(slots, b.may[g]...)
		}
	}
	slices.SortStableFunc(slots, func(x, y int) int { return b.byWeight(y, x) })
	for _, slot := range slots {
		if b.enough() {
			return
		}
		b.give(slot, b.poorest())
	}
}

// even moves slots until no group has more than tolerance too much or too little.
func (b *weighing) even(tolerance float64) {
	// The squares of what is off become less with each step, so it ends; the bound is for sums that are rounded.
	for range 4 * len(b.owner) {
		to := b.poorest()
		from, slot := b.richest(to)
		off := from >= 0 && (b.excess[from] > tolerance || -b.excess[to] > tolerance)
		if !off || b.enough() {
			return
		}
		b.give(slot, to)
	}
}

// poorest is the group that lacks most, of those that may have slots.
func (b *weighing) poorest() int {
	to := -1
	for g, s := range b.Shares {
		if s.Weight > 0 && (to < 0 || b.excess[g] < b.excess[to]) {
			to = g
		}
	}
	return to
}

// richest is the group that has most too much, of those with a slot that makes things better at the other group, and
// that slot; -1 when there is none.
func (b *weighing) richest(to int) (from, slot int) {
	from = -1
	for g, s := range b.Shares {
		if s.Weight == 0 || b.excess[g] <= 0 || from >= 0 && b.excess[g] <= b.excess[from] {
			continue
		}
		if x := b.fitting(g, to); x >= 0 {
			from, slot = g, x
		}
	}
	return from, slot
}

// fitting is the slot that a group gives to another one: the one that is nearest in weight to what has to move so that
// one of them has its share. -1: none makes things better.
func (b *weighing) fitting(from, to int) int {
	slots := b.may[from]
	over, under := b.excess[from], -b.excess[to]
	room := min(over, under)
	at, _ := slices.BinarySearchFunc(slots, room, func(slot int, room float64) int {
		if b.weights[slot] <= room {
			return -1
		}
		return 1
	})
	best := -1
	if at > 0 {
		best = slots[at-1]
	}
	if at == len(slots) || b.weights[slots[at]] >= over+under { // That would only change who has too much.
		return best
	}
	if next := slots[at]; best < 0 || b.weights[next]-room < room-b.weights[best] {
		return next
	}
	return best
}

// give moves a slot.
func (b *weighing) give(slot, to int) {
	from := b.then[slot]
	b.then[slot] = to
	b.excess[from] -= b.weights[slot]
	b.excess[to] += b.weights[slot]
	b.may[from] = slices.DeleteFunc(b.may[from], func(s int) bool { return s == slot })
	at, _ := slices.BinarySearchFunc(b.may[to], slot, b.byWeight)
	b.may[to] = slices.Insert(b.may[to], at, slot)
	if b.owner[slot] == from {
		b.moved++
	}
}
