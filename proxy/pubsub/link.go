package pubsub

import (
	"slices"
	"time"

	"sluice/backend"
	"sluice/proxy/resp"
)

// link is a hub's connection to one server. The hub makes a new Conn when one is lost and subscribes again to
// everything. Owned by the event loop; no locking.
type link struct {
	hub  *Hub
	node *backend.Node
	conn *backend.Conn

	subs     [kinds]map[string]*sub
	requests []request // not answered, oldest first
	last     uint32    // tag of the newest request
	refusal  []byte    // the error that was sent for the oldest request

	entering [kinds][]string // to be asked for by speak
	parting  [kinds][]string // to be left by speak

	part []byte // a frame of which the end has not come; from the loop's pool
	cut  bool   // it is longer than anybody may be sent

	available bool  // what node.Available said at the last tick
	pingedAt  int64 // loop clock of the last request
}

// sub is a subscription at a server.
type sub struct {
	state   subState
	request uint32 // the last one about it
	counted bool   // in the registry
}

type subState uint8

const (
	subAsked   subState = iota // a SUBSCRIBE is to be sent, or was
	subTaken                   // acknowledged
	subOn                      // the request is answered: all that is published from now on comes
	subLeaving                 // an UNSUBSCRIBE is to be sent, or was
)

// request is a (UN)SUBSCRIBE, or a PING when it has no names.
type request struct {
	tag   uint32
	kind  Kind
	leave bool
	names []string
}

const (
	// pingEvery is how long a subscription connection may be silent before it is asked whether the server lives.
	pingEvery = int64(10 * time.Second)
	// maxEntering is how many channels are put into one request. Of shard channels it is one: each may be refused with
	// a redirect of its own.
	maxEntering = 64
)

// pingRequest is PING in wire form. Immutable.
var pingRequest = resp.AppendCommand(nil, "PING")

// link is the hub's connection to node, made if needed.
func (h *Hub) link(node *backend.Node) *link {
	k := h.links[node]
	if k == nil {
		k = &link{hub: h, node: node, available: node.Available()}
		h.links[node] = k
		k.dial()
	}
	return k
}

// dial makes a connection.
func (k *link) dial() {
	k.conn = k.hub.cfg.Conns.Subscribe(k.node, k)
	k.hub.cfg.Loop.Wake()
}

// on reports whether all that is published to a topic at the server comes.
func (k *link) on(t *topic) bool {
	s := k.subs[t.kind][t.name]
	return s != nil && s.state == subOn
}

// ask notes that a topic is to be subscribed. While the connection is not up, Up will see to it.
func (k *link) ask(t *topic) {
	if !k.conn.Up() {
		return
	}
	s := k.subs[t.kind][t.name]
	if s == nil {
		if k.subs[t.kind] == nil {
			k.subs[t.kind] = make(map[string]*sub)
		}
		s = new(sub)
		k.subs[t.kind][t.name] = s
	}
	s.state = subAsked
	if len(t.subscriptions) > 0 {
		k.hub.resubscriptions++
	}
	k.entering[t.kind] = append(k.entering[t.kind], t.name)
}

// leave notes that a topic is not wanted here, if it is subscribed. What still comes of it is dropped.
func (k *link) leave(t *topic) {
	if s := k.subs[t.kind][t.name]; s != nil && s.state != subLeaving {
		s.state = subLeaving
		k.parting[t.kind] = append(k.parting[t.kind], t.name)
	}
}

// speak sends what was noted; partings first, since a topic may be in both lists.
func (k *link) speak() {
	for kind := range kinds {
		parting, entering := k.parting[kind], k.entering[kind]
		k.parting[kind], k.entering[kind] = nil, nil
		entering = slices.DeleteFunc(entering, func(name string) bool { return k.subs[kind][name].state != subAsked })
		if k.say(request{kind: kind, leave: true, names: parting}, kindWords[kind].unsubscribe) {
			k.say(request{kind: kind, names: entering}, kindWords[kind].subscribe)
		}
	}
}

// say sends a request, in parts when it is long. It returns false when the connection is gone.
func (k *link) say(r request, word string) bool {
	size := maxEntering
	if r.kind == Shard {
		size = 1
	}
	for names := range slices.Chunk(r.names, size) {
		req := resp.AppendBulk(resp.AppendArray(nil, 1+len(names)), word)
		for _, name := range names {
			req = resp.AppendBulk(req, name)
			k.subs[r.kind][name].request = k.last + 1
		}
		r.names = names
		if !k.send(req, r) {
			return false
		}
	}
	return true
}

// unask forgets topics that can't be asked for now; the next tick tries again.
func (k *link) unask(r request) {
	for _, name := range r.names {
		k.forget(r.kind, name)
		if t := k.hub.topics[r.kind][name]; t != nil {
			t.ready = false
			k.hub.unready[t] = true
		}
	}
}

// send queues a request and the PING that ends it.
func (k *link) send(req []byte, r request) bool {
	loop := k.hub.cfg.Loop
	if !k.conn.Up() {
		return false
	}
	k.last++
	r.tag = k.last
	switch err := k.conn.Send(append(req, pingRequest...), k, r.tag, loop.Now()); {
	case err != nil && !r.leave:
		k.unask(r) // Too much is under way already.
		return true
	case err != nil:
		k.hub.cfg.Conns.Close(k.conn, backend.ErrClosed) // What it says would be told for good.
		return false
	}
	k.pingedAt = loop.Now()
	k.requests = append(k.requests, r)
	loop.Flush(k.conn)
	loop.Wake()
	return true
}

// Up implements backend.PushHandler.
func (k *link) Up(*backend.Conn) { k.hub.arrangeAll() }

// Down implements backend.PushHandler. The next tick dials again.
func (k *link) Down(*backend.Conn, error) {
	h := k.hub
	for kind := range k.subs {
		for name, s := range k.subs[kind] {
			if s.counted {
				h.cfg.Registry.countLoop(Kind(kind), name, k.node, -1)
			}
			if t := h.topics[kind][name]; t != nil {
				t.ready = false
				h.unready[t] = true
				if t.home == k.node {
					t.home = nil
				}
			}
		}
	}
	h.cfg.Buffers.Put(k.part)
	k.subs, k.entering, k.parting = [kinds]map[string]*sub{}, [kinds][]string{}, [kinds][]string{}
	k.requests, k.refusal, k.part, k.cut = nil, nil, nil, false
	h.cfg.Loop.Wake()
}

// Reply implements backend.Owner: a PONG says that all before it was answered.
func (k *link) Reply(tag uint32, r backend.Reply) {
	if !r.Last || len(k.requests) == 0 || k.requests[0].tag != tag {
		return
	}
	h := k.hub
	done, refusal := k.requests[0], k.refusal
	k.requests, k.refusal = k.requests[1:], nil
	if refusal != nil && !done.leave && len(done.names) > 1 {
		k.sayApart(done)
		return
	}
	for _, name := range done.names {
		s := k.subs[done.kind][name]
		if s == nil || s.request != tag {
			continue // A later request is about it.
		}
		t := h.topics[done.kind][name]
		if done.leave || refusal != nil {
			k.forget(done.kind, name)
		} else {
			k.enter(done.kind, name, s)
		}
		if t == nil {
			continue
		}
		if refusal != nil && !done.leave {
			h.refused(t, k.node, refusal, r.Conn.Host())
		}
		h.arrange(t)
	}
	h.speak()
}

// sayApart asks for channels one by one that were refused together: it may be for one of them.
func (k *link) sayApart(r request) {
	for _, name := range r.names {
		s := k.subs[r.kind][name]
		if s == nil || s.request != r.tag {
			continue // A later request is about it.
		}
		if !k.say(request{kind: r.kind, names: []string{name}}, kindWords[r.kind].subscribe) {
			return
		}
	}
}

// enter notes that the server has a subscription.
func (k *link) enter(kind Kind, name string, s *sub) {
	s.state = subOn
	if !s.counted {
		s.counted = true
		k.hub.cfg.Registry.countLoop(kind, name, k.node, 1)
	}
}

// forget notes that the server has no subscription.
func (k *link) forget(kind Kind, name string) {
	if k.subs[kind][name].counted {
		k.hub.cfg.Registry.countLoop(kind, name, k.node, -1)
	}
	delete(k.subs[kind], name)
}

// Fail implements backend.Owner. The connection is lost, and Down was called.
func (k *link) Fail(uint32, backend.Failure) {}

// tick looks after the connection. It reports whether something is under way, and whether the server went away or
// came back.
func (k *link) tick() (busy, changed bool) {
	loop := k.hub.cfg.Loop
	available := k.node.Available()
	changed = available != k.available
	k.available = available
	switch {
	case k.conn.Closed() && available:
		k.dial()
	case !k.conn.Up() && !k.conn.Closed() && available:
		k.conn.Connect()
	}
	if k.conn.Closed() {
		return false, changed
	}
	loop.Tick(k.conn)
	if k.conn.Up() && len(k.requests) == 0 && loop.Now()-k.pingedAt >= pingEvery {
		k.send(nil, request{})
	}
	return !k.conn.Up() || len(k.requests) > 0, changed
}

// idle reports whether nothing is subscribed here, nor will be: what is wanted is asked for when the connection
// comes up.
func (k *link) idle() bool {
	if len(k.requests)+len(k.subs[Channel])+len(k.subs[Pattern])+len(k.subs[Shard]) > 0 {
		return false
	}
	t := &k.hub.topics
	return k.conn.Up() || len(t[Channel])+len(t[Pattern])+len(t[Shard]) == 0
}

var (
	_ backend.PushHandler = (*link)(nil)
	_ backend.Owner       = (*link)(nil)
)
