package consul

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"sluice/backend"
	"sluice/backend/dialect"
	"sluice/internal/clock"
	"sluice/router/lag"
)

// Who is a master the nodes say themselves. Nobody asks them for that alone: each node of a pool has one probe
// (backend.Node.Run), on one connection, and all who need to know what the node is read its Observations.
//
//	                                        .--> breaker, Status (backend)
//	probe of each node, its own goroutine --+--> replication.Watcher.Observe --> verdicts on replicas
//	    ^                                   '--> Source.Observe --> roles.nodes --> Source.Run, which elects
//	    '-- Config.Watch (whom, how often) and Config.Ask (now) <-- Source.Run, Refresh
//
// States of a node here, from Source.Run's point of view:
//
//	not watched --a topology, in force or to come, has it--> not asked yet --outcome--> answers, or is silent
//	     ^                                                                                 |
//	     '------------------------------ no topology has it any more ---------------------'
//
// Who owns what. The owner of the nodes (proxy.Pool) owns probes, connections and credentials, and keeps a node as long
// as it is watched, so also one that no table names: a group needs the evidence of all its nodes before it has a
// master, and only then is there a table. Source.Run says who is watched; it alone calls watch. Observe runs on the
// goroutine of the probe, and takes mu for as long as it takes to store a value. Parsing is done before.
//
// How often. A probe has the interval of replication, or RoleInterval if that is shorter (backend.Node.SetWatch); it
// does not matter whether the table has replicas, or reads from them. Refresh asks all nodes at once, and then not
// again for minAskGap: who is in trouble asks often. What is asked for meanwhile is done then, it is not lost.
//
// Age. An outcome has the time at which its question left, after any dial, and the time at which all of the answer was
// there; who was a master first, or after whom, is judged by these. A question that left before the node was watched
// counts for nothing. An answer is believed for as long as a probe of its own could have left it unreplaced (maxAge); a
// probe that is held up, by a name that can't be looked up or a process that was stopped, leaves no master behind that
// nobody has heard of for long.
//
// Failures:
//
//	the connection has ended  no outcome (Observation.Ended); the probe asks again at once on a new one, and that counts
//	no answer, INFO refused   an outcome: silent. In a row they are counted, at most one per minAskGap, so that a probe
//	                          that is in a hurry does not make a master lost sooner
//	the probe does not come   the last answer grows too old, and the node is silent, without having failed
//	the node is retired       it is not watched then, so nobody reads it

// minAskGap is between two times that all nodes are asked, and between two failures of a node that count, however often
// somebody asks.
const minAskGap = 100 * time.Millisecond

// evidence is what a node has answered last. The zero value is a node that was not asked yet.
type evidence struct {
	asked bool
	err   error // why there was no answer
	repl  lag.Replication

	begun, answered time.Time // when the question left, and when the answer or the error was there
	failures        int       // without an answer, in a row
	failing         time.Time // when the first of them was there
	counted         time.Time // when the last of them that counts was
}

func (e evidence) answers() bool { return e.asked && e.err == nil }

// isA reports whether the node has answered that it has this role.
func (e evidence) isA(role lag.Role) bool { return e.answers() && e.repl.Role == role }

// after adds what is to be known of the questions before.
func (e evidence) after(before evidence) evidence {
	if e.err == nil {
		return e
	}
	e.failures, e.failing, e.counted = before.failures, before.failing, before.counted
	if e.failures == 0 {
		e.failing = e.answered
	}
	if e.failures == 0 || e.begun.Sub(e.counted) >= minAskGap {
		e.failures++
		e.counted = e.answered
	}
	return e
}

// roles keep what the nodes of a pool have said last. mu guards the fields below it.
type roles struct {
	cfg  *Config
	wake chan struct{} // told when an answer is another one than before; capacity 1
	ask  chan struct{} // capacity 1: that all nodes are to be asked

	mu      sync.Mutex
	nodes   map[string]*heard
	timeout time.Duration // of a question
}

// heard is a node that is watched.
type heard struct {
	since int64 // clock.Now
	last  evidence
}

// errOld is why an answer does not count any more.
var errOld = errors.New("its last answer is too old")

// Observe takes the outcome of a probe of the node at addr. The owner of the probes calls it, from the goroutine of
// each, for nodes of which it was told by Config.Watch and for others, which are of no interest. It does not block.
func (s *Source) Observe(addr string, o backend.Observation) { s.roles.observe(addr, o) }

// SetTimeout changes Config.Timeout. Safe for concurrent use.
func (s *Source) SetTimeout(d time.Duration) {
	s.roles.mu.Lock()
	s.roles.timeout = d
	s.roles.mu.Unlock()
}

// observe is Source.Observe.
func (r *roles) observe(addr string, o backend.Observation) {
	if o.Ended || !r.watches(addr) {
		return
	}
	now := evidence{asked: true, err: o.Err, begun: clock.Time(o.Asked), answered: clock.Time(o.Answered)}
	if err := o.Info.Err(); err != nil && now.err == nil {
		now.err = fmt.Errorf("%s: INFO: %w", addr, err)
	}
	if now.err == nil {
		now.repl = dialect.ParseReplication([]byte(o.Info.Text))
	}
	if r.store(addr, o.Asked, now) {
		notify(r.wake)
	}
}

// watches reports whether somebody wants to know what the node at addr says.
func (r *roles) watches(addr string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.nodes[addr] != nil
}

// store keeps the outcome of a question that left at asked (clock.Now), and reports whether it is news.
func (r *roles) store(addr string, asked int64, now evidence) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.nodes[addr]
	if n == nil || asked < n.since {
		return false
	}
	now = now.after(n.last)
	before := n.last
	n.last = now
	return !sameAnswer(before, now)
}

// watch has exactly these nodes asked. Only Source.Run calls it, and whoever ends it.
func (r *roles) watch(addrs map[string]bool) {
	if !r.setWatched(addrs) {
		return
	}
	r.cfg.Watch(slices.Sorted(maps.Keys(addrs)), r.cfg.RoleInterval)
}

// setWatched reports whether other nodes are watched than before.
func (r *roles) setWatched(addrs map[string]bool) (changed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for addr := range r.nodes {
		if !addrs[addr] {
			delete(r.nodes, addr)
			changed = true
		}
	}
	for addr := range addrs {
		if r.nodes[addr] == nil {
			r.nodes[addr] = &heard{since: clock.Now()}
			changed = true
		}
	}
	return changed
}

// last returns what the node at addr has answered last.
func (r *roles) last(addr string) evidence {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.nodes[addr]
	if n == nil {
		return evidence{}
	}
	if e := n.last; e.answers() && time.Since(e.begun) > r.maxAge() {
		return evidence{asked: true, err: errOld, begun: e.begun, answered: e.answered}
	}
	return n.last
}

// maxAge is how long after it was asked for an answer may be believed: it may take as long as a question may, so may
// the next one, and between them is an interval. The caller holds mu.
func (r *roles) maxAge() time.Duration {
	return r.cfg.RoleInterval + r.cfg.RoleInterval/5 + 2*r.timeout
}

// timeoutNow is how long a question may take.
func (r *roles) timeoutNow() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.timeout
}

// refresh has all nodes asked soon. It never blocks.
func (r *roles) refresh() { notify(r.ask) }

// run has nodes asked when somebody wants it, until ctx ends.
func (r *roles) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.ask:
		}
		r.cfg.Ask()
		sleep(ctx, minAskGap)
	}
}

// sameAnswer reports whether both answers mean the same for who is the master.
func sameAnswer(a, b evidence) bool {
	return a.asked == b.asked && (a.err == nil) == (b.err == nil) && a.repl.Role == b.repl.Role &&
		a.repl.MasterAddr == b.repl.MasterAddr && a.repl.ID == b.repl.ID && len(a.repl.Replicas) == len(b.repl.Replicas)
}
