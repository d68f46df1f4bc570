package pubsub

import (
	"bytes"
	"maps"
	"slices"

	"sluice/backend"
	"sluice/proxy/command"
	"sluice/proxy/resp"
)

// Query is a PUBSUB that asks every master.
type Query struct {
	Kind    QueryKind
	Of      Kind
	Names   [][]byte        // arguments behind the subcommand
	Masters []*backend.Node // that are asked, each once
	Cluster bool            // they tell each other what is published
}

// QueryKind is what a Query asks for.
type QueryKind uint8

// The kinds of queries.
const (
	QueryChannels QueryKind = iota // names of those that have subscribers; Names is nothing, or one pattern
	QueryCounts                    // subscribers of Names
	QueryPatterns                  // how many patterns there are
)

// Merger makes one reply of those of the masters, so that a loop's subscription, which stands for its clients, is not
// counted in their place, and one that is there at every master not once for each.
type Merger struct {
	query    Query
	registry *Registry

	// What the loops were subscribed to when the servers were asked: a server may have answered before it was told that
	// a loop leaves, and a loop may be counted out before the answer comes.
	parting map[string]bool // QueryChannels: those that only loops were subscribed to
	loops   [][]int64       // QueryCounts: by master and name
	leaving []int64         // QueryPatterns: by master, those that only loops were subscribed to
}

// Merger is to be called before the masters are asked. It keeps what q names.
func (s *Registry) Merger(q Query) *Merger {
	m := &Merger{query: q, registry: s}
	switch q.Kind {
	case QueryChannels:
		m.parting = s.parting(q.Of)
	case QueryCounts:
		m.loops = make([][]int64, len(q.Masters))
		for at, node := range q.Masters {
			for _, name := range q.Names {
				_, loops := s.Of(q.Of, string(name), node)
				m.loops[at] = append(m.loops[at], loops)
			}
		}
	case QueryPatterns:
		for _, node := range q.Masters {
			_, leaving := s.at(Pattern, node)
			m.leaving = append(m.leaving, leaving)
		}
	}
	return m
}

// Reply is the reply for the client. replies are those of the masters, in their order; they are whole, and no errors.
func (m *Merger) Reply(replies [][]byte) []byte {
	switch m.query.Kind {
	case QueryChannels:
		return m.names(replies)
	case QueryCounts:
		return m.counts(replies)
	case QueryPatterns:
		return m.patterns(replies)
	}
	panic("BUG: unknown kind of query")
}

// names lists every channel once.
func (m *Merger) names(replies [][]byte) []byte {
	q := &m.query
	found := make(map[string]bool)
	for _, r := range replies {
		for _, name := range resp.Bulks(r) {
			if !m.parting[string(name)] {
				found[string(name)] = true
			}
		}
	}
	for _, name := range m.registry.names(q.Of) {
		if len(q.Names) == 0 || command.MatchPattern(q.Names[0], []byte(name)) {
			found[name] = true
		}
	}
	dst := resp.AppendArray(nil, len(found))
	for _, name := range slices.Sorted(maps.Keys(found)) {
		dst = resp.AppendBulk(dst, name)
	}
	return dst
}

// counts adds the pool's clients and what is subscribed at servers beside them. In a Codis pool other proxies are
// subscribed at every master, so there the largest number is taken for all.
func (m *Merger) counts(replies [][]byte) []byte {
	q := &m.query
	dst := resp.AppendArray(nil, 2*len(q.Names))
	everywhere := q.Of == Channel && !q.Cluster
	counts := make([][]int64, len(replies))
	for i, r := range replies {
		if counts[i] = integers(r); len(counts[i]) != len(q.Names) {
			return resp.AppendError(nil, "ERR a backend has not counted every channel")
		}
	}
	for i, name := range q.Names {
		clients, _ := m.registry.Of(q.Of, string(name), nil)
		others := int64(0)
		for at, node := range q.Masters {
			_, loops := m.registry.Of(q.Of, string(name), node)
			foreign := max(counts[at][i]-max(loops, m.loops[at][i]), 0)
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

// patterns counts patterns; servers tell no names, so what two of them have may be one. In a Codis pool the pool's
// own patterns are at every master; in a cluster at one, but for those of notifications.
func (m *Merger) patterns(replies [][]byte) []byte {
	var sum, largest int64
	for i, r := range replies {
		n, _ := resp.Integer(r)
		wanted, _ := m.registry.at(Pattern, m.query.Masters[i])
		n = max(n-m.leaving[i], min(n, wanted))
		sum, largest = sum+n, max(largest, n)
	}
	if !m.query.Cluster {
		return resp.AppendInt(nil, largest)
	}
	return resp.AppendInt(nil, max(sum-m.registry.copies(), 0))
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
