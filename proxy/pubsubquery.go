package proxy

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"sluice/backend"
	"sluice/proxy/command"
	"sluice/proxy/hold"
	"sluice/proxy/resp"
)

// pubsubQuery is a PUBSUB that asks every master. The replies are put together so that a loop's subscription, which
// stands for its clients, is not counted in their place, and one that is there at every master not once for each.
type pubsubQuery struct {
	client *client
	seq    uint32
	kind   pubsubQueryKind
	topic  topicKind
	names  [][]byte // arguments behind the subcommand
	nodes  []*backend.Node
	parts  [][]byte // replies, as nodes
	left   int
	failed []byte // the first error

	// What the loops were subscribed to when the servers were asked: a server may have answered before it was told that
	// a loop leaves, and a loop may be counted out before the answer comes.
	parting map[string]bool // surveyChannels: those that only loops were subscribed to
	loops   [][]int64       // surveyCounts: by node and name
}

type pubsubQueryKind uint8

const (
	queryChannels pubsubQueryKind = iota // names of those that have subscribers
	queryCounts                          // subscribers of named ones
	queryPatterns                        // how many patterns there are
)

// surveyOf makes the command that asks for one of these.
func queryPubsub(kind pubsubQueryKind, topic topicKind) sessionFunc {
	return func(c *client, q request) bool {
		if kind == queryChannels && len(q.args) > 3 {
			c.reject(fmt.Sprintf("ERR unknown subcommand or wrong number of arguments for '%.128s'. Try PUBSUB HELP.",
				q.args[1]))
			return true
		}
		if q.v == nil {
			return c.holdBack(q.v, blockReason{cause: hold.NoTopology}, len(q.raw))
		}
		s := &pubsubQuery{client: c, kind: kind, topic: topic}
		for _, name := range q.args[2:] {
			s.names = append(s.names, bytes.Clone(name))
		}
		for _, g := range q.v.table.Groups {
			if node := q.v.nodes[g.Master.Index]; !slices.Contains(s.nodes, node) {
				s.nodes = append(s.nodes, node)
			}
		}
		s.noteLoops()
		s.ask(q.raw)
		return true
	}
}

// noteLoops keeps what the loops are subscribed to.
func (s *pubsubQuery) noteLoops() {
	registry := &s.client.pool.subscribers
	switch s.kind {
	case queryChannels:
		s.parting = registry.parting(s.topic)
	case queryCounts:
		s.loops = make([][]int64, len(s.nodes))
		for at, node := range s.nodes {
			for _, name := range s.names {
				_, loops := registry.of(s.topic, string(name), node)
				s.loops[at] = append(s.loops[at], loops)
			}
		}
	case queryPatterns:
	}
}

// ask sends the request to every node.
func (s *pubsubQuery) ask(raw []byte) {
	c := s.client
	s.seq = c.begin(nil, anySlot)
	s.parts, s.left = make([][]byte, len(s.nodes)), len(s.nodes)+1
	for i, node := range s.nodes {
		if !node.Available() {
			s.fail(unavailable(node))
			continue
		}
		b := c.loop.link(node, c.proto, c.db)
		if err := b.Send(raw, s, uint32(i), c.loop.now); err != nil {
			s.fail(sendError(node, err))
			continue
		}
		c.loop.sent(b)
	}
	s.answered()
}

// Reply implements backend.Owner.
func (s *pubsubQuery) Reply(tag uint32, r backend.Reply) {
	c := s.client
	if c.closed {
		return
	}
	s.parts[tag] = append(s.parts[tag], r.Data...)
	if c.keep(len(r.Data)); c.held > c.loop.server.limits().ClientOutput {
		c.mark() // flush closes it.
	}
	if !r.Last {
		return
	}
	if s.parts[tag][0] == '-' && s.failed == nil {
		s.failed = s.parts[tag]
	}
	s.answered()
}

// Fail implements backend.Owner.
func (s *pubsubQuery) Fail(_ uint32, f backend.Failure) {
	if !s.client.closed {
		s.fail(fmt.Sprintf("ERR backend %s did not answer: %v", f.Conn.Node.Addr, f.Err))
	}
}

func (s *pubsubQuery) fail(text string) {
	if s.failed == nil {
		s.failed = appendErrorLine(nil, text)
	}
	s.answered()
}

// answered counts a reply, and the sending itself.
func (s *pubsubQuery) answered() {
	if s.left--; s.left > 0 {
		return
	}
	c := s.client
	for _, part := range s.parts {
		c.keep(-len(part))
	}
	c.deliver(s.seq, s.merge(), true, true)
}

func (s *pubsubQuery) merge() []byte {
	if s.failed != nil {
		return s.failed
	}
	switch s.kind {
	case queryChannels:
		return s.mergeNames()
	case queryCounts:
		return s.mergeCounts()
	case queryPatterns:
		return s.mergePatterns()
	}
	panic("BUG: unknown kind of query")
}

// mergeNames lists every channel once.
func (s *pubsubQuery) mergeNames() []byte {
	found := make(map[string]bool)
	for _, part := range s.parts {
		for _, name := range bulks(part) {
			if !s.parting[string(name)] {
				found[string(name)] = true
			}
		}
	}
	for _, name := range s.client.pool.subscribers.names(s.topic) {
		if len(s.names) == 0 || command.MatchPattern(s.names[0], []byte(name)) {
			found[name] = true
		}
	}
	dst := resp.AppendArray(nil, len(found))
	for _, name := range slices.Sorted(maps.Keys(found)) {
		dst = resp.AppendBulk(dst, name)
	}
	return dst
}

// mergeCounts adds the pool's clients and what is subscribed at servers beside them. In a Codis pool other proxies are
// subscribed at every master, so there the largest number is taken for all.
func (s *pubsubQuery) mergeCounts() []byte {
	dst := resp.AppendArray(nil, 2*len(s.names))
	everywhere := s.topic == topicChannel && !s.client.pool.Model.Cluster()
	counts := make([][]int64, len(s.parts))
	for i, part := range s.parts {
		if counts[i] = integers(part); len(counts[i]) != len(s.names) {
			return appendErrorLine(nil, "ERR a backend has not counted every channel")
		}
	}
	for i, name := range s.names {
		clients, _ := s.client.pool.subscribers.of(s.topic, string(name), nil)
		others := int64(0)
		for at, node := range s.nodes {
			_, loops := s.client.pool.subscribers.of(s.topic, string(name), node)
			foreign := max(counts[at][i]-max(loops, s.loops[at][i]), 0)
			if everywhere {
				others = max(others, foreign)
			} else {
				others += foreign
			}
		}
		dst = resp.AppendInt(resp.AppendBulk(dst, name), clients+others)
	}
	return dst
}

// mergePatterns counts patterns; servers tell no names, so what two of them have may be one. In a Codis pool the pool's
// own patterns are at every master; in a cluster at one, but for those of notifications.
func (s *pubsubQuery) mergePatterns() []byte {
	var sum, largest int64
	for _, part := range s.parts {
		n, _ := resp.Integer(part)
		sum, largest = sum+n, max(largest, n)
	}
	if !s.client.pool.Model.Cluster() {
		return resp.AppendInt(nil, largest)
	}
	return resp.AppendInt(nil, max(sum-s.client.pool.subscribers.copies(), 0))
}

// bulks are the bulk strings of an array.
func bulks(reply []byte) [][]byte {
	_, rest, _ := resp.CutHeader(reply, '*')
	var list [][]byte
	for len(rest) > 0 {
		var value []byte
		if value, rest, _ = resp.CutBulk(rest); value == nil {
			break
		}
		list = append(list, value)
	}
	return list
}

// integers are every second element of an array: the numbers behind names.
func integers(reply []byte) []int64 {
	_, rest, _ := resp.CutHeader(reply, '*')
	var list []int64
	for len(rest) > 0 {
		_, after, _ := resp.CutBulk(rest)
		end := bytes.IndexByte(after, '\n') + 1
		n, ok := resp.Integer(after[:end])
		if !ok {
			break
		}
		list = append(list, n)
		rest = after[end:]
	}
	return list
}

// pubSubHelp is what Redis 7.0 answers. Immutable.
var pubSubHelp = []string{
	"PUBSUB <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
	"CHANNELS [<pattern>]",
	"    Return the currently active channels matching a <pattern> (default: '*').",
	"NUMPAT",
	"    Return number of subscriptions to patterns.",
	"NUMSUB [<channel> ...]",
	"    Return the number of subscribers for the specified channels, excluding",
	"    pattern subscriptions(default: no channels).",
	"SHARDCHANNELS [<pattern>]",
	"    Return the currently active shard level channels matching a <pattern> (default: '*').",
	"SHARDNUMSUB [<shardchannel> ...]",
	"    Return the number of subscribers for the specified shard level channel(s)",
	"HELP",
	"    Prints this help.",
}

func cmdPubSubHelp(c *client, _ [][]byte) bool {
	c.answer(func(dst []byte) []byte {
		dst = resp.AppendArray(dst, len(pubSubHelp))
		for _, line := range pubSubHelp {
			dst = resp.AppendStatus(dst, line)
		}
		return dst
	})
	return true
}

var _ backend.Owner = (*pubsubQuery)(nil)
