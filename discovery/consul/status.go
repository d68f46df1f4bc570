package consul

import (
	"maps"
	"slices"
	"time"

	"sluice/router"
)

// The kinds of Alarm. Each means that somebody must look, and that what was in force before still is.
const (
	AlarmMissing   = "topology_missing"   // nothing below the root
	AlarmInvalid   = "topology_invalid"   // what is there makes no sense
	AlarmRegressed = "topology_regressed" // older than what is in force, or another one with the same epoch
	AlarmWaiting   = "topology_waiting"   // a newer one can't be put into force yet
	AlarmRefused   = "topology_refused"   // the Keeper has refused it
	AlarmCatalog   = "catalog_empty"      // all nodes have gone from the catalog at once
	AlarmState     = "state_file"         // the last good file can't be written, or not be used
	AlarmUnacked   = "epoch_unacked"      // commands that were sent before a barrier are not answered
)

// Alarm is something that somebody must look at.
type Alarm struct {
	Kind string
	Text string
}

// Status describes a Source for people.
type Status struct {
	Epoch    uint64 // in force; 0: none
	Digest   string
	Change   string
	Applied  time.Time // when it came into force
	FromFile bool      // it is from the last good file, and Consul has not confirmed it
	Pending  uint64    // the epoch that is to come next; 0: none

	LastContact time.Time // with the KV store
	Failures    int       // in a row, of the same
	Degraded    bool      // so many that it is trouble
	LastError   string    // of Consul
	IndexResets uint64

	Alarms   []Alarm // by kind
	Problems []string
	Nodes    []NodeStatus // by group and address
}

// NodeStatus is a node, and what Consul and it say.
type NodeStatus struct {
	Group   router.GroupID
	Addr    string
	Zone    string
	Master  bool
	Catalog string // "document", "gone", "saved", or the state of its checks
	Role    string // what it says
	Err     string // why it says nothing
	Warning string // what is odd about it
}

// Status returns the state of now. Safe for concurrent use.
func (s *Source) Status() Status {
	s.mu.Lock()
	st := s.status
	s.mu.Unlock()
	st.LastContact = s.health.lastContact()
	st.Failures = s.health.troubles()
	st.Degraded = s.health.err(degradedAfter) != nil
	if err := s.health.err(1); err != nil {
		st.LastError = err.Error()
	}
	st.IndexResets = s.health.resetCount()
	if err := s.acks.lastErr(); err != nil {
		st.Alarms = append(slices.Clone(st.Alarms), Alarm{AlarmUnacked, err.Error()})
	}
	return st
}

// describe makes the part of Status that Run knows, and keeps it.
func (s *Source) describe() {
	st := Status{Problems: s.problems(), Alarms: make([]Alarm, 0, len(s.alarms))}
	for _, kind := range slices.Sorted(maps.Keys(s.alarms)) {
		st.Alarms = append(st.Alarms, Alarm{kind, s.alarms[kind]})
	}
	shown := s.next
	if t := s.current; t != nil {
		shown = t
		st.Epoch, st.Digest, st.Change = t.doc.Epoch.Epoch, t.doc.Epoch.Digest, t.doc.Epoch.Change
		st.Applied, st.FromFile = s.since, s.fromFile
	}
	if s.next != nil {
		st.Pending = s.next.doc.Epoch.Epoch
		if s.current == nil {
			shown = s.next
		}
	}
	if shown != nil {
		st.Nodes = s.describeNodes(shown)
	}
	s.mu.Lock()
	s.status = st
	s.mu.Unlock()
}

// problems is what is odd about groups and registrations.
func (s *Source) problems() []string {
	var list []string
	if s.listed != nil {
		list = append(list, s.listed.problems...)
	}
	if s.current != nil {
		for _, spec := range s.current.doc.Groups {
			if w := s.current.groups[spec.ID].warning; w != "" {
				list = append(list, "group "+spec.ID+": "+w)
			}
		}
	}
	return list
}

func (s *Source) describeNodes(t *topology) []NodeStatus {
	var nodes []NodeStatus
	for _, spec := range t.doc.Groups {
		g := t.groups[spec.ID]
		for _, addr := range slices.Sorted(maps.Keys(g.members)) {
			m, p := g.members[addr], s.roles.last(addr)
			n := NodeStatus{
				Group: g.id, Addr: addr, Zone: m.zone, Master: addr == g.master, Catalog: m.catalog, Warning: m.warning,
			}
			switch {
			case !p.asked:
				n.Role = "not asked yet"
			case p.err != nil:
				n.Err = p.err.Error()
			default:
				n.Role = p.repl.Role.String()
			}
			nodes = append(nodes, n)
		}
	}
	return nodes
}
