package fakedragonfly

import (
	"fmt"

	"sluice/internal/testbed/fake"
)

// entry is a line of SLOT-MIGRATION-STATUS.
type entry struct {
	direction, peer, addr, state, err string
	keys                              int
	ranges                            []Range
}

// entries lists the migrations of this node, incoming first.
func (s *Server) entries(filter string) []entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []entry
	add := func(e entry) {
		if e.err == "" {
			e.err = "0"
		}
		if e.state != stateFinished {
			e.keys = s.data.Count(func(slot int) bool { return contains(e.ranges, slot) })
		}
		if filter == "" || filter == e.peer {
			list = append(list, e)
		}
	}
	for _, m := range s.in {
		add(entry{direction: "in", peer: m.source, addr: masterOf(s.config, m.source).addr(), state: m.state, err: m.err, keys: m.keys, ranges: m.ranges})
	}
	for _, m := range s.out {
		add(entry{direction: "out", peer: m.move.NodeID, addr: masterOf(s.config, m.move.NodeID).addr(), state: m.state, err: m.err, keys: m.keys, ranges: m.move.Slots})
	}
	return list
}

// status is SLOT-MIGRATION-STATUS in the form of the version.
func (s *Server) status(filter string) string {
	entries := s.entries(filter)
	form := s.opts.Status
	if len(entries) == 0 {
		if form == Status39 || form == Status40 {
			return "*0\r\n"
		}
		return fake.Simple("NO_STATE")
	}
	lines := make([]string, len(entries))
	for i, e := range entries {
		lines[i] = e.line(form)
		if form == Status21 && filter != "" {
			return fake.Simple(e.text(form))
		}
	}
	return fake.Array(lines...)
}

// line is one element of the reply.
func (e entry) line(form StatusForm) string {
	switch form {
	case Status14, Status17:
		return fake.Simple(e.text(form))
	case Status21, Status22:
		return fake.Bulk(e.text(form))
	case Status39, Status40:
	}
	fields := []string{fake.Bulk(e.direction), fake.Bulk(e.peer), fake.Bulk(e.state), fake.Int(e.keys), fake.Bulk(e.err)}
	if form == Status40 {
		fields = append(fields, fake.Bulk(rangeText(e.ranges)))
	}
	return fake.Array(fields...)
}

// text is an entry in words, as it was up to 1.22. What 1.14 called the phases of SYNC is not modelled: it is
// always the second.
func (e entry) text(form StatusForm) string {
	switch form {
	case Status14:
		state := e.state
		if state != stateConnecting {
			state = "STABLE_SYNC"
		}
		return e.direction + " " + e.addr + " " + state
	case Status17:
		return e.direction + " " + e.addr + " " + e.state
	case Status21:
		return fmt.Sprintf("%s %s %s keys:%d errors: %s", e.direction, e.peer, e.state, e.keys, e.err)
	case Status22, Status39, Status40:
	}
	return fmt.Sprintf("%s %s %s keys:%d errors:%s", e.direction, e.peer, e.state, e.keys, e.err)
}
