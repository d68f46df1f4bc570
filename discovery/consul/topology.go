package consul

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"sluice/discovery"
	"sluice/router"
)

// topology is a document with the nodes of its groups. Owned by Source.Run.
type topology struct {
	doc    *Document
	list   []Assignment
	shares shares
	groups map[string]*group

	saved    bool               // it is from the last good file
	rejected discovery.Snapshot // what the Keeper has refused of it last; no groups: nothing
}

// rejects reports whether the Keeper has refused that snapshot.
func (t *topology) rejects(snap discovery.Snapshot) bool {
	return len(t.rejected.Groups) > 0 && snap.Equal(t.rejected)
}

// newTopology starts with what is known of the groups from the topology before, which may be nil and is not changed.
func newTopology(doc *Document, model router.Model, before *topology) *topology {
	t := &topology{doc: doc, groups: make(map[string]*group)}
	t.list, _ = doc.Assignments(model) // Validate has let it pass.
	t.shares = sharesOf(t.list)
	for _, spec := range doc.Groups {
		g := &group{id: router.GroupID(spec.ID), members: make(map[string]*member)}
		if before != nil && before.groups[spec.ID] != nil {
			g = before.groups[spec.ID].clone()
		}
		t.groups[spec.ID] = g
	}
	// A node may go from one group to another in one epoch.
	for _, spec := range doc.Groups {
		for _, n := range spec.Nodes {
			for id, g := range t.groups {
				if id != spec.ID && g.members[n.Addr] != nil {
					delete(g.members, n.Addr)
					if g.master == n.Addr {
						g.master, g.proven = "", false
					}
				}
			}
		}
	}
	return t
}

// settle brings all groups up to date. listed is nil while the catalog was not seen.
func (t *topology) settle(listed *listing, ask func(string) evidence, flap time.Duration, now time.Time) {
	var of map[string][]instance
	if listed != nil {
		of = t.share(*listed)
	}
	for _, spec := range t.doc.Groups {
		t.groups[spec.ID].settle(spec.Nodes, of[spec.ID], ask, flap, now)
	}
}

// share deals the nodes of the catalog out to the groups, without those that are in another group: by the document, or
// until they have left that one.
func (t *topology) share(listed listing) map[string][]instance {
	taken := make(map[string]string)
	for id, g := range t.groups {
		for addr := range g.members {
			taken[addr] = id
		}
	}
	of := make(map[string][]instance)
	for _, spec := range t.doc.Groups {
		of[spec.ID] = []instance{} // The catalog was seen.
		for _, n := range spec.Nodes {
			taken[n.Addr] = spec.ID
		}
	}
	for addr, n := range listed.nodes {
		id := string(n.group)
		if other, ok := taken[addr]; (!ok || other == id) && of[id] != nil {
			of[id] = append(of[id], n)
		}
	}
	return of
}

// addrs adds the addresses whose roles have to be known.
func (t *topology) addrs(into map[string]bool) {
	for _, g := range t.groups {
		for addr := range g.members {
			into[addr] = true
		}
	}
}

// snapshot is the topology for the Keeper. It fails while a group that has slots, or keys of slots that move, has had no
// master yet.
func (t *topology) snapshot() (discovery.Snapshot, error) {
	var snap discovery.Snapshot
	var waiting []string
	for _, spec := range t.doc.Groups {
		g := t.groups[spec.ID]
		if g.master == "" {
			if t.shares.needed[spec.ID] {
				waiting = append(waiting, g.plight())
			}
			continue
		}
		snap.Groups = append(snap.Groups, g.spec(t.shares.owned[spec.ID]))
	}
	if len(waiting) > 0 {
		return discovery.Snapshot{}, fmt.Errorf("no master is known of %s", strings.Join(waiting, " and of "))
	}
	for _, a := range t.shares.moves {
		m := router.MoveSpec{Slots: a.slots, Phase: router.Moving, Token: a.Token}
		if a.State == Locked {
			m.Phase = router.Locked
		}
		if a.Method == MethodSync {
			m.Method = router.Sync
		}
		if a.To != "" {
			m.From, m.FromID = t.groups[a.Group].master, router.GroupID(a.Group)
		}
		snap.Moves = append(snap.Moves, m)
	}
	return snap, nil
}

// spec is the group for the Keeper.
func (g *group) spec(slots []router.Range) router.GroupSpec {
	spec := router.GroupSpec{ID: g.id, Master: g.master, Slots: slots}
	for _, addr := range slices.Sorted(maps.Keys(g.members)) {
		if addr != g.master {
			spec.Replicas = append(spec.Replicas, addr)
		}
		if zone := g.members[addr].zone; zone != "" {
			if spec.Zones == nil {
				spec.Zones = make(map[string]string)
			}
			spec.Zones[addr] = zone
		}
	}
	return spec
}

// plight says why a group has no master.
func (g *group) plight() string {
	if len(g.members) == 0 {
		return fmt.Sprintf("group %s: neither the document nor the catalog has nodes of it", g.id)
	}
	if g.warning != "" {
		return fmt.Sprintf("group %s: %s", g.id, g.warning)
	}
	nodes := slices.Sorted(maps.Keys(g.members))
	for i, addr := range nodes {
		if w := g.members[addr].warning; w != "" { // Why it says nothing.
			nodes[i] = fmt.Sprintf("%s (%s)", addr, w)
		}
	}
	return fmt.Sprintf("group %s: none of %s says that it is one", g.id, strings.Join(nodes, ", "))
}

// onlyLocks reports whether next does nothing but lock slots that are not locked here.
func (t *topology) onlyLocks(next *topology) bool {
	locks := false
	for i, a := range next.list {
		is := t.list[i]
		switch {
		case a == is:
		case a.State == Locked && is.State != Locked && a.Group == is.Group:
			locks = true
		default:
			return false
		}
	}
	return locks && reflect.DeepEqual(t.doc.Groups, next.doc.Groups)
}
