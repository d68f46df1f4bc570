package proxy

import (
	"slices"
	"sync"
	"time"

	"sluice/backend"
)

// nodeSet has the nodes of a pool, each with the one probe that asks it what it is. The breaker, the watcher of
// replication and a source of topology that asks for it (Pool.Watch) all live on what that probe brings.
//
//	candidate --a topology names it--> named --none does, its connections are closed--> retired
//	    |                                ^ |
//	    '--nobody watches it any more----|-'--> retired, retireDelay later and not while it is watched
//
// A candidate gets no requests: loops find nodes in the view, which has the named ones. It is there because somebody
// watches it: who a master is has to be known before a topology can name it.
//
// Safe for concurrent use; mu guards the fields below it. No request comes here.
type nodeSet struct {
	make   func(addr string) *backend.Node
	forget func(*backend.Node) // its number may be given to another one
	probes sync.WaitGroup

	mu         sync.Mutex
	named      map[string]*backend.Node
	candidates map[string]*backend.Node
	watched    map[string]bool
	every      time.Duration // how often those that are watched are to be asked
	ended      bool          // no probe begins any more
}

// newNodeSet returns an empty one.
func newNodeSet(create func(addr string) *backend.Node, forget func(*backend.Node)) *nodeSet {
	return &nodeSet{
		make: create, forget: forget,
		named: make(map[string]*backend.Node), candidates: make(map[string]*backend.Node), watched: make(map[string]bool),
	}
}

// Nodes lists the nodes that a topology of the pool names, or did until a moment ago, in no order.
func (p *Pool) Nodes() []*backend.Node { return p.nodes.list(false) }

// Node finds the node at addr among Nodes, nil when there is none.
func (p *Pool) Node(addr string) *backend.Node {
	p.nodes.mu.Lock()
	defer p.nodes.mu.Unlock()
	return p.nodes.named[addr]
}

// Watch has exactly the nodes at addrs (host:port) asked what they are, every so often or more, whether a topology
// names them or not, and those that were not watched before at once; PoolConfig.Observe is told what they answer. Nodes
// that nobody wants any more are forgotten. Whoever names addresses here vouches for them: they are asked with the
// pool's credentials. For the source of the topology, which calls it from one goroutine; it does not block.
func (p *Pool) Watch(addrs []string, every time.Duration) { p.nodes.watch(addrs, every) }

// AskWatched asks the nodes that are watched now. Safe for concurrent use; it does not block.
func (p *Pool) AskWatched() { p.nodes.askWatched() }

// node finds or makes the node at addr, which a topology names.
func (p *Pool) node(addr string) *backend.Node { return p.nodes.name(addr) }

// stop ends the probes and dials of the pool.
func (p *Pool) stop() { p.nodes.stop() }

// name finds or makes the node at addr, which a topology names.
func (s *nodeSet) name(addr string) *backend.Node {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.named[addr]
	if n == nil {
		if n = s.candidates[addr]; n == nil {
			n = s.start(addr, true)
		}
		delete(s.candidates, addr)
		s.named[addr] = n
	}
	n.SetWanted(true)
	return n
}

// start makes a node and runs its probe. The caller holds mu.
func (s *nodeSet) start(addr string, wanted bool) *backend.Node {
	n := s.make(addr)
	n.SetWanted(wanted)
	if s.ended {
		n.Retire()
		return n
	}
	if s.watched[addr] {
		n.SetWatch(s.every)
	}
	s.probes.Go(n.Run)
	return n
}

// watch is Pool.Watch.
func (s *nodeSet) watch(addrs []string, every time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.watched
	s.watched, s.every = make(map[string]bool, len(addrs)), every
	for _, addr := range addrs {
		s.watched[addr] = true
		n := s.find(addr)
		if n == nil {
			s.candidates[addr] = s.start(addr, false)
			continue
		}
		n.SetWatch(every)
		if !before[addr] {
			n.Kick()
		}
	}
	for addr := range before {
		if n := s.find(addr); n != nil && !s.watched[addr] {
			n.SetWatch(0)
		}
	}
}

// find is the node at addr, nil when there is none. The caller holds mu.
func (s *nodeSet) find(addr string) *backend.Node {
	if n := s.named[addr]; n != nil {
		return n
	}
	return s.candidates[addr]
}

// askWatched is Pool.AskWatched.
func (s *nodeSet) askWatched() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for addr := range s.watched {
		if n := s.find(addr); n != nil {
			n.Kick()
		}
	}
}

// list returns the nodes that are or were named, and with all set the candidates too.
func (s *nodeSet) list(all bool) []*backend.Node {
	s.mu.Lock()
	defer s.mu.Unlock()
	nodes := make([]*backend.Node, 0, len(s.named)+len(s.candidates))
	for _, n := range s.named {
		nodes = append(nodes, n)
	}
	if all {
		for _, n := range s.candidates {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

// ProbesFail reports whether a node that is probed, named or watched, did not answer its last probe.
func (p *Pool) ProbesFail() bool {
	return slices.ContainsFunc(p.nodes.list(true), func(n *backend.Node) bool { return n.Status().Err != "" })
}

// markWanted tells the nodes whether a topology names them.
func (s *nodeSet) markWanted(by map[string]*backend.Node) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for addr, n := range s.named {
		n.SetWanted(by[addr] != nil)
	}
}

// retireDelay is how long a node is kept after the last topology that named it, so that a loop that has just
// looked it up can still use it.
const retireDelay = 2 * time.Second

// retireUnused forgets nodes that no topology has named for a while, nobody watches and nothing uses any more. Called
// by the ticker.
func (s *nodeSet) retireUnused(after time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, nodes := range []map[string]*backend.Node{s.named, s.candidates} {
		for addr, n := range nodes {
			if !s.watched[addr] && n.Unused(after) {
				delete(nodes, addr)
				n.Retire()
				s.forget(n)
			}
		}
	}
}

// stop is Pool.stop.
func (s *nodeSet) stop() {
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	for _, n := range s.list(true) {
		n.Retire()
	}
	s.probes.Wait()
}
