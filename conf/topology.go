package conf

import (
	"fmt"
	"maps"
	"slices"
)

// checkDiscovery checks where a pool learns its topology and, for static discovery, the topology.
func checkDiscovery(r *report, path string, p *Pool) {
	kind := path + ".discovery.kind"
	switch p.Discovery.Kind {
	case DiscoverStatic:
		checkStatic(r, path, p)
	case DiscoverCluster:
		checkCluster(r, path, p)
	case DiscoverCodis:
		checkCodis(r, path, p)
	case DiscoverConsul:
		checkConsulPool(r, path, p)
	default:
		checkOneOf(r, kind, p.Discovery.Kind, DiscoverStatic, DiscoverCluster, DiscoverCodis, DiscoverConsul)
		return
	}
	checkNoConsul(r, path, p)
}

func checkCluster(r *report, path string, p *Pool) {
	checkNoCodis(r, path, p)
	noEffect(r, path+".discovery.follow", p.Discovery.Follow, "cluster", "static")
	if at := join(path, "slot_model"); p.SlotModel == SlotCodis && !r.isBad(at) {
		r.add(at, `discovery kind "cluster" finds 16384 slots, slot_model "codis" has others`, `set slot_model = "cluster"`)
	}
	for i := range p.Groups {
		at := element(join(path, "group"), i)
		if !r.isBad(at) {
			r.add(at, `discovery kind "cluster" finds the groups by itself`, `remove the group, or set kind = "static"`)
		}
	}
	seeds := path + ".discovery.seeds"
	if len(p.Discovery.Seeds) == 0 && !r.isBad(seeds) {
		r.add(seeds, "is missing", `add seeds = ["10.0.0.5:6379"], nodes of the cluster`)
	}
	first := map[hostPort]int{}
	for i, seed := range p.Discovery.Seeds {
		a, ok := checkAddress(r, element(seeds, i), seed, forConnecting)
		if !ok {
			continue
		}
		if j, taken := first[a]; taken {
			r.add(element(seeds, i), quote(seed)+" is named twice"+r.line(element(seeds, j)), "keep one of the two")
			continue
		}
		first[a] = i
		checkLoop(r, element(seeds, i), seed, a)
	}
}

func checkStatic(r *report, path string, p *Pool) {
	checkNoCodis(r, path, p)
	noEffect(r, path+".discovery.seeds", len(p.Discovery.Seeds) > 0, "static", "cluster")
	noEffect(r, path+".discovery.refresh", p.Discovery.Refresh != DefaultPool().Discovery.Refresh, "static", "cluster")
	groups := join(path, "group")
	if len(p.Groups) == 0 && !r.isBad(groups) {
		r.add(groups, `discovery kind "static" has no group`,
			fmt.Sprintf(`add [[pool.group]] with id, master and slots = "0-%d"`, max(0, p.Slots-1)))
		return
	}
	checkGroups(r, path, p)
	checkSlots(r, path, p)
}

// checkGroups checks ids and addresses. An address serves once in a pool: as a master or a replica
// of one group.
func checkGroups(r *report, path string, p *Pool) {
	ids := map[string]int{}
	serves := map[hostPort]string{} // path of the key that has the address
	claim := func(at, text string) {
		a, ok := checkAddress(r, at, text, forConnecting)
		if !ok {
			return
		}
		if other, taken := serves[a]; taken {
			r.add(at, fmt.Sprintf("%s serves already as %s%s", quote(text), r.cfg.label(other), r.line(other)),
				"an address is one node, and a node has one place in a pool")
			return
		}
		serves[a] = at
		checkLoop(r, at, text, a)
	}
	for i, g := range p.Groups {
		group := element(join(path, "group"), i)
		if r.isBad(group) {
			continue
		}
		checkName(r, group, "id", g.ID, `id = "1"`)
		if j, taken := ids[g.ID]; taken && g.ID != "" {
			other := join(element(join(path, "group"), j), "id")
			r.add(join(group, "id"), "another group has this id"+r.line(other), "each group has an id of its own")
		} else {
			ids[g.ID] = i
		}
		if master := join(group, "master"); g.Master != "" {
			claim(master, g.Master)
		} else if !r.isBad(master) {
			r.add(master, "is missing", `add master = "host:port"`)
		}
		for _, span := range g.Slots {
			if span.From > span.To { // only in a configuration that was built in code
				r.add(join(group, "slots"), fmt.Sprintf("slots %v run backwards", span), "the smaller slot comes first")
			}
		}
		for j, replica := range g.Replicas {
			claim(element(join(group, "replicas"), j), replica)
		}
	}
}

// checkLoop refuses a backend that is a listener of this process: a request would go round for ever.
func checkLoop(r *report, path, text string, a hostPort) {
	for _, l := range listeners(r) {
		if l.addr.Network == "tcp" && l.tcp.reaches(a) {
			r.add(path, fmt.Sprintf("%s is where %s listens%s", quote(text), l.what, r.line(l.path)),
				"name the backend; the proxy would connect to itself")
			return
		}
	}
}

// checkSlots sees that each slot of the pool has one owner.
func checkSlots(r *report, path string, p *Pool) {
	if p.Slots < 1 || p.Slots > clusterSlots || r.isBad(join(path, "slots")) || r.isBad(join(path, "slot_model")) {
		return // it is not known which slots there are
	}
	owner := make([]int, p.Slots) // index of the group
	for s := range owner {
		owner[s] = nobody
	}
	readable := !r.isBad(join(path, "group"))
	for i, g := range p.Groups {
		group := element(join(path, "group"), i)
		at := join(group, "slots")
		if r.isBad(at) {
			readable = false
			continue
		}
		beyond, overlaps := claimSlots(owner, g.Slots, i)
		if len(beyond) > 0 {
			r.addAt(group, at, brief(beyond, "does not exist", "do not exist"),
				fmt.Sprintf("the pool has %d slots, from 0 to %d", p.Slots, p.Slots-1))
		}
		for _, j := range slices.Sorted(maps.Keys(overlaps)) {
			other := join(element(join(path, "group"), j), "slots")
			r.addAt(group, at, brief(overlaps[j], "overlaps", "overlap")+" "+groupName(p, j)+r.line(other),
				"a slot has one owner; take them out of one of the two")
		}
	}
	var uncovered Slots
	for s, o := range owner {
		if o == nobody {
			uncovered = extend(uncovered, s)
		}
	}
	if len(uncovered) > 0 && readable {
		r.addAt(path, path, brief(uncovered, "belongs to no group", "belong to no group"),
			fmt.Sprintf("give them to a group; each of the %d slots needs an owner", p.Slots))
	}
}

// nobody is the owner of a slot that is in no group.
const nobody = -1

// claimSlots makes group the owner of the free ones of its slots. It returns the others: those that
// do not exist, and by owner those that have one.
func claimSlots(owner []int, set Slots, group int) (beyond Slots, overlaps map[int]Slots) {
	overlaps = map[int]Slots{}
	for _, span := range set {
		for s := int(span.From); s <= int(span.To); s++ {
			switch {
			case s >= len(owner):
				beyond = extend(beyond, s)
			case owner[s] != nobody:
				overlaps[owner[s]] = extend(overlaps[owner[s]], s)
			default:
				owner[s] = group
			}
		}
	}
	return beyond, overlaps
}

// extend adds slot s, which is not below any in the set, to it.
func extend(set Slots, s int) Slots {
	if n := len(set); n > 0 && int(set[n-1].To)+1 == s {
		set[n-1].To = uint16(s)
		return set
	}
	return append(set, Range{uint16(s), uint16(s)})
}

// brief says something of a set of slots: "slot 5 overlaps", "slots 5-9 overlap". Of a long set it
// prints the first ranges and how many follow.
func brief(set Slots, one, many string) string {
	const shown = 8 // enough to see the pattern, short enough for a line
	switch {
	case set.Len() == 1:
		return fmt.Sprintf("slot %v %s", set, one)
	case len(set) > shown:
		return fmt.Sprintf("slots %v and %d more ranges %s", set[:shown], len(set)-shown, many)
	}
	return fmt.Sprintf("slots %v %s", set, many)
}

// groupName names a group within its pool: "group 1".
func groupName(p *Pool, i int) string {
	if id := p.Groups[i].ID; isName(id) {
		return "group " + id
	}
	return fmt.Sprintf("group #%d", i+1)
}
