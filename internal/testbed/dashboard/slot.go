package dashboard

// Slot is one slot as proxies get it.
type Slot struct {
	ID                 int        `json:"id"`
	Locked             bool       `json:"locked,omitempty"`
	BackendAddr        string     `json:"backend_addr,omitempty"`
	BackendAddrGroupID int        `json:"backend_addr_group_id,omitempty"`
	MigrateFrom        string     `json:"migrate_from,omitempty"`
	MigrateFromGroupID int        `json:"migrate_from_group_id,omitempty"`
	ForwardMethod      int        `json:"forward_method,omitempty"`
	ReplicaGroups      [][]string `json:"replica_groups,omitempty"`
}

// Method says how keys move (migration_method).
type Method int

// The methods, by their number in Slot.ForwardMethod.
const (
	Sync Method = iota
	SemiAsync
)

func (m Method) String() string {
	if m == Sync {
		return "sync"
	}
	return "semi-async"
}

// state is how far the action of a slot, or the promotion in a group, is.
//
//	nothing -> pending -> preparing -> prepared -> migrating -> finished -> nothing
type state int

const (
	nothing state = iota
	pending
	preparing // about to be told to the proxies
	prepared  // the proxies have locked the slot, with its new route
	migrating // the proxies know where the keys come from
	finished
)

// mapping is what the dashboard knows of a slot.
type mapping struct {
	id     int
	group  int // 0: offline
	action state
	index  int // order of the actions
	target int // group
}

// describe makes of mappings what proxies get. d.mu is held.
func (d *Dashboard) describe(slots []mapping) []Slot {
	out := make([]Slot, len(slots))
	for i, m := range slots {
		out[i] = d.describeOne(m)
	}
	return out
}

func (d *Dashboard) describeOne(m mapping) Slot {
	s := Slot{ID: m.id, ForwardMethod: int(d.method)}
	own, target := d.groups[m.group], d.groups[m.target]
	switch m.action {
	case nothing, pending:
		s.BackendAddr, s.BackendAddrGroupID, s.ReplicaGroups = own.master(), m.group, own.replicaGroups()
		s.Locked = own.locked()
	case preparing:
		s.BackendAddr, s.BackendAddrGroupID = own.master(), m.group
		s.Locked = own.locked()
	case prepared, migrating:
		s.BackendAddr, s.BackendAddrGroupID = target.master(), m.target
		s.MigrateFrom, s.MigrateFromGroupID = own.master(), m.group
		s.Locked = m.action == prepared || own.locked() || target.locked()
	case finished:
		s.BackendAddr, s.BackendAddrGroupID = target.master(), m.target
		s.Locked = target.locked()
	}
	return s
}
