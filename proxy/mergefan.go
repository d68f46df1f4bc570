package proxy

import (
	"bytes"
	"fmt"
	"slices"

	"sluice/proxy/resp"
)

// mergeFan makes one reply of those of the masters.
func (s *split) mergeFan() []byte {
	if s.fan.functions {
		s.client.pool.functionChanges.Add(1)
	}
	if s.fan.kind == fanOne {
		return s.mergeOne()
	}
	if s.fan.kind == fanConfigSet {
		return s.mergeConfigSet()
	}
	if failure := s.failure(); failure != nil {
		return failure
	}
	switch s.fan.kind {
	case fanAll, fanAny, fanSingle:
		return s.parts[0].reply
	case fanSum:
		return s.mergeCounts()
	case fanMin:
		return s.mergeMin()
	case fanAnd:
		return s.mergeAnd()
	case fanKeys:
		return s.mergeKeys()
	case fanCommon:
		return s.mergeCommon()
	case fanKey:
		return s.mergeKey()
	case fanStats:
		return s.mergeStats()
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

// mergeOne is the first reply that is no error. Of the errors, that nothing runs at a server says least.
func (s *split) mergeOne() []byte {
	best := s.parts[0].reply
	for i := range s.parts {
		reply := s.parts[i].reply
		if reply[0] != '-' {
			return reply
		}
		if bytes.HasPrefix(best, []byte("-NOTBUSY")) {
			best = reply
		}
	}
	return best
}

func (s *split) mergeMin() []byte {
	least := s.parts[0].reply
	for i := range s.parts {
		reply := s.parts[i].reply
		n, ok := integerReply(reply)
		if !ok {
			return s.unexpected(i)
		}
		if m, _ := integerReply(least); n < m {
			least = reply
		}
	}
	return least
}

// mergeAnd takes arrays of zeros and ones.
func (s *split) mergeAnd() []byte {
	merged := bytes.Clone(s.parts[0].reply)
	for i := range s.parts {
		reply := s.parts[i].reply
		if reply[0] != '*' || len(reply) != len(merged) {
			return s.unexpected(i)
		}
		for at, c := range reply {
			if c == '0' && merged[at] == '1' && reply[at-1] == ':' {
				merged[at] = '0'
			}
		}
	}
	return merged
}

// mergeKeys joins arrays of keys. What a server lists of slots that are not its own is left out.
func (s *split) mergeKeys() []byte {
	if len(s.parts) == 1 && !s.filters() {
		return s.parts[0].reply
	}
	var keys []byte
	count := 0
	for i := range s.parts {
		part := &s.parts[i]
		n, rest, ok := cutHeader(part.reply, '*')
		if !ok {
			return s.unexpected(i)
		}
		kept, left, ok := s.appendOwned(keys, part, n, rest)
		if !ok {
			return s.unexpected(i)
		}
		keys, count = kept, count+left
	}
	return append(resp.AppendArray(make([]byte, 0, len(keys)+16), count), keys...)
}

// appendOwned appends those of n keys, which buf begins with, that part's server owns, and says how many these are.
func (s *split) appendOwned(dst []byte, part *splitPart, n int, buf []byte) (kept []byte, left int, ok bool) {
	filters := s.filters()
	for range n {
		key, rest, ok := cutBulk(buf)
		if !ok {
			return dst, 0, false
		}
		if !filters || s.owns(part, key) {
			dst = append(dst, buf[:len(buf)-len(rest)]...)
			left++
		}
		buf = rest
	}
	return dst, left, true
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

// mergeCommon keeps the elements of the first array that are in all others, byte for byte.
func (s *split) mergeCommon() []byte {
	var common [][]byte
	for i := range s.parts {
		list, ok := elementsOf(s.parts[i].reply)
		if !ok {
			return s.unexpected(i)
		}
		if i == 0 {
			common = list
		}
		common = slices.DeleteFunc(common, func(e []byte) bool {
			return !slices.ContainsFunc(list, func(o []byte) bool { return bytes.Equal(e, o) })
		})
	}
	return append(resp.AppendArray(nil, len(common)), bytes.Join(common, nil)...)
}

// mergeSame is the reply of the masters if it is one and the same.
func (s *split) mergeSame() []byte {
	for i := range s.parts {
		if !bytes.Equal(s.parts[i].reply, s.parts[0].reply) {
			return appendErrorLine(nil, fmt.Sprintf("ERR the masters answered %s differently: %s with %.40q, %s with %.40q",
				s.cmd.Name, s.parts[0].node.Addr, s.parts[0].reply, s.parts[i].node.Addr, s.parts[i].reply))
		}
	}
	return s.parts[0].reply
}

// elementsOf are the elements of an array in wire form, slices of reply.
func elementsOf(reply []byte) (list [][]byte, ok bool) {
	n, rest, ok := cutHeader(reply, '*')
	for range n {
		var f resp.Framer
		size, done, err := f.Next(rest)
		if !done || err != nil {
			return nil, false
		}
		list, rest = append(list, rest[:size]), rest[size:]
	}
	return list, ok
}

// mergeKey chooses one of the keys that servers have chosen, each with the same chance.
func (s *split) mergeKey() []byte {
	var found [][]byte
	for i := range s.parts {
		part := &s.parts[i]
		if key, _, ok := cutBulk(part.reply); ok && (!s.filters() || s.owns(part, key)) {
			found = append(found, part.reply)
		}
	}
	if len(found) == 0 {
		return resp.AppendNull(nil, s.client.resp3())
	}
	return found[s.client.loop.rng.IntN(len(found))]
}

// mergeStats chooses a reply that tells of a running function, which is the one thing that servers differ in.
func (s *split) mergeStats() []byte {
	for i := range s.parts {
		_, running, ok := bytes.Cut(s.parts[i].reply, []byte("running_script\r\n"))
		if ok && !isNull(running) {
			return s.parts[i].reply
		}
	}
	return s.parts[0].reply
}

func isNull(value []byte) bool {
	return bytes.HasPrefix(value, []byte("_")) || bytes.HasPrefix(value, []byte("$-1")) || bytes.HasPrefix(value, []byte("*-1"))
}

// cutHeader cuts the line off that says how long an array or a bulk string is.
func cutHeader(buf []byte, kind byte) (n int, rest []byte, ok bool) {
	end := bytes.IndexByte(buf, '\r')
	if end < 2 || buf[0] != kind || len(buf) < end+2 {
		return 0, nil, false
	}
	length, ok := parseInteger(buf[1:end])
	if !ok || length < 0 {
		return 0, nil, false
	}
	return int(length), buf[end+2:], true
}

// cutBulk cuts a bulk string off; a null is none.
func cutBulk(buf []byte) (value, rest []byte, ok bool) {
	n, rest, ok := cutHeader(buf, '$')
	if !ok || len(rest) < n+2 {
		return nil, nil, false
	}
	return rest[:n], rest[n+2:], true
}

// misfit is the answer when a server's cursor is no number of 64 bits.
func (s *split) misfit(cursor []byte) []byte {
	return appendErrorLine(nil, fmt.Sprintf(
		"ERR backend %s answered SCAN with the cursor %.40q, and Sluice passes on numbers", s.parts[0].node.Addr, cursor))
}
