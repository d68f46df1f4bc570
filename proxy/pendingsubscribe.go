package proxy

import (
	"fmt"
	"time"
)

// pendingSubscribe is a SUBSCRIBE that waits for servers.
type pendingSubscribe struct {
	client *client
	seq    uint32
	kind   topicKind
	names  []string // as they were asked for
	topics []*topic // each once
	left   int      // topics that are not ready
	muted  bool     // an error is not wanted: CLIENT REPLY
	since  int64    // loop clock
	done   bool
}

// join makes the topics of a subscription wanted. When they are ready already nobody has to wait for a server.
func (h *hub) join(j *pendingSubscribe) (ready bool) {
	known := make(map[*topic]bool)
	for _, name := range j.names {
		t := h.topic(j.kind, name)
		if known[t] {
			continue
		}
		known[t] = true
		t.holds++
		j.topics = append(j.topics, t)
		if !t.ready {
			t.wait(j)
			j.left++
		}
	}
	return j.left == 0
}

// await waits for the servers; joined or refuse answers the client.
func (h *hub) await(j *pendingSubscribe) {
	j.client.pendingSubscribe = j
	h.pendingSubscribes[j] = true
	for _, t := range j.topics {
		if !t.ready {
			h.arrange(t)
		}
	}
	if text := h.overdue(j); text != "" && !j.done {
		h.refuse(j, text)
	}
	h.speak()
	h.loop.server.raisePace(paceTimeouts)
}

// joined answers a client whose topics are all ready.
func (h *hub) joined(j *pendingSubscribe) {
	if j.done {
		return
	}
	l := h.loop
	reply := j.client.takeSubscriptions(l.pool.Get(64), j)
	h.endPending(j)
	j.client.deliver(j.seq, reply, true, true)
	l.pool.Put(reply)
}

// refuse answers a client that can't be subscribed. Nothing of what it asked for is.
func (h *hub) refuse(j *pendingSubscribe, text string) {
	if j.done {
		return
	}
	h.endPending(j)
	if j.muted {
		j.client.pipe.at(j.seq).flags |= muted
	}
	j.client.deliverError(j.seq, text)
}

// endJoining forgets that a client waits, and the topics that nobody else wants.
func (h *hub) endPending(j *pendingSubscribe) {
	j.done = true
	j.client.pendingSubscribe = nil
	delete(h.pendingSubscribes, j)
	for _, t := range j.topics {
		t.holds--
		delete(t.waiting, j)
		if t.unwanted() {
			h.drop(t)
		}
	}
}

// overdue is the error for a subscription that has waited long enough, "" while it may wait.
func (h *hub) overdue(j *pendingSubscribe) string {
	v := h.pool.view.Load()
	waited := time.Duration(h.loop.now - j.since)
	s := h.pool.Settings()
	outOfPatience := waited >= s.Hold.MaxWait
	if v == nil && outOfPatience {
		return errNoTopology
	}
	for _, t := range j.topics {
		if t.ready || v == nil {
			continue
		}
		homes := h.homes(t, v)
		if len(homes) == 0 && outOfPatience {
			return errSlotUnserved
		}
		away := 0
		for _, node := range homes {
			if sub := h.link(node).subs[t.kind][t.name]; sub != nil && sub.state == subOn {
				continue
			}
			if !node.Available() {
				away++
			}
			switch {
			case !node.Available() && outOfPatience && (h.needs(t, v, node) || away == len(homes)):
				return unavailable(node)
			case node.Available() && waited >= max(node.Options().RequestTimeout, s.Hold.MaxWait):
				return fmt.Sprintf("ERR not subscribed: backend %s has not acknowledged within %s", node.Addr,
					waited.Round(time.Millisecond))
			}
		}
	}
	return ""
}
