package lag

// State is what the admission of a replica has come to. It is computed from evidence each time; nothing in it stays
// because it once was so.
type State uint8

// States.
const (
	// Unknown: there is no evidence yet.
	Unknown State = iota
	// Syncing: it gets, or loads, a full copy of the data.
	Syncing
	// CatchingUp: its link is up, and it is not yet proven to have what the master has.
	CatchingUp
	// InSync: it is proven to follow its master closely enough, and may be read.
	InSync
	// Lagging: it follows its master, too far behind.
	Lagging
	// Broken: it does not answer, or follows nobody it should.
	Broken
	// Diverged: its data is another than the master's.
	Diverged
	// States is how many there are.
	States
)

var stateNames = [States]string{"unknown", "syncing", "catching up", "in sync", "lagging", "broken", "diverged"}

// String names the state for people and metrics.
func (s State) String() string { return stateNames[s] }

// Verdict is what is thought of a replica, and why.
type Verdict struct {
	State  State
	Reason string // in words
	Since  int64  // when State became what it is

	// Readable says that reads may go there, within their own limits.
	Readable bool
	// Suspect says that all that is missing is a comparison of its data with the master's, or that the last one has
	// found a difference: see Group.Compared.
	Suspect bool
	// CaughtUpTo is the watermark; 0 when there is none.
	CaughtUpTo int64
	// Behind is how far the replica was behind in the unit of its offsets, -1 when that is not known.
	Behind int64
}

// Proof is what a Readable replica may be read by. Immutable; shared with the event loops.
type Proof struct {
	CaughtUpTo int64 // 0: nothing is proven about time
	Behind     int64
	// Orphan says that the master does not answer, and that limits of lag do not count then.
	Orphan bool
	// Process is whom the evidence is about, and Master whose stream it was compared with: connections that lead to
	// others count for nothing.
	Process, Master uint64
	// Asked is when the newest evidence was asked for: a connection that is older leads to the same process.
	Asked int64
	// ValidUntil is when the evidence is too old.
	ValidUntil int64
}

// Transition is a change of a node's state.
type Transition struct {
	Addr     string
	From, To State
	Reason   string
}
