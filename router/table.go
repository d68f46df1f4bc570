package router

import (
	"fmt"
	"maps"
	"slices"
)

// GroupID names a group as its source of topology does: the id of the configuration, or for a cluster
// the address of the master.
type GroupID string

// Node is one backend server. Immutable.
type Node struct {
	// Addr is host:port.
	Addr string
	// Index is dense and unique among the nodes of one Table. A node keeps it from Table to Table while each names it;
	// when one does not, the next node may get it.
	Index int
}

// Group is a master and its replicas. Immutable.
type Group struct {
	ID       GroupID
	Index    int   // in Table.Groups
	Master   *Node // never nil in a Table
	Replicas []*Node
	Zones    map[string]string // where nodes are, by address, as far as that is known; shared, never changed
}

// Table maps every slot to its group. Immutable; shared by all loops through an atomic pointer.
type Table struct {
	Model  Model
	Epoch  uint64 // grows with every table built for a pool
	Groups []*Group
	Nodes  []*Node // every node of Groups, each once

	slots []*Group // index: slot; nil where nobody owns the slot
	moves []*Move  // index: slot; nil where the slot is settled. The slice is nil when all are.
}

// Owner is the group that owns slot, nil when none does.
func (t *Table) Owner(slot Slot) *Group { return t.slots[slot] }

// Move is the move of slot, nil when the slot is settled.
func (t *Table) Move(slot Slot) *Move {
	if t.moves == nil {
		return nil
	}
	return t.moves[slot]
}

// SameOwner reports whether slot has one and the same master in t and u, in the same state. Commands of one
// client on one slot may be in flight under both tables only then.
func (t *Table) SameOwner(u *Table, slot Slot) bool {
	if t.Move(slot) != u.Move(slot) {
		return false
	}
	a, b := t.slots[slot], u.slots[slot]
	if a == nil || b == nil {
		return a == b
	}
	return a.Master == b.Master
}

// SameDivision reports whether t and u put the same slots together into groups, whatever the groups are called and who
// their masters are.
func (t *Table) SameDivision(u *Table) bool {
	to, from := make([]*Group, len(t.Groups)), make([]*Group, len(u.Groups))
	for slot, a := range t.slots {
		b := u.slots[slot]
		if a == nil || b == nil {
			if a != b {
				return false
			}
			continue
		}
		if to[a.Index] == nil && from[b.Index] == nil {
			to[a.Index], from[b.Index] = b, a
		}
		if to[a.Index] != b || from[b.Index] != a {
			return false
		}
	}
	return true
}

// Ranges lists the slots that g owns.
func (t *Table) Ranges(g *Group) []Range {
	return RangesOf(len(t.slots), func(s Slot) bool { return t.slots[s] == g })
}

// Uncovered lists the slots that nobody owns.
func (t *Table) Uncovered() []Range { return t.Ranges(nil) }

// Builder makes the Tables of one pool and hands out the node indexes, of which it needs no more than the largest Table has
// nodes. Not safe for concurrent use: the
// pool's one consumer of topology owns it.
type Builder struct {
	model Model
	epoch uint64
	nodes map[string]*Node // of the last Table, and while one is built those it names
	moves map[Slot]*Move   // of the last Table
}

// NewBuilder returns a Builder for a pool of the given model.
func NewBuilder(model Model) *Builder {
	return &Builder{model: model, nodes: make(map[string]*Node)}
}

// GroupSpec is a group as a source of topology describes it.
type GroupSpec struct {
	ID       GroupID
	Master   string // host:port
	Replicas []string
	Slots    []Range
	Zones    map[string]string // by address; nil when none is known
}

// Spec is what a Table is made from.
type Spec struct {
	Groups []GroupSpec
	Moves  []MoveSpec
	// Moved overrides the owner of single slots with the master at an address: what a MOVED reply taught.
	Moved map[Slot]string
}

// Build makes the next Table. It refuses groups without a master, duplicate ids, slots outside the model,
// slots with two owners or two moves, and moves that lead nowhere; a refused Table takes no epoch.
func (b *Builder) Build(spec Spec) (*Table, error) {
	t := &Table{Model: b.model, Epoch: b.epoch + 1, slots: make([]*Group, b.model.Slots())}
	for _, spec := range spec.Groups {
		if spec.Master == "" {
			return nil, fmt.Errorf("group %s has no master", spec.ID)
		}
		if t.group(spec.ID) != nil {
			return nil, fmt.Errorf("group %s is listed twice", spec.ID)
		}
		g := &Group{ID: spec.ID, Master: b.node(spec.Master), Zones: spec.Zones}
		for _, addr := range spec.Replicas {
			g.Replicas = append(g.Replicas, b.node(addr))
		}
		t.Groups = append(t.Groups, g)
		for _, r := range spec.Slots {
			if err := t.assign(r, g); err != nil {
				return nil, err
			}
		}
	}
	for _, slot := range slices.Sorted(maps.Keys(spec.Moved)) {
		if int(slot) < len(t.slots) {
			t.slots[slot] = b.movedTo(t, spec.Moved[slot])
		}
	}
	moves, err := b.addMoves(t, spec.Moves)
	if err != nil {
		return nil, err
	}
	for i, g := range t.Groups {
		g.Index = i
	}
	t.Nodes = t.collectNodes()
	b.epoch++
	b.moves = moves
	b.forget(t)
	return t, nil
}

func (t *Table) assign(r Range, g *Group) error {
	if r.From > r.To || int(r.To) >= len(t.slots) {
		return fmt.Errorf("group %s: slots %s are outside 0-%d", g.ID, r, len(t.slots)-1)
	}
	for s := int(r.From); s <= int(r.To); s++ {
		if owner := t.slots[s]; owner != nil && owner != g {
			return fmt.Errorf("slot %d belongs to group %s and to group %s", s, owner.ID, g.ID)
		}
		t.slots[s] = g
	}
	return nil
}

func (t *Table) group(id GroupID) *Group {
	for _, g := range t.Groups {
		if g.ID == id {
			return g
		}
	}
	return nil
}

// movedTo finds the group whose master is at addr, or adds one: after a failover the address is a replica
// that was promoted, during a scale-out a node that no source has listed yet.
func (b *Builder) movedTo(t *Table, addr string) *Group {
	for _, g := range t.Groups {
		if g.Master.Addr == addr {
			return g
		}
	}
	master := b.node(addr)
	for _, g := range t.Groups { // A node that says it is a master is nobody's replica.
		g.Replicas = slices.DeleteFunc(g.Replicas, func(n *Node) bool { return n == master })
	}
	g := &Group{ID: GroupID(addr), Master: master}
	t.Groups = append(t.Groups, g)
	return g
}

func (b *Builder) node(addr string) *Node {
	n := b.nodes[addr]
	if n == nil {
		n = &Node{Addr: addr, Index: b.freeIndex()}
		b.nodes[addr] = n
	}
	return n
}

// freeIndex is the lowest index that no node has.
func (b *Builder) freeIndex() int {
	taken := make([]bool, len(b.nodes)+1)
	for _, n := range b.nodes {
		if n.Index < len(taken) {
			taken[n.Index] = true
		}
	}
	return slices.Index(taken, false)
}

// forget drops the nodes that t does not name.
func (b *Builder) forget(t *Table) {
	named := make(map[*Node]bool, len(t.Nodes))
	for _, n := range t.Nodes {
		named[n] = true
	}
	maps.DeleteFunc(b.nodes, func(_ string, n *Node) bool { return !named[n] })
}

func (t *Table) collectNodes() []*Node {
	var nodes []*Node
	for _, g := range t.Groups {
		nodes = append(nodes, g.Master)
		nodes = append(nodes, g.Replicas...)
	}
	for _, m := range t.moves {
		if m != nil && m.From != nil {
			nodes = append(nodes, m.From)
		}
	}
	slices.SortFunc(nodes, func(a, b *Node) int { return a.Index - b.Index })
	return slices.Compact(nodes)
}
