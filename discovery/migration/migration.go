package migration

import (
	"cmp"
	"fmt"
	"time"
)

// Migration is what is known of slots on their way from one node to another. It is a copy that nobody changes.
type Migration struct {
	Source string `json:"source"`          // host:port, or the node id while the address is not known.
	Target string `json:"target"`          //
	Slots  string `json:"slots,omitempty"` // "0-511,600"; absent when the nodes do not say.
	State  State  `json:"state"`
	// Verdict says in words what this means and whether there is anything to do.
	Verdict string `json:"verdict"`

	SourceSide Side `json:"source_side"`
	TargetSide Side `json:"target_side"`
	// Progress is from 0 to 1; absent when it is not known.
	Progress *float64 `json:"progress,omitempty"`

	FirstError string `json:"first_error,omitempty"`
	LastError  string `json:"last_error,omitempty"`
	// Retries counts attempts that failed: as many as the nodes tell of, or else as were seen.
	Retries int64 `json:"retries"`
	// Stalled says that the source leaves requests of clients unanswered.
	Stalled bool      `json:"stalled,omitempty"`
	Since   time.Time `json:"since"`   // When it was first seen.
	Changed time.Time `json:"changed"` // When State last changed.
	// HandedOver is when a node first said that the target serves the slots.
	HandedOver time.Time `json:"handed_over,omitzero"`
	Ended      time.Time `json:"ended,omitzero"` // When the end was seen.
}

// Side is what one of the two nodes says.
type Side struct {
	State string `json:"state,omitempty"` // In the words of the server; absent when it says nothing of this migration.
	Keys  *int64 `json:"keys,omitempty"`
	Error string `json:"error,omitempty"`  // As it stands there now; it may be old.
	Quiet string `json:"silent,omitempty"` // Why the node has not answered the last question; absent when it has.

	state State
}

// known reports whether the side has ever said something.
func (s *Side) known() bool { return s.State != "" }

// judge sets State, Progress and Verdict from what the sides say.
func (m *Migration) judge(famName string) {
	m.State = m.joint()
	m.Verdict = m.words(famName)
	if who, why := m.silent(); who != "" {
		m.Verdict = fmt.Sprintf("half known, %s does not answer (%s): %s", who, why, m.Verdict)
	}
}

// joint is the state of both together. The source decides when the slots are handed over, the target knows first.
func (m *Migration) joint() State {
	s, t := &m.SourceSide, &m.TargetSide
	switch {
	case !s.known() && !t.known():
		return Unknown
	case !t.known():
		return s.state
	case !s.known():
		return t.state
	}
	for _, end := range []State{Failed, Cancelled} {
		if s.state == end || t.state == end {
			return end
		}
	}
	switch {
	case s.state == Finished && t.state == Finished:
		return Finished
	case s.state == Finished || t.state == Finished || s.state == Finalising || t.state == Finalising:
		return Finalising
	}
	return s.state
}

func (m *Migration) silent() (who, why string) {
	switch {
	case m.SourceSide.Quiet != "":
		return "the source", m.SourceSide.Quiet
	case m.TargetSide.Quiet != "":
		return "the target", m.TargetSide.Quiet
	}
	return "", ""
}

// words says what State means here.
func (m *Migration) words(famName string) string {
	errText := m.LastError
	switch m.State {
	case Connecting:
		if m.SourceSide.state == Connecting {
			errText = cmp.Or(m.SourceSide.Error, errText) // What keeps it, whatever the other side says.
		}
		if errText != "" {
			return fmt.Sprintf("being tried again, not failed: the last attempt ended with %q", errText)
		}
		return "connecting; the target may not know of the migration yet"
	case Copying:
		copying := m.copying(famName)
		if errText != "" {
			return fmt.Sprintf("%s; %q is of an earlier attempt and over", copying, errText)
		}
		return copying
	case Finalising:
		return m.handingOver(famName)
	case Finished:
		text := "finished: the target serves the slots"
		if m.HandedOver.IsZero() {
			text = "over: the configuration gives the slots to the target, whose hand-over was not seen"
		}
		if m.Ended.IsZero() && (famName == "dragonfly" || famName == "kvrocks") {
			text += ", though the nodes show the old owner until they get the closing configuration"
		}
		if errText != "" {
			text += fmt.Sprintf("; %q is of an earlier attempt and over", errText)
		}
		return text
	case Failed:
		return fmt.Sprintf("failed for good: %s; the source serves the slots, and only somebody's decision ends or repeats it", m.causes())
	case Cancelled:
		return "cancelled; the source serves the slots"
	case Reverted:
		return fmt.Sprintf("reverted: what clients wrote at the target since %s is deleted, "+
			"because a configuration gave the slots back to the source after the hand-over", m.HandedOver.UTC().Format(time.RFC3339))
	case Gone:
		return "no node reports it any more, and its end was not seen: see who owns the slots"
	case Unknown:
	}
	return fmt.Sprintf("in a state that is not known here (source %q, target %q): wait for the next", m.SourceSide.State, m.TargetSide.State)
}

// causes says why a migration has failed, in the words of each side that says so.
func (m *Migration) causes() string {
	source, target := m.SourceSide.failure(), m.TargetSide.failure()
	switch {
	case source != "" && target != "" && source != target:
		return fmt.Sprintf("source: %q, target: %q", source, target)
	case source == "" && target == "" && m.LastError == "":
		return "no reason given"
	}
	return fmt.Sprintf("%q", cmp.Or(source, target, m.LastError))
}

// failure is the error of a side that has failed.
func (s *Side) failure() string {
	if s.state != Failed {
		return ""
	}
	return s.Error
}

// copying says who serves the slots while they are copied. A Dragonfly whose target hangs serves no key from then on,
// for 30 s at a time, and says nothing of it; in the finalisation it answers nobody but on its admin port.
func (m *Migration) copying(famName string) string {
	switch {
	case famName != "dragonfly":
	case m.TargetSide.Quiet != "":
		return "copying or handing over, but the target hangs, and soon the source serves no key of any slot: " +
			"take the migration out of the configuration, the target's first, if the target does not come back"
	case m.Stalled || m.SourceSide.Quiet != "":
		return "copying or handing over; the source answers no clients, for 30 s at a time if the target does not take what it is sent"
	}
	return "copying; the source serves the slots"
}

func (m *Migration) handingOver(famName string) string {
	s, t := &m.SourceSide, &m.TargetSide
	switch {
	case t.state == Finished && s.known() && s.state != Finished:
		return fmt.Sprintf("the target serves the slots and the source says %s: for a moment that is the hand-over, but if it lasts both take writes", s.State)
	case s.state == Finished && t.known() && t.state != Finished:
		return fmt.Sprintf("the source says %s and the target %s: they have to agree before anything else is done", s.State, t.State)
	case famName == "redis":
		return "handing over: the source holds writes for a moment"
	}
	return "handing over"
}
