package proxy

import (
	"fmt"
	"time"

	"sluice/proxy/command"
	"sluice/proxy/pubsub"
)

// The commands that bind a client to channels. Each waits until nothing of its client is in flight: a message must not
// come before the acknowledgement of its subscription, nor behind that of its end, and acknowledgements have the place
// of replies.

// subscribeTo makes the command that subscribes to topics of a kind. It is answered when the servers have acknowledged,
// so that whatever is published after the answer is received; nothing behind it is looked at before.
func subscribeTo(kind pubsub.Kind) sessionFunc {
	return func(c *client, q request) stall {
		if !c.pipe.empty() {
			return stallDrain
		}
		l := c.loop
		h := l.hubOf(c.pool)
		reply, ready := h.Subscribe(l.scratch[:0], c, kind, channelsOf(q), c.resp3())
		if ready {
			l.scratch = reply
			c.setMode(modeSubscribed, !c.resp3())
			c.notify(reply)
			return stallNone
		}
		c.beginAlone(nil, anySlot)
		h.Await(c)
		return stallNone
	}
}

// unsubscribeFrom makes the command that ends subscriptions, of all topics of a kind when it names none.
func unsubscribeFrom(kind pubsub.Kind) sessionFunc {
	return func(c *client, q request) stall {
		if !c.pipe.empty() {
			return stallDrain
		}
		l := c.loop
		l.scratch = l.hubOf(c.pool).Unsubscribe(l.scratch[:0], c, kind, channelsOf(q), c.resp3())
		c.notify(l.scratch)
		c.setMode(modeSubscribed, c.is(modeSubscribed) && c.subscriptions.Any())
		return stallNone
	}
}

// channelsOf copies the names that a request has.
func channelsOf(q request) []string {
	names := make([]string, 0, len(q.args)-1)
	for _, name := range q.args[1:] {
		names = append(names, string(name))
	}
	return names
}

// notify is reply for acknowledgements, which CLIENT REPLY does not silence, as little as messages.
func (c *client) notify(acknowledged []byte) {
	silent := c.is(modeMuted)
	c.setMode(modeMuted, false)
	c.reply(acknowledged)
	c.setMode(modeMuted, silent)
}

// Subscriptions implements pubsub.Subscriber.
func (c *client) Subscriptions() *pubsub.Subscriptions { return &c.subscriptions }

// Acknowledge implements pubsub.Subscriber. The SUBSCRIBE is all that is in flight.
func (c *client) Acknowledge(reply []byte) {
	seq := c.pipe.head
	c.pipe.at(seq).flags &^= muted
	c.setMode(modeSubscribed, !c.resp3())
	c.deliver(seq, reply, true, true)
}

// Refuse implements pubsub.Subscriber.
func (c *client) Refuse(r pubsub.Refusal) { c.deliverError(c.pipe.head, notSubscribed(r)) }

// notSubscribed is the answer to a SUBSCRIBE that is refused.
func notSubscribed(r pubsub.Refusal) string {
	switch r.Cause {
	case pubsub.NoTopology:
		return errNoTopology
	case pubsub.Unserved:
		return errSlotUnserved
	case pubsub.Away:
		return unavailable(r.Node)
	case pubsub.Silent:
		return fmt.Sprintf("ERR not subscribed: backend %s has not acknowledged within %s", r.Node.Addr,
			r.Waited.Round(time.Millisecond))
	case pubsub.Denied:
		return r.Text
	case pubsub.Leaving:
		return errNotSubscribed
	}
	panic("BUG: unknown cause of a refusal")
}

// leaveTopics ends all subscriptions of a client without a word. A SUBSCRIBE that waits gets an answer while there is
// somebody to hear it: whoever is to be closed has to have all of his.
func (c *client) leaveTopics() {
	h := c.loop.hubs[c.pool]
	if h == nil || !c.subscriptions.Any() && !c.subscriptions.Waits() {
		return
	}
	h.Leave(c, c.closed)
	c.setMode(modeSubscribed, false)
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

// Tell implements pubsub.Subscriber.
func (c *client) Tell(frame []byte) {
	if c.closing {
		return
	}
	c.loop.stats.Messages++
	frame[0] = pubsub.PushHeader(c.resp3())
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

// Overflow implements pubsub.Subscriber.
func (c *client) Overflow() {
	if !c.closing {
		c.tooSlow(c.loop.server.limits().pubSubOutput() + 1)
	}
}

// flushPushes writes the messages that came in the middle of a reply, which is complete now.
func (c *client) flushPushes() {
	pushes := c.pushes
	c.pushes = nil
	c.keep(-cap(pushes))
	c.write(pushes)
	c.loop.pool.Put(pushes)
}

var _ pubsub.Subscriber = (*client)(nil)
