package controller

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"sluice/router"
)

// Balance is what Rebalance makes a plan of.
type Balance struct {
	Slots  []SlotLoad // each slot of the pool
	Shares []Share    // each group
	// Weighed says to balance the weights of the slots, else their number.
	Weighed bool
	AtMost  int // slots that may move; 0: as many as it takes
}

// SlotLoad is a slot: whose it is, or will be when the move that it is part of is over.
type SlotLoad struct {
	Group  string
	Weight int64 // keys or bytes
	Fixed  bool  // it stays where it is
}

// Share is how much a group is to have, in proportion to the others. One of weight 0 gives all that it has.
type Share struct {
	Group  string
	Weight int
}

// Plan is what a rebalance does.
type Plan struct {
	Groups    []GroupPlan // in the order of the shares
	Transfers []Transfer  // in the order of their slots
}

// GroupPlan is what a group has, and will have.
type GroupPlan struct {
	Share
	Slots, SlotsThen int
	Load, LoadThen   int64 // weights of its slots
}

// Transfer is a slot that moves.
type Transfer struct {
	Slot     router.Slot
	From, To string
}

// maxWeight keeps the fractions of shares apart from what a float64 rounds.
const maxWeight = 1000

// Rebalance plans which slots have to move so that each group has its share, and no others.
//
// By number a group gets the whole part of its share, or one more, and as few slots move as that takes: those that have
// to be rounded up somewhere are rounded up where they are. Fixed slots count; a group that has more of them than its
// share keeps them, and the others share the rest.
//
// By weight nobody finds the least number of slots in reasonable time: see weighed.
func Rebalance(b Balance) (Plan, error) {
	index := make(map[string]int, len(b.Shares))
	for i, s := range b.Shares {
		if s.Weight < 0 || s.Weight > maxWeight {
			return Plan{}, fmt.Errorf("weight %d of group %s: weights are 0, which empties a group, to %d", s.Weight, s.Group, maxWeight)
		}
		index[s.Group] = i
	}
	w := &rebalance{Balance: b, owner: make([]int, len(b.Slots)), weights: make([]float64, len(b.Slots))}
	for slot, s := range b.Slots {
		g, ok := index[s.Group]
		if !ok {
			return Plan{}, fmt.Errorf("slot %d is of group %q, which is not in the topology", slot, s.Group)
		}
		w.owner[slot] = g
		w.weights[slot] = 1
	}
	if b.Weighed {
		w.addWeights()
	}
	w.then = slices.Clone(w.owner)
	wanted, err := w.wanted()
	if err != nil {
		return Plan{}, err
	}
	if b.Weighed {
		w.weighed(wanted)
	} else {
		w.numbered(wanted)
	}
	return w.plan(), nil
}

// rebalance is one call of Rebalance. Groups go by their place in the shares.
type rebalance struct {
	Balance
	owner   []int // of each slot, now
	then    []int // and after the moves that are planned so far
	weights []float64
}

// addWeights makes the weights those of the slots, and a hundredth of the mean for each: slots without keys are divided,
// too, since they will have some. Where no slot has any all weigh the same.
func (w *rebalance) addWeights() {
	total := int64(0)
	for _, s := range w.Slots {
		total += s.Weight
	}
	if total == 0 {
		return
	}
	for slot, s := range w.Slots {
		w.weights[slot] = float64(s.Weight) + float64(total)/float64(len(w.Slots))/100
	}
}

// wanted is what each group is to have, by weight, not rounded. A group whose fixed slots are more than its share has
// these, and the others share what is left; which may make the share of another one too small, and so on.
func (w *rebalance) wanted() ([]float64, error) {
	fixed, held := make([]float64, len(w.Shares)), make([]float64, len(w.Shares))
	rest := 0.0
	for slot, g := range w.owner {
		held[g] += w.weights[slot]
		rest += w.weights[slot]
		if w.Slots[slot].Fixed {
			fixed[g] += w.weights[slot]
		}
	}
	wanted, full := make([]float64, len(w.Shares)), make([]bool, len(w.Shares))
	for {
		sum := 0
		for g, s := range w.Shares {
			if !full[g] {
				sum += s.Weight
			}
		}
		again := false
		left := rest
		for g, s := range w.Shares {
			if full[g] {
				continue
			}
			wanted[g] = 0
			if sum > 0 {
				wanted[g] = rest * float64(s.Weight) / float64(sum)
			}
			if fixed[g] > wanted[g] {
				wanted[g], full[g], again = fixed[g], true, true
				left -= fixed[g]
			}
		}
		switch {
		case again:
			rest = left
		case sum == 0 && rest > 0:
			return nil, errors.New("no group may have what the others are to give: all have weight 0, or keep what they have")
		default:
			return wanted, nil
		}
	}
}

// numbered moves slots until each group has the number that it is to have.
func (w *rebalance) numbered(wanted []float64) {
	gives, takes := make([]int, len(w.Shares)), make([]int, len(w.Shares))
	for g, n := range w.rounded(wanted) {
		if has := w.count(g); has > n {
			gives[g] = has - n
		} else {
			takes[g] = n - has
		}
	}
	if w.AtMost > 0 {
		gives, takes = largest(gives, w.AtMost), largest(takes, w.AtMost)
	}
	to := 0
	for from, n := range gives {
		slots := w.movable(from)
		for _, slot := range slots[len(slots)-n:] { // Neighbours, if they are: their ranges stay short.
			for takes[to] == 0 {
				to++
			}
			takes[to]--
			w.then[slot] = to
		}
	}
}

// count is how many slots a group has now.
func (w *rebalance) count(group int) (n int) {
	for _, g := range w.owner {
		if g == group {
			n++
		}
	}
	return n
}

// movable are the slots that a group may give, as far as is planned.
func (w *rebalance) movable(group int) (slots []int) {
	for slot, g := range w.then {
		if g == group && !w.Slots[slot].Fixed {
			slots = append(slots, slot)
		}
	}
	return slots
}

// rounded makes whole numbers of what each group is to have, with the same sum. Those that have more than the whole part
// now are rounded up first, since that saves a move, then those with the largest fraction.
func (w *rebalance) rounded(wanted []float64) []int {
	const exact = 1e-6 // The sums of 16384 slots and as many groups are less wrong than that.
	whole, missing := make([]int, len(wanted)), len(w.owner)
	type part struct {
		group    int
		saves    bool
		fraction float64
	}
	var parts []part
	for g, x := range wanted {
		whole[g] = int(x + exact)
		missing -= whole[g]
		if f := x - float64(whole[g]); f > exact {
			parts = append(parts, part{g, w.count(g) > whole[g], f})
		}
	}
	slices.SortStableFunc(parts, func(a, b part) int {
		if a.saves != b.saves {
			if a.saves {
				return -1
			}
			return 1
		}
		return cmp.Compare(b.fraction, a.fraction)
	})
	for _, p := range parts[:missing] {
		whole[p.group]++
	}
	return whole
}

// largest keeps at most n of all that is there, so that what is not kept is spread evenly: the largest give first.
func largest(there []int, n int) []int {
	kept, total := make([]int, len(there)), 0
	for _, x := range there {
		total += x
	}
	for range min(n, total) {
		most := 0
		for i := range there {
			if there[i]-kept[i] > there[most]-kept[most] {
				most = i
			}
		}
		kept[most]++
	}
	return kept
}

// plan says what was decided.
func (w *rebalance) plan() Plan {
	p := Plan{Groups: make([]GroupPlan, len(w.Shares))}
	for g, s := range w.Shares {
		p.Groups[g].Share = s
	}
	for slot, s := range w.Slots {
		from, to := &p.Groups[w.owner[slot]], &p.Groups[w.then[slot]]
		from.Slots++
		from.Load += s.Weight
		to.SlotsThen++
		to.LoadThen += s.Weight
		if from != to {
			p.Transfers = append(p.Transfers, Transfer{router.Slot(slot), from.Group, to.Group})
		}
	}
	return p
}
