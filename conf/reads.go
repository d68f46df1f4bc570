package conf

import (
	"fmt"
	"slices"
	"strings"
)

// For returns the reads of a user: what is set for the user, and the pool's where nothing is.
func (r Reads) For(u *User) Reads {
	if u.ReadPolicy != "" {
		r.Policy = u.ReadPolicy
	}
	if u.ReadConsistency != "" {
		r.Consistency = u.ReadConsistency
	}
	if u.ReadMaxLag != nil {
		r.MaxLag = *u.ReadMaxLag
	}
	if u.ReadMaxLagBytes != nil {
		r.MaxLagBytes = *u.ReadMaxLagBytes
	}
	return r
}

// checkReads checks the reads of a pool and of its users. It comes after the checks of the groups,
// which tell what is a node.
func checkReads(r *report, path string, p *Pool) {
	reads := path + ".reads"
	checkPolicy(r, reads+".policy", p.Reads.Policy)
	checkConsistency(r, reads+".consistency", p.Reads.Consistency)
	checkOneOf(r, reads+".on_master_loss", p.Reads.OnMasterLoss, LossMaxLag, LossLastProven)
	for i, u := range p.Auth.Users {
		user := element(path+".auth.user", i)
		if u.ReadPolicy != "" {
			checkPolicy(r, user+".read_policy", u.ReadPolicy)
		}
		if u.ReadConsistency != "" {
			checkConsistency(r, user+".read_consistency", u.ReadConsistency)
		}
	}
	if at := reads + ".zone"; p.Reads.Zone != "" && !r.isBad(at) {
		if bad := badZone(p.Reads.Zone); bad != nil {
			r.add(at, bad.msg, bad.hint)
		}
	}
	all := checkZones(r, path, p)
	checkNodes(r, reads+".weights", p.Reads.Weights, ParseWeight, all, "the pool")
	readers := readersOf(r, path, p)
	checkUnused(r, path, p, readers)
	checkProof(r, path, p, readers)
}

func checkPolicy(r *report, at string, p ReadPolicy) {
	checkOneOf(r, at, p, ReadMaster, ReadPreferReplica, ReadReplica, ReadNearest)
}

func checkConsistency(r *report, at string, c Consistency) {
	checkOneOf(r, at, c, ConsistencyEventual, ConsistencyMonotonic, ConsistencyReadYourWrites)
}

// nodeSet is the nodes that a key can name: their texts by their comparable form. Nil when they are
// not known, because the topology comes from elsewhere or something is wrong with it.
type nodeSet map[hostPort]string

// checkZones checks the zones of all groups, and returns the nodes of the pool.
func checkZones(r *report, path string, p *Pool) nodeSet {
	all := nodeSet{}
	for i, g := range p.Groups {
		group := element(path+".group", i)
		nodes := nodesOf(r, group, &g)
		checkNodes(r, group+".zones", g.Zones, ParseNodeZone, nodes, groupName(p, i))
		if nodes == nil {
			all = nil
		}
		for a, text := range nodes {
			if all != nil {
				all[a] = text
			}
		}
	}
	if p.Discovery.Kind != DiscoverStatic || r.isBad(path+".discovery.kind") || r.isBad(path+".group") || len(p.Groups) == 0 {
		return nil
	}
	return all
}

// nodesOf returns the nodes of a group.
func nodesOf(r *report, group string, g *Group) nodeSet {
	if r.isBad(group+".master") || r.isBad(group+".replicas") {
		return nil
	}
	out := nodeSet{}
	for _, text := range append([]string{g.Master}, g.Replicas...) {
		a, err := parseHostPort(text, forConnecting)
		if err != nil {
			return nil // it is complained about where it stands
		}
		out[a] = text
	}
	return out
}

// checkNodes checks a list of "host:port=value" at path: values that were built in code, nodes that
// are named twice, and nodes that are not in the set that belongs to owner.
func checkNodes[T fmt.Stringer](r *report, path string, list []T, parse func(string) (T, error), nodes nodeSet, owner string) {
	first := map[hostPort]int{}
	for i, entry := range list {
		at := element(path, i)
		if r.isBad(at) {
			continue
		}
		if _, err := parse(entry.String()); err != nil {
			bad := asBad(err)
			r.add(at, bad.msg, bad.hint)
			continue
		}
		text, _, _ := strings.Cut(entry.String(), "=")
		a, _ := parseHostPort(text, forConnecting)
		if j, taken := first[a]; taken {
			r.add(at, quote(text)+" is named twice"+r.line(element(path, j)), "keep one of the two")
			continue
		}
		first[a] = i
		if _, known := nodes[a]; nodes != nil && !known {
			r.add(at, quote(text)+" is no node of "+owner, nodes.hint(text))
		}
	}
}

// hint says which node may have been meant.
func (n nodeSet) hint(text string) string {
	var texts []string
	for _, t := range n {
		texts = append(texts, t)
	}
	slices.Sort(texts)
	if near := nearest(text, texts); near != "" {
		return "did you mean " + quote(near) + "?"
	}
	return "name a master or a replica as it stands in [[pool.group]], such as " + quote(texts[0])
}

// reader is the pool, or one of its users, as one that reads.
type reader struct {
	path   string     // of its table
	policy ReadPolicy // "" when it is not known for a mistake
	user   *User      // nil for the pool
}

func readersOf(r *report, path string, p *Pool) []reader {
	pool := reader{path: path + ".reads", policy: p.Reads.Policy}
	if r.isBad(pool.path + ".policy") {
		pool.policy = ""
	}
	out := []reader{pool}
	for i := range p.Auth.Users {
		u := reader{path: element(path+".auth.user", i), policy: pool.policy, user: &p.Auth.Users[i]}
		if r.isBad(u.path + ".read_policy") {
			u.policy = ""
		} else if u.user.ReadPolicy != "" {
			u.policy = u.user.ReadPolicy
		}
		out = append(out, u)
	}
	return out
}

// usesReplicas reports whether replicas answer reads of it, as far as that is known.
func (r reader) usesReplicas() bool { return r.policy != ReadMaster && r.policy != "" }

// checkUnused refuses what costs something where replicas are used, and does nothing where none are.
func checkUnused(r *report, path string, p *Pool, readers []reader) {
	notMaster := func(x reader) bool { return x.policy != ReadMaster }
	if slices.ContainsFunc(readers, notMaster) || r.isBad(path+".auth.user") {
		return
	}
	for _, key := range []struct {
		name  string
		given bool
	}{{"hedge", p.Reads.Hedge}, {"heartbeat", p.Reads.Heartbeat}, {"accept_expiry_loss", p.Reads.AcceptExpiryLoss}} {
		if at := path + ".reads." + key.name; key.given && !r.isBad(at) {
			r.add(at, `has no effect with policy "master"`, `remove it, or set policy = "prefer-replica"`)
		}
	}
}

// provesLag reports whether it can be known how far a replica of the pool is behind. The offsets of
// Pika and Dragonfly do not tell; a key that was written on the master and read on the replica does.
func provesLag(p *Pool) bool {
	return p.Reads.Heartbeat || p.Dialect != DialectPika && p.Dialect != DialectDragonfly
}

// givenMaxLag reports whether max_lag was asked for, and not left at its default.
func (c *Config) givenMaxLag(path string, p *Pool) bool {
	return c.given(path+".reads.max_lag") || p.Reads.MaxLag != DefaultPool().Reads.MaxLag
}

// checkProof refuses what is asked of replicas that can prove nothing. A setting of the pool is
// complained about once, however many users it holds for.
func checkProof(r *report, path string, p *Pool, readers []reader) {
	if provesLag(p) || r.isBad(path+".dialect") || r.isBad(path+".reads.heartbeat") {
		return
	}
	refuse := func(at, what, instead string) {
		if !r.isBad(at) {
			r.add(at, fmt.Sprintf("%s cannot be proven with dialect %s and no heartbeat", what, quote(string(p.Dialect))),
				"set heartbeat = true in [pool.reads], or "+instead)
		}
	}
	consistency := func(at string, c Consistency) {
		if c != ConsistencyEventual {
			refuse(at, quote(string(c)), `write "eventual"`)
		}
	}
	for _, x := range readers {
		if !x.usesReplicas() {
			continue
		}
		u := x.user
		if u == nil {
			u = &User{}
		}
		if u.ReadConsistency != "" {
			consistency(x.path+".read_consistency", u.ReadConsistency)
		} else {
			consistency(path+".reads.consistency", p.Reads.Consistency)
		}
		if lag := u.ReadMaxLag; lag != nil {
			refuse(x.path+".read_max_lag", "a lag of "+lag.String(), "remove it")
		} else if r.cfg.givenMaxLag(path, p) {
			refuse(path+".reads.max_lag", "a lag of "+p.Reads.MaxLag.String(), "remove it")
		}
		if size := u.ReadMaxLagBytes; size != nil && *size > 0 {
			refuse(x.path+".read_max_lag_bytes", fmt.Sprintf("a lag of %v in bytes", *size), "remove it")
		} else if size == nil && p.Reads.MaxLagBytes > 0 {
			refuse(path+".reads.max_lag_bytes", fmt.Sprintf("a lag of %v in bytes", p.Reads.MaxLagBytes), "remove it")
		}
	}
}
