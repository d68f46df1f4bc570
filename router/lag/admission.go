package lag

import "fmt"

// judge computes the verdict on a replica from its last sample and the master's. The order of the questions is that
// of the trust in the answers: what a replica says against itself always counts.
func (g *Group) judge(r *member, now int64) Verdict {
	s := &r.sample
	reject := func(state State, format string, args ...any) Verdict {
		r.good = 0
		return Verdict{State: state, Reason: fmt.Sprintf(format, args...), CaughtUpTo: r.verdict.CaughtUpTo, Behind: g.behind(r)}
	}
	switch {
	case !r.asked:
		return reject(Unknown, "%s", r.silence(now))
	case !r.answers(now, g.rules.MaxAge):
		return reject(Broken, "%s", r.silence(now))
	case s.Loading:
		return reject(Syncing, "loads its data")
	case s.Syncing:
		return reject(Syncing, "gets a full copy of the master's data")
	case s.Role == Master:
		return reject(Diverged, "says that it is a master")
	case s.Role != Replica:
		return reject(Unknown, "does not say whether it is a replica")
	case s.Unfit != "":
		return reject(Broken, "%s", s.Unfit)
	case s.MasterAddr == "":
		return reject(Broken, "follows nobody")
	}
	if !g.master.answers(now, g.rules.MaxAge) {
		return g.judgeOrphan(r, now)
	}
	m := &g.master.sample
	switch {
	case !s.LinkUp:
		return reject(Broken, "its link to %s is down", s.MasterAddr)
	case m.Role == Replica:
		return reject(Unknown, "the master says that it is a replica of %s", m.MasterAddr)
	case m.Loading:
		return reject(CatchingUp, "the master loads its data")
	case s.ID == "" && m.ID != "" && g.rules.OffsetsProve:
		return reject(Broken, "has no replication id, so its offset says nothing")
	case !g.sameHistory(s, m) && s.ID != "" && m.ID != "":
		return reject(Diverged, "has replication id %.8s, the master has %.8s", s.ID, m.ID)
	case !g.maybeAt(g.master, s.MasterAddr) && (s.ID == "" || m.ID == ""):
		return reject(Broken, "follows %s", s.MasterAddr)
	case s.Asked < g.historyFrom && (s.ID == "" || m.ID == ""):
		return reject(CatchingUp, "has not been asked since the master was restarted, or its connection was lost")
	case g.beyond(r):
		return reject(Diverged, "is at offset %d, beyond the master's %d", s.Offset, m.Offset)
	case g.rules.OffsetsProve && s.Offset <= 0:
		return reject(CatchingUp, "its link is up, and it has applied nothing (offset %d)", s.Offset)
	}
	if why := g.notListed(r, m); why != "" {
		return reject(CatchingUp, "%s", why)
	}
	return g.judgeLag(r)
}

// sameHistory reports whether a replica's offsets count in the master's stream: both have the same replication id, or
// the replica is still under the id that the master had before it was promoted, at a point before that.
func (g *Group) sameHistory(s, m *Sample) bool {
	return s.ID == m.ID || s.ID == m.ID2 && s.Offset >= 0 && s.Offset < m.SecondOffset
}

// beyond reports whether a replica claims more than its master had, asked later. Only a sample of the master that was
// asked for after the replica's answer tells; until there is one the last finding stays.
func (g *Group) beyond(r *member) bool {
	m := &g.master.sample
	if m.Offset < 0 || r.sample.Offset < 0 || !g.rules.OffsetsProve {
		return false
	}
	if r.sample.Answered <= m.Asked || r.sample.Offset <= m.Offset {
		r.beyond = r.sample.Offset > m.Offset
	}
	return r.beyond
}

// notListed says why the master does not know the replica as one that gets its stream, "" when it does. Replicas of
// replicas are not in the master's list; the offset that they have reached speaks for them, or else that who is between
// them and the master is a replica.
func (g *Group) notListed(r *member, m *Sample) string {
	if addr := r.sample.MasterAddr; !g.maybeAt(g.master, addr) {
		if parent := g.replica(addr); parent != nil && (g.rules.OffsetsProve || parent.seen && parent.sample.Role == Replica) {
			return ""
		}
	}
	var waiting string
	for _, l := range m.Replicas {
		if !g.maybeAt(r, l.Addr) {
			continue
		}
		if l.Online && l.Offset != 0 {
			return ""
		}
		waiting = fmt.Sprintf("the master calls it %q at offset %d", l.State, l.Offset)
	}
	if waiting != "" {
		return waiting
	}
	return "the master does not list it"
}

// replica finds a replica by the address that another node knows it by.
func (g *Group) replica(addr string) *member {
	for _, r := range g.replicas {
		if g.maybeAt(r, addr) {
			return r
		}
	}
	return nil
}

// wasSeenToSync reports whether a full sync of this life was seen that ended well: the link is up and offsets count.
func (m *member) wasSeenToSync(rules Rules) bool { return m.synced && !rules.RelinkUnproven }

// judgeOrphan is about a replica whose master does not answer. What it had is still what it had: it may be read as of
// its watermark for as long as that is near enough and the replica itself says nothing else.
func (g *Group) judgeOrphan(r *member, now int64) Verdict {
	v := Verdict{
		State: Broken, Reason: "the master does not answer, and nothing was proven before",
		CaughtUpTo: r.verdict.CaughtUpTo, Behind: -1,
	}
	r.good = 0
	lag := now - r.likely
	switch {
	case r.beyond:
		v.State, v.Reason = Diverged, "was beyond the master's offset before the master fell silent"
	case r.likely == 0 || !r.proven:
	case lag > g.rules.MaxLag && !g.rules.KeepOrphans:
		v.State, v.Reason = Lagging, "the master does not answer; the data is "+short(lag)+" old"
	case r.sample.ID != g.lastID:
		v.State, v.Reason = Diverged, fmt.Sprintf("has replication id %.8s, the master had %.8s", r.sample.ID, g.lastID)
	case g.rules.MaxBehind > 0 && !g.rules.KeepOrphans:
		v.State, v.Reason = Lagging, "the master does not answer, so how far behind is not known"
	default:
		v.State, v.Reason, v.Readable = Lagging, "the master does not answer; the data is at most "+short(lag)+" old", true
	}
	return v
}
