package lag

// How far a replica is behind its master, and whether that is near enough. The lag is the time between its last answer
// and its watermark. That comes from what the master has said of its stream (history.go) and the offset that the
// replica has applied, or, where offsets prove nothing, from a heartbeat that the replica shows. What operators are
// shown is the age of the watermark (discovery/replication, NodeStatus.Lag): longer by the age of the evidence.

// watermark is how far a replica is proven to be, and how far it is as far as anybody can tell, which is the same
// where offsets prove something.
func (g *Group) watermark(r *member) (proven, likely int64) {
	if g.rules.OffsetsProve {
		proven = g.history.Reached(r.sample.Offset)
		return proven, proven
	}
	if g.rules.Heartbeats {
		return r.sample.Heartbeat, r.sample.Heartbeat
	}
	if g.master.sample.Offset < 0 || r.sample.Offset < 0 {
		return 0, r.sample.Answered
	}
	return 0, g.history.Reached(r.sample.Offset)
}

// behind is how far a replica was behind when it was asked last, in the unit of offsets; -1 when that is not known.
// What the master has written since then counts when the replica is asked again.
func (g *Group) behind(r *member) int64 {
	switch {
	case !g.master.seen || !r.seen || g.master.sample.Offset < 0 || r.sample.Offset < 0:
		r.behind = -1
	case r.fresh || r.behind < 0:
		r.behind = max(0, g.master.sample.Offset-r.sample.Offset)
	}
	return r.behind
}

// judgeLag is the last question: how far behind is a replica that is all right otherwise?
func (g *Group) judgeLag(r *member) Verdict {
	proven, likely := g.watermark(r)
	v := Verdict{CaughtUpTo: max(proven, r.verdict.CaughtUpTo), Behind: g.behind(r)}
	likely = max(likely, v.CaughtUpTo)
	r.likely = likely
	if likely == 0 {
		r.good = 0
		v.State, v.Reason = CatchingUp, "has not reached what the master is known to have had"
		return v
	}
	lag := max(0, r.sample.Answered-likely)
	far := lag > g.rules.MaxLag || g.rules.MaxBehind > 0 && v.Behind > g.rules.MaxBehind
	near := lag <= g.rules.MaxLag/2 && (g.rules.MaxBehind == 0 || v.Behind <= g.rules.MaxBehind/2)
	switch {
	case far || !near && r.verdict.State != InSync:
		r.good = 0
	case r.fresh:
		r.good++
	}
	was := r.verdict.State
	switch {
	case r.mismatch != "":
		v.State, v.Reason, v.Suspect = Diverged, r.mismatch, true // It may have been mended.
	case far && (was == InSync || was == Lagging):
		v.State, v.Reason = Lagging, "is "+short(lag)+" behind"
	case far || was != InSync && was != Lagging && r.good == 0:
		v.State, v.Reason = CatchingUp, "is "+short(lag)+" behind"
	case !r.proven && !r.wasSeenToSync(g.rules) && !g.rules.Unread:
		v.State, v.Reason, v.Suspect = CatchingUp, "was never seen to sync; its data is compared with the master's", true
	case was == Lagging && r.good < settle:
		v.State, v.Reason = Lagging, "was behind until a moment ago"
	default:
		v.State, v.Reason, v.Readable = InSync, "follows its master", !g.rules.Unread
		r.proven = !g.rules.Unread
	}
	return v
}
