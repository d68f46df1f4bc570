package fakedragonfly

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// slots is how many there are.
const slots = 16384

// Range is a range of slots, both ends included.
type Range struct {
	Start int `json:"start"`
	End   int `json:"end"`
}

// Node is a node in a configuration.
type Node struct {
	ID     string `json:"id"`
	IP     string `json:"ip"`
	Port   int    `json:"port"`
	Health string `json:"health,omitempty"`
}

// Move is a migration in a configuration. Port is the target's admin port.
type Move struct {
	Slots  []Range `json:"slot_ranges"`
	NodeID string  `json:"node_id"`
	IP     string  `json:"ip"`
	Port   int     `json:"port"`
}

// Shard is a master, its replicas, its slots and where they move to.
type Shard struct {
	Slots      []Range `json:"slot_ranges"`
	Master     Node    `json:"master"`
	Replicas   []Node  `json:"replicas"`
	Migrations []Move  `json:"migrations,omitempty"`
}

// JSON is what DFLYCLUSTER CONFIG takes.
func JSON(shards ...Shard) string {
	for i := range shards {
		if shards[i].Replicas == nil {
			shards[i].Replicas = []Node{}
		}
	}
	text, err := json.Marshal(shards)
	if err != nil {
		panic("BUG: fakedragonfly: " + err.Error())
	}
	return string(text)
}

// addr is where clients are sent to.
func (n Node) addr() string { return fmt.Sprintf("%s:%d", n.IP, n.Port) }

func contains(ranges []Range, slot int) bool {
	return slices.ContainsFunc(ranges, func(r Range) bool { return slot >= r.Start && slot <= r.End })
}

// rangeText is how SLOT-MIGRATION-STATUS of 1.40 prints ranges.
func rangeText(ranges []Range) string {
	parts := make([]string, len(ranges))
	for i, r := range ranges {
		parts[i] = fmt.Sprintf("[%d, %d]", r.Start, r.End)
	}
	return strings.Join(parts, ", ")
}

// parseConfig reads and checks a configuration; false is "Invalid cluster configuration.".
func parseConfig(text string) ([]Shard, bool) {
	var shards []struct {
		Slots      *[]Range `json:"slot_ranges"`
		Master     *Node    `json:"master"`
		Replicas   *[]Node  `json:"replicas"`
		Migrations []Move   `json:"migrations"`
	}
	if json.Unmarshal([]byte(text), &shards) != nil {
		return nil, false
	}
	out := make([]Shard, len(shards))
	for i, s := range shards {
		if s.Slots == nil || s.Master == nil || s.Replicas == nil {
			return nil, false
		}
		out[i] = Shard{Slots: *s.Slots, Master: *s.Master, Replicas: *s.Replicas, Migrations: s.Migrations}
	}
	return out, covers(out) && namesOnce(out) && migrationsFit(out)
}

// covers reports whether every slot has one owner.
func covers(shards []Shard) bool {
	var owners [slots]int
	for _, s := range shards {
		for _, r := range s.Slots {
			if r.Start < 0 || r.Start > r.End || r.End >= slots {
				return false
			}
			for slot := r.Start; slot <= r.End; slot++ {
				owners[slot]++
			}
		}
	}
	return !slices.ContainsFunc(owners[:], func(n int) bool { return n != 1 })
}

// namesOnce reports whether every node stands once.
func namesOnce(shards []Shard) bool {
	seen := map[string]bool{}
	for _, s := range shards {
		for _, n := range append([]Node{s.Master}, s.Replicas...) {
			health := strings.ToLower(n.Health)
			if n.ID == "" || seen[n.ID] || !slices.Contains([]string{"", "online", "loading", "fail", "hidden"}, health) {
				return false
			}
			seen[n.ID] = true
		}
	}
	return true
}

// migrationsFit reports whether every migration moves slots of its shard to another master, to each one of them at
// most once and each slot once.
func migrationsFit(shards []Shard) bool {
	masters := map[string]bool{}
	for _, s := range shards {
		masters[s.Master.ID] = true
	}
	for _, s := range shards {
		targets, moving := map[string]bool{}, map[int]bool{}
		for _, m := range s.Migrations {
			if m.NodeID == s.Master.ID || !masters[m.NodeID] || targets[m.NodeID] || len(m.Slots) == 0 {
				return false
			}
			targets[m.NodeID] = true
			for _, r := range m.Slots {
				if r.Start < 0 || r.Start > r.End || r.End >= slots {
					return false
				}
				for slot := r.Start; slot <= r.End; slot++ {
					if moving[slot] || !contains(s.Slots, slot) {
						return false
					}
					moving[slot] = true
				}
			}
		}
	}
	return true
}

// shardOf finds the shard of a node, and whether it is its master; nil when the configuration does not name it.
func shardOf(shards []Shard, id string) (s *Shard, master bool) {
	for i := range shards {
		if shards[i].Master.ID == id {
			return &shards[i], true
		}
		if slices.ContainsFunc(shards[i].Replicas, func(n Node) bool { return n.ID == id }) {
			return &shards[i], false
		}
	}
	return nil, false
}

// masterOf finds a master by its id.
func masterOf(shards []Shard, id string) Node {
	for _, s := range shards {
		if s.Master.ID == id {
			return s.Master
		}
	}
	return Node{}
}
