package controller

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// balanceOf is a pool whose slots stand in groups of digits: "1112*" are three slots of group 1, and one of group 2 that
// is fixed. shares are "1=1 2=3".
func balanceOf(t *testing.T, slots, shares string) Balance {
	t.Helper()
	var b Balance
	for _, c := range slots {
		if c == '*' {
			b.Slots[len(b.Slots)-1].Fixed = true
			continue
		}
		b.Slots = append(b.Slots, SlotLoad{Group: string(c)})
	}
	for text := range strings.FieldsSeq(shares) {
		var s Share
		if _, err := fmt.Sscanf(strings.Replace(text, "=", " ", 1), "%s %d", &s.Group, &s.Weight); err != nil {
			t.Fatal(err)
		}
		b.Shares = append(b.Shares, s)
	}
	return b
}

// after is whose the slots are when a plan is carried out, as balanceOf reads it.
func after(t *testing.T, b Balance, p Plan) string {
	t.Helper()
	groups := make([]string, len(b.Slots))
	for i, s := range b.Slots {
		groups[i] = s.Group
	}
	for _, x := range p.Transfers {
		if groups[x.Slot] != x.From || x.From == x.To || b.Slots[x.Slot].Fixed {
			t.Errorf("slot %d of group %s (fixed: %t) moves from %s to %s",
				x.Slot, groups[x.Slot], b.Slots[x.Slot].Fixed, x.From, x.To)
		}
		groups[x.Slot] = x.To
	}
	return strings.Join(groups, "")
}

func TestRebalanceByNumber(t *testing.T) {
	t.Parallel()
	f := func(slots, shares string, atMost int, want string) {
		t.Helper()
		b := balanceOf(t, slots, shares)
		b.AtMost = atMost
		p, err := Rebalance(b)
		if err != nil {
			t.Errorf("%s, %s: %v", slots, shares, err)
			return
		}
		if got := after(t, b, p); got != want {
			t.Errorf("%s, %s becomes %s, want %s", slots, shares, got, want)
		}
	}
	f("11112222", "1=1 2=1", 0, "11112222")
	f("11111111", "1=1 2=1", 0, "11112222")
	f("111111222222", "1=1 2=1 3=1", 0, "111133222233")
	f("1111222", "1=1 2=1", 0, "1111222") // Who has one more keeps it.
	f("1112222", "1=1 2=1", 0, "1112222")
	f("11111", "1=1 2=1 3=1", 0, "11223")
	f("11112222", "1=3 2=1", 0, "11112211")
	f("11112222", "1=1 2=0", 0, "11111111")
	f("112233", "1=1 2=1 3=0", 0, "112212") // The two go to the two that lack one each.
	f("1*1*1*1*12", "1=1 2=1", 0, "111122") // Four of six are fixed: the share of group 2 is what is left.
	f("1*1*1*23", "1=0 2=1 3=1", 0, "11123")
	f("11111111", "1=1 2=1", 3, "11111222")
	f("1111111122222", "1=1 2=1 3=1", 4, "1111133322223") // From each what it has too much, the richest first.
}

func TestRebalanceByWeight(t *testing.T) {
	t.Parallel()
	f := func(slots string, weights []int64, shares string, atMost int, want string) {
		t.Helper()
		b := balanceOf(t, slots, shares)
		b.Weighed, b.AtMost = true, atMost
		for i, w := range weights {
			b.Slots[i].Weight = w
		}
		p, err := Rebalance(b)
		if err != nil {
			t.Errorf("%s, %s: %v", slots, shares, err)
			return
		}
		if got := after(t, b, p); got != want {
			t.Errorf("%s, %v, %s becomes %s, want %s", slots, weights, shares, got, want)
		}
	}
	f("1111", []int64{10, 10, 10, 10}, "1=1 2=1", 0, "1122")
	f("1111", []int64{30, 10, 10, 10}, "1=1 2=1", 0, "2111")         // One heavy slot, not three light ones.
	f("111122", []int64{9, 9, 9, 9, 20, 20}, "1=1 2=1", 0, "111122") // Off by less than a slot.
	f("1111", []int64{100, 1, 1, 1}, "1=1 2=1", 0, "2111")           // The heavy one does not fit, but helps.
	f("1222", []int64{100, 1, 1, 1}, "1=1 2=1", 0, "1222")           // No slot helps.
	f("112233", []int64{5, 5, 5, 5, 9, 1}, "1=1 2=1 3=0", 0, "212212")
	f("1111", []int64{0, 0, 0, 0}, "1=1 2=1", 0, "1122") // Slots without keys are divided, too.
	f("3333", []int64{0, 0, 0, 0}, "1=1 2=1 3=0", 0, "1212")
	f("11111111", []int64{9, 8, 7, 6, 5, 4, 3, 2}, "1=1 2=1", 2, "22111111")
}

func TestRebalanceRefuses(t *testing.T) {
	t.Parallel()
	f := func(slots, shares, want string) {
		t.Helper()
		_, err := Rebalance(balanceOf(t, slots, shares))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s, %s: %v, want %q", slots, shares, err, want)
		}
	}
	f("12", "1=1", `slot 1 is of group "2", which is not in the topology`)
	f("12", "1=0 2=0", "no group may have what the others are to give")
	f("12", "1=1 2=-1", "weight -1 of group 2")
	f("12", "1=1 2=1001", "weight 1001 of group 2")
}

// randomBalance is a pool of up to 5 groups; rounder ones as often as odd ones.
func randomBalance(r *rand.Rand, slots int) Balance {
	b := Balance{Slots: make([]SlotLoad, slots)}
	groups := 1 + r.IntN(5)
	for g := range groups {
		b.Shares = append(b.Shares, Share{Group: fmt.Sprint(g + 1), Weight: 1})
		if r.IntN(3) == 0 {
			b.Shares[g].Weight = r.IntN(5)
		}
	}
	b.Shares[r.IntN(groups)].Weight = 1 + r.IntN(3) // One that may have all.
	fixed := r.IntN(3) * r.IntN(30)
	for i := range b.Slots {
		owner := r.IntN(groups)
		if r.IntN(2) == 0 {
			owner = i * groups / slots
		}
		b.Slots[i] = SlotLoad{
			Group: b.Shares[owner].Group, Weight: r.Int64N(1000) * r.Int64N(2), Fixed: r.IntN(100) < fixed,
		}
	}
	return b
}

// carriedOut is the pool after a plan.
func carriedOut(b Balance, p Plan) Balance {
	b.Slots = slices.Clone(b.Slots)
	for _, x := range p.Transfers {
		b.Slots[x.Slot].Group = x.To
	}
	return b
}

// fewest tries every way to round the shares: the number of slots that have to move at least. It knows nothing of fixed
// slots.
func fewest(b Balance) int {
	held, sum := make([]int, len(b.Shares)), 0
	for _, s := range b.Slots {
		held[slices.IndexFunc(b.Shares, func(x Share) bool { return x.Group == s.Group })]++
	}
	for _, s := range b.Shares {
		sum += s.Weight
	}
	best := math.MaxInt
	for up := range 1 << len(b.Shares) {
		total, moves := 0, 0
		for g, s := range b.Shares {
			n := len(b.Slots) * s.Weight / sum
			if up>>g&1 == 1 && len(b.Slots)*s.Weight%sum > 0 {
				n++
			}
			total += n
			moves += max(0, held[g]-n)
		}
		if total == len(b.Slots) {
			best = min(best, moves)
		}
	}
	return best
}

// Whatever the pool looks like: each group is within one slot of its share, no fewer slots could move, and a pool that
// is balanced stays as it is.
func TestRebalanceByNumberOfAnyPool(t *testing.T) {
	t.Parallel()
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 1))
		b := randomBalance(r, 1+r.IntN(200))
		p, err := Rebalance(b)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		after(t, b, p)
		next := carriedOut(b, p)
		if again, err := Rebalance(next); err != nil || len(again.Transfers) > 0 {
			t.Fatalf("seed %d: a balanced pool moves %d slots: %v", seed, len(again.Transfers), err)
		}
		if !slices.ContainsFunc(b.Slots, func(s SlotLoad) bool { return s.Fixed }) {
			if want := fewest(b); len(p.Transfers) != want {
				t.Fatalf("seed %d: %d slots move, %d would do", seed, len(p.Transfers), want)
			}
		}
		wantShares(t, seed, b, p)
		b.AtMost = 1 + r.IntN(20)
		some, err := Rebalance(b)
		if want := min(b.AtMost, len(p.Transfers)); err != nil || len(some.Transfers) != want {
			t.Fatalf("seed %d: %d slots move instead of %d: %v", seed, len(some.Transfers), want, err)
		}
		after(t, b, some)
	}
}

// wantShares checks the sizes of groups after a plan. There is a level so that the groups that have level times weight, or
// their fixed slots if these are more, have all slots together: that is what each is to have, within one slot.
func wantShares(t *testing.T, seed uint64, b Balance, p Plan) {
	t.Helper()
	fixed := make(map[string]float64)
	for _, s := range b.Slots {
		if s.Fixed {
			fixed[s.Group]++
		}
	}
	shares := func(level float64) (of map[string]float64, total float64) {
		of = make(map[string]float64)
		for _, s := range b.Shares {
			of[s.Group] = max(fixed[s.Group], level*float64(s.Weight))
			total += of[s.Group]
		}
		return of, total
	}
	low, high := 0.0, float64(len(b.Slots))
	for range 100 {
		middle := (low + high) / 2
		if _, total := shares(middle); total > float64(len(b.Slots)) {
			high = middle
		} else {
			low = middle
		}
	}
	of, _ := shares(low)
	for _, g := range p.Groups {
		if off := math.Abs(float64(g.SlotsThen) - of[g.Group]); off >= 1 {
			t.Fatalf("seed %d: group %s has %d slots (%v fixed), its share is %.2f; %+v",
				seed, g.Group, g.SlotsThen, fixed[g.Group], of[g.Group], p.Groups)
		}
	}
}

// By weight: no group that has to be empty keeps anything that may move, no plan makes things worse, a plan that was
// carried out has nothing left to do, and where slots are light all groups are near their share.
func TestRebalanceByWeightOfAnyPool(t *testing.T) {
	t.Parallel()
	for seed := range uint64(1000) {
		r := rand.New(rand.NewPCG(seed, 2))
		b := randomBalance(r, 1+r.IntN(300))
		b.Weighed = true
		p, err := Rebalance(b)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		after(t, b, p)
		next := carriedOut(b, p)
		if again, err := Rebalance(next); err != nil || len(again.Transfers) > 0 {
			t.Fatalf("seed %d: a balanced pool moves %d slots: %v", seed, len(again.Transfers), err)
		}
		for slot, s := range next.Slots {
			g := slices.IndexFunc(b.Shares, func(x Share) bool { return x.Group == s.Group })
			if b.Shares[g].Weight == 0 && !s.Fixed {
				t.Fatalf("seed %d: group %s keeps slot %d", seed, s.Group, slot)
			}
		}
		if !slices.ContainsFunc(b.Slots, func(s SlotLoad) bool { return s.Fixed }) && len(b.Slots) > 100 {
			wantLoads(t, seed, p)
		}
		b.AtMost = 1 + r.IntN(20)
		some, err := Rebalance(b)
		if err != nil || len(some.Transfers) > b.AtMost {
			t.Fatalf("seed %d: %d slots move instead of %d: %v", seed, len(some.Transfers), b.AtMost, err)
		}
		after(t, b, some)
	}
}

// wantLoads checks that the loads of groups are their share, to a hundredth of all: some slots.
func wantLoads(t *testing.T, seed uint64, p Plan) {
	t.Helper()
	var total int64
	sum := 0
	for _, g := range p.Groups {
		total += g.LoadThen
		sum += g.Weight
	}
	for _, g := range p.Groups {
		share := float64(total) * float64(g.Weight) / float64(sum)
		if off := math.Abs(float64(g.LoadThen) - share); off > float64(total)/100 {
			t.Errorf("seed %d: group %s has %d of %d, its share is %.0f", seed, g.Group, g.LoadThen, total, share)
		}
	}
}
