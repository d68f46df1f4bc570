package check

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Kind says what is wrong.
type Kind uint8

const (
	// Wrong is a reply that does not fit its request: of another type, of another
	// key, out of order.
	Wrong Kind = iota
	// Stale is a reply older than what had been acknowledged.
	Stale
	// Twice is a write that took effect more often than it was sent.
	Twice
	// Ran is a write that took effect although its reply was an error.
	Ran
	// Lost is an acknowledged write that is missing at the end.
	Lost
	// Unordered is a history of a shared key that has no linearization.
	Unordered
	// Unread is a key whose state at the end could not be read.
	Unread
	// Back is a read older than an earlier one of its connection.
	Back
	// Old is a read older than Config.MaxAge.
	Old
	// Untimely is a blocking command that came back too early with nothing, or too late.
	Untimely
	kinds
)

// String is the word used in the report.
func (k Kind) String() string {
	switch k {
	case Wrong:
		return "wrong"
	case Stale:
		return "stale"
	case Twice:
		return "twice"
	case Ran:
		return "ran despite error"
	case Lost:
		return "lost"
	case Unordered:
		return "not linearizable"
	case Unread:
		return "unread at the end"
	case Back:
		return "went back"
	case Old:
		return "too old"
	case Untimely:
		return "not in time"
	case kinds:
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Finding is one violation.
type Finding struct {
	Kind Kind
	// At is the time since the start of the load.
	At    time.Duration
	Phase string
	Key   string
	// Slot is -1 when Config.Slot is nil.
	Slot int
	Text string
}

// String is one line.
func (f Finding) String() string {
	return fmt.Sprintf("%-8s %s %s", f.Kind, where(f.At, f.Phase, f.Key, f.Slot), f.Text)
}

func where(at time.Duration, phase, key string, slot int) string {
	s := fmt.Sprintf("%.3fs %s %s", at.Seconds(), phase, key)
	if slot >= 0 {
		s += fmt.Sprintf(" slot %d", slot)
	}
	return s
}

// ErrorText is one distinct text of an error reply, or of a lost connection.
type ErrorText struct {
	Text      string
	Count     uint64
	Tolerated bool
	// At, Phase, Key and Slot are those of the first one.
	At    time.Duration
	Phase string
	Key   string
	Slot  int
}

// verdict is what a model thinks of a reply; the zero value is no objection.
type verdict struct {
	text string // empty: no objection
	kind Kind
	n    uint64 // how many, if not 1
}

func object(k Kind, format string, args ...any) verdict {
	return verdict{kind: k, text: fmt.Sprintf(format, args...)}
}

const (
	maxFindings   = 100
	maxErrorTexts = 32
	maxTextBytes  = 160
)

// journal collects findings and error texts. mu guards the fields below it.
type journal struct {
	slot     func([]byte) int
	tolerate func(string) bool

	mu       sync.Mutex
	counts   [kinds]uint64
	findings []Finding
	errors   map[string]*ErrorText
	unknown  uint64 // requests with an unknown outcome
	failed   uint64 // errors that are not tolerated
}

func newJournal(cfg *Config) *journal {
	return &journal{slot: cfg.Slot, tolerate: cfg.Tolerate, errors: make(map[string]*ErrorText)}
}

func (j *journal) slotOf(key string) int {
	if j.slot == nil {
		return -1
	}
	return j.slot([]byte(key))
}

func (j *journal) find(v verdict, at time.Duration, phase, key string) {
	if v.text == "" {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.counts[v.kind] += max(v.n, 1)
	if len(j.findings) < maxFindings {
		f := Finding{Kind: v.kind, At: at, Phase: phase, Key: key, Slot: j.slotOf(key), Text: clip(v.text)}
		j.findings = append(j.findings, f)
	}
}

// outcomeUnknown counts a request that may have run.
func (j *journal) outcomeUnknown() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.unknown++
}

// fail counts an error under its text. Texts beyond the first few are counted
// together, so that texts with keys in them can't fill the memory.
func (j *journal) fail(text string, at time.Duration, phase, key string) {
	text = clip(text)
	tolerated := j.tolerate != nil && j.tolerate(text)
	j.mu.Lock()
	defer j.mu.Unlock()
	if !tolerated {
		j.failed++
	}
	if _, known := j.errors[text]; !known && len(j.errors) >= maxErrorTexts {
		text = "(other texts)"
	}
	e := j.errors[text]
	if e == nil {
		e = &ErrorText{Text: text, Tolerated: tolerated, At: at, Phase: phase, Key: key, Slot: j.slotOf(key)}
		j.errors[text] = e
	}
	e.Count++
	e.Tolerated = e.Tolerated && tolerated
}

// errorTexts returns a copy of the error texts, the most frequent first.
func (j *journal) errorTexts() []ErrorText {
	j.mu.Lock()
	defer j.mu.Unlock()
	var out []ErrorText
	for _, e := range j.errors {
		out = append(out, *e)
	}
	slices.SortFunc(out, func(a, b ErrorText) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Text, b.Text))
	})
	return out
}

func clip(text string) string {
	if len(text) > maxTextBytes {
		return text[:maxTextBytes]
	}
	return text
}
