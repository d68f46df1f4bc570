package controller

import (
	"fmt"
	"time"

	"sluice/router"
)

// World is what Next knows beside the document.
type World struct {
	Now   time.Time
	Epoch uint64 // of the topology
	Slots []Owner
	// Members are all proxies that may send something to the slots: all that are not proven gone.
	Members []Member
	Wish    Wish
	// Busy are the groups that other moves have a batch of, with what to say of it.
	Busy map[string]string
	// Job is what the mover does, or has done, for the batch; nil when it does nothing.
	Job *Job
}

// Owner is what the topology says of a slot. The zero value is a slot of nobody.
type Owner struct {
	Group  string
	State  SlotState
	To     string // of a slot that is locked on its way, or moving
	Method string // of the move
	Token  uint64 // fencing token of the move
}

// SlotState is how the topology has a slot.
type SlotState string

// The states of a slot, as the topology spells them.
const (
	SlotStable SlotState = "stable"
	SlotLocked SlotState = "locked"
	SlotMoving SlotState = "moving"
)

// Member is a proxy.
type Member struct {
	ID    string
	Acked uint64 // the last epoch that it has acknowledged
	Why   string // it may not acknowledge any more, in words; "" when nothing is known
}

// String names it for the document.
func (m Member) String() string {
	if m.Why == "" {
		return "proxy " + m.ID
	}
	return fmt.Sprintf("proxy %s (%s)", m.ID, m.Why)
}

// Wish is what the operator wants of a move.
type Wish struct {
	Number uint64 `json:"number"` // grows with every wish
	Verb   Verb   `json:"verb,omitempty"`
	By     string `json:"by"`
}

// Verb is a wish in a word. The zero value is Run.
type Verb string

// The wishes.
const (
	Run          Verb = ""
	Pause        Verb = "pause"
	AbortForward Verb = "abort"      // finish the batch that is at work, drop the rest
	AbortBack    Verb = "abort-back" // take the batch that is at work back
)

// aborts reports whether the move is to end.
func (v Verb) aborts() bool { return v == AbortForward || v == AbortBack }

// Job is a piece of work of the mover. One that has ended is shown until the decision that was made with it is written.
type Job struct {
	Kind     JobKind
	Ended    bool
	Err      string // why it ended, "" when it has done all
	Final    bool   // with Err: trying again is of no use
	Lost     bool   // with Err: a server has lost what it knows of the move, which has to begin under a new lock
	Progress Progress
}

// JobKind is what the mover does for a batch.
type JobKind string

// The jobs.
const (
	JobCheck   JobKind = "check"   // before the lock: what is in the way
	JobPrepare JobKind = "prepare" // under the lock: what the target needs before clients come
	JobCopy    JobKind = "copy"
	JobVerify  JobKind = "verify"
	JobClean   JobKind = "clean"
)

// Decision is what is to happen.
type Decision struct {
	Move   Move
	Change *Change   // of the topology; nil: it stays
	Job    JobKind   // that the mover is to be at; "": none, one that runs is to stop
	Again  time.Time // call Next again by then; zero: when the world has changed
}

// Change is a new epoch of the topology.
type Change struct {
	Slots   map[router.Slot]bool
	Owner   Owner
	Barrier bool // all members have to acknowledge it
	Why     string
}
