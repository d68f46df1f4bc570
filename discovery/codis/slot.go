package codis

import (
	"fmt"
	"slices"
	"strconv"

	"sluice/discovery"
	"sluice/router"
)

// Slot is one slot as codis-dashboard fills it in (Codis 3.2, pkg/models/slots.go). What the fields mean together:
//
//	backend_addr  migrate_from  locked
//	A             -             -       settled: A owns it
//	A             -             yes     locked: group of A changes its master
//	B             A             yes     locked: about to move from A to B
//	B             A             -       moving from A to B
//	-             -             -       offline: nobody owns it
type Slot struct {
	ID                 int        `json:"id"`
	Locked             bool       `json:"locked,omitempty"`
	BackendAddr        string     `json:"backend_addr,omitempty"`
	BackendAddrGroupID int        `json:"backend_addr_group_id,omitempty"`
	MigrateFrom        string     `json:"migrate_from,omitempty"`
	MigrateFromGroupID int        `json:"migrate_from_group_id,omitempty"`
	ForwardMethod      int        `json:"forward_method,omitempty"` // 0 sync, 1 semi-async
	ReplicaGroups      [][]string `json:"replica_groups,omitempty"` // by distance from the proxy
}

// The values of Slot.ForwardMethod.
const (
	forwardSync      = 0
	forwardSemiAsync = 1
)

// equal reports whether two slots are in the same state.
func (s Slot) equal(o Slot) bool {
	return s.ID == o.ID && s.Locked == o.Locked && s.BackendAddr == o.BackendAddr &&
		s.BackendAddrGroupID == o.BackendAddrGroupID && s.MigrateFrom == o.MigrateFrom &&
		s.MigrateFromGroupID == o.MigrateFromGroupID && s.ForwardMethod == o.ForwardMethod &&
		slices.EqualFunc(s.ReplicaGroups, o.ReplicaGroups, slices.Equal[[]string])
}

// sameRoute reports whether commands on both slots take the same way.
func (s Slot) sameRoute(o Slot) bool {
	return s.Locked == o.Locked && s.BackendAddr == o.BackendAddr && s.MigrateFrom == o.MigrateFrom &&
		(s.MigrateFrom == "" || s.ForwardMethod == o.ForwardMethod)
}

// check reports what makes a slot unfit, for a product of n slots.
func (s Slot) check(n int) error {
	switch {
	case s.ID < 0 || s.ID >= n:
		return fmt.Errorf("slot %d is outside 0-%d: slots of the pool and max_slot_num of the dashboard differ", s.ID, n-1)
	case s.ForwardMethod != forwardSync && s.ForwardMethod != forwardSemiAsync:
		return fmt.Errorf("slot %d has forward_method %d, known are 0 (sync) and 1 (semi-async)", s.ID, s.ForwardMethod)
	case s.BackendAddr == "" && s.MigrateFrom != "":
		return fmt.Errorf("slot %d moves from %s to nowhere", s.ID, s.MigrateFrom)
	}
	return nil
}

// snapshot makes the topology that slots describe; slots[i] is slot i.
func snapshot(slots []Slot) discovery.Snapshot {
	var snap discovery.Snapshot
	ids := groupIDs(slots)
	index := make(map[string]int) // of the group in snap by its master
	for _, s := range slots {
		at := router.Range{From: router.Slot(s.ID), To: router.Slot(s.ID)}
		if s.BackendAddr != "" {
			i, ok := index[s.BackendAddr]
			if !ok {
				i = len(snap.Groups)
				index[s.BackendAddr] = i
				snap.Groups = append(snap.Groups, router.GroupSpec{ID: ids[s.BackendAddr], Master: s.BackendAddr})
			}
			snap.Groups[i].Slots = append(snap.Groups[i].Slots, at)
		}
		moves := s.MigrateFrom != "" && s.MigrateFrom != s.BackendAddr
		if !moves && !s.Locked {
			continue
		}
		move := router.MoveSpec{Slots: []router.Range{at}, Phase: router.Moving}
		if s.Locked {
			move.Phase = router.Locked
		}
		if s.ForwardMethod == forwardSync {
			move.Method = router.Sync
		}
		if moves {
			move.From, move.FromID = s.MigrateFrom, ids[s.MigrateFrom]
		}
		snap.Moves = append(snap.Moves, move)
	}
	addReplicas(snap.Groups, index, slots)
	return snap
}

// groupIDs names the group of every master. Codis numbers the groups; while one changes its master, two addresses may
// have one number for a moment.
func groupIDs(slots []Slot) map[string]router.GroupID {
	ids := make(map[string]router.GroupID)
	taken := make(map[router.GroupID]bool)
	name := func(addr string, number int) {
		if addr == "" || ids[addr] != "" {
			return
		}
		id := router.GroupID(strconv.Itoa(number))
		if number == 0 {
			id = router.GroupID(addr)
		}
		if taken[id] {
			id += router.GroupID("@" + addr)
		}
		ids[addr], taken[id] = id, true
	}
	for _, s := range slots {
		name(s.BackendAddr, s.BackendAddrGroupID)
	}
	for _, s := range slots {
		name(s.MigrateFrom, s.MigrateFromGroupID)
	}
	return ids
}

// addReplicas fills in the replicas of each group. The dashboard lists a master among its own replicas; an address that is
// a master, or is listed for two groups, counts once.
func addReplicas(groups []router.GroupSpec, index map[string]int, slots []Slot) {
	seen := make(map[string]bool)
	for _, s := range slots {
		i, ok := index[s.BackendAddr]
		if !ok {
			continue
		}
		for _, near := range s.ReplicaGroups {
			for _, addr := range near {
				if _, master := index[addr]; !master && !seen[addr] {
					seen[addr] = true
					groups[i].Replicas = append(groups[i].Replicas, addr)
				}
			}
		}
	}
}
