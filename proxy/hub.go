package proxy

import (
	"slices"
	"time"

	"sluice/backend"
	"sluice/backend/dialect"
	"sluice/proxy/redispatch"
	"sluice/proxy/resp"
	"sluice/router"
)

// hub is what one loop knows of a pool's channels: who is subscribed to what, and at which servers the loop is
// subscribed in the place of its clients. Owned by the event loop; no locking.
//
// A topic is subscribed once per server, however many clients want it, and dropped when the last of them has left.
// arrange compares where it should be subscribed (homes) with where it is (hubLink.subs) and asks for what is missing.
// It is called whenever one of the two may have changed: somebody joins or leaves, a server answers, a connection comes
// up or is lost, a topology comes into force; and by tick for what is not ready. Nothing else decides anything, so
// that every failure ends in the same place: the topic is not ready, and is arranged again.
//
//	wanted --SUBSCRIBE--> asked --acknowledged, PONG--> on --UNSUBSCRIBE--> leaving --PONG--> forgotten
//
// In a pool of the Codis model servers know nothing of each other: a topic is subscribed at every master, and
// whichever of them publishes, each subscriber is told once. In a cluster every server tells all others, so one home is
// enough, and a second would mean two copies. A shard channel lives at the owner of its slot in either.
type hub struct {
	loop *loop
	pool *Pool

	topics            [topicKinds]map[string]*topic
	links             map[*backend.Node]*hubLink
	unready           map[*topic]bool
	pendingSubscribes map[*pendingSubscribe]bool
	nodes             []*backend.Node // scratch of homes
}

// retryPause is how long a server that has refused a subscription is not asked for it again.
const retryPause = int64(time.Second)

// hubOf is the loop's hub of a pool, made when it is needed first.
func (l *loop) hubOf(p *Pool) *hub {
	h := l.hubs[p]
	if h == nil {
		h = &hub{
			loop: l, pool: p, links: make(map[*backend.Node]*hubLink), unready: make(map[*topic]bool),
			pendingSubscribes: make(map[*pendingSubscribe]bool),
		}
		for kind := range h.topics {
			h.topics[kind] = make(map[string]*topic)
		}
		if l.hubs == nil {
			l.hubs = make(map[*Pool]*hub)
		}
		l.hubs[p] = h
	}
	return h
}

// topic finds or makes a topic.
func (h *hub) topic(kind topicKind, name string) *topic {
	t := h.topics[kind][name]
	if t == nil {
		t = &topic{kind: kind, name: name, slot: h.pool.Model.Slot([]byte(name))}
		h.topics[kind][name] = t
	}
	return t
}

// homes lists the masters where a topic has to be subscribed. Valid until the next call.
func (h *hub) homes(t *topic, v *view) []*backend.Node {
	h.nodes = h.nodes[:0]
	switch {
	case v == nil:
	case t.kind == topicShard && t.redirect != nil:
		h.nodes = append(h.nodes, t.redirect)
	case t.kind == topicShard:
		if node := v.master(t.slot); node != nil {
			h.nodes = append(h.nodes, node)
		}
	case h.pool.Model.Cluster() && !t.local():
		if t.home == nil || !v.isMaster(t.home) || !t.home.Available() {
			t.home = v.bestMaster(t)
		}
		if t.home != nil {
			h.nodes = append(h.nodes, t.home)
		}
	default:
		for _, g := range v.table.Groups {
			if node := v.nodes[g.Master.Index]; !slices.Contains(h.nodes, node) {
				h.nodes = append(h.nodes, node)
			}
		}
	}
	return h.nodes
}

// bestMaster chooses the home of a topic in a cluster: the owner of its slot, where most is published; another one if
// that does not serve, since every server tells everything.
func (v *view) bestMaster(t *topic) *backend.Node {
	owner := v.master(t.slot)
	if owner != nil && owner.Available() {
		return owner
	}
	for _, g := range v.table.Groups {
		if node := v.nodes[g.Master.Index]; node.Available() {
			return node
		}
	}
	return owner
}

// isMaster reports whether node is the master of a group.
func (v *view) isMaster(node *backend.Node) bool {
	return slices.ContainsFunc(v.table.Groups, func(g *router.Group) bool { return v.nodes[g.Master.Index] == node })
}

// needs reports whether a topic is not ready without a home that is away. A server that is away publishes nothing, and
// is subscribed to when it is back; only that of the topic's own slot is waited for, since what its clients publish
// goes there.
func (h *hub) needs(t *topic, v *view, node *backend.Node) bool {
	return node.Available() || t.kind != topicPattern && v.master(t.slot) == node
}

// arrange subscribes a topic where it is missing and, once it is ready, leaves the servers that are no home of it any
// more and answers those who have waited for it. A topic that nobody wants is dropped. The caller calls speak when it
// has arranged everything.
func (h *hub) arrange(t *topic) {
	if t.unwanted() {
		h.drop(t)
		return
	}
	v := h.pool.view.Load()
	homes := h.homes(t, v)
	on, missing := 0, 0
	for _, node := range homes {
		link := h.link(node)
		switch s := link.subs[t.kind][t.name]; {
		case s != nil && s.state == subOn:
			on++
			continue
		case (s == nil || s.state == subLeaving) && h.loop.now >= t.retryAt:
			link.ask(t)
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
	for _, link := range h.links {
		if !slices.Contains(homes, link.node) {
			link.leave(t)
		}
	}
	waiting := t.waiting
	t.waiting = nil
	for j := range waiting {
		if j.left--; j.left == 0 {
			h.joined(j)
		}
	}
}

// arrangeAll arranges every topic.
func (h *hub) arrangeAll() {
	for kind := range h.topics {
		for _, t := range h.topics[kind] {
			h.arrange(t)
		}
	}
	h.speak()
}

// speak sends what arranging has found to be said.
func (h *hub) speak() {
	for _, link := range h.links {
		link.speak()
	}
}

// drop forgets a topic that nobody wants.
func (h *hub) drop(t *topic) {
	delete(h.unready, t)
	if h.topics[t.kind][t.name] != t {
		return
	}
	delete(h.topics[t.kind], t.name)
	for _, link := range h.links {
		link.leave(t)
	}
}

// refused is told that a server does not take a subscription.
func (h *hub) refused(t *topic, node *backend.Node, line []byte, host string) {
	h.unready[t], t.ready = true, false
	v := h.pool.Family.Judge(line, host)
	if !h.pool.Model.Cluster() && (v.Kind == dialect.Moved || v.Kind == dialect.Ask) {
		v.Kind = dialect.Pass // Its slots are not those of a cluster.
	}
	switch v.Kind {
	case dialect.Moved:
		h.loop.stats.Redirects[RedirectMoved]++
		h.pool.moved(v.Slot, v.Addr)
		t.hops++
		if t.redirect = nil; v.Addr != node.Addr && t.hops <= redispatch.QuickHops {
			if t.redirect = h.pool.view.Load().named[v.Addr]; t.redirect != nil {
				return
			}
		}
		t.hops, t.retryAt = 0, h.loop.now+redispatch.MinPause
		h.pool.trouble(node.Addr)
	case dialect.Migrating, dialect.NoMaster, dialect.Ask:
		t.retryAt = h.loop.now + redispatch.MinPause
		h.pool.trouble(node.Addr)
	case dialect.Pass, dialect.Denied:
		t.retryAt = h.loop.now + retryPause
		if len(t.subscriptions) > 0 {
			h.loop.server.often.Warn("a server refuses a subscription", "backend", node.Addr,
				"err", string(resp.TrimLine(line[1:])))
		}
		for j := range t.waiting {
			h.refuse(j, string(resp.TrimLine(line[1:])))
		}
	}
}

// settle is told that the pool has a new topology, or new settings.
func (h *hub) settle() {
	v := h.pool.view.Load()
	for kind := range h.topics {
		for _, t := range h.topics[kind] {
			t.redirect, t.hops = nil, 0
		}
	}
	for node, link := range h.links {
		if v == nil || v.isMaster(node) {
			continue
		}
		// What it is told by its master it would tell a second time.
		h.loop.closeBackend(link.conn, errClosed)
		delete(h.links, node)
	}
	h.arrangeAll()
}

// tick dials what has to be dialled again, looks for dead servers, and at what is not ready. It reports whether
// something is under way.
func (h *hub) tick() (waiting bool) {
	changed := false
	for _, link := range h.links {
		busy, came := link.tick()
		waiting, changed = waiting || busy, changed || came
	}
	if changed {
		h.arrangeAll()
	}
	for t := range h.unready {
		h.arrange(t)
	}
	for j := range h.pendingSubscribes {
		if text := h.overdue(j); text != "" {
			h.refuse(j, text)
		}
	}
	h.speak()
	return waiting || len(h.unready) > 0
}

// trim closes connections that carry no subscription.
func (h *hub) trim() {
	for node, link := range h.links {
		if link.idle() {
			h.loop.closeBackend(link.conn, errClosed)
			delete(h.links, node)
		}
	}
}

// tickHubs is tick for all pools.
func (l *loop) tickHubs() (waiting bool) {
	for _, h := range l.hubs {
		waiting = h.tick() || waiting
	}
	return waiting
}
