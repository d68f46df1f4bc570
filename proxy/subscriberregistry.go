package proxy

import (
	"sync"
	"sync/atomic"

	"sluice/backend"
	"sluice/proxy/command"
)

// subscriberRegistry knows how many of a pool's clients, over all loops, are subscribed to what, and at which nodes
// the loops are subscribed in their place. A server counts the connections of the loops for receivers; with the
// registry the count becomes that of clients. Only subscriptions and their loss change it, and only what counts
// receivers reads it: a PUBLISH while nobody is subscribed costs one atomic load. mu guards topics; safe for
// concurrent use.
type subscriberRegistry struct {
	busy        atomic.Bool  // topics is not empty
	subscribers atomic.Int64 // clients that are subscribed to anything

	mu     sync.Mutex
	topics [topicKinds]map[string]*topicCount
}

// topicCount is what the registry knows of one topic.
type topicCount struct {
	clients int
	loops   map[*backend.Node]int // how many loops are subscribed there
}

// countClient counts a client in, or out with -1.
func (s *subscriberRegistry) countClient(kind topicKind, name string, n int) {
	s.change(kind, name, func(t *topicCount) { t.clients += n })
}

// countLoop counts a loop's subscription at a node in, or out with -1.
func (s *subscriberRegistry) countLoop(kind topicKind, name string, node *backend.Node, n int) {
	s.change(kind, name, func(t *topicCount) {
		if t.loops[node] += n; t.loops[node] == 0 {
			delete(t.loops, node)
		}
	})
}

func (s *subscriberRegistry) change(kind topicKind, name string, f func(t *topicCount)) {
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
	s.busy.Store(len(s.topics[topicChannel])+len(s.topics[topicPattern])+len(s.topics[topicShard]) > 0)
}

// matching calls f with the topics that get a message on a channel; one may be nil. mu is held.
func (s *subscriberRegistry) matching(kind topicKind, channel string, f func(t *topicCount)) {
	f(s.topics[kind][channel])
	if kind != topicChannel {
		return
	}
	for pattern, t := range s.topics[topicPattern] {
		if command.MatchPattern([]byte(pattern), []byte(channel)) {
			f(t)
		}
	}
}

// listening is how many loops get a message on a channel from a node.
func (s *subscriberRegistry) listening(kind topicKind, channel string, node *backend.Node) (loops int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.matching(kind, channel, func(t *topicCount) {
		_, at := t.counts(node)
		loops += at
	})
	return loops
}

// receivers is how many receivers a message on a channel has, when the node that published it has counted n, and
// listening was before when it was sent there. In a cluster the node has told it to all others too. Clients whose
// loop is subscribed nowhere, for its connection is lost, get nothing.
func (s *subscriberRegistry) receivers(
	kind topicKind, channel string, node *backend.Node, n, before int64, cluster bool,
) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	clients, loops := int64(0), int64(0)
	s.matching(kind, channel, func(t *topicCount) {
		more, at := t.counts(node)
		if at > 0 || cluster && t != nil && len(t.loops) > 0 {
			clients += more
		}
		loops += at
	})
	if n == 0 && loops > 0 {
		return 0 // The connections are lost, and that is not known here yet.
	}
	// A loop may have left the server before it was counted out here, and one that was counted out since then may
	// have been counted there.
	return clients + max(n-max(loops, before), 0)
}

// counts are the clients and the loops at a node; t may be nil.
func (t *topicCount) counts(node *backend.Node) (clients, loops int64) {
	if t == nil {
		return 0, 0
	}
	return int64(t.clients), int64(t.loops[node])
}

// of is the number of clients of a topic, and of loops that are subscribed to it at a node.
func (s *subscriberRegistry) of(kind topicKind, name string, node *backend.Node) (clients, loops int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.topics[kind][name].counts(node)
}

// names lists what clients are subscribed to.
func (s *subscriberRegistry) names(kind topicKind) []string {
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
func (s *subscriberRegistry) parting(kind topicKind) map[string]bool {
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

// copies is at how many nodes beside the first each pattern is subscribed, added up.
func (s *subscriberRegistry) copies() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	var n int64
	for _, t := range s.topics[topicPattern] {
		n += int64(max(len(t.loops)-1, 0))
	}
	return n
}

// PubSubCounts say what the clients of a pool are subscribed to.
type PubSubCounts struct {
	Channels, Patterns, ShardChannels int // with a subscriber
	Subscribers                       int // clients
}

// PubSub counts what the clients of the pool are subscribed to.
func (p *Pool) PubSub() PubSubCounts {
	return PubSubCounts{
		Channels:      len(p.subscribers.names(topicChannel)),
		Patterns:      len(p.subscribers.names(topicPattern)),
		ShardChannels: len(p.subscribers.names(topicShard)),
		Subscribers:   int(p.subscribers.subscribers.Load()),
	}
}
