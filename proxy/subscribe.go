package proxy

import (
	"slices"

	"sluice/proxy/command"
)

// The commands that bind a client to topics. Each waits until nothing of its client is in flight: a message must not
// come before the acknowledgement of its subscription, nor behind that of its end, and acknowledgements have the place
// of replies.

// subscribeTo makes the command that subscribes to topics of a kind. It is answered when the servers have acknowledged,
// so that whatever is published after the answer is received; nothing behind it is looked at before.
func subscribeTo(kind topicKind) sessionFunc {
	return func(c *client, q request) bool {
		if !c.pipe.empty() {
			return false
		}
		j := &pendingSubscribe{client: c, kind: kind, since: c.loop.now}
		for _, name := range q.args[1:] {
			j.names = append(j.names, string(name))
		}
		h := c.loop.hubOf(c.pool)
		if h.join(j) {
			c.notify(func(dst []byte) []byte { return c.takeSubscriptions(dst, j) })
			h.endPending(j)
			return true
		}
		j.seq, _ = c.beginAlone(nil, anySlot)
		j.muted = c.is(modeMuted)
		c.pipe.at(j.seq).flags &^= muted
		h.await(j)
		return true
	}
}

// notify is answer for acknowledgements, which CLIENT REPLY does not silence, as little as messages.
func (c *client) notify(build func(dst []byte) []byte) {
	silent := c.is(modeMuted)
	c.setMode(modeMuted, false)
	c.answer(build)
	c.setMode(modeMuted, silent)
}

// takeSubscriptions gives the client its subscriptions and appends the acknowledgements, in the order of the request.
func (c *client) takeSubscriptions(dst []byte, j *pendingSubscribe) []byte {
	h := c.loop.hubOf(c.pool)
	for i := range j.names {
		h.topics[j.kind][j.names[i]].take(c)
		dst = c.appendNotice(dst, j.kind, topicWords[j.kind].subscribe, &j.names[i])
	}
	c.setMode(modeSubscribed, !c.resp3())
	return dst
}

// unsubscribeFrom makes the command that ends subscriptions, of all topics of a kind when it names none.
func unsubscribeFrom(kind topicKind) sessionFunc {
	return func(c *client, q request) bool {
		if !c.pipe.empty() {
			return false
		}
		var names []string
		for _, name := range q.args[1:] {
			names = append(names, string(name))
		}
		if len(names) == 0 {
			names = c.topicNames(kind)
		}
		h := c.loop.hubOf(c.pool)
		word := topicWords[kind].unsubscribe
		c.notify(func(dst []byte) []byte {
			if len(names) == 0 {
				return c.appendNotice(dst, kind, word, nil)
			}
			for i := range names {
				h.unsubscribe(c, kind, names[i])
				dst = c.appendNotice(dst, kind, word, &names[i])
			}
			return dst
		})
		h.speak()
		c.setMode(modeSubscribed, c.is(modeSubscribed) && c.subscribed())
		return true
	}
}

// topicNames lists what the client is subscribed to, in the order in which it has asked.
func (c *client) topicNames(kind topicKind) []string {
	all := make([]*subscription, 0, len(c.subscriptions[kind]))
	for _, s := range c.subscriptions[kind] {
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b *subscription) int { return int(a.order - b.order) })
	names := make([]string, len(all))
	for i, s := range all {
		names[i] = s.topic.name
	}
	return names
}

// unsubscribe ends a subscription of a client, if it has it. The caller calls speak.
func (h *hub) unsubscribe(c *client, kind topicKind, name string) {
	s := c.subscriptions[kind][name]
	if s == nil {
		return
	}
	s.leave()
	if s.topic.unwanted() {
		h.drop(s.topic)
	}
}

// leaveTopics ends all subscriptions of a client without a word. A SUBSCRIBE that waits gets an answer while there is
// somebody to hear it: whoever is to be closed has to have all of his.
func (c *client) leaveTopics() {
	h := c.loop.hubs[c.pool]
	if h == nil || !c.subscribed() && c.pendingSubscribe == nil {
		return
	}
	switch {
	case c.pendingSubscribe == nil:
	case c.closed:
		h.endPending(c.pendingSubscribe)
	default:
		h.refuse(c.pendingSubscribe, errNotSubscribed)
	}
	for kind := range c.subscriptions {
		for name := range c.subscriptions[kind] {
			h.unsubscribe(c, topicKind(kind), name)
		}
	}
	c.setMode(modeSubscribed, false)
	h.speak()
	c.loop.schedule() // This may be no turn of the loop.
}

// allowedWhileSubscribed reports whether a RESP2 client may use a command while it is subscribed.
func allowedWhileSubscribed(cmd *command.Command) bool {
	switch cmd.Name {
	case "subscribe", "psubscribe", "ssubscribe", "unsubscribe", "punsubscribe", "sunsubscribe", "ping", "quit", "reset":
		return true
	}
	return false
}

// tell writes a message to a subscriber. The first byte of frame is changed to what its protocol says; of a frame that
// was cut nothing can be written, and the client has to go, since more waits for it than may.
func (c *client) tell(frame []byte, cut bool) {
	switch {
	case c.closing || c.closed:
		return
	case cut:
		c.tooSlow(c.loop.server.limits().pubSubOutput() + 1)
		return
	}
	c.loop.stats.Messages++
	frame[0] = c.pushHeader()
	if c.pipe.empty() || c.pipe.at(c.pipe.head).flags&passedPart == 0 {
		c.write(frame)
		return
	}
	// It would land in the middle of a reply. advance writes it behind that.
	before := cap(c.pushes)
	c.pushes = c.loop.pool.Append(c.pushes, frame)
	c.keep(cap(c.pushes) - before)
	c.mark() // The limits are checked in flush.
}

// flushPushes writes the messages that came in the middle of a reply, which is complete now. It returns false when the
// client is closed.
func (c *client) flushPushes() bool {
	pushes := c.pushes
	c.pushes = nil
	c.keep(-cap(pushes))
	c.write(pushes)
	c.loop.pool.Put(pushes)
	return !c.closed
}
