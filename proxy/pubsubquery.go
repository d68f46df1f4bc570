package proxy

import (
	"bytes"
	"fmt"

	"sluice/backend"
	"sluice/proxy/hold"
	"sluice/proxy/pubsub"
)

// pubsubQuery is a PUBSUB that asks every master. Of their replies one is made when all are here.
type pubsubQuery struct{ gathering }

// queryPubsub makes the command that asks for one of these.
func queryPubsub(kind pubsub.QueryKind, of pubsub.Kind) sessionFunc {
	return func(c *client, q request) stall {
		if kind == pubsub.QueryChannels && len(q.args) > 3 {
			c.reject(fmt.Sprintf("ERR unknown subcommand or wrong number of arguments for '%.128s'. Try PUBSUB HELP.",
				q.args[1]))
			return stallNone
		}
		if q.v == nil {
			return c.holdBack(q.v, blockReason{cause: hold.NoTopology}, len(q.raw))
		}
		query := pubsub.Query{Kind: kind, Of: of, Masters: q.v.masters, Cluster: c.pool.Model.Cluster()}
		for _, name := range q.args[2:] {
			query.Names = append(query.Names, bytes.Clone(name))
		}
		merger := c.pool.subscribers.Merger(query)
		s := &pubsubQuery{gathering{client: c}}
		s.done = func() { s.conclude(merger.Reply) }
		s.ask(query.Masters, q.raw)
		return stallNone
	}
}

// ask sends the request to every master.
func (s *pubsubQuery) ask(masters []*backend.Node, raw []byte) {
	c := s.client
	s.seq = c.begin(nil, anySlot)
	s.expect(len(masters))
	s.left++ // For the case that there is none.
	for i, node := range masters {
		if !node.Available() {
			s.fail(unavailable(node))
			continue
		}
		b := c.loop.conns.Shared(node, c.proto, c.db)
		if err := b.Send(raw, s, uint32(i), c.loop.now); err != nil {
			s.fail(sendError(node, err))
			continue
		}
		c.loop.sent(b)
	}
	s.ended()
}

// Reply implements backend.Owner.
func (s *pubsubQuery) Reply(tag uint32, r backend.Reply) {
	if s.client.closed {
		return
	}
	if s.add(tag, r.Data); r.Last {
		s.whole(tag)
	}
}

// Fail implements backend.Owner.
func (s *pubsubQuery) Fail(_ uint32, f backend.Failure) {
	if !s.client.closed {
		s.fail(fmt.Sprintf("ERR backend %s did not answer: %v", f.Conn.Node.Addr, f.Err))
	}
}

var _ backend.Owner = (*pubsubQuery)(nil)
