package pubsub

import (
	"slices"

	"sluice/backend"
)

// Hub is what one loop knows of a pool's channels: who is subscribed to what, and at which servers the loop is
// subscribed in the place of its clients. Owned by the event loop; no locking. Nobody else touches it, nor what it
// holds: others give the loop a task.
//
// A topic is subscribed once per server, however many clients want it, and dropped when the last of them has left.
// arrange compares where it should be subscribed (homes) with where it is (link.subs) and asks for what is missing.
// It is called whenever one of the two may have changed: somebody joins or leaves, a server answers, a connection comes
// up or is lost, a topology comes into force; and by Tick for what is not ready. Nothing else decides anything, so
// that every failure ends in the same place: the topic is not ready, and is arranged again.
//
//	wanted --SUBSCRIBE--> asked --acknowledged, PONG--> on --UNSUBSCRIBE--> leaving --PONG--> forgotten
//
// In a pool of the Codis model servers know nothing of each other: a topic is subscribed at every master, and
// whichever of them publishes, each subscriber is told once. In a cluster every server tells all others, so one home is
// enough, and a second would mean two copies. A shard channel lives at the owner of its slot in either.
type Hub struct {
	cfg Config

	topics  [kinds]map[string]*topic
	links   map[*backend.Node]*link
	unready map[*topic]bool
	pending map[*pending]bool
	home    [1]*backend.Node // scratch of homes

	resubscriptions uint64
}

// New makes the hub of a loop and a pool. Call it on the loop.
func New(cfg Config) *Hub {
	h := &Hub{
		cfg: cfg, links: make(map[*backend.Node]*link), unready: make(map[*topic]bool),
		pending: make(map[*pending]bool),
	}
	for kind := range h.topics {
		h.topics[kind] = make(map[string]*topic)
	}
	return h
}

// Subscribe is SUBSCRIBE, or what it is called for kind. When all is subscribed already, the client has what it asked
// for, and the acknowledgements are appended to dst. Else ready is false: the client makes itself wait, with nothing
// else in flight, and calls Await.
func (h *Hub) Subscribe(
	dst []byte, c Subscriber, kind Kind, names []string, resp3 bool,
) (acknowledged []byte, ready bool) {
	p := &pending{client: c, kind: kind, names: names, resp3: resp3, since: h.cfg.Loop.Now()}
	if !h.join(p) {
		c.Subscriptions().pending = p
		return dst, false
	}
	dst = h.take(dst, p)
	h.end(p)
	return dst, true
}

// Await asks the servers for what Subscribe has found missing. The client is answered, in this call or later, by
// Acknowledge or Refuse, unless it leaves before.
func (h *Hub) Await(c Subscriber) {
	p := c.Subscriptions().pending
	h.pending[p] = true
	for _, t := range p.topics {
		if !t.ready {
			h.arrange(t)
		}
	}
	if r, over := h.overdue(p); over {
		h.refuse(p, r)
	}
	h.speak()
	h.cfg.Loop.Wake()
}

// Unsubscribe is UNSUBSCRIBE, or what it is called for kind: it ends subscriptions, all of the kind when it names none,
// and appends the acknowledgements to dst.
func (h *Hub) Unsubscribe(dst []byte, c Subscriber, kind Kind, names []string, resp3 bool) []byte {
	s, word := c.Subscriptions(), kindWords[kind].unsubscribe
	if len(names) == 0 {
		names = s.names(kind)
	}
	if len(names) == 0 {
		return s.appendNotice(dst, kind, word, nil, resp3)
	}
	for i := range names {
		h.unsubscribe(s, kind, names[i])
		dst = s.appendNotice(dst, kind, word, &names[i], resp3)
	}
	h.speak()
	return dst
}

// Leave ends all subscriptions of a client without a word. A SUBSCRIBE that waits is refused if the client is still
// there to hear it: gone says that it is not.
func (h *Hub) Leave(c Subscriber, gone bool) {
	s := c.Subscriptions()
	switch {
	case s.pending == nil:
	case gone:
		h.end(s.pending)
	default:
		h.refuse(s.pending, Refusal{Cause: Leaving})
	}
	for kind := range s.topics {
		for name := range s.topics[kind] {
			h.unsubscribe(s, Kind(kind), name)
		}
	}
	h.speak()
}

// Settle is told that the pool has a new topology, or new settings.
func (h *Hub) Settle() {
	v := h.cfg.Pool.Topology()
	for kind := range h.topics {
		for _, t := range h.topics[kind] {
			t.redirect, t.hops = nil, 0
		}
	}
	for node, k := range h.links {
		if v == nil || slices.Contains(v.Masters(), node) {
			continue
		}
		// What it is told by its master it would tell a second time.
		h.cfg.Conns.Close(k.conn, backend.ErrClosed)
		delete(h.links, node)
	}
	h.arrangeAll()
}

// Tick dials what has to be dialled again, looks for dead servers, and at what is not ready. It reports whether
// something is under way.
func (h *Hub) Tick() (waiting bool) {
	changed := false
	for _, k := range h.links {
		busy, came := k.tick()
		waiting, changed = waiting || busy, changed || came
	}
	if changed {
		h.arrangeAll()
	}
	for t := range h.unready {
		h.arrange(t)
	}
	for p := range h.pending {
		if r, over := h.overdue(p); over {
			h.refuse(p, r)
		}
	}
	h.speak()
	return waiting || len(h.unready) > 0
}

// Trim closes connections that carry no subscription.
func (h *Hub) Trim() {
	for node, k := range h.links {
		if k.idle() {
			h.cfg.Conns.Close(k.conn, backend.ErrClosed)
			delete(h.links, node)
		}
	}
}

// Resubscriptions is how many times a topic with subscribers was asked for at a server: its connection was lost, or the
// topology has changed.
func (h *Hub) Resubscriptions() uint64 { return h.resubscriptions }

// Size is how much a Hub holds.
type Size struct {
	Topics  int // channels, patterns and shard channels that somebody wants
	Unready int // those of them that are not subscribed wherever they have to be
	Pending int // SUBSCRIBEs that wait
	Conns   int // to servers
	Held    int // subscriptions at servers, those included that are asked for or being left
}

// Size counts what the hub holds, so that tests see what was left behind.
func (h *Hub) Size() Size {
	s := Size{Unready: len(h.unready), Pending: len(h.pending), Conns: len(h.links)}
	for kind := range kinds {
		s.Topics += len(h.topics[kind])
		for _, k := range h.links {
			s.Held += len(k.subs[kind])
		}
	}
	return s
}
