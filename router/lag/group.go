package lag

import (
	"fmt"
	"math"
	"slices"
)

// Rules are what admission depends on besides evidence.
type Rules struct {
	// OffsetsProve says that a replica which has reached an offset has applied all before it. Where that is not so,
	// Heartbeats do, if there are any.
	OffsetsProve bool
	Heartbeats   bool
	// RelinkUnproven says that a replica whose link comes back may lack data without saying so.
	RelinkUnproven bool
	// Unread says that nobody reads from replicas: then their data needs no comparison.
	Unread bool
	// MaxLag is how far behind a replica may be.
	MaxLag int64
	// MaxBehind is the same in the unit of offsets; 0 is no limit.
	MaxBehind int64
	// KeepOrphans says that a replica whose master does not answer is read however old its data becomes.
	KeepOrphans bool
	// MaxAge is how long evidence counts.
	MaxAge int64
}

// settle is how many samples in a row have to be good before a replica that lagged is read again.
const settle = 3

// Group judges the nodes of one group. Not safe for concurrent use.
type Group struct {
	rules    Rules
	master   *member
	replicas []*member

	history     History
	historyLife uint64
	historyID   string
	historyFrom int64  // when the answer was asked for with which the history began anew
	ruledAt     int64  // when the master last said that it is one
	lastID      string // the newest replication id that the master was known by
}

// NewGroup returns a group without nodes.
func NewGroup(rules Rules) *Group { return &Group{rules: rules} }

// SetRules replaces the rules.
func (g *Group) SetRules(rules Rules) { g.rules = rules }

// SetMembers says which nodes the group has by its topology. What is known of those that stay is kept, but after a
// change of the master nothing of the old one's stream counts.
func (g *Group) SetMembers(master string, replicas []string) {
	old := g.members()
	find := func(addr string) *member {
		if i := slices.IndexFunc(old, func(m *member) bool { return m.addr == addr }); i >= 0 {
			return old[i]
		}
		return &member{addr: addr, behind: -1}
	}
	if g.master == nil || g.master.addr != master {
		g.dropEvidence()
		g.lastID, g.ruledAt = "", 0
		for _, m := range old {
			m.followed = false
		}
	}
	g.master, g.replicas = find(master), nil
	for _, addr := range replicas {
		g.replicas = append(g.replicas, find(addr))
	}
}

func (g *Group) members() []*member {
	if g.master == nil {
		return nil
	}
	return append([]*member{g.master}, g.replicas...)
}

// dropEvidence forgets the master's stream and every watermark that was computed from it.
func (g *Group) dropEvidence() {
	g.history.Clear()
	g.historyLife, g.historyID, g.historyFrom = 0, "", 0
	for _, m := range g.members() {
		m.verdict.CaughtUpTo, m.likely, m.good, m.behind, m.beyond = 0, 0, 0, -1, false
	}
}

func (g *Group) member(addr string) *member {
	for _, m := range g.members() {
		if m.addr == addr {
			return m
		}
	}
	return nil
}

// Observe takes the answer of a node. It returns words for the journal when the master's stream is another than
// before, "" otherwise.
func (g *Group) Observe(addr string, s Sample) (dropped string) {
	m := g.member(addr)
	if m == nil {
		return ""
	}
	m.observe(s, g.rules.RelinkUnproven)
	if s.Role == Replica && s.LinkUp && s.ID == g.lastID && g.maybeAt(g.master, s.MasterAddr) {
		m.followed = true
	}
	if m == g.master && s.Role == Master {
		g.ruledAt = s.Answered
		return g.follow(s)
	}
	return ""
}

// follow notes the master's stream.
func (g *Group) follow(s Sample) (dropped string) {
	known, back := g.historyLife != 0, s.Offset >= 0 && s.Offset < g.history.End()
	switch {
	case known && s.Life != g.historyLife:
		dropped = "the master was restarted, or its connection was lost"
	case known && s.ID != g.historyID:
		dropped = fmt.Sprintf("the master's replication id changed from %.8s to %.8s", g.historyID, s.ID)
	case back:
		dropped = fmt.Sprintf("the master's offset went back to %d", s.Offset)
	}
	if dropped != "" {
		g.dropEvidence()
		g.historyFrom = s.Asked
	}
	if back { // What the replicas were compared with is gone.
		for _, r := range g.replicas {
			r.doubt()
		}
	}
	if s.Offset >= 0 {
		g.history.Add(s.Asked, s.Offset)
	}
	g.historyLife, g.historyID, g.lastID = s.Life, s.ID, s.ID
	return dropped
}

// Fail notes that a node did not answer, and why.
func (g *Group) Fail(addr string, at int64, why string) {
	if m := g.member(addr); m != nil {
		m.fail(at, why)
	}
}

// Comparing notes that a comparison of a suspect's data with the master's begins.
func (g *Group) Comparing(addr string) {
	if m := g.member(addr); m != nil {
		m.doubted = false
	}
}

// Compared takes the outcome of comparing a suspect's data with the master's; life is that of the replica's evidence
// when the comparison began. mismatch is "" when they are the same. What was compared may have been replaced meanwhile:
// an outcome does not count when new doubt has arisen since the last Comparing or Compared.
func (g *Group) Compared(addr string, life uint64, mismatch string) {
	m := g.member(addr)
	if m == nil || !m.seen || m.sample.Life != life {
		return
	}
	if m.doubted {
		m.doubted = false
		return
	}
	m.proven, m.mismatch = mismatch == "", mismatch
}

// Judge computes every verdict anew, and returns what has changed.
func (g *Group) Judge(now int64) []Transition {
	var changed []Transition
	for _, r := range g.replicas {
		before := r.verdict
		r.verdict = g.judge(r, now)
		r.verdict.Since = before.Since
		if r.verdict.State != before.State || before.Since == 0 {
			r.verdict.Since = now
		}
		if r.verdict.State != before.State {
			changed = append(changed, Transition{r.addr, before.State, r.verdict.State, r.verdict.Reason})
		}
		r.fresh = false
	}
	if g.master != nil {
		before := g.master.verdict
		g.master.verdict = g.judgeMaster(now)
		g.master.verdict.Since = before.Since
		if g.master.verdict.State != before.State || before.Since == 0 {
			g.master.verdict.Since = now
		}
		if g.master.verdict.State != before.State {
			changed = append(changed, Transition{g.master.addr, before.State, g.master.verdict.State, g.master.verdict.Reason})
		}
	}
	return changed
}

// judgeMaster says how the master is: in sync with itself, or why it can't serve.
func (g *Group) judgeMaster(now int64) Verdict {
	m := g.master
	switch {
	case !m.asked:
		return Verdict{State: Unknown, Reason: m.silence(now), Behind: -1}
	case !m.answers(now, g.rules.MaxAge):
		return Verdict{State: Broken, Reason: m.silence(now), Behind: -1}
	case m.sample.Role == Replica:
		why := "says that it is a replica of " + m.sample.MasterAddr
		if m.sample.MasterAddr != "" && !slices.ContainsFunc(g.members(), func(o *member) bool { return g.maybeAt(o, m.sample.MasterAddr) }) {
			why += ", which the topology does not name"
		}
		return Verdict{State: Broken, Reason: why, Behind: -1}
	case m.sample.Loading:
		return Verdict{State: Syncing, Reason: "loads its data", Behind: -1}
	}
	return Verdict{State: InSync, Reason: "is the master", Behind: 0}
}

// Verdict is what is thought of a node; ok is false when it is none of the group.
func (g *Group) Verdict(addr string) (v Verdict, ok bool) {
	m := g.member(addr)
	if m == nil {
		return Verdict{}, false
	}
	return m.verdict, true
}

// Sample is the last evidence of a node; ok is false while there is none that counts.
func (g *Group) Sample(addr string) (s Sample, ok bool) {
	m := g.member(addr)
	if m == nil || !m.seen {
		return Sample{}, false
	}
	return m.sample, true
}

// OnItsWay reports whether a replica follows its master and had not reached the master's last known offset when it was
// asked, so that it is worth asking again before the next round.
func (g *Group) OnItsWay(addr string) bool {
	m := g.member(addr)
	return m != nil && g.master != nil && m != g.master && m.seen && g.master.seen && g.rules.OffsetsProve &&
		m.sample.LinkUp && m.sample.Offset > 0 && m.sample.Offset < g.master.sample.Offset
}

// Proof is what a replica may be read by, nil when it may not be read.
func (g *Group) Proof(addr string) *Proof {
	m := g.member(addr)
	if m == nil || !m.verdict.Readable {
		return nil
	}
	v := m.verdict
	behind := max(v.Behind, 0)
	if v.State != InSync { // Nobody knows what its silent master has written.
		behind = math.MaxInt64
	}
	return &Proof{
		CaughtUpTo: v.CaughtUpTo, Behind: behind,
		Orphan:  v.State != InSync && g.rules.KeepOrphans,
		Process: m.sample.Process, Master: g.master.sample.Process,
		Asked: m.sample.Asked, ValidUntil: m.sample.Answered + g.rules.MaxAge,
	}
}
