// Package hold counts and bounds the requests that wait instead of failing: their slot is locked or moving, or
// nobody is known to serve it. Who waits, and for how long, is the proxy's.
package hold

import "time"

// Settings are the bounds. Immutable.
type Settings struct {
	MaxWait        time.Duration // how long a request may wait; 0 answers at once what would be held
	MaxMoveWait    time.Duration // how long one may wait for a key of a slot whose keys go
	MaxRequests    int           // held in the pool
	MaxBytes       int
	SlotRequests   int // held per slot
	SlotBytes      int
	ClientRequests int // held per client
	ClientBytes    int
	DryRun         bool // count what would be held, and answer it at once
}

// Cause says why a request waits.
type Cause uint8

// The causes.
const (
	Locked     Cause = iota // its slot is locked
	Moving                  // its slot is moving and its key is on the way
	NoMaster                // the master of its slot does not serve
	NoTopology              // nobody is known to own its slot
	NoReplica               // only a replica may serve it, and the connection to one is not ready
	NoCommands              // its name is not known, and the servers have not told their commands yet
	Causes
)

// String names the cause as the metrics do.
func (c Cause) String() string {
	return [Causes]string{"locked", "moving", "no_master", "no_topology", "no_replica", "no_commands"}[c]
}

// End says how a hold ended.
type End uint8

// The ends.
const (
	Released   End = iota // the request went on
	TimedOut              // it waited for MaxWait
	Overflowed            // a limit, or DryRun, answered it
	ClientGone            // its client closed the connection
	Ends
)

// String names the end as the metrics do.
func (e End) String() string {
	return [Ends]string{"released", "timed_out", "overflowed", "client_gone"}[e]
}
