package proxy

import (
	"bytes"
	"fmt"

	"sluice/proxy/merge"
	"sluice/proxy/resp"
)

// mergeFan makes one reply of those of the masters.
func (s *split) mergeFan() []byte {
	if s.fan.functions {
		s.client.pool.functionChanges.Add(1)
	}
	if s.fan.kind == fanOne {
		return merge.One(s.replies)
	}
	if s.fan.kind == fanConfigSet {
		return s.mergeConfigSet()
	}
	if failure := s.failure(); failure != nil {
		return failure
	}
	switch s.fan.kind {
	case fanAll, fanAny, fanSingle:
		return s.replies[0]
	case fanSum:
		return s.merged(merge.Sum(s.replies))
	case fanMin:
		return s.merged(merge.Least(s.replies))
	case fanAnd:
		return s.merged(merge.And(s.replies))
	case fanKeys:
		return s.mergeKeys()
	case fanCommon:
		return s.merged(merge.Common(s.replies))
	case fanKey:
		return s.mergeKey()
	case fanStats:
		return merge.Running(s.replies)
	case fanScan:
		return s.mergeScan()
	case fanSame:
		return s.mergeSame()
	case fanConfigGet:
		return s.mergeConfigGet()
	case fanOne, fanConfigSet:
	}
	panic("BUG: unknown kind of fan-out")
}

// merged is what merging has made of the parts' replies.
func (s *split) merged(reply []byte, bad int) []byte {
	if bad >= 0 {
		return s.unexpected(bad)
	}
	return reply
}

// mergeKeys joins arrays of keys. What a server lists of slots that are not its own is left out.
func (s *split) mergeKeys() []byte {
	if !s.filters() {
		if len(s.parts) == 1 {
			return s.replies[0]
		}
		return s.merged(merge.Keys(s.replies, nil))
	}
	return s.merged(merge.Keys(s.replies, func(from int, key []byte) bool { return s.owns(&s.parts[from], key) }))
}

// filters reports whether servers may list keys that are not theirs, and the table says which are. The nodes of a Redis
// Cluster move keys without the table knowing; there nothing may be left out.
func (s *split) filters() bool {
	p := s.client.pool
	return !p.Model.Cluster() || p.Family.KeepsMoved
}

// owns reports whether a part's server owns the slot of key, or the slot moves to it or from it.
func (s *split) owns(part *splitPart, key []byte) bool {
	v := s.fan.view
	slot := s.client.pool.Model.Slot(key)
	if v.master(slot) == part.node {
		return true
	}
	m := v.table.Move(slot)
	return m != nil && m.From != nil && v.nodes[m.From.Index] == part.node
}

// mergeSame is the reply of the masters if it is one and the same.
func (s *split) mergeSame() []byte {
	for i := range s.parts {
		if !bytes.Equal(s.replies[i], s.replies[0]) {
			return appendErrorLine(nil, fmt.Sprintf("ERR the masters answered %s differently: %s with %.40q, %s with %.40q",
				s.cmd.Name, s.parts[0].node.Addr, s.replies[0], s.parts[i].node.Addr, s.replies[i]))
		}
	}
	return s.replies[0]
}

// mergeKey chooses one of the keys that servers have chosen, each with the same chance.
func (s *split) mergeKey() []byte {
	var found [][]byte
	for i := range s.parts {
		if key, _, ok := resp.CutBulk(s.replies[i]); ok && (!s.filters() || s.owns(&s.parts[i], key)) {
			found = append(found, s.replies[i])
		}
	}
	if len(found) == 0 {
		return resp.AppendNull(nil, s.client.resp3())
	}
	return found[s.client.loop.rng.IntN(len(found))]
}

// misfit is the answer when a server's cursor is no number of 64 bits.
func (s *split) misfit(cursor []byte) []byte {
	return appendErrorLine(nil, fmt.Sprintf(
		"ERR backend %s answered SCAN with the cursor %.40q, and Sluice passes on numbers", s.parts[0].node.Addr, cursor))
}
