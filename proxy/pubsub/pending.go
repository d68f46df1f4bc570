package pubsub

import (
	"time"

	"sluice/backend"
)

// pending is a SUBSCRIBE that waits for servers.
type pending struct {
	client Subscriber
	kind   Kind
	names  []string // as they were asked for
	resp3  bool
	topics []*topic // each once
	left   int      // topics that are not ready
	since  int64    // loop clock
	done   bool
}

// Refusal says why a SUBSCRIBE is answered with an error.
type Refusal struct {
	Cause  Cause
	Node   *backend.Node // Away, Silent
	Waited time.Duration // Silent
	Text   string        // Denied: the error, without '-' and the end of the line
}

// Cause is the kind of a Refusal.
type Cause uint8

// The causes.
const (
	NoTopology Cause = iota // nobody is known to serve anything
	Unserved                // nobody owns the slot of a channel
	Away                    // Node, which has to be subscribed at, is not available
	Silent                  // Node has not acknowledged for as long as Waited
	Denied                  // a server has answered with an error
	Leaving                 // the client leaves (Hub.Leave)
)

// join makes the topics of a subscription wanted. When they are ready already nobody has to wait for a server.
func (h *Hub) join(p *pending) (ready bool) {
	known := make(map[*topic]bool)
	for _, name := range p.names {
		t := h.topic(p.kind, name)
		if known[t] {
			continue
		}
		known[t] = true
		t.holds++
		p.topics = append(p.topics, t)
		if !t.ready {
			t.wait(p)
			p.left++
		}
	}
	return p.left == 0
}

// joined answers a client whose topics are all ready.
func (h *Hub) joined(p *pending) {
	if p.done {
		return
	}
	reply := h.take(h.cfg.Buffers.Get(64), p)
	h.end(p)
	p.client.Acknowledge(reply)
	h.cfg.Buffers.Put(reply)
}

// take gives a client its subscriptions and appends the acknowledgements, in the order of the request.
func (h *Hub) take(dst []byte, p *pending) []byte {
	s := p.client.Subscriptions()
	for i := range p.names {
		h.subscribe(p.client, h.topics[p.kind][p.names[i]])
		dst = s.appendNotice(dst, p.kind, kindWords[p.kind].subscribe, &p.names[i], p.resp3)
	}
	return dst
}

// refuse answers a client that can't be subscribed. Nothing of what it asked for is.
func (h *Hub) refuse(p *pending, r Refusal) {
	if p.done {
		return
	}
	h.end(p)
	p.client.Refuse(r)
}

// end forgets that a client waits, and the topics that nobody else wants.
func (h *Hub) end(p *pending) {
	p.done = true
	p.client.Subscriptions().pending = nil
	delete(h.pending, p)
	for _, t := range p.topics {
		t.holds--
		delete(t.waiting, p)
		if t.unwanted() {
			h.drop(t)
		}
	}
}

// overdue says why a subscription that has waited long enough is refused; false while it may wait.
func (h *Hub) overdue(p *pending) (r Refusal, over bool) {
	v := h.cfg.Pool.Topology()
	waited := time.Duration(h.cfg.Loop.Now() - p.since)
	maxWait := h.cfg.Pool.MaxWait()
	outOfPatience := waited >= maxWait
	if v == nil {
		return Refusal{Cause: NoTopology}, outOfPatience
	}
	for _, t := range p.topics {
		if t.ready {
			continue
		}
		homes := h.homes(t, v)
		if len(homes) == 0 && outOfPatience {
			return Refusal{Cause: Unserved}, true
		}
		away := 0
		for _, node := range homes {
			if h.link(node).on(t) {
				continue
			}
			if !node.Available() {
				away++
			}
			switch {
			case !node.Available() && outOfPatience && (h.needs(t, v, node) || away == len(homes)):
				return Refusal{Cause: Away, Node: node}, true
			case node.Available() && waited >= max(node.Options().RequestTimeout, maxWait):
				return Refusal{Cause: Silent, Node: node, Waited: waited}, true
			}
		}
	}
	return Refusal{}, false
}
