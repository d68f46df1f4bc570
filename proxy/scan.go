package proxy

import (
	"slices"
	"strconv"

	"sluice/proxy/merge"
	"sluice/proxy/resp"
	"sluice/proxy/scan"
)

// SCAN goes over one group after the other: each call is one call of one master, and when that is through its keys the
// cursor goes on to the next group. A group has a place for as long as it is there with the same master; places grow,
// so that a group that is new, or back, or has another master, is scanned after those that were there before it, from
// its start, and the place of one that is gone is skipped.
//
// What a scan promises is what Redis promises, as long as slots do not change hands: a key that moves from a group
// whose turn is still to come to one that was scanned already is not seen.

// shareFrom finds the share at a place, or the next one behind it; nil when there is none.
func shareFrom(shares []share, place int) *share {
	for i := range shares {
		if shares[i].place >= place {
			return &shares[i]
		}
	}
	return nil
}

// scanEnd is the reply when the groups that were still to come are gone.
var scanEnd = []byte("*2\r\n$1\r\n0\r\n*0\r\n")

// dispatchScan sends a SCAN to the group that its cursor names.
func (c *client) dispatchScan(q request, shares []share) stall {
	at, ok := scan.ParseCursor(q.args[1])
	if !ok {
		c.replyError(errCursor)
		return stallNone
	}
	f := &fan{kind: fanScan, raw: q.raw}
	if len(shares) == 0 {
		return c.fanOut(q, f, nil)
	}
	place, server := c.pool.resume(q.v, at)
	s := shareFrom(shares, place)
	if s == nil {
		c.reply(scanEnd)
		return stallNone
	}
	if s.place != place {
		server = 0
	}
	f.mark = q.v.marks[s.place]
	if server != uint64(at) {
		f.raw = resp.AppendArray(nil, len(q.args))
		f.raw = resp.AppendBulk(f.raw, q.args[0])
		f.raw = resp.AppendBulk(f.raw, strconv.FormatUint(server, 10))
		for _, arg := range q.args[2:] {
			f.raw = resp.AppendBulk(f.raw, arg)
		}
	}
	return c.fanOut(q, f, []share{*s})
}

// resume says where a scan goes on: from the start of a place whose server's cursor is forgotten, and from the very
// start if the cursor is none of this order of places. So it may show a key twice, and misses none.
func (p *Pool) resume(v *view, at scan.Cursor) (place int, server uint64) {
	place = slices.Index(v.marks, at.Mark())
	if place < 0 || !at.Known() {
		return 0, 0
	}
	return place, p.cursors.Server(at)
}

// mergeScan makes the reply of a SCAN from that of one server.
func (s *split) mergeScan() []byte {
	part := &s.parts[0]
	n, rest, ok := resp.CutHeader(s.replies[0], '*')
	if !ok || n != 2 {
		return s.unexpected(0)
	}
	given, rest, ok := resp.CutBulk(rest)
	if !ok {
		return s.unexpected(0)
	}
	server, err := strconv.ParseUint(string(given), 10, 64)
	if err != nil {
		return s.misfit(given)
	}
	count, rest, ok := resp.CutHeader(rest, '*')
	if !ok {
		return s.unexpected(0)
	}
	filters := s.filters()
	keys, count, ok := merge.AppendKeys(nil, count, rest, func(key []byte) bool {
		return !filters || s.owns(part, key)
	})
	if !ok {
		return s.unexpected(0)
	}
	merged := resp.AppendArray(make([]byte, 0, len(keys)+48), 2)
	merged = resp.AppendBulk(merged, strconv.FormatUint(uint64(s.nextCursor(server)), 10))
	return append(resp.AppendArray(merged, count), keys...)
}

// nextCursor is the client's for one of the server, 0 when all groups are through.
func (s *split) nextCursor(server uint64) scan.Cursor {
	if server == 0 {
		return s.nextGroup()
	}
	return s.client.pool.cursors.For(s.fan.mark, server)
}

// nextGroup is the cursor with which the next group begins, 0 when this was the last. If places were given out anew in
// the meantime that is the first one.
func (s *split) nextGroup() scan.Cursor {
	v := s.client.pool.view.Load()
	next := shareFrom(v.shares, slices.Index(v.marks, s.fan.mark)+1)
	if next == nil {
		return 0
	}
	return scan.Start(v.marks[next.place])
}
