package proxy

import (
	"strings"

	"sluice/backend"
	"sluice/proxy/resp"
	"sluice/router"
)

// topicKind is what a client can be subscribed to.
type topicKind uint8

const (
	topicChannel topicKind = iota // SUBSCRIBE
	topicPattern                  // PSUBSCRIBE
	topicShard                    // SSUBSCRIBE
	topicKinds
)

// topicWords are the names of what is sent and pushed, by kind. Immutable.
var topicWords = [topicKinds]struct{ subscribe, unsubscribe, message string }{
	{"subscribe", "unsubscribe", "message"},
	{"psubscribe", "punsubscribe", "pmessage"},
	{"ssubscribe", "sunsubscribe", "smessage"},
}

// topic is a channel, a pattern or a shard channel that clients of one loop are subscribed to, or want to be. Owned by
// the event loop; no locking.
type topic struct {
	kind          topicKind
	name          string
	slot          router.Slot                // of the name
	subscriptions []*subscription            // in no order
	waiting       map[*pendingSubscribe]bool // wait for it
	holds         int                        // pending SUBSCRIBEs that want it, or another topic too
	ready         bool                       // subscribed wherever it has to be

	home     *backend.Node // of a topic with one home in a cluster, see hub.homes
	redirect *backend.Node // where a server says that a shard channel is; until the next view
	hops     int           // redirects in a row
	retryAt  int64         // loop clock before which no server is asked again
}

// subscription is one client's subscription to a topic.
type subscription struct {
	client *client
	topic  *topic
	at     int    // in topic.subscriptions
	order  uint64 // grows with every subscription of the client
}

// local reports whether messages of a topic are told by one server only, even in a cluster: notifications of changes of
// keys, by whoever has the key. A pattern counts by how it begins.
func (t *topic) local() bool {
	if t.kind == topicPattern {
		return strings.HasPrefix(t.name, "__key")
	}
	return strings.HasPrefix(t.name, "__keyspace@") || strings.HasPrefix(t.name, "__keyevent@")
}

// wait notes that somebody waits for the topic.
func (t *topic) wait(j *pendingSubscribe) {
	if t.waiting == nil {
		t.waiting = make(map[*pendingSubscribe]bool)
	}
	t.waiting[j] = true
}

// unwanted reports whether nobody is subscribed, nor about to be.
func (t *topic) unwanted() bool { return len(t.subscriptions)+t.holds == 0 }

// take gives a client a subscription.
func (t *topic) take(c *client) {
	if c.subscriptions[t.kind][t.name] != nil {
		return
	}
	if !c.subscribed() {
		c.pool.subscribers.subscribers.Add(1)
	}
	if c.subscriptions[t.kind] == nil {
		c.subscriptions[t.kind] = make(map[string]*subscription)
	}
	c.lastSubscription++
	s := &subscription{client: c, topic: t, at: len(t.subscriptions), order: c.lastSubscription}
	t.subscriptions = append(t.subscriptions, s)
	c.subscriptions[t.kind][t.name] = s
	c.pool.subscribers.countClient(t.kind, t.name, 1)
}

// leave takes the subscription away. Only s and, if it is another one, the last subscription change their places.
func (s *subscription) leave() {
	t, c := s.topic, s.client
	last := t.subscriptions[len(t.subscriptions)-1]
	t.subscriptions[s.at], last.at = last, s.at
	t.subscriptions[len(t.subscriptions)-1] = nil
	t.subscriptions = t.subscriptions[:len(t.subscriptions)-1]
	delete(c.subscriptions[t.kind], t.name)
	c.pool.subscribers.countClient(t.kind, t.name, -1)
	if !c.subscribed() {
		c.pool.subscribers.subscribers.Add(-1)
	}
}

// subscribed reports whether the client is subscribed to anything.
func (c *client) subscribed() bool {
	return len(c.subscriptions[topicChannel])+len(c.subscriptions[topicPattern])+len(c.subscriptions[topicShard]) > 0
}

// subscriptionCount is the number that acknowledgements tell: shard channels are counted apart.
func (c *client) subscriptionCount(kind topicKind) int {
	if kind == topicShard {
		return len(c.subscriptions[topicShard])
	}
	return len(c.subscriptions[topicChannel]) + len(c.subscriptions[topicPattern])
}

// appendNotice adds an acknowledgement: a push in RESP3. A nil name is null.
func (c *client) appendNotice(dst []byte, kind topicKind, word string, name *string) []byte {
	dst = append(dst, c.pushHeader(), '3', '\r', '\n')
	dst = resp.AppendBulk(dst, word)
	if name == nil {
		dst = resp.AppendNull(dst, c.resp3())
	} else {
		dst = resp.AppendBulk(dst, *name)
	}
	return resp.AppendInt(dst, int64(c.subscriptionCount(kind)))
}

// pushHeader begins what is sent unasked.
func (c *client) pushHeader() byte {
	if c.resp3() {
		return '>'
	}
	return '*'
}
