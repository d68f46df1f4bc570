package discovery

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"

	"sluice/router"
)

// Snapshot is the topology of a pool as a Source sees it at one moment. Immutable once published.
type Snapshot struct {
	Groups []router.GroupSpec
	Moves  []router.MoveSpec // slots that are not settled; none in most topologies

	// Done, unless nil, is sent one value: nil once this snapshot or a newer one is in force, or why it was
	// refused. It must have room for the value.
	Done chan<- error
}

// ErrNoSlots is returned by Snapshot.Validate when no group owns a slot. A source that lost its sight
// looks like that, so it is never taken for news.
var ErrNoSlots = errors.New("no group owns a slot")

// Validate reports everything that makes the snapshot unfit for a pool of the given model, all problems
// joined. Slots without an owner are fit: a cluster can be like that, and its other slots still work. What
// Validate lets through, router.Builder builds.
func (s Snapshot) Validate(model router.Model) error {
	var errs []error
	ids := make(map[router.GroupID]bool)
	roles := make(map[string]string) // address -> what it is, in words
	claim := func(addr, role string) {
		if err := checkAddr(addr); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", role, err))
		} else if other, taken := roles[addr]; taken {
			errs = append(errs, fmt.Errorf("%s is %s and %s", addr, other, role))
		}
		roles[addr] = role
	}
	for _, g := range s.Groups {
		if g.ID == "" {
			errs = append(errs, fmt.Errorf("the group of master %q has no id", g.Master))
		}
		if ids[g.ID] {
			errs = append(errs, fmt.Errorf("group %s is listed twice", g.ID))
		}
		ids[g.ID] = true
		claim(g.Master, fmt.Sprintf("master of group %s", g.ID))
		for _, addr := range g.Replicas {
			claim(addr, fmt.Sprintf("replica of group %s", g.ID))
		}
	}
	errs = append(errs, s.checkSlots(model)...)
	return errors.Join(append(errs, s.checkMoves(model)...)...)
}

// checkMoves finds moves of slots that do not exist, or from or to where no move can go.
func (s Snapshot) checkMoves(model router.Model) []error {
	var errs []error
	owners := s.owners(model)
	moving := make(map[router.Slot]bool)
	for _, m := range s.Moves {
		if m.From != "" {
			if err := checkAddr(m.From); err != nil {
				errs = append(errs, fmt.Errorf("source of the move of slots %s: %w", router.FormatRanges(m.Slots), err))
			}
		}
		for _, r := range m.Slots {
			for slot := int(r.From); slot <= int(r.To); slot++ {
				if slot >= len(owners) {
					errs = append(errs, fmt.Errorf("slots %s that move are outside 0-%d", r, len(owners)-1))
					break
				}
				if err := checkMove(m, owners[slot]); err != nil {
					errs = append(errs, fmt.Errorf("slot %d %w", slot, err))
				}
				if moving[router.Slot(slot)] {
					errs = append(errs, fmt.Errorf("slot %d moves twice", slot))
				}
				moving[router.Slot(slot)] = true
			}
		}
	}
	return errs
}

// checkMove checks the move of one slot, whose owner is the master at that address.
func checkMove(m router.MoveSpec, owner string) error {
	switch {
	case m.Phase != router.Locked && m.Phase != router.Moving:
		return fmt.Errorf("is in an unknown state, %s", m.Phase)
	case m.Phase == router.Moving && m.From == "":
		return errors.New("moves from nowhere")
	case m.Phase == router.Moving && owner == "":
		return errors.New("moves to nowhere")
	case m.From != "" && m.From == owner:
		return fmt.Errorf("moves from %s to itself", owner)
	}
	return nil
}

// checkSlots finds slots outside the model, slots with two owners, and the lack of any.
func (s Snapshot) checkSlots(model router.Model) []error {
	type pair struct{ first, second int }
	var (
		errs   []error
		owners = make([]int, model.Slots()) // index of the group plus 1
		shared = make(map[pair]map[router.Slot]bool)
		owned  bool
	)
	for i, g := range s.Groups {
		for _, r := range g.Slots {
			if r.From > r.To || int(r.To) >= model.Slots() {
				errs = append(errs, fmt.Errorf("group %s: slots %d-%d are outside 0-%d", g.ID, r.From, r.To, model.Slots()-1))
				continue
			}
			owned = true
			for slot := int(r.From); slot <= int(r.To); slot++ {
				if o := owners[slot]; o != 0 && o != i+1 {
					p := pair{o - 1, i}
					if shared[p] == nil {
						shared[p] = make(map[router.Slot]bool)
					}
					shared[p][router.Slot(slot)] = true
				}
				owners[slot] = i + 1
			}
		}
	}
	for _, p := range slices.SortedFunc(maps.Keys(shared), func(a, b pair) int {
		return (a.first-b.first)*len(s.Groups) + a.second - b.second
	}) {
		slots := router.RangesOf(model.Slots(), func(slot router.Slot) bool { return shared[p][slot] })
		errs = append(errs, fmt.Errorf("slots %s belong to group %s and to group %s",
			router.FormatRanges(slots), s.Groups[p.first].ID, s.Groups[p.second].ID))
	}
	if !owned {
		errs = append(errs, ErrNoSlots)
	}
	return errs
}

// Equal reports whether both snapshots describe the same topology. The order of groups, of replicas and of
// ranges means nothing, nor how slots are cut into ranges.
func (s Snapshot) Equal(o Snapshot) bool {
	return slices.EqualFunc(s.canonical(), o.canonical(), func(a, b router.GroupSpec) bool {
		return a.ID == b.ID && a.Master == b.Master &&
			slices.Equal(a.Replicas, b.Replicas) && slices.Equal(a.Slots, b.Slots) && maps.Equal(a.Zones, b.Zones)
	}) && maps.Equal(s.moves(), o.moves())
}

// moveKey is a move without its slots.
type moveKey struct {
	phase  router.Phase
	method router.Method
	from   string
	fromID router.GroupID
	token  uint64
}

// moves lists the moves by slot.
func (s Snapshot) moves() map[router.Slot]moveKey {
	moves := make(map[router.Slot]moveKey)
	for _, m := range s.Moves {
		for _, r := range m.Slots {
			for slot := int(r.From); slot <= int(r.To); slot++ {
				moves[router.Slot(slot)] = moveKey{m.Phase, m.Method, m.From, m.FromID, m.Token}
			}
		}
	}
	return moves
}

// canonical returns the groups in an order and a form that equal snapshots share.
func (s Snapshot) canonical() []router.GroupSpec {
	groups := slices.Clone(s.Groups)
	for i, g := range groups {
		groups[i].Replicas = slices.Sorted(slices.Values(g.Replicas))
		groups[i].Slots = mergeRanges(g.Slots)
	}
	slices.SortFunc(groups, func(a, b router.GroupSpec) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	return groups
}

// mergeRanges sorts ranges and joins those that touch or overlap.
func mergeRanges(ranges []router.Range) []router.Range {
	sorted := slices.SortedFunc(slices.Values(ranges), func(a, b router.Range) int { return int(a.From) - int(b.From) })
	var merged []router.Range
	for _, r := range sorted {
		if n := len(merged); n > 0 && int(r.From) <= int(merged[n-1].To)+1 {
			merged[n-1].To = max(merged[n-1].To, r.To)
			continue
		}
		merged = append(merged, r)
	}
	return merged
}

// owners lists the master of every slot, "" where there is none.
func (s Snapshot) owners(model router.Model) []string {
	owners := make([]string, model.Slots())
	for _, g := range s.Groups {
		for _, r := range g.Slots {
			for slot := int(r.From); slot <= int(r.To) && slot < len(owners); slot++ {
				owners[slot] = g.Master
			}
		}
	}
	return owners
}

// checkAddr refuses what nobody could dial.
func checkAddr(addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("address %q is not host:port", addr)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("address %q: the port is not in 1-65535", addr)
	}
	if host == "" {
		return fmt.Errorf("address %q has no host", addr)
	}
	return nil
}
