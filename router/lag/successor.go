package lag

import "fmt"

// minMisses is how many questions a master has to leave unanswered before another one may take its place.
const minMisses = 2

// Successor names the replica that has taken the master's place, and why that is believed; "" when nothing proves it.
// For sources of topology that don't see a failover themselves. All of this must hold:
//
//   - exactly one replica says that it is a master;
//   - the master says that it is a replica, or has left more than one question unanswered, or one for long;
//   - no replica that answers still gets the stream of another node than the new master;
//   - the new master's history descends from the old one's and it has not been a master beside the old one, or more than
//     half of the group follow it. (Somebody may have detached a replica on purpose; that it says so while the master
//     happens to be silent means nothing.)
func (g *Group) Successor(now int64) (addr, why string) {
	if g.master == nil {
		return "", ""
	}
	heir := g.heir(now)
	if heir == nil {
		return "", ""
	}
	old := g.master
	oldAnswers := old.answers(now, g.rules.MaxAge)
	if !oldAnswers && !old.gone(now, 2*g.rules.MaxAge) || oldAnswers && old.sample.Role != Replica {
		return "", ""
	}
	votes := 1
	for _, m := range g.members() {
		if m == heir || !m.answers(now, g.rules.MaxAge) || m.sample.Role != Replica {
			continue
		}
		switch {
		case g.leads(heir, m):
			votes++
		case m.sample.LinkUp:
			return "", "" // It hears from a master that lives.
		}
	}
	beside := g.ruledAt > heir.ruled+g.rules.MaxAge
	descends := !beside && g.lastID != "" && (heir.sample.ID2 == g.lastID || heir.sample.ID == g.lastID && heir.followed)
	agreed := 2*votes > len(g.members())
	if !descends && !agreed {
		return "", ""
	}
	reason := fmt.Sprintf("%d of %d nodes say so", votes, len(g.members()))
	if descends {
		reason += ", and its history continues that of the old master"
	}
	if oldAnswers {
		return heir.addr, "the old master says that it is a replica; " + reason
	}
	return heir.addr, "the old master " + old.silence(now) + "; " + reason
}

// heir is the one replica that says that it is a master, nil when there is none or more than one.
func (g *Group) heir(now int64) *member {
	var heir *member
	for _, r := range g.replicas {
		if !r.answers(now, g.rules.MaxAge) || r.sample.Role != Master || r.sample.Loading {
			continue
		}
		if heir != nil {
			return nil
		}
		heir = r
	}
	return heir
}

// leads reports whether r follows the heir. Servers may know each other by other addresses than the topology does, so
// replication ids count for more where they tell streams apart. All Pikas of a group have the same one for ever.
func (g *Group) leads(heir, r *member) bool {
	sameID := heir.sample.ID == r.sample.ID
	if heir.sample.ID != "" && r.sample.ID != "" && (g.rules.OffsetsProve || !sameID) {
		return sameID
	}
	at, sure := g.isAt(heir, r.sample.MasterAddr)
	return at && sure
}
