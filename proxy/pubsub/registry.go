package pubsub

import (
	"sync"
	"sync/atomic"

	"sluice/backend"
)

// Registry knows how many of a pool's clients, over all loops, are subscribed to what, and at which nodes
// the loops are subscribed in their place. A server counts the connections of the loops for receivers; with the
// registry the count becomes that of clients. Only subscriptions and their loss change it, and only what counts
// receivers reads it: a PUBLISH while nobody is subscribed costs one atomic load. Safe for concurrent use; the zero
// value is ready.
type Registry struct {
	busy        atomic.Bool  // topics is not empty
	subscribers atomic.Int64 // clients that are subscribed to anything

	mu     sync.Mutex // guards topics
	topics [kinds]map[string]*topicCount
}

// topicCount is what the registry knows of one topic.
type topicCount struct {
	clients int
	loops   map[*backend.Node]int // how many loops are subscribed there
}

// Busy reports whether anything is subscribed, so that the reply of a PUBLISH has to be corrected, see Receivers.
func (s *Registry) Busy() bool { return s.busy.Load() }

// countSubscriber counts a client in that is subscribed to something now, or out with -1.
func (s *Registry) countSubscriber(n int64) { s.subscribers.Add(n) }

// countClient counts a client in, or out with -1.
func (s *Registry) countClient(kind Kind, name string, n int) {
	s.change(kind, name, func(t *topicCount) { t.clients += n })
}

// countLoop counts a loop's subscription at a node in, or out with -1.
func (s *Registry) countLoop(kind Kind, name string, node *backend.Node, n int) {
	s.change(kind, name, func(t *topicCount) {
		if t.loops[node] += n; t.loops[node] == 0 {
			delete(t.loops, node)
		}
	})
}

func (s *Registry) change(kind Kind, name string, f func(t *topicCount)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.topics[kind][name]
	if t == nil {
		if s.topics[kind] == nil {
			s.topics[kind] = make(map[string]*topicCount)
		}
		t = &topicCount{loops: make(map[*backend.Node]int)}
		s.topics[kind][name] = t
	}
	f(t)
	if t.clients == 0 && len(t.loops) == 0 {
		delete(s.topics[kind], name)
	}
	s.busy.Store(len(s.topics[Channel])+len(s.topics[Pattern])+len(s.topics[Shard]) > 0)
}

// counts are the clients and the loops at a node; t may be nil.
func (t *topicCount) counts(node *backend.Node) (clients, loops int64) {
	if t == nil {
		return 0, 0
	}
	return int64(t.clients), int64(t.loops[node])
}

// Of is the number of clients of a topic, and of loops that are subscribed to it at a node.
func (s *Registry) Of(kind Kind, name string, node *backend.Node) (clients, loops int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.topics[kind][name].counts(node)
}

// names lists what clients are subscribed to.
func (s *Registry) names(kind Kind) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for name, t := range s.topics[kind] {
		if t.clients > 0 {
			names = append(names, name)
		}
	}
	return names
}

// parting are the topics without a client that a loop is subscribed to: it is about to leave.
func (s *Registry) parting(kind Kind) map[string]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := make(map[string]bool)
	for name, t := range s.topics[kind] {
		if t.clients == 0 && len(t.loops) > 0 {
			names[name] = true
		}
	}
	return names
}

// at is how many topics loops are subscribed to at a node: those that clients want, and those that they are about to
// leave.
func (s *Registry) at(kind Kind, node *backend.Node) (wanted, parting int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.topics[kind] {
		switch {
		case t.loops[node] == 0:
		case t.clients == 0:
			parting++
		default:
			wanted++
		}
	}
	return wanted, parting
}

// copies is at how many nodes beside the first each pattern that a client wants is subscribed, added up.
func (s *Registry) copies() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	var n int64
	for _, t := range s.topics[Pattern] {
		if t.clients > 0 {
			n += int64(max(len(t.loops)-1, 0))
		}
	}
	return n
}

// Counts say what the clients of a pool are subscribed to.
type Counts struct {
	Channels, Patterns, ShardChannels int // with a subscriber
	Subscribers                       int // clients
}

// Counts counts what the clients of the pool are subscribed to. Safe for concurrent use.
func (s *Registry) Counts() Counts {
	return Counts{
		Channels:      len(s.names(Channel)),
		Patterns:      len(s.names(Pattern)),
		ShardChannels: len(s.names(Shard)),
		Subscribers:   int(s.subscribers.Load()),
	}
}
