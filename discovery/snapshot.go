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
	return errors.Join(append(errs, s.checkSlots(model)...)...)
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
			slices.Equal(a.Replicas, b.Replicas) && slices.Equal(a.Slots, b.Slots)
	})
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

// owners lists the master of every slot, "" where there is none. s is valid for the model.
func (s Snapshot) owners(model router.Model) []string {
	owners := make([]string, model.Slots())
	for _, g := range s.Groups {
		for _, r := range g.Slots {
			for slot := int(r.From); slot <= int(r.To); slot++ {
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
