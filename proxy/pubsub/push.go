package pubsub

import (
	"bytes"

	"sluice/backend"
	"sluice/proxy/resp"
)

// What a server says unasked on a link: messages, acknowledgements, errors, the end of shard subscriptions.

// OnPush implements backend.PushHandler. A frame that comes in parts is put together first: a client can't be sent
// anything else in the middle of one.
func (k *link) OnPush(_ *backend.Conn, data []byte, first, last bool) {
	buffers := k.hub.cfg.Buffers
	if first && last {
		k.frame(data, false)
		return
	}
	if first {
		k.cut = false
	}
	if len(k.part)+len(data) > k.hub.cfg.Pool.MaxMessage() && !first {
		k.cut = true
	} else {
		k.part = buffers.Append(k.part, data)
	}
	if last {
		part := k.part
		k.part = nil
		k.frame(part, k.cut)
		buffers.Put(part)
	}
}

// frame takes a frame; of one that was cut only the beginning.
func (k *link) frame(frame []byte, cut bool) {
	if frame[0] == '-' {
		if k.refusal == nil {
			k.refusal = bytes.Clone(frame)
		}
		return
	}
	word, name := frameStart(frame)
	switch string(word) {
	case "message":
		k.tell(Channel, name, frame, cut)
	case "pmessage":
		k.tell(Pattern, name, frame, cut)
	case "smessage":
		k.tell(Shard, name, frame, cut)
	case "ssubscribe":
		s := k.subs[Shard][string(name)]
		if s != nil && s.state == subAsked && len(k.requests) > 0 && k.requests[0].tag == s.request {
			s.state = subTaken
		}
	case "sunsubscribe":
		k.dismissed(string(name))
	}
}

// tell gives a message to all who are subscribed.
func (k *link) tell(kind Kind, name, frame []byte, cut bool) {
	s, t := k.subs[kind][string(name)], k.hub.topics[kind][string(name)]
	if s == nil || s.state == subLeaving || t == nil {
		return
	}
	t.tell(frame, cut)
}

// dismissed is told that the server ends a shard subscription by itself, because the slot has another owner now. As the
// answer to SUNSUBSCRIBE the same frame says nothing new.
func (k *link) dismissed(name string) {
	s := k.subs[Shard][name]
	if s == nil || s.state != subTaken && s.state != subOn {
		return
	}
	k.forget(Shard, name)
	if t := k.hub.topics[Shard][name]; t != nil {
		t.ready = false
		k.hub.arrange(t)
		k.hub.speak()
	}
}

// frameStart finds the first two elements of an array of bulk strings; nil what is not there.
func frameStart(frame []byte) (word, name []byte) {
	_, rest, _ := bytes.Cut(frame, []byte("\r\n"))
	word, rest, _ = resp.CutBulk(rest)
	name, _, _ = resp.CutBulk(rest)
	return word, name
}
