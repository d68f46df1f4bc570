package codis

import (
	"maps"
	"slices"
)

// routes is what the dashboard and the sentinels have said about the slots. A value that Source has taken is not
// changed any more; the methods return a new one.
type routes struct {
	slots []Slot         // as the dashboard filled them in; slots[i] is slot i
	named map[int]string // by group: the master that the dashboard named last

	// masters, by group, count for all slots of the group, whatever was filled in. A group gets one by the
	// sentinels, and keeps it until they name another one or the dashboard names one that it did not name before.
	masters map[int]string
}

func newRoutes(n int) routes {
	r := routes{slots: make([]Slot, n), named: make(map[int]string), masters: make(map[int]string)}
	for i := range r.slots {
		r.slots[i].ID = i
	}
	return r
}

// filledIn reports whether the dashboard has filled anything in.
func (r routes) filledIn() bool { return len(r.named) > 0 }

// filled takes slots that the dashboard fills in; those that are not listed stay as they are.
func (r routes) filled(slots []Slot) (routes, error) {
	next := routes{slots: slices.Clone(r.slots), named: maps.Clone(r.named), masters: maps.Clone(r.masters)}
	for _, slot := range slots {
		if err := slot.check(len(next.slots)); err != nil {
			return routes{}, err
		}
		next.slots[slot.ID] = slot
		next.name(slot.BackendAddrGroupID, slot.BackendAddr)
		next.name(slot.MigrateFromGroupID, slot.MigrateFrom)
	}
	return next, nil
}

// name takes note of the master of a group. Only what is new wins over the sentinels: a dashboard that repeats what it
// said before their failover does not know of it yet.
func (r routes) name(group int, addr string) {
	if addr == "" || group == 0 || r.named[group] == addr {
		return
	}
	r.named[group] = addr
	if r.masters[group] != "" {
		r.masters[group] = addr
	}
}

// switched takes masters that the sentinels name.
func (r routes) switched(masters map[int]string) routes {
	next := r
	next.masters = maps.Clone(r.masters)
	maps.Copy(next.masters, masters)
	return next
}

// bare forgets the sentinels.
func (r routes) bare() routes {
	r.masters = make(map[int]string)
	return r
}

// inForce is what counts, and whether that is something else than what the dashboard has filled in.
func (r routes) inForce() (slots []Slot, differs bool) {
	slots = slices.Clone(r.slots)
	put := func(addr *string, group int) {
		if master := r.masters[group]; *addr != "" && master != "" && master != *addr {
			*addr, differs = master, true
		}
	}
	for i := range slots {
		put(&slots[i].BackendAddr, slots[i].BackendAddrGroupID)
		put(&slots[i].MigrateFrom, slots[i].MigrateFromGroupID)
	}
	return slots, differs
}

// groups lists the numbers of the groups that keys are in.
func (r routes) groups() []int {
	seen := make(map[int]bool)
	for _, s := range r.slots {
		if s.BackendAddr != "" {
			seen[s.BackendAddrGroupID] = true
		}
		if s.MigrateFrom != "" {
			seen[s.MigrateFromGroupID] = true
		}
	}
	delete(seen, 0)
	return slices.Sorted(maps.Keys(seen))
}

// changes counts the slots that change, and lists the servers to which commands on them may be on their way. Commands
// on a slot that was locked were waited for when it was locked.
func changes(old, next []Slot) (changed int, servers []string) {
	for i, was := range old {
		if was.equal(next[i]) {
			continue
		}
		changed++
		for _, addr := range []string{was.BackendAddr, was.MigrateFrom} {
			if !was.Locked && !was.sameRoute(next[i]) && addr != "" && !slices.Contains(servers, addr) {
				servers = append(servers, addr)
			}
		}
	}
	return changed, servers
}
