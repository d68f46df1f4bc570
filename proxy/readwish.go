package proxy

import (
	"fmt"
	"strings"
	"time"

	"sluice/proxy/command"
)

// readWishes are what a connection has asked for with CLIENT SETINFO: they replace what the pool or the user has.
type readWishes struct {
	policy      *ReadPolicy
	consistency *Consistency
	maxLag      time.Duration // 0: none
}

// readPolicies and consistencies by their names in the configuration and in CLIENT SETINFO.
var (
	readPolicies = map[string]ReadPolicy{
		"master": ReadMaster, "prefer-replica": ReadPreferReplica, "replica": ReadReplica, "nearest": ReadNearest,
	}
	consistencies = map[string]Consistency{
		"eventual": Eventual, "monotonic": Monotonic, "read-your-writes": ReadYourWrites,
	}
)

// ParseReadPolicy finds a policy by its name.
func ParseReadPolicy(name string) (p ReadPolicy, ok bool) {
	p, ok = readPolicies[name]
	return p, ok
}

// ParseConsistency finds a consistency by its name.
func ParseConsistency(name string) (c Consistency, ok bool) {
	c, ok = consistencies[name]
	return c, ok
}

// setReads finds the rules for the reads of the client: those of its connection, its user, its pool.
func (c *client) setReads() {
	if c.watch != nil {
		return // All reads go to the master until it ends, see watch.
	}
	s := c.pool.Settings()
	shared := &s.Reads.ReadRules // Clients that share their rules can share a choice, see turnReader.
	for _, u := range s.Users {
		if u.Name == c.user && !c.is(modeUnauthenticated) && u.Reads != nil {
			shared = u.Reads
		}
	}
	rules := *shared
	if c.wishes.policy != nil {
		rules.Policy = *c.wishes.policy
	}
	if c.wishes.consistency != nil {
		rules.Consistency = *c.wishes.consistency
	}
	if c.wishes.maxLag != 0 {
		rules.MaxLag = c.wishes.maxLag
	}
	switch {
	case c.reads != nil && *c.reads == rules, c.reads == nil && rules.Policy == ReadMaster:
		return
	case rules.Policy == ReadMaster && c.pipe.empty():
		c.reads = nil
		return
	}
	// With reads in flight at replicas the rules stay, for the master alone: what comes next has to be kept in
	// order with them.
	c.reads = &rules
	if rules == *shared {
		c.reads = shared
	}
	defer func() { c.guarantees.kept = rules.Consistency }()
	if c.guarantees == nil {
		c.guarantees = new(sessionGuarantees)
		if c.pipe.tail == 0 {
			return // It has done nothing yet.
		}
		for seq := c.pipe.head; seq != c.pipe.tail; seq++ {
			c.guarantees.adopt(seq, c.pipe.at(seq))
		}
		for _, s := range c.splits {
			s.countWrites()
		}
	}
	c.guarantees.renew()
}

// adopt counts a request that was sent before the client had guarantees.
func (r *sessionGuarantees) adopt(seq uint32, p *pending) {
	if p.cmd == nil || p.flags&answered != 0 || p.cmd.Is(command.ReadOnly) {
		return
	}
	if p.flags&multiSlot != 0 {
		r.countMulti(p, seq, allBuckets, countedWrite) // Which they are is not known any more.
	}
	if p.slot == anySlot {
		return
	}
	p.flags |= countedWrite
	r.writes[p.slot%buckets]++
}

// wish takes CLIENT SETINFO sluice-reads, sluice-consistency or sluice-max-lag. It returns the refusal, "" when
// there is none; known is false for any other attribute.
func (c *client) wish(attribute, value string) (refusal string, known bool) {
	switch attribute {
	case "sluice-reads":
		p, ok := ParseReadPolicy(value)
		if !ok {
			return "ERR sluice-reads is master, prefer-replica, replica or nearest", true
		}
		if p != ReadMaster && !c.pool.Settings().mayUseReplicas() {
			return fmt.Sprintf("ERR replicas of pool %s are not watched: set policy in [pool.reads]", c.pool.Name), true
		}
		c.wishes.policy = &p
	case "sluice-consistency":
		v, ok := ParseConsistency(value)
		if !ok {
			return "ERR sluice-consistency is eventual, monotonic or read-your-writes", true
		}
		c.wishes.consistency = &v
	case "sluice-max-lag":
		d, err := time.ParseDuration(value)
		if err != nil || d <= 0 {
			return "ERR sluice-max-lag is a duration above 0 with a unit, such as 200ms", true
		}
		c.wishes.maxLag = d
	default:
		if strings.HasPrefix(attribute, "sluice-") {
			return "ERR Sluice knows sluice-reads, sluice-consistency and sluice-max-lag", true
		}
		return "", false
	}
	c.setReads()
	return "", true
}
