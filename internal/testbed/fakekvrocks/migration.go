package fakekvrocks

import (
	"context"
	"maps"
	"slices"

	"sluice/internal/testbed/fake"
)

// The states of a migration, as CLUSTER INFO shows them.
const (
	stateStart   = "start"
	stateSuccess = "success"
	stateFail    = "fail"
)

// migration is the way of slots from one node to another. Server.mu of the source guards the fields below done.
type migration struct {
	from, to    *Server
	first, last int
	done        chan struct{} // Closed at its end.

	state     string
	forbidden bool         // The last phase.
	unsent    map[int]bool // Slots that were written to since they were sent.
	settled   map[int]bool // Slots that the topology has been told of since.
}

func (m *migration) has(slot int) bool { return m != nil && slot >= m.first && slot <= m.last }

// gaveAway reports whether slot has moved and the topology does not say so yet.
func (m *migration) gaveAway(slot int) bool {
	return m.has(slot) && m.state == stateSuccess && !m.settled[slot]
}

// forbids reports whether the last phase is under way.
func (m *migration) forbids() bool { return m != nil && m.state == stateStart && m.forbidden }

// dirty notes that a slot was written to. The gate is held for reading.
func (s *Server) dirty(slot int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.out.has(slot) && s.out.state == stateStart {
		s.out.unsent[slot] = true
	}
}

// migrate begins a migration; the reply is that of CLUSTERX MIGRATE.
func (s *Server) migrate(first, last int, to *Server) string {
	m, refusal := s.prepare(first, last, to)
	if refusal != "" {
		return refusal
	}
	to.receive(m)
	began := s.host.Go(func(ctx context.Context) {
		defer close(m.done)
		if m.run(ctx) != nil {
			s.end(m, stateFail)
		}
	})
	if !began {
		s.end(m, stateFail)
		close(m.done)
	}
	return fake.OK
}

// prepare notes on the source that slots go, or says why they can't.
func (s *Server) prepare(first, last int, to *Server) (m *migration, refusal string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.out != nil && s.out.state == stateStart {
		return nil, "-ERR There is already a migrating job\r\n"
	}
	for slot := first; slot <= last; slot++ {
		if s.owner[slot] != s || s.out.gaveAway(slot) {
			return nil, "-ERR Can't migrate slot which doesn't belong to me\r\n"
		}
	}
	m = &migration{from: s, to: to, first: first, last: last, done: make(chan struct{}), state: stateStart, unsent: map[int]bool{}, settled: map[int]bool{}}
	for slot := first; slot <= last; slot++ {
		m.unsent[slot] = true
	}
	s.out = m
	return m, ""
}

// receive notes on the target that slots come.
func (s *Server) receive(m *migration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.in = m
}

// run copies while the source serves, and the rest in the last phase.
func (m *migration) run(ctx context.Context) error {
	for rounds := 0; rounds < 4 && len(m.todo()) > 16; rounds++ {
		for _, slot := range m.todo() {
			if err := m.from.Faults.Pass(ctx, Sending, ""); err != nil {
				return err
			}
			m.from.gate.Lock()
			m.copy(slot)
			m.from.gate.Unlock()
		}
	}
	m.from.gate.Lock() // So that no write is under way when the phase begins.
	m.from.mu.Lock()
	m.forbidden = true
	m.from.mu.Unlock()
	m.from.gate.Unlock()
	if err := m.from.Faults.Pass(ctx, Forbidden, ""); err != nil {
		return err
	}
	m.from.turn.Lock()
	defer m.from.turn.Unlock()
	m.from.gate.Lock()
	defer m.from.gate.Unlock()
	for _, slot := range m.todo() {
		m.copy(slot)
	}
	m.from.end(m, stateSuccess)
	return nil
}

func (m *migration) todo() []int {
	m.from.mu.Lock()
	defer m.from.mu.Unlock()
	return slices.Sorted(maps.Keys(m.unsent))
}

// copy makes what the target has of a slot what the source has. The gate of the source is held.
func (m *migration) copy(slot int) {
	m.to.data.Flush(func(of int) bool { return of == slot })
	for _, key := range m.from.data.Keys(slot) {
		for _, cmd := range m.from.data.CopyCommands(key) {
			m.to.data.Do(cmd...)
		}
	}
	m.from.mu.Lock()
	defer m.from.mu.Unlock()
	delete(m.unsent, slot)
}

// end ends the migration. The target serves before the source sends clients there, and where the nodes tell each other
// who owns the slots all of them know it before the source says that it is over. At success the turn and the gate of
// the source are held.
func (s *Server) end(m *migration, state string) {
	handedOver := state == stateSuccess && s.opts.HoldWrites
	if state == stateSuccess {
		m.to.mu.Lock()
		for slot := m.first; slot <= m.last; slot++ {
			m.to.imported[slot] = true
		}
		m.to.mu.Unlock()
	}
	if handedOver {
		for _, node := range s.all {
			node.setSlots(m.first, m.last, m.to, node == s)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	m.state = state
	for slot := m.first; handedOver && slot <= m.last; slot++ {
		m.settled[slot] = true
	}
}

// setSlots tells a node who owns slots. The gate is held already when locked is true.
func (s *Server) setSlots(first, last int, owner *Server, locked bool) {
	if !locked {
		s.gate.Lock()
		defer s.gate.Unlock()
	}
	s.mu.Lock()
	for slot := first; slot <= last; slot++ {
		s.owner[slot] = owner
		delete(s.imported, slot)
		if s.out.gaveAway(slot) {
			s.out.settled[slot] = true
		}
	}
	s.version++
	s.mu.Unlock()
	if owner != s {
		s.data.Flush(func(slot int) bool { return slot >= first && slot <= last })
	}
}
