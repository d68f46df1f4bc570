package fakedragonfly

import (
	"reflect"
	"slices"

	"sluice/internal/testbed/fake"
)

// configure is DFLYCLUSTER CONFIG: what differs from the last one starts, ends and flushes.
func (s *Server) configure(text string) string {
	next, ok := parseConfig(text)
	if !ok {
		return "-ERR Invalid cluster configuration.\r\n"
	}
	s.configuring.Lock()
	defer s.configuring.Unlock()
	s.mu.Lock()
	same := s.config != nil && reflect.DeepEqual(s.config, next)
	s.mu.Unlock()
	if same {
		return fake.OK
	}
	s.takenOver.Store(false)
	mine, master := shardOf(next, s.opts.ID)
	var moves []Move
	if master {
		moves = mine.Migrations
	}
	s.endOutgoing(moves)
	begun := s.adopt(next, moves)
	for _, m := range begun {
		if !s.host.Go(m.run) {
			close(m.ended)
		}
	}
	return fake.OK
}

// endOutgoing ends the migrations that are not among moves, and waits for them: it is what ends a stall.
func (s *Server) endOutgoing(moves []Move) {
	s.mu.Lock()
	var ended []*outgoing
	s.out = slices.DeleteFunc(s.out, func(m *outgoing) bool {
		if slices.ContainsFunc(moves, func(n Move) bool { return reflect.DeepEqual(m.move, n) }) {
			return false
		}
		ended = append(ended, m)
		return true
	})
	s.mu.Unlock()
	for _, m := range ended {
		m.end()
	}
}

// adopt makes next the configuration and returns the migrations to start.
func (s *Server) adopt(next []Shard, moves []Move) []*outgoing {
	s.gate.Lock()
	defer s.gate.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.config = next
	var begun []*outgoing
	for _, move := range moves {
		if !slices.ContainsFunc(s.out, func(m *outgoing) bool { return reflect.DeepEqual(m.move, move) }) {
			m := newOutgoing(s, move)
			s.out, begun = append(s.out, m), append(begun, m)
		}
	}
	s.adoptIncoming(next)
	s.recompute()
	s.flushLost(next)
	return begun
}

// adoptIncoming makes the incoming migrations those of the configuration. mu is held.
func (s *Server) adoptIncoming(next []Shard) {
	var in []*incoming
	for _, sh := range next {
		for _, move := range sh.Migrations {
			if move.NodeID != s.opts.ID {
				continue
			}
			i := slices.IndexFunc(s.in, func(m *incoming) bool {
				return m.source == sh.Master.ID && reflect.DeepEqual(m.ranges, move.Slots)
			})
			if i >= 0 {
				in = append(in, s.in[i])
				continue
			}
			in = append(in, &incoming{source: sh.Master.ID, ranges: move.Slots, state: stateConnecting})
		}
	}
	s.in = in
}

// recompute publishes who serves what: the configuration, and what has moved since. mu is held.
func (s *Server) recompute() {
	o := new(ownership)
	for _, sh := range s.config {
		mine, master := shardOf([]Shard{sh}, s.opts.ID)
		o.replica = o.replica || mine != nil && !master
		addr := sh.Master.addr()
		each(sh.Slots, func(slot int) { o.mine[slot], o.addr[slot] = mine != nil, addr })
	}
	for _, m := range s.out {
		if m.state == stateFinished {
			to := masterOf(s.config, m.move.NodeID).addr()
			each(m.move.Slots, func(slot int) { o.mine[slot], o.addr[slot] = false, to })
		}
	}
	for _, m := range s.in {
		if m.state == stateFinished {
			each(m.ranges, func(slot int) { o.mine[slot] = true })
		}
	}
	s.slots.Store(o)
}

// flushLost deletes the keys of slots that the configuration does not give to this node, unless they move here. A
// source keeps its copy of what has moved until the configuration takes the slots from it. mu and the gate are held.
func (s *Server) flushLost(config []Shard) {
	kept := new([slots]bool)
	keep := func(slot int) { kept[slot] = true }
	if shard, _ := shardOf(config, s.opts.ID); shard != nil {
		each(shard.Slots, keep)
	}
	for _, m := range s.in {
		each(m.ranges, keep)
	}
	lost := new([slots]bool)
	for slot := range lost {
		lost[slot] = !kept[slot]
	}
	s.repl.flush(lost)
}

// slotsOf marks the slots in ranges; what is no slot in them is none.
func slotsOf(ranges []Range) *[slots]bool {
	in := new([slots]bool)
	for _, r := range ranges {
		each([]Range{{max(r.Start, 0), min(r.End, slots-1)}}, func(slot int) { in[slot] = true })
	}
	return in
}

func each(ranges []Range, f func(slot int)) {
	for _, r := range ranges {
		for slot := r.Start; slot <= r.End; slot++ {
			f(slot)
		}
	}
}
