package controller

import (
	"fmt"
	"slices"
	"time"

	"sluice/router"
)

// Move is the document of a move: what was asked for, and all that has become of it. It is kept as JSON.
type Move struct {
	ID        string    `json:"id"`
	By        string    `json:"by"` // who has asked for it
	Created   time.Time `json:"created"`
	Slots     string    `json:"slots"`            // "0-127,200", as asked for
	To        string    `json:"to"`               // group
	Method    string    `json:"method,omitempty"` // as the topology names it, "" for the family's own
	BatchSize int       `json:"batch_size"`
	Pace      Pace      `json:"pace,omitzero"`

	State State  `json:"state"`
	Waits string `json:"waits,omitempty"` // what for, in words
	Left  string `json:"left,omitempty"`  // slots that no batch has had yet
	Moved string `json:"moved,omitempty"` // slots of batches that are over
	Batch *Batch `json:"batch,omitempty"` // at work on now

	Progress  Progress  `json:"progress"` // of batches that are over
	NotBefore time.Time `json:"not_before,omitzero"`
	Retries   int       `json:"retries"` // failures since the last batch that went well
	First     *Fault    `json:"first_error,omitempty"`
	Last      *Fault    `json:"last_error,omitempty"`
	Wish      uint64    `json:"wish"` // number of the last wish that was looked at
	Updated   time.Time `json:"updated"`
}

// State is how a move is.
type State string

// The states of a move.
const (
	Waiting State = "waiting" // for its turn, or for a pause after a failure to end
	Running State = "running"
	Paused  State = "paused"
	Stopped State = "stopped" // an operator has to look at it
	Done    State = "done"
	Aborted State = "aborted"
)

// Over reports whether nothing happens to the move any more.
func (m *Move) Over() bool { return m.State == Done || m.State == Aborted }

// Batch is slots of one source that are locked, moved and settled together.
type Batch struct {
	Slots  string    `json:"slots"`
	From   string    `json:"from"` // group
	To     string    `json:"to"`
	Method string    `json:"method,omitempty"`
	Phase  Phase     `json:"phase"`
	Back   bool      `json:"back,omitempty"` // the keys go back to where they came from
	Since  time.Time `json:"since"`          // when the phase began
	Epoch  uint64    `json:"epoch"`          // that it has made last; 0: none
	// Token is the fencing token: the epoch of the lock that was had last. Tokens are all that servers may know of.
	Token  uint64   `json:"token,omitempty"`
	Tokens []uint64 `json:"tokens,omitempty"`
	// Prepared says that servers may have been told of Tokens.
	Prepared bool `json:"prepared,omitempty"`
	// Resume is how the batch goes on when a lock that was asked for while its keys are on both sides can't be had.
	Resume *Course `json:"resume,omitempty"`
	// Relock says that the batch has to be locked once more.
	Relock   bool     `json:"relock,omitempty"`
	Progress Progress `json:"progress"`
}

// Course is where the keys of a batch go.
type Course struct {
	From  string `json:"from"`
	To    string `json:"to"`
	Back  bool   `json:"back,omitempty"`
	Token uint64 `json:"token"`
}

// Phase is how far a batch is.
type Phase string

// The phases of a batch, in their order.
const (
	Checking  Phase = "checking"  // nothing has happened yet
	Locking   Phase = "locking"   // proxies hold the slots, and acknowledge that
	Unlocking Phase = "unlocking" // the lock is taken back: no key has moved
	Copying   Phase = "copying"   // keys are on either side
	Verifying Phase = "verifying" // all keys are at the target, and compared
	Settling  Phase = "settling"  // the target owns the slots, and proxies acknowledge that
	Cleaning  Phase = "cleaning"  // the source forgets what it still has
)

// Progress is how much was moved. Bytes are 0 where a family does not tell.
type Progress struct {
	Keys  int64 `json:"keys"`
	Bytes int64 `json:"bytes,omitempty"`
	Left  int64 `json:"left,omitempty"` // keys at the source
	// Note says what holds the mover up, "" when nothing does.
	Note string `json:"note,omitempty"`
}

// Fault is an error in words, and when it happened.
type Fault struct {
	At    time.Time `json:"at"`
	Phase Phase     `json:"phase,omitempty"`
	Text  string    `json:"text"`
}

// New is a move that nothing has happened to. slots are not empty.
func New(id, by, to string, slots []router.Range, batch int, now time.Time) Move {
	text := router.FormatRanges(slots)
	return Move{
		ID: id, By: by, Created: now, Slots: text, To: to, BatchSize: batch, State: Waiting, Left: text, Updated: now,
	}
}

// clone copies what Next changes.
func (m *Move) clone() Move {
	c := *m
	if m.Batch != nil {
		b := *m.Batch
		b.Tokens = slices.Clone(b.Tokens)
		c.Batch = &b
	}
	return c
}

// note keeps an error.
func (m *Move) note(now time.Time, text string) {
	f := &Fault{At: now, Text: text}
	if m.Batch != nil {
		f.Phase = m.Batch.Phase
	}
	m.Last = f
	if m.First == nil {
		m.First = f
	}
}

// The pause after a failure: twice as long each time.
const (
	firstPause = time.Second
	lastPause  = time.Minute
)

// putOff makes the move wait after a failure.
func (m *Move) putOff(now time.Time) {
	m.NotBefore = now.Add(min(firstPause<<min(m.Retries, 10), lastPause))
	m.Retries++
}

// slotSet is slots of a document as a set; a text that can't be read is a fault of the document.
func slotSet(text string) (map[router.Slot]bool, error) {
	set := make(map[router.Slot]bool)
	if text == "" {
		return set, nil
	}
	ranges, err := router.ParseRanges(text)
	if err != nil {
		return nil, fmt.Errorf("slots %q: %w", text, err)
	}
	for _, r := range ranges {
		for s := r.From; s <= r.To; s++ {
			set[s] = true
		}
	}
	return set, nil
}

// format is the opposite of slotSet.
func format(set map[router.Slot]bool) string {
	highest := -1
	for s := range set {
		highest = max(highest, int(s))
	}
	return router.FormatRanges(router.RangesOf(highest+1, func(s router.Slot) bool { return set[s] }))
}

// inOrder lists the slots of a set.
func inOrder(set map[router.Slot]bool) []router.Slot {
	list := make([]router.Slot, 0, len(set))
	for s := range set {
		list = append(list, s)
	}
	slices.Sort(list)
	return list
}
