package pubsub

import (
	"slices"
	"time"

	"sluice/backend"
	"sluice/backend/dialect"
	"sluice/proxy/resp"
)

// Where a topic has to be subscribed, and what is done about it, see Hub.

const (
	// retryPause is how long a server that has refused a subscription is not asked for it again.
	retryPause = int64(time.Second)
	// redirectPause is how long nobody is asked for a shard channel when the servers disagree about its owner.
	redirectPause = int64(time.Millisecond)
	// maxHops is how many redirects of a shard channel are followed at once; after that the servers disagree.
	maxHops = 3
)

// topic finds or makes a topic.
func (h *Hub) topic(kind Kind, name string) *topic {
	t := h.topics[kind][name]
	if t == nil {
		t = &topic{kind: kind, name: name, slot: h.cfg.Model.Slot([]byte(name))}
		h.topics[kind][name] = t
	}
	return t
}

// homes lists the masters where a topic has to be subscribed. Valid until the next call; not to be changed.
func (h *Hub) homes(t *topic, v Topology) []*backend.Node {
	var home *backend.Node
	switch {
	case v == nil:
	case t.kind == Shard && t.redirect != nil:
		home = t.redirect
	case t.kind == Shard:
		home = v.Master(t.slot)
	case h.cfg.Model.Cluster() && !t.local():
		if t.home == nil || !slices.Contains(v.Masters(), t.home) || !t.home.Available() {
			t.home = bestMaster(v, t)
		}
		home = t.home
	default:
		return v.Masters()
	}
	if home == nil {
		return nil
	}
	h.home[0] = home
	return h.home[:]
}

// bestMaster chooses the home of a topic in a cluster: the owner of its slot, where most is published; another one if
// that does not serve, since every server tells everything.
func bestMaster(v Topology, t *topic) *backend.Node {
	owner := v.Master(t.slot)
	if owner != nil && owner.Available() {
		return owner
	}
	for _, node := range v.Masters() {
		if node.Available() {
			return node
		}
	}
	return owner
}

// needs reports whether a topic is not ready without a home that is away. A server that is away publishes nothing, and
// is subscribed to when it is back; only that of the topic's own slot is waited for, since what its clients publish
// goes there.
func (h *Hub) needs(t *topic, v Topology, node *backend.Node) bool {
	return node.Available() || t.kind != Pattern && v.Master(t.slot) == node
}

// arrange subscribes a topic where it is missing and, once it is ready, leaves the servers that are no home of it any
// more and answers those who have waited for it. A topic that nobody wants is dropped. The caller calls speak when it
// has arranged everything.
func (h *Hub) arrange(t *topic) {
	if t.unwanted() {
		h.drop(t)
		return
	}
	v := h.cfg.Pool.Topology()
	homes := h.homes(t, v)
	on, missing := 0, 0
	for _, node := range homes {
		k := h.link(node)
		switch s := k.subs[t.kind][t.name]; {
		case s != nil && s.state == subOn:
			on++
			continue
		case (s == nil || s.state == subLeaving) && h.cfg.Loop.Now() >= t.retryAt:
			k.ask(t)
		}
		if h.needs(t, v, node) {
			missing++
		}
	}
	t.ready = on > 0 && missing == 0
	if !t.ready {
		h.unready[t] = true
		return
	}
	delete(h.unready, t)
	t.hops = 0
	for _, k := range h.links {
		if !slices.Contains(homes, k.node) {
			k.leave(t)
		}
	}
	waiting := t.waiting
	t.waiting = nil
	for p := range waiting {
		if p.left--; p.left == 0 {
			h.joined(p)
		}
	}
}

// arrangeAll arranges every topic.
func (h *Hub) arrangeAll() {
	for kind := range h.topics {
		for _, t := range h.topics[kind] {
			h.arrange(t)
		}
	}
	h.speak()
}

// speak sends what arranging has found to be said.
func (h *Hub) speak() {
	for _, k := range h.links {
		k.speak()
	}
}

// drop forgets a topic that nobody wants.
func (h *Hub) drop(t *topic) {
	delete(h.unready, t)
	if h.topics[t.kind][t.name] != t {
		return
	}
	delete(h.topics[t.kind], t.name)
	for _, k := range h.links {
		k.leave(t)
	}
}

// subscribe gives a client a subscription, if it has none.
func (h *Hub) subscribe(c Subscriber, t *topic) {
	s := c.Subscriptions()
	if s.topics[t.kind][t.name] != nil {
		return
	}
	if !s.Any() {
		h.cfg.Registry.countSubscriber(1)
	}
	if s.topics[t.kind] == nil {
		s.topics[t.kind] = make(map[string]*subscription)
	}
	s.newest++
	one := &subscription{client: c, order: s.newest}
	t.add(one)
	s.topics[t.kind][t.name] = one
	h.cfg.Registry.countClient(t.kind, t.name, 1)
}

// unsubscribe ends a subscription of a client, if it has it. The caller calls speak.
func (h *Hub) unsubscribe(s *Subscriptions, kind Kind, name string) {
	one := s.topics[kind][name]
	if one == nil {
		return
	}
	t := one.topic
	t.remove(one)
	delete(s.topics[kind], name)
	h.cfg.Registry.countClient(kind, name, -1)
	if !s.Any() {
		h.cfg.Registry.countSubscriber(-1)
	}
	if t.unwanted() {
		h.drop(t)
	}
}

// refused is told that a server does not take a subscription.
func (h *Hub) refused(t *topic, node *backend.Node, line []byte, host string) {
	h.unready[t], t.ready = true, false
	now := h.cfg.Loop.Now()
	v := h.cfg.Family.Judge(line, host)
	if !h.cfg.Model.Cluster() && (v.Kind == dialect.Moved || v.Kind == dialect.Ask) {
		v.Kind = dialect.Pass // Its slots are not those of a cluster.
	}
	switch v.Kind {
	case dialect.Moved:
		h.cfg.Pool.Moved(v.Slot, v.Addr)
		t.hops++
		if t.redirect = nil; v.Addr != node.Addr && t.hops <= maxHops {
			if t.redirect = h.cfg.Pool.Topology().Named(v.Addr); t.redirect != nil {
				return
			}
		}
		t.hops, t.retryAt = 0, now+redirectPause
		h.cfg.Pool.Trouble(node.Addr)
	case dialect.Migrating, dialect.NoMaster, dialect.Ask:
		t.retryAt = now + redirectPause
		h.cfg.Pool.Trouble(node.Addr)
	case dialect.Pass, dialect.Denied:
		t.retryAt = now + retryPause
		text := string(resp.TrimLine(line[1:]))
		if len(t.subscriptions) > 0 {
			h.cfg.Log.Warn("a server refuses a subscription", "backend", node.Addr, "err", text)
		}
		for p := range t.waiting {
			h.refuse(p, Refusal{Cause: Denied, Text: text})
		}
	}
}
