package lag

import (
	"fmt"
	"time"
)

// member is a node of a group, with its last evidence.
type member struct {
	addr    string
	sample  Sample
	seen    bool   // sample counts: nothing has failed since
	asked   bool   // there was an answer or a failure at least once
	failure string // why the last question got no answer
	down    int64  // since when it has not answered, 0 while it does
	misses  int    // questions in a row without an answer
	ruled   int64  // since when it has said that it is a master, 0 while it does not

	verdict Verdict
	fresh   bool // the sample has not been judged yet
	good    int  // samples in a row that were close enough

	proven   bool   // its data is known to be the master's: it was seen to sync, or compared
	doubted  bool   // it has lost proven since a comparison began, see Group.Comparing
	synced   bool   // a full sync was seen
	followed bool   // it was seen to follow the group's master of now
	linked   bool   // the link was up in the last sample
	mismatch string // what a comparison has found
	id       string // replication id under which proven was decided
	offset   int64  // highest offset seen under id
	likely   int64  // as Verdict.CaughtUpTo, as far as anybody can tell where nothing is proven
	behind   int64  // as Verdict.Behind
	beyond   bool   // it was further than the master could be
}

// observe takes a sample.
func (m *member) observe(s Sample, relinkUnproven bool) {
	other := m.sample.Life != s.Life || s.ID != m.id || s.MasterAddr != m.sample.MasterAddr
	switch {
	case !m.asked, other, s.Syncing, s.Loading, s.LinkUp && m.offset > 0 && s.Offset < m.offset:
		m.doubt()
		m.synced, m.offset, m.beyond = s.Syncing, 0, false
	case relinkUnproven && s.LinkUp && !m.linked:
		m.doubt()
	}
	if s.Process != m.sample.Process {
		m.followed = false // That was somebody else.
	}
	m.id, m.linked = s.ID, s.LinkUp
	m.offset = max(m.offset, s.Offset)
	switch {
	case s.Role != Master:
		m.ruled = 0
	case m.ruled == 0:
		m.ruled = s.Asked
	}
	m.sample, m.seen, m.asked, m.failure, m.down, m.misses, m.fresh = s, true, true, "", 0, 0, true
}

// doubt forgets what was known of its data, which may have been replaced.
func (m *member) doubt() {
	m.proven, m.doubted, m.mismatch = false, true, ""
	m.verdict.CaughtUpTo, m.likely = 0, 0
}

// fail notes that a question got no answer. What was known counts no more.
func (m *member) fail(at int64, why string) {
	m.seen, m.asked, m.failure, m.good = false, true, why, 0
	m.linked = false
	m.misses++
	if m.down == 0 {
		m.down = at
	}
}

// answers reports whether there is evidence that counts at now.
func (m *member) answers(now, maxAge int64) bool { return m.seen && now-m.sample.Answered <= maxAge }

// gone reports whether the silence of a node is more than an accident.
func (m *member) gone(now, patience int64) bool {
	return m.misses >= minMisses || m.sample.Answered != 0 && now-m.sample.Answered > patience
}

// silence says why there is no evidence.
func (m *member) silence(now int64) string {
	switch {
	case !m.asked:
		return "has not been asked yet"
	case m.failure != "":
		return "does not answer: " + m.failure
	}
	return fmt.Sprintf("has not answered for %s", short(now-m.sample.Answered))
}

// short prints a span of time for people.
func short(ns int64) string {
	d := time.Duration(ns)
	switch {
	case d < 10*time.Millisecond:
		return d.Round(100 * time.Microsecond).String()
	case d < 10*time.Second:
		return d.Round(10 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}
