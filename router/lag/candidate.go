package lag

import "slices"

// MasterCandidates are the addresses of servers that the group does not have, and that may be its master by now:
// the one that the master says it follows; or, when the master is gone, the one that its replicas follow, or else
// the replicas that it had itself listed. That is reason to ask them, and no more: Successor judges what they say.
func (g *Group) MasterCandidates(now int64) []string {
	if g.master == nil {
		return nil
	}
	var found []string
	add := func(addr string) { found = g.addUnknown(found, addr) }
	follows := func(m *member) {
		if s := &m.sample; m.answers(now, g.rules.MaxAge) && s.Role == Replica && (s.LinkUp || s.Syncing) {
			add(s.MasterAddr)
		}
	}
	follows(g.master)
	if g.master.answers(now, g.rules.MaxAge) || !g.master.gone(now, 2*g.rules.MaxAge) {
		return found
	}
	for _, r := range g.replicas {
		follows(r)
	}
	if len(found) > 0 {
		return found
	}
	for _, l := range g.master.sample.Replicas {
		if l.Online {
			add(l.Addr)
		}
	}
	return found
}

// Unlisted are the addresses of replicas that the master lists as online, and that the group does not have.
func (g *Group) Unlisted(now int64) (found []string) {
	if g.master == nil || !g.master.answers(now, g.rules.MaxAge) || g.master.sample.Role != Master {
		return nil
	}
	for _, l := range g.master.sample.Replicas {
		if l.Online {
			found = g.addUnknown(found, l.Addr)
		}
	}
	return found
}

// addUnknown appends addr to found if it is none of these and of no member.
func (g *Group) addUnknown(found []string, addr string) []string {
	known := addr == "" || slices.Contains(found, addr)
	for _, m := range g.members() {
		known = known || g.maybeAt(m, addr)
	}
	if known {
		return found
	}
	return append(found, addr)
}
