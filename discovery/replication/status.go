package replication

import "time"

// Status is what is known of the groups of a pool now. For people and metrics; nothing is routed by it.
type Status struct {
	Groups []GroupStatus
}

// GroupStatus describes a group.
type GroupStatus struct {
	ID    string
	Nodes []NodeStatus // the master first
}

// NodeStatus describes a node of a group.
type NodeStatus struct {
	Addr string
	Zone string // "" when the topology names none
	Role string // its place in the topology: "master" or "replica"
	Says string // what the node itself says it is: "master", "replica" or "unknown"
	// State is that of the admission: "unknown", "syncing", "catching up", "in sync", "lagging", "broken" or "diverged";
	// of a master "serving" or "broken".
	State  string
	Reason string // why, in words
	Since  time.Time
	// Readable says that reads may go to the replica, as far as their own limits of lag allow.
	Readable bool
	// Lag is how long ago the replica's watermark was; below 0 while there is none. Of a master 0.
	Lag time.Duration
	// LagBytes is how many bytes (of other families records, see the dialect) the replica was behind when it was asked
	// last; -1 while that is not known.
	LagBytes int64
	// EvidenceAge is how long ago the node last answered; below 0 when it never did.
	EvidenceAge time.Duration
	Offset      int64  // -1 when unknown
	ReplID      string // "" when unknown
}

// Event is a transition of a node's state, a change of a group's master, or another thing worth knowing afterwards.
type Event struct {
	ID     uint64    `json:"id"` // ascending, from 1
	Time   time.Time `json:"time"`
	Pool   string    `json:"pool"`
	Group  string    `json:"group"`
	Node   string    `json:"node"`
	Kind   string    `json:"kind"` // "state", "master" or "evidence"
	From   string    `json:"from,omitempty"`
	To     string    `json:"to,omitempty"`
	Reason string    `json:"reason"`
}
