package consul

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"sluice/router"
	"sluice/router/lag"
)

// Who belongs to a group, and who of them is the master, when the catalog, the checks of Consul and our own questions
// disagree:
//
//	catalog says        the node answers us         it does not
//	passing             member                      member (breaker and admission keep traffic away)
//	critical, warning   member, with a warning      member for Flap, then not
//	maintenance, gone   member for Flap, then not   gone: not at once; maintenance: after Flap
//
// A node that is no member yet becomes one when it passes. Nodes that the document names are members whatever anybody
// says, and stop being ones with the epoch that leaves them out. A master is never dropped while no other node of the group
// has become one: without it the group could do nothing, with it perhaps it can.
//
// The master is the node that says so. Of several it is the one that most of the others follow, else the present one. Each
// proxy decides alone, so a late answer or two must not move the master: the present one stays until it says that it is a
// replica, or was silent for lostProbes questions and Flap. One that says that it is the master then has to show that it
// descends from it: we have seen it as a replica, it remembers having been one, or others follow it. An empty server that
// was put into a group by mistake shows none of that. One that was a master beside the present one already shows it by a
// majority only: what was written to the present one since, it does not have.

// lostProbes is how many questions in a row a master leaves unanswered before another one may take its place.
const lostProbes = 3

// group is the nodes of a group over time. Owned by Source.Run.
type group struct {
	id      router.GroupID
	members map[string]*member
	master  string
	proven  bool // the master has said that it is one
	lost    bool // the master is silent for so long that another one may take its place
	order   order
	warning string
}

// member is a node of a group.
type member struct {
	addr, zone string
	fixed      bool   // the document names it
	catalog    string // what the catalog says, for people
	leaving    bool   // the document or the catalog does not want it any more
	absent     bool   // it is not registered any more
	failing    bool   // its checks fail
	out        time.Time
	replica    bool      // it has been seen as one
	promoted   time.Time // when it was first seen as a master, zero when it was not since it was a replica
	beside     bool      // the present master was one still after that
	warning    string
}

// order is a master that somebody else has evidence for.
type order struct {
	addr    string
	against string // what the probes said then
}

// clone copies a group, so that a new epoch can be tried on it.
func (g *group) clone() *group {
	c := *g
	c.members = make(map[string]*member, len(g.members))
	for addr, m := range g.members {
		copied := *m
		c.members[addr] = &copied
	}
	return &c
}

// settle brings the members and the master up to date. listed are the nodes of this group in the catalog, nil while that was
// not seen; ask returns what a node has answered last.
func (g *group) settle(fixed []Node, listed []instance, ask func(string) evidence, flap time.Duration, now time.Time) {
	g.admit(fixed, listed)
	g.elect(ask, flap, now)
	for addr, m := range g.members {
		switch {
		case m.judge(ask(addr), flap, now):
		case addr == g.master:
			m.warning = "it is to leave, and stays because no other node of the group is a master"
		default:
			delete(g.members, addr)
		}
	}
}

// admit takes in what the document and the catalog say now.
func (g *group) admit(fixed []Node, listed []instance) {
	if len(fixed) == 0 && listed == nil {
		return // As the last good file has it.
	}
	for _, m := range g.members {
		m.fixed, m.failing, m.leaving, m.absent, m.warning, m.catalog = false, false, true, true, "", "gone"
	}
	if len(fixed) > 0 {
		for _, n := range fixed {
			m := g.member(n.Addr)
			m.zone, m.fixed, m.leaving, m.absent, m.catalog = n.Zone, true, false, false, "document"
		}
		for addr, m := range g.members {
			if m.leaving && addr != g.master {
				delete(g.members, addr)
			}
		}
		return
	}
	for _, n := range listed {
		if !n.passing && g.members[n.addr] == nil {
			continue
		}
		m := g.member(n.addr)
		m.zone, m.catalog, m.absent, m.leaving, m.failing = n.zone, n.status, false, n.leaving, !n.passing && !n.leaving
	}
}

func (g *group) member(addr string) *member {
	m := g.members[addr]
	if m == nil {
		m = &member{addr: addr}
		g.members[addr] = m
	}
	return m
}

// judge reports whether a node stays for now, and says what is odd about it.
func (m *member) judge(p evidence, flap time.Duration, now time.Time) bool {
	if p.asked && p.err != nil {
		m.warning = fmt.Sprintf("it does not answer: %v", p.err)
	}
	switch {
	case m.failing && p.answers():
		m.warning = "its check in Consul is " + m.catalog + ", and it answers"
	case m.leaving && m.absent && p.asked && p.err != nil:
		return false
	case m.leaving || m.failing:
		if m.out.IsZero() {
			m.out = now
		}
		return now.Sub(m.out) < flap
	}
	m.out = time.Time{}
	return true
}

// elect finds the master.
func (g *group) elect(ask func(string) evidence, flap time.Duration, now time.Time) {
	g.warning = ""
	for addr, m := range g.members {
		p := ask(addr)
		if !p.asked {
			return // Whoever was not asked yet may be the master.
		}
		m.replica = m.replica || p.isA(lag.Replica)
		switch {
		case p.isA(lag.Replica) || addr == g.master:
			m.promoted, m.beside = time.Time{}, false
		case p.isA(lag.Master):
			if m.promoted.IsZero() {
				m.promoted = p.answered
			}
			// The last answer of a master that has died does not count: it was asked before.
			present := ask(g.master)
			m.beside = m.beside || g.members[g.master] != nil && present.isA(lag.Master) && present.begun.After(m.promoted)
		}
	}
	p := ask(g.master)
	g.lost = p.err != nil && p.failures >= lostProbes && now.Sub(p.failing) >= flap
	found := g.choose(ask)
	if g.order.addr != "" {
		switch {
		case g.members[g.order.addr] == nil || found != g.order.against || found == g.order.addr:
			g.order = order{}
		default:
			g.master = g.order.addr
			return
		}
	}
	if found == "" {
		return
	}
	g.proven = ask(found).isA(lag.Master) || g.proven && found == g.master
	g.master = found
}

// choose is who is the master by what the nodes say: the present one if they say nothing better.
func (g *group) choose(ask func(string) evidence) string {
	var masters []string
	for _, addr := range slices.Sorted(maps.Keys(g.members)) {
		if ask(addr).isA(lag.Master) {
			masters = append(masters, addr)
		}
	}
	if len(masters) == 0 {
		return g.master
	}
	// One that is to stay is better than one that is to leave.
	if staying := slices.DeleteFunc(slices.Clone(masters), func(addr string) bool { return g.members[addr].leaving }); len(staying) > 0 {
		masters = staying
	}
	if !slices.Contains(masters, g.master) {
		if present := g.members[g.master]; present != nil && !present.leaving && !g.lost && !ask(g.master).isA(lag.Replica) {
			g.warning = fmt.Sprintf("%s says that it is the master, and %s, which was, does not say that it is none: it stays for now",
				strings.Join(masters, ", "), g.master)
			return g.master
		}
		unlisted := slices.Clone(masters)
		masters = slices.DeleteFunc(masters, func(addr string) bool { return !g.descends(addr, ask) })
		if of := g.followed(ask); len(masters) == 0 && of != "" && g.anew(ask) {
			g.warning = fmt.Sprintf("%s says that it is the master, and the replicas that answer follow %s, which does not say it: make them follow one of them",
				strings.Join(unlisted, ", "), of)
			return g.master
		}
		if len(masters) == 0 {
			g.warning = fmt.Sprintf("%s says that it is the master, and nothing shows that it has the data of %s, which is silent: make it a replica, or take %s out of the group",
				strings.Join(unlisted, ", "), g.master, g.master)
			return g.master
		}
	}
	if len(masters) == 1 {
		return masters[0]
	}
	best, most, tie := "", 0, false
	for _, addr := range masters {
		switch n := g.followers(addr, ask); {
		case n > most:
			best, most, tie = addr, n, false
		case n == most:
			tie = true
		}
	}
	if most > 0 && !tie {
		return best
	}
	g.warning = fmt.Sprintf("%d nodes say that they are the master: %s", len(masters), strings.Join(masters, ", "))
	return g.master
}

// descends reports whether a node that says it is the master may take the place of the present one, which does not.
func (g *group) descends(addr string, ask func(string) evidence) bool {
	present := g.members[g.master]
	n := g.followers(addr, ask)
	switch {
	case present != nil && present.leaving:
		return true
	case g.anew(ask):
		return n > 0 || g.followed(ask) == ""
	case g.members[addr].beside:
		return (n+1)*2 > len(g.members) // So the present one has fewer, whoever is silent now.
	}
	return g.members[addr].replica || ask(addr).repl.ID2 != "" || n > 0
}

// anew reports whether there is no master to descend from: none was ever seen, or it has given way itself.
func (g *group) anew(ask func(string) evidence) bool {
	return !g.proven || g.members[g.master] == nil || ask(g.master).isA(lag.Replica)
}

// followed is a member that another one names as its master; "" when there is none.
func (g *group) followed(ask func(string) evidence) string {
	for _, addr := range slices.Sorted(maps.Keys(g.members)) {
		p := ask(addr)
		if of := p.repl.MasterAddr; p.isA(lag.Replica) && of != addr && g.members[of] != nil {
			return of
		}
	}
	return ""
}

// followers counts the nodes of the group that are replicas of the one at addr: they say its address or its history, or it
// lists them. Addresses alone do not do, a replica may know its master by another one.
func (g *group) followers(addr string, ask func(string) evidence) int {
	master, n := ask(addr).repl, 0
	for other := range g.members {
		p := ask(other)
		if other == addr || !p.answers() || p.repl.Role != lag.Replica {
			continue
		}
		listed := slices.ContainsFunc(master.Replicas, func(l lag.Listed) bool { return l.Addr == other })
		if p.repl.MasterAddr == addr || listed || p.repl.ID != "" && p.repl.ID == master.ID {
			n++
		}
	}
	return n
}
