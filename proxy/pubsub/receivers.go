package pubsub

import (
	"sluice/backend"
	"sluice/proxy/command"
)

// Receivers corrects what a server answers to a PUBLISH or SPUBLISH: it has counted the connections of the loops, where
// the publisher is to be told clients. One is made for each request, by Registry.Receivers.
type Receivers struct {
	registry *Registry
	channel  string
	before   int64 // loops that were subscribed when it was made
	kind     Kind  // Channel or Shard
	cluster  bool
}

// Receivers is to be called before a message on a channel, or on a shard channel, is sent to node. cluster says that
// servers tell each other what is published.
func (s *Registry) Receivers(kind Kind, channel string, node *backend.Node, cluster bool) Receivers {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := Receivers{registry: s, kind: kind, channel: channel, cluster: cluster}
	r.matching(func(t *topicCount) {
		_, loops := t.counts(node)
		r.before += loops
	})
	return r
}

// Count is how many receivers the message has, when node, which has published it, has counted n. In a cluster it has
// told it to all others too. Clients whose loop is subscribed nowhere, for its connection is lost, get nothing. Safe
// for concurrent use.
func (r *Receivers) Count(node *backend.Node, n int64) int64 {
	r.registry.mu.Lock()
	defer r.registry.mu.Unlock()
	clients, loops := int64(0), int64(0)
	r.matching(func(t *topicCount) {
		more, at := t.counts(node)
		if at > 0 || r.cluster && t != nil && len(t.loops) > 0 {
			clients += more
		}
		loops += at
	})
	if n == 0 && loops > 0 {
		return 0 // The connections are lost, and that is not known here yet.
	}
	// A loop may have left the server before it was counted out here, and one that was counted out since then may
	// have been counted there.
	return clients + max(n-max(loops, r.before), 0)
}

// matching calls f with the topics that get the message; one may be nil. The registry's mu is held.
func (r *Receivers) matching(f func(t *topicCount)) {
	topics := &r.registry.topics
	f(topics[r.kind][r.channel])
	if r.kind != Channel {
		return
	}
	for pattern, t := range topics[Pattern] {
		if command.MatchPattern([]byte(pattern), []byte(r.channel)) {
			f(t)
		}
	}
}
