package migration

import (
	"cmp"
	"slices"
	"time"

	"sluice/router"
)

// maxEnded bounds how many migrations are remembered after their end; the newest stay.
const maxEnded = 20

// maxOpen bounds how many migrations of a log that are over are taken up.
const maxOpen = 64

// forgetAfter is when a migration is given up whose nodes have all been silent.
const forgetAfter = 10 * time.Minute

// answer is what one node said in one look.
type answer struct {
	addr    string
	id      string // "" when it was not asked, or did not say.
	reports []report
	owners  owners
	addrs   map[string]string // Of the masters in owners.
	unfit   error             // Why there are none, though it was asked.
	err     error             // It has not answered.
}

// ledger joins what the nodes say, look after look, into migrations. Owned by the goroutine of the Watcher.
type ledger struct {
	family string
	addrs  map[string]string // Node id to host:port.
	open   []*entry
	// stalled is Config.Stalled.
	stalled func(addr string) bool
	ended   []Migration // The oldest first.
}

// entry is a migration that somebody reports.
type entry struct {
	Migration
	heard  time.Time // When somebody last spoke of it.
	source sighting
	target sighting
	before []router.Range // slots of the source when the migration was first seen; nil while that is not known.
	// doubted says that it looked cancelled at the last look. A node that takes a new configuration forgets its
	// migrations first, and names the old owners for a moment.
	doubted bool
}

// sighting says whether a side spoke of the migration in this look.
type sighting struct{ spoke, answered bool }

func newLedger(family string) *ledger { return &ledger{family: family, addrs: make(map[string]string)} }

// name is the address of a node, or what is known instead.
func (l *ledger) name(node string) string { return cmp.Or(l.addrs[node], node) }

// learn remembers where nodes are.
func (l *ledger) learn(id, addr string) {
	if id != "" {
		l.addrs[id] = addr
	}
}

// look takes in the answers of one look at all nodes.
func (l *ledger) look(answers []answer, now time.Time) {
	for _, a := range answers {
		for id, addr := range a.addrs {
			if l.addrs[id] == "" {
				l.learn(id, addr)
			}
		}
	}
	for _, a := range answers {
		l.learn(a.id, a.addr) // As it was asked for: it may name itself otherwise.
	}
	for _, e := range l.open {
		e.Source, e.Target = l.name(e.Source), l.name(e.Target)
		e.source, e.target = sighting{}, sighting{}
	}
	// A target that does not name its source is joined with what the source says, so sources come first.
	for _, out := range []bool{true, false} {
		for _, a := range answers {
			for _, r := range a.reports {
				if r.out == out && a.err == nil {
					l.take(&a, r, now)
				}
			}
		}
	}
	for _, a := range answers {
		l.note(a)
	}
	l.close(answers, now)
}

// take puts a report into its migration.
func (l *ledger) take(a *answer, r report, now time.Time) {
	source, target := a.addr, l.name(r.peer)
	if !r.out {
		source, target = target, a.addr
	}
	e := l.find(source, target, r)
	if e == nil {
		if !r.out && source == "" && !r.state.active() {
			return // What came from somewhere once.
		}
		if !r.state.active() && (len(l.open) >= maxOpen || l.remembers(source, target, r)) {
			return
		}
		e = &entry{Migration: Migration{Source: source, Target: target, Slots: r.slots, Since: now, Changed: now}}
		l.open = append(l.open, e)
	}
	e.heard = now
	if e.before == nil {
		e.before = l.of(a.owners, source)
	}
	e.Source, e.Slots = cmp.Or(e.Source, source), cmp.Or(e.Slots, r.slots)
	side, seen := e.side(r.out), &e.source
	if !r.out {
		seen = &e.target
	}
	if seen.spoke && side.state.active() && !r.state.active() {
		return // A log has an older one of the same slots beside it.
	}
	seen.spoke = true
	e.count(side, r)
	side.State, side.state, side.Error = r.word, r.state, r.err
	side.Keys = known(r.keys)
	if r.state == Finished && e.HandedOver.IsZero() {
		e.HandedOver = now
	}
	e.measure(r)
}

// find returns the open migration that r is about.
func (l *ledger) find(source, target string, r report) *entry {
	i := slices.IndexFunc(l.open, func(e *entry) bool {
		if e.Target != target || e.Source != source && source != "" && e.Source != "" {
			return false
		}
		if e.Slots != r.slots && e.Slots != "" && r.slots != "" {
			return false
		}
		// What was over for this node and moves again is another one.
		side := e.side(r.out)
		return !side.known() || side.state.active() || !r.state.active()
	})
	if i < 0 {
		return nil
	}
	return l.open[i]
}

// remembers reports whether the end of a migration is known already: the logs of Redis and Valkey keep it.
func (l *ledger) remembers(source, target string, r report) bool {
	return l.family == "redis" && slices.ContainsFunc(l.ended, func(m Migration) bool {
		return m.Target == target && m.Source == source && m.Slots == r.slots && m.State == r.state
	})
}

func (m *Migration) side(source bool) *Side {
	if source {
		return &m.SourceSide
	}
	return &m.TargetSide
}

func known(n int64) *int64 {
	if n < 0 {
		return nil
	}
	return &n
}

// count notes errors, and how often it has begun again.
func (m *Migration) count(side *Side, r report) {
	if r.retries >= 0 {
		m.Retries = max(m.Retries, r.retries)
	}
	if r.err == "" {
		return
	}
	again := r.state == Connecting && (r.err != side.Error || side.state == Copying)
	if again && r.retries < 0 {
		m.Retries++
	}
	if r.err != side.Error {
		m.LastError = r.err
		m.FirstError = cmp.Or(m.FirstError, r.err)
	}
}

// measure sets Progress. A Dragonfly's source says how many keys there are, the target how many it has; a Pika counts
// what has left.
func (m *Migration) measure(r report) {
	set := func(part, whole int64) {
		if whole > 0 {
			ratio := min(1, float64(part)/float64(whole))
			m.Progress = &ratio
		}
	}
	if r.copied >= 0 {
		set(r.copied, r.copied+max(0, r.keys))
		return
	}
	if s, t := m.SourceSide.Keys, m.TargetSide.Keys; s != nil && t != nil {
		set(*t, *s)
	}
	if r.state == Finished && m.Progress != nil {
		set(1, 1)
	}
}

// note remembers which sides were silent.
func (l *ledger) note(a answer) {
	quiet := ""
	if a.err != nil {
		quiet = a.err.Error()
	}
	for _, e := range l.open {
		if e.Source == a.addr {
			e.SourceSide.Quiet, e.source.answered = quiet, a.err == nil
		}
		if e.Target == a.addr {
			e.TargetSide.Quiet, e.target.answered = quiet, a.err == nil
		}
	}
}

// close judges the open ones, and puts those away that nobody reports any more. A side that is silent may still
// think of it.
func (l *ledger) close(answers []answer, now time.Time) {
	l.open = slices.DeleteFunc(l.open, func(e *entry) bool {
		before := e.State
		over := !e.reported() || now.Sub(e.heard) > forgetAfter
		state := before
		if over {
			state = l.ending(e, answers)
		}
		if over && state == Cancelled && !e.doubted {
			e.doubted = true
			return false
		}
		e.doubted = false
		if over {
			e.State = state
			e.Ended = now
			e.Stalled = false
			e.Verdict = e.words(l.family)
			e.SourceSide.Quiet, e.TargetSide.Quiet = "", ""
			l.ended = append(l.ended, e.Migration)
			return true
		}
		e.Stalled = l.stalled != nil && l.stalled(e.Source)
		e.judge(l.family)
		if e.State == Reverted || l.undone(e, answers) {
			e.State = Reverted
			e.Verdict = e.words(l.family)
		}
		if e.State != before {
			e.Changed = now
		}
		return false
	})
	if extra := len(l.ended) - maxEnded; extra > 0 {
		l.ended = slices.Delete(l.ended, 0, extra)
	}
}

// reported is false when every side that has ever spoken of the migration has answered and said nothing of it.
func (e *entry) reported() bool {
	s, t := e.source, e.target
	if s.spoke || t.spoke {
		return true
	}
	return e.SourceSide.known() && !s.answered || e.TargetSide.known() && !t.answered
}

// list returns copies: the open ones, then the ended ones, the newest first.
func (l *ledger) list() []Migration {
	var list []Migration
	for _, e := range l.open {
		list = append(list, e.Migration)
	}
	slices.SortStableFunc(list, func(a, b Migration) int {
		return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.Target, b.Target), cmp.Compare(a.Slots, b.Slots))
	})
	for _, m := range slices.Backward(l.ended) {
		list = append(list, m)
	}
	return list
}
