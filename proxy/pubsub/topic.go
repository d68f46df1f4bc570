package pubsub

import (
	"strings"

	"sluice/backend"
	"sluice/router"
)

// Kind is what a client can be subscribed to.
type Kind uint8

// The kinds.
const (
	Channel Kind = iota // SUBSCRIBE
	Pattern             // PSUBSCRIBE
	Shard               // SSUBSCRIBE: a shard channel
	kinds
)

// kindWords are the names of what is sent and acknowledged, by kind. Immutable.
var kindWords = [kinds]struct{ subscribe, unsubscribe string }{
	{"subscribe", "unsubscribe"},
	{"psubscribe", "punsubscribe"},
	{"ssubscribe", "sunsubscribe"},
}

// topic is a channel, a pattern or a shard channel that clients of one loop are subscribed to, or want to be. Owned by
// the event loop; no locking.
type topic struct {
	kind          Kind
	name          string
	slot          router.Slot       // of the name
	subscriptions []*subscription   // in no order
	waiting       map[*pending]bool // wait for it
	holds         int               // pending SUBSCRIBEs that want it, or another topic too
	ready         bool              // subscribed wherever it has to be

	home     *backend.Node // of a topic with one home in a cluster, see Hub.homes
	redirect *backend.Node // where a server says that a shard channel is; until the next topology
	hops     int           // redirects in a row
	retryAt  int64         // loop clock before which no server is asked again
}

// subscription is one client's subscription to a topic.
type subscription struct {
	client Subscriber
	topic  *topic
	at     int    // in topic.subscriptions
	order  uint64 // grows with every subscription of the client
}

// local reports whether messages of a topic are told by one server only, even in a cluster: notifications of changes of
// keys, by whoever has the key. A pattern counts by how it begins.
func (t *topic) local() bool {
	if t.kind == Pattern {
		return strings.HasPrefix(t.name, "__key")
	}
	return strings.HasPrefix(t.name, "__keyspace@") || strings.HasPrefix(t.name, "__keyevent@")
}

// wait notes that somebody waits for the topic.
func (t *topic) wait(p *pending) {
	if t.waiting == nil {
		t.waiting = make(map[*pending]bool)
	}
	t.waiting[p] = true
}

// unwanted reports whether nobody is subscribed, nor about to be.
func (t *topic) unwanted() bool { return len(t.subscriptions)+t.holds == 0 }

// add gives the topic a subscription.
func (t *topic) add(s *subscription) {
	s.topic, s.at = t, len(t.subscriptions)
	t.subscriptions = append(t.subscriptions, s)
}

// remove takes a subscription away. Only s and, if it is another one, the last subscription change their places.
func (t *topic) remove(s *subscription) {
	end := len(t.subscriptions) - 1
	last := t.subscriptions[end]
	t.subscriptions[s.at], last.at = last, s.at
	t.subscriptions[end] = nil
	t.subscriptions = t.subscriptions[:end]
}

// tell gives a message to all who are subscribed. Of one that was cut nothing can be told.
func (t *topic) tell(frame []byte, cut bool) {
	// A write may close the client, which takes its own subscription away and no other.
	for i := len(t.subscriptions) - 1; i >= 0; i-- {
		if c := t.subscriptions[i].client; cut {
			c.Overflow()
		} else {
			c.Tell(frame)
		}
	}
}
