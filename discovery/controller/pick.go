package controller

import (
	"fmt"

	"sluice/router"
)

// pick chooses the next batch: the first slots that are left and have one owner, as many as a batch may have. Without
// one it says what the move waits for, or nothing when no slot is left.
func (s *step) pick() (b *Batch, waits string, err error) {
	m := &s.Move
	left, err := slotSet(m.Left)
	if err != nil {
		return nil, "", err
	}
	chosen := make(map[router.Slot]bool)
	from := ""
	for _, slot := range inOrder(left) {
		if int(slot) >= len(s.w.Slots) {
			return nil, "", fmt.Errorf("there is no slot %d in this pool", slot)
		}
		o := s.w.Slots[slot]
		switch {
		case o.Group == m.To && o.State == SlotStable:
			m.take(fmt.Sprint(slot)) // Nothing to do.
		case o.State != SlotStable:
			waits = fmt.Sprintf("slot %d is %s", slot, o)
		case s.w.Busy[o.Group] != "":
			waits = fmt.Sprintf("group %s: %s", o.Group, s.w.Busy[o.Group])
		case from != "" && o.Group != from || len(chosen) >= m.BatchSize:
		default:
			from = o.Group
			chosen[slot] = true
		}
	}
	if busy := s.w.Busy[m.To]; busy != "" && len(chosen) > 0 {
		return nil, fmt.Sprintf("group %s: %s", m.To, busy), nil
	}
	if len(chosen) == 0 {
		return nil, waits, nil
	}
	b = &Batch{Slots: format(chosen), From: from, To: m.To, Method: m.Method, Phase: Checking, Since: s.w.Now}
	return b, "", nil
}

// take moves slots from those that are left to those that have moved.
func (m *Move) take(slots string) {
	left, _ := slotSet(m.Left) // pick has read them.
	moved, _ := slotSet(m.Moved)
	taken, _ := slotSet(slots)
	for slot := range taken {
		delete(left, slot)
		moved[slot] = true
	}
	m.Left, m.Moved = format(left), format(moved)
}
