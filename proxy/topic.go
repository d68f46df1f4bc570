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
	kind    topicKind
	name    string
	slot    router.Slot       // of the name
	seats   []*seat           // in no order
	joining map[*joining]bool // wait for it
	holds   int               // joinings that want it, waiting for it or for another of their topics
	ready   bool              // subscribed wherever it has to be

	home     *backend.Node // of a topic with one home in a cluster, see hub.homes
	redirect *backend.Node // where a server says that a shard channel is; until the next view
	hops     int           // redirects in a row
	retryAt  int64         // loop clock before which no server is asked again
}

// seat is one client's subscription to a topic.
type seat struct {
	client *client
	topic  *topic
	at     int    // in topic.seats
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
func (t *topic) wait(j *joining) {
	if t.joining == nil {
		t.joining = make(map[*joining]bool)
	}
	t.joining[j] = true
}

// unwanted reports whether nobody is subscribed, nor about to be.
func (t *topic) unwanted() bool { return len(t.seats)+t.holds == 0 }

// take gives a client a seat.
func (t *topic) take(c *client) {
	if c.seats[t.kind][t.name] != nil {
		return
	}
	if !c.subscribed() {
		c.pool.census.subscribers.Add(1)
	}
	if c.seats[t.kind] == nil {
		c.seats[t.kind] = make(map[string]*seat)
	}
	c.lastSeat++
	s := &seat{client: c, topic: t, at: len(t.seats), order: c.lastSeat}
	t.seats = append(t.seats, s)
	c.seats[t.kind][t.name] = s
	c.pool.census.seat(t.kind, t.name, 1)
}

// leave takes the seat away. Only s and, if it is another one, the last seat change their places.
func (s *seat) leave() {
	t, c := s.topic, s.client
	last := t.seats[len(t.seats)-1]
	t.seats[s.at], last.at = last, s.at
	t.seats[len(t.seats)-1] = nil
	t.seats = t.seats[:len(t.seats)-1]
	delete(c.seats[t.kind], t.name)
	c.pool.census.seat(t.kind, t.name, -1)
	if !c.subscribed() {
		c.pool.census.subscribers.Add(-1)
	}
}

// subscribed reports whether the client is subscribed to anything.
func (c *client) subscribed() bool {
	return len(c.seats[topicChannel])+len(c.seats[topicPattern])+len(c.seats[topicShard]) > 0
}

// subscriptions is the number that acknowledgements tell: shard channels are counted apart.
func (c *client) subscriptions(kind topicKind) int {
	if kind == topicShard {
		return len(c.seats[topicShard])
	}
	return len(c.seats[topicChannel]) + len(c.seats[topicPattern])
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
	return resp.AppendInt(dst, int64(c.subscriptions(kind)))
}

// pushHeader begins what is sent unasked.
func (c *client) pushHeader() byte {
	if c.resp3() {
		return '>'
	}
	return '*'
}
