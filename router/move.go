package router

import (
	"fmt"
)

// Phase is how far the move of a slot is.
//
//	settled(A) -> Locked(A to B) -> Moving(A to B) -> settled(B)
//
// A slot may also be locked without a move, while its group changes its master.
type Phase uint8

const (
	// Locked slots take no commands: who owns them is being agreed on.
	Locked Phase = iota + 1
	// Moving slots take commands; each of their keys is either at the source still or at the owner already.
	Moving
)

// String names the phase for people.
func (p Phase) String() string {
	switch p {
	case Locked:
		return "locked"
	case Moving:
		return "moving"
	}
	return fmt.Sprintf("Phase(%d)", p)
}

// Method says how commands on a key reach it while its slot is Moving (Codis: forward_method).
type Method uint8

const (
	// SemiAsync lets the source run the command while it has the key.
	SemiAsync Method = iota
	// Sync moves the key first.
	Sync
)

// String names the method as Codis does.
func (m Method) String() string {
	if m == Sync {
		return "sync"
	}
	return "semi-async"
}

// Move is the state of one slot that is not settled. Immutable; a slot keeps its Move, the same pointer, from
// table to table for as long as nothing about it changes.
type Move struct {
	Slot   Slot
	Phase  Phase
	Method Method
	From   *Node // where keys may still be; nil for a lock without a move
	FromID GroupID
	To     *Node // the owner's master; nil for a locked slot without owner
	ToID   GroupID
	Since  uint64 // epoch of the first table with this Move
	// Token is the fencing token of the move: servers refuse to bring a key by an older one. 0: it has none.
	Token uint64
}

// String describes the move for people: "moving from group 1 to group 2".
func (m *Move) String() string {
	if m.From != nil && m.Phase == Locked {
		return fmt.Sprintf("locked on its way from group %s to group %s", m.FromID, m.ToID)
	}
	if m.From == nil {
		return fmt.Sprintf("%s in group %s", m.Phase, m.ToID)
	}
	return fmt.Sprintf("%s from group %s to group %s", m.Phase, m.FromID, m.ToID)
}

// MoveSpec is a move as a source of topology describes it. The group that the keys move to owns the slots.
type MoveSpec struct {
	Slots  []Range
	Phase  Phase
	Method Method
	From   string // host:port of the source's master; "" for a lock without a move
	FromID GroupID
	Token  uint64 // see Move.Token
}

// addMoves puts the moves into t and returns them by slot.
func (b *Builder) addMoves(t *Table, specs []MoveSpec) (map[Slot]*Move, error) {
	if len(specs) == 0 {
		return nil, nil
	}
	moves := make(map[Slot]*Move)
	t.moves = make([]*Move, len(t.slots))
	for _, spec := range specs {
		for _, r := range spec.Slots {
			if r.From > r.To || int(r.To) >= len(t.slots) {
				return nil, fmt.Errorf("move: slots %s are outside 0-%d", r, len(t.slots)-1)
			}
			for s := int(r.From); s <= int(r.To); s++ {
				if t.moves[s] != nil {
					return nil, fmt.Errorf("slot %d moves twice", s)
				}
				m, err := b.move(t, Slot(s), spec)
				if err != nil {
					return nil, err
				}
				t.moves[s], moves[Slot(s)] = m, m
			}
		}
	}
	return moves, nil
}

// move makes the Move of one slot, or finds that of the last table.
func (b *Builder) move(t *Table, slot Slot, spec MoveSpec) (*Move, error) {
	m := Move{Slot: slot, Phase: spec.Phase, Method: spec.Method, FromID: spec.FromID, Since: t.Epoch, Token: spec.Token}
	if spec.From != "" {
		m.From = b.node(spec.From)
	}
	if g := t.slots[slot]; g != nil {
		m.To, m.ToID = g.Master, g.ID
	}
	switch {
	case m.Phase != Locked && m.Phase != Moving:
		return nil, fmt.Errorf("slot %d is in an unknown state, %s", slot, m.Phase)
	case m.Phase == Moving && m.From == nil:
		return nil, fmt.Errorf("slot %d moves from nowhere", slot)
	case m.Phase == Moving && m.To == nil:
		return nil, fmt.Errorf("slot %d moves to nowhere", slot)
	case m.From != nil && m.From == m.To:
		return nil, fmt.Errorf("slot %d moves from %s to itself", slot, m.From.Addr)
	}
	if last := b.moves[slot]; last != nil {
		m.Since = last.Since
		if m == *last {
			return last, nil
		}
		m.Since = t.Epoch
	}
	return &m, nil
}

// Moves lists the slots that are not settled, by slot.
func (t *Table) Moves() []*Move {
	var moves []*Move
	for _, m := range t.moves {
		if m != nil {
			moves = append(moves, m)
		}
	}
	return moves
}
