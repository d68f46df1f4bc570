package fakedragonfly

import (
	"slices"
	"strconv"
	"strings"

	"sluice/internal/testbed/fake"
)

// incoming is a migration to here. Server.mu guards its fields but source and ranges.
type incoming struct {
	source string // Node id.
	ranges []Range

	state string
	err   string
	keys  int // At FINISHED.
}

// live reports whether the configuration still has the migration.
func (m *incoming) live(s *Server) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.in, m)
}

// fail ends the migration for want of memory.
func (s *Server) fail(m *incoming) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m.state, m.err = stateFatal, outOfMemory
}

// dflyMigrate is what the source of a migration says, on the client port too.
func (s *Server) dflyMigrate(c *fake.Client, args []string) string {
	if len(args) < 2 {
		return "-ERR wrong number of arguments for 'dflymigrate' command\r\n"
	}
	s.gate.Lock()
	defer s.gate.Unlock()
	m := s.incomingFrom(args[1])
	if m == nil {
		return fake.Error("UNKNOWN_MIGRATION")
	}
	switch sub := strings.ToUpper(args[0]); {
	case sub == "INIT":
		return s.initMigration(m)
	case sub == "FLOW":
		c.State.(*conn).flow = m
		return fake.OK
	case sub == "ACK" && len(args) == 3:
		return s.takeOver(m, args[2])
	default:
		return "-ERR Unknown subcommand or wrong number of arguments for '" + sub + "'. Try DFLYMIGRATE HELP.\r\n"
	}
}

func (s *Server) incomingFrom(source string) *incoming {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.in, func(m *incoming) bool { return m.source == source })
	if i < 0 {
		return nil
	}
	return s.in[i]
}

// initMigration begins an attempt: what an earlier one has left is deleted. The gate is held.
func (s *Server) initMigration(m *incoming) string {
	if s.oom.Load() {
		s.fail(m)
		return fake.Error(outOfMemory)
	}
	s.repl.flush(slotsOf(m.ranges))
	s.mu.Lock()
	defer s.mu.Unlock()
	m.state = stateSync
	s.recompute()
	return fake.OK
}

// takeOver makes the slots ours. The gate is held.
func (s *Server) takeOver(m *incoming, attempt string) string {
	n, err := strconv.Atoi(attempt)
	if err != nil {
		return "-ERR value is not an integer or out of range\r\n"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	m.keys = s.data.Count(func(slot int) bool { return contains(m.ranges, slot) })
	m.state = stateFinished
	s.recompute()
	return fake.Int(n)
}
