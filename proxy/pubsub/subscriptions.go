package pubsub

import (
	"iter"
	"slices"

	"sluice/proxy/resp"
)

// Subscriber is a client, as a Hub sees it. It is called on its loop. Each method may close the client, which calls
// Hub.Leave.
type Subscriber interface {
	// Subscriptions are the client's own, the same ones each time.
	Subscriptions() *Subscriptions
	// Tell writes a message: an array of bulk strings in the form of RESP2, whose first byte is to be changed to
	// PushHeader. frame is valid during the call.
	Tell(frame []byte)
	// Overflow stands for Tell when a message was too long to be kept (Pool.MaxMessage): nothing of it can be written,
	// and the client, for which more waits than it may leave unread, has to go.
	Overflow()
	// Acknowledge answers the SUBSCRIBE that waits: one push for each of its names. reply is valid during the call.
	Acknowledge(reply []byte)
	// Refuse answers the SUBSCRIBE that waits with an error. The client is subscribed to nothing of it.
	Refuse(r Refusal)
}

// Subscriptions are what one client is subscribed to, and its SUBSCRIBE that waits for servers. A Hub changes them; the
// client keeps them and may ask. Owned by the event loop; no locking. The zero value is ready.
type Subscriptions struct {
	topics  [kinds]map[string]*subscription
	newest  uint64   // order of the newest one
	pending *pending // nil when no SUBSCRIBE waits
}

// Any reports whether there are any.
func (s *Subscriptions) Any() bool {
	return len(s.topics[Channel])+len(s.topics[Pattern])+len(s.topics[Shard]) > 0
}

// Len is how many there are of a kind.
func (s *Subscriptions) Len(kind Kind) int { return len(s.topics[kind]) }

// Waits reports whether a SUBSCRIBE waits for servers.
func (s *Subscriptions) Waits() bool { return s.pending != nil }

// All goes over the names of everything, and of what a SUBSCRIBE that waits asks for; in no order.
func (s *Subscriptions) All() iter.Seq2[Kind, string] {
	return func(yield func(Kind, string) bool) {
		if p := s.pending; p != nil {
			for _, name := range p.names {
				if !yield(p.kind, name) {
					return
				}
			}
		}
		for kind := range s.topics {
			for name := range s.topics[kind] {
				if !yield(Kind(kind), name) {
					return
				}
			}
		}
	}
}

// names lists those of a kind in the order in which the client has asked.
func (s *Subscriptions) names(kind Kind) []string {
	all := make([]*subscription, 0, len(s.topics[kind]))
	for _, one := range s.topics[kind] {
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b *subscription) int { return int(a.order - b.order) })
	names := make([]string, len(all))
	for i, one := range all {
		names[i] = one.topic.name
	}
	return names
}

// shown is the number that acknowledgements tell: shard channels are counted apart.
func (s *Subscriptions) shown(kind Kind) int {
	if kind == Shard {
		return len(s.topics[Shard])
	}
	return len(s.topics[Channel]) + len(s.topics[Pattern])
}

// appendNotice appends an acknowledgement: a push in RESP3. A nil name is null.
func (s *Subscriptions) appendNotice(dst []byte, kind Kind, word string, name *string, resp3 bool) []byte {
	dst = append(dst, PushHeader(resp3), '3', '\r', '\n')
	dst = resp.AppendBulk(dst, word)
	if name == nil {
		dst = resp.AppendNull(dst, resp3)
	} else {
		dst = resp.AppendBulk(dst, *name)
	}
	return resp.AppendInt(dst, int64(s.shown(kind)))
}

// PushHeader is the first byte of what a client is sent unasked: messages and acknowledgements.
func PushHeader(resp3 bool) byte {
	if resp3 {
		return '>'
	}
	return '*'
}
