package discovery

import (
	"maps"
	"slices"

	"sluice/router"
)

// adoption is a master that has taken another one's place without the source knowing.
type adoption struct {
	addr    string
	against router.GroupSpec // what the source said of the group then
}

// Adopt makes a replica of a group its master: evidence says that it is, and the source can't know. It holds until the
// source says something else of the group than it says now. Safe for concurrent use; it never blocks on anything but a
// short lock.
func (k *Keeper) Adopt(group router.GroupID, addr string) {
	k.mu.Lock()
	if k.heirs == nil {
		k.heirs = make(map[router.GroupID]string)
	}
	k.heirs[group] = addr
	k.mu.Unlock()
	k.signal()
}

// Invite gives a group a replica that the source does not name: evidence says that it may be the master by now. It is
// one until the source says something else of the group than it says now. Safe for concurrent use; it never blocks on
// anything but a short lock.
func (k *Keeper) Invite(group router.GroupID, addr string) {
	k.mu.Lock()
	if k.invites == nil {
		k.invites = make(map[router.GroupID][]string)
	}
	k.invites[group] = append(k.invites[group], addr)
	k.mu.Unlock()
	k.signal()
}

// guests are the replicas of a group that the source does not name.
type guests struct {
	addrs   []string
	against router.GroupSpec // what the source said of the group then
}

// takeInvites turns what Invite was told into guests, and reports whether that changes anything. A node has one place.
func (k *Keeper) takeInvites(invites map[router.GroupID][]string) (changed bool) {
	for id, addrs := range invites {
		i := slices.IndexFunc(k.said.Groups, func(g router.GroupSpec) bool { return g.ID == id })
		for _, addr := range addrs {
			if i < 0 || checkAddr(addr) != nil || k.known[addr] {
				continue
			}
			k.known[addr] = true
			k.guests[id] = guests{append(k.guests[id].addrs, addr), k.said.Groups[i]}
			changed = true
		}
	}
	if changed {
		k.setGround()
		k.rebase()
	}
	return changed
}

// takeHeirs turns what Adopt was told into adoptions, and reports whether that changes anything.
func (k *Keeper) takeHeirs(heirs map[router.GroupID]string) (changed bool) {
	for id, addr := range heirs {
		i := slices.IndexFunc(k.said.Groups, func(g router.GroupSpec) bool { return g.ID == id })
		if i < 0 {
			continue
		}
		g := k.said.Groups[i]
		switch {
		case addr == g.Master:
			_, adopted := k.adoptions[id]
			delete(k.adoptions, id) // It is the old one again.
			changed = changed || adopted
		case (slices.Contains(g.Replicas, addr) || slices.Contains(k.guests[id].addrs, addr)) && k.adoptions[id].addr != addr:
			k.adoptions[id] = adoption{addr, g}
			changed = true
		}
	}
	if changed {
		k.setGround()
		k.rebase()
	}
	return changed
}

// rebase makes overrides contradict the owners that adoptions have made. The source has said nothing new of their slots.
func (k *Keeper) rebase() {
	for slot, o := range k.overrides {
		if o.against = k.owners[slot]; o.against == o.addr {
			delete(k.overrides, slot)
			continue
		}
		k.overrides[slot] = o
	}
}

// setGround computes what counts from what the source says and the adoptions, and forgets those that have ended.
func (k *Keeper) setGround() {
	maps.DeleteFunc(k.adoptions, func(id router.GroupID, a adoption) bool {
		return !slices.ContainsFunc(k.said.Groups, func(g router.GroupSpec) bool { return g.ID == id && sameNodes(a.against, g) })
	})
	maps.DeleteFunc(k.guests, func(id router.GroupID, a guests) bool {
		return !slices.ContainsFunc(k.said.Groups, func(g router.GroupSpec) bool { return g.ID == id && sameNodes(a.against, g) })
	})
	k.ground = k.said
	k.ground.Groups = slices.Clone(k.said.Groups)
	for i, g := range k.ground.Groups {
		g.Replicas = slices.Concat(g.Replicas, k.guests[g.ID].addrs)
		k.ground.Groups[i] = g
		a, ok := k.adoptions[g.ID]
		if !ok {
			continue
		}
		g.Replicas = slices.DeleteFunc(slices.Clone(g.Replicas), func(addr string) bool { return addr == a.addr })
		g.Replicas = append(g.Replicas, g.Master)
		g.Master = a.addr
		k.ground.Groups[i] = g
	}
	k.owners = k.ground.owners(k.cfg.Model)
}

// sameNodes reports whether a source says the same of the nodes of a group.
func sameNodes(a, b router.GroupSpec) bool {
	return a.Master == b.Master &&
		slices.Equal(slices.Sorted(slices.Values(a.Replicas)), slices.Sorted(slices.Values(b.Replicas)))
}
