package cluster

import (
	"cmp"
	"maps"
	"slices"

	"sluice/router"
)

// Nodes of one cluster disagree: gossip takes its time, and a node that is cut off keeps its old view until
// its own timeout tells it so. So every node that was asked has one vote on each question, and the majority
// of the answers is believed:
//
//	1. address   the views call one node by different addresses (its own view leaves its host out, some
//	             prefer host names); it is the same node by its id, and gets the address most views give.
//	2. owner     of each slot: the master that most views name. A master that the cluster has given up is
//	             named in a low voice: that counts only where no view names a healthy one.
//	3. replicas  of a master: those that more than half of the views that know it as a master call healthy.
//
// A tie goes to what was published last, so that the topology does not sway, else to the lowest address, so
// that all proxies choose alike. The result depends on nothing but the arguments, and not on their order.

// topology is what the nodes say together. Immutable.
type topology struct {
	groups []router.GroupSpec // Ordered by their first slot; none without slots.
	owners []string           // By slot: the address of the master; "" without one.
	nodes  []string           // All addresses in the views, sorted.
}

// merge takes the majority view. last is the owners of the topology before, nil if there was none.
func merge(views []view, last []string) topology {
	views = oneVoteEach(views)
	addrs := agreeOnAddresses(views, last)
	t := topology{owners: agreeOnOwners(views, addrs, last), nodes: slices.Sorted(maps.Keys(addrs.all))}
	t.groups = groupByOwner(t.owners)
	replicas := agreeOnReplicas(views, addrs, t.owners)
	for i, g := range t.groups {
		t.groups[i].Replicas = replicas[g.Master]
	}
	return t
}

// oneVoteEach drops further views of a node that was asked under two addresses, and brings the rest in an
// order of their own.
func oneVoteEach(views []view) []view {
	sorted := slices.SortedStableFunc(slices.Values(views), func(a, b view) int { return cmp.Compare(a.from, b.from) })
	return slices.CompactFunc(sorted, func(a, b view) bool { return a.from == b.from })
}

// addresses knows each node by one address.
type addresses struct {
	byID map[string]string
	all  map[string]bool
}

func (a addresses) of(n node) string {
	if addr, ok := a.byID[n.id]; ok {
		return addr
	}
	return n.addr
}

func agreeOnAddresses(views []view, last []string) addresses {
	votes := make(map[string]map[string]int) // id -> address -> views
	a := addresses{byID: make(map[string]string), all: make(map[string]bool)}
	for _, v := range views {
		said := make(map[node]bool)
		for _, sh := range v.shards {
			for _, n := range append([]node{sh.master}, sh.replicas...) {
				if said[n] {
					continue
				}
				said[n] = true
				if n.id == "" {
					a.all[n.addr] = true
					continue
				}
				if votes[n.id] == nil {
					votes[n.id] = make(map[string]int)
				}
				votes[n.id][n.addr]++
			}
		}
	}
	before := make(map[string]bool)
	for _, addr := range last {
		before[addr] = true
	}
	for id, byAddr := range votes {
		a.byID[id] = mostVoted(byAddr, func(addr string) bool { return before[addr] })
		a.all[a.byID[id]] = true
	}
	return a
}

// mostVoted returns the candidate with the most votes; of several the preferred one, else the lowest. It
// returns "" when there is none.
func mostVoted(votes map[string]int, preferred func(string) bool) string {
	best := ""
	for addr, n := range votes {
		switch {
		case best == "" || n > votes[best]:
			best = addr
		case n < votes[best]:
		case preferred(addr) != preferred(best):
			if preferred(addr) {
				best = addr
			}
		case addr < best:
			best = addr
		}
	}
	return best
}

// claim is what a view says of a slot: who owns it, and in which voice.
type claim struct {
	owner  string
	failed bool
}

// ballot holds a claim per view and slot. The claims are numbered, because 16 views of all slots are many.
type ballot struct {
	claims []claim    // By number; 0 is that nobody owns the slot.
	views  [][]uint16 // By view and slot: the number of a claim.
}

func agreeOnOwners(views []view, addrs addresses, last []string) []string {
	b := newBallot(views, addrs)
	owners := make([]string, router.ClusterSlots)
	for slot := range owners {
		// Neighbours mostly have the same votes, and then the same owner.
		if slot > 0 && b.sameVotes(slot) && (last == nil || last[slot] == last[slot-1]) {
			owners[slot] = owners[slot-1]
			continue
		}
		owners[slot] = mostVoted(b.votes(slot), func(addr string) bool { return last != nil && last[slot] == addr })
	}
	return owners
}

func newBallot(views []view, addrs addresses) *ballot {
	b := &ballot{claims: make([]claim, 1)}
	numbers := make(map[claim]uint16)
	for _, v := range views {
		said := make([]uint16, router.ClusterSlots)
		for _, sh := range v.shards {
			c := claim{owner: addrs.of(sh.master), failed: sh.failed}
			n, ok := numbers[c]
			if !ok {
				n = uint16(len(b.claims)) // A cluster of 16384 slots has fewer than 65536 masters, twice.
				numbers[c] = n
				b.claims = append(b.claims, c)
			}
			for _, r := range sh.slots {
				for slot := int(r.From); slot <= int(r.To); slot++ {
					if before := said[slot]; before == 0 || b.claims[before].failed && !c.failed {
						said[slot] = n
					}
				}
			}
		}
		b.views = append(b.views, said)
	}
	return b
}

// sameVotes reports whether every view says of slot what it says of the slot below.
func (b *ballot) sameVotes(slot int) bool {
	for _, said := range b.views {
		if said[slot] != said[slot-1] {
			return false
		}
	}
	return true
}

// votes counts the views by the owner they name, failed ones only if no healthy one is named.
func (b *ballot) votes(slot int) map[string]int {
	healthy, failed := make(map[string]int), make(map[string]int)
	for _, said := range b.views {
		switch c := b.claims[said[slot]]; {
		case said[slot] == 0:
		case c.failed:
			failed[c.owner]++
		default:
			healthy[c.owner]++
		}
	}
	if len(healthy) == 0 {
		return failed
	}
	return healthy
}

// groupByOwner makes the groups, still without replicas.
func groupByOwner(owners []string) []router.GroupSpec {
	var groups []router.GroupSpec
	index := make(map[string]int)
	for slot, owner := range owners {
		if owner == "" {
			continue
		}
		i, ok := index[owner]
		if !ok {
			i = len(groups)
			index[owner] = i
			groups = append(groups, router.GroupSpec{ID: router.GroupID(owner), Master: owner})
		}
		ranges := groups[i].Slots
		if n := len(ranges); n > 0 && int(ranges[n-1].To) == slot-1 {
			ranges[n-1].To = router.Slot(slot)
			continue
		}
		groups[i].Slots = append(ranges, router.Range{From: router.Slot(slot), To: router.Slot(slot)})
	}
	return groups
}

// agreeOnReplicas lists the replicas by master, sorted. A node that owns slots is nobody's replica, and a
// node that two masters claim goes to the one with more votes.
func agreeOnReplicas(views []view, addrs addresses, owners []string) map[string][]string {
	isOwner := make(map[string]bool)
	for _, owner := range owners {
		isOwner[owner] = true
	}
	known := make(map[string]int)            // master -> views that have it
	votes := make(map[string]map[string]int) // replica -> master -> views
	for _, v := range views {
		replicas := make(map[string]map[string]bool) // master -> its replicas in this view
		for _, sh := range v.shards {
			master := addrs.of(sh.master)
			if replicas[master] == nil {
				replicas[master] = make(map[string]bool)
			}
			for _, n := range sh.replicas {
				replicas[master][addrs.of(n)] = true
			}
		}
		for master, set := range replicas {
			known[master]++
			for addr := range set {
				if votes[addr] == nil {
					votes[addr] = make(map[string]int)
				}
				votes[addr][master]++
			}
		}
	}
	result := make(map[string][]string)
	for _, addr := range slices.Sorted(maps.Keys(votes)) {
		master := mostVoted(votes[addr], func(addr string) bool { return isOwner[addr] })
		if !isOwner[addr] && isOwner[master] && 2*votes[addr][master] > known[master] {
			result[master] = append(result[master], addr)
		}
	}
	return result
}
