package proxy

import (
	"maps"
	"slices"
	"strconv"

	"sluice/proxy/resp"
	"sluice/router"
)

// SCAN goes over one group after the other: each call is one call of one master, and when that is through its keys the
// cursor goes on to the next group. A group has a place for as long as it is there with the same master; places grow, so that
// a group that is new, or back, or has another master, is scanned after those that were there before it, from its start,
// and the place of one that is gone is skipped.
//
// What a scan promises is what Redis promises, as long as slots do not change hands: a key that moves from a group whose
// turn is still to come to one that was scanned already is not seen.

// cursor is what a client gets: the place of a group above the cursor of its server.
//
//	63 62        51 50                    0
//	 0 | place     | cursor of the server  |
//
// The first group of a pool has place 0, so that the cursors of a pool that has only one are those of the server. 0 begins
// a scan and ends it.
type cursor uint64

const (
	placeBits  = 12
	placeShift = 51
)

// parseCursor reads what a client sent.
func parseCursor(arg []byte) (cursor, bool) {
	n, err := strconv.ParseUint(string(arg), 10, placeShift+placeBits)
	return cursor(n), err == nil
}

// cursorAt joins a place and a server's cursor; it reports false when that does not fit.
func cursorAt(place int, server uint64) (cursor, bool) {
	return cursor(place)<<placeShift | cursor(server), server < 1<<placeShift
}

func (c cursor) place() int { return int(c >> placeShift) }

func (c cursor) server() uint64 { return uint64(c & (1<<placeShift - 1)) }

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
func (c *client) dispatchScan(q request, shares []share) bool {
	at, ok := parseCursor(q.args[1])
	if !ok {
		c.replyError(errCursor)
		return true
	}
	f := &fan{kind: fanScan, place: at.place(), raw: q.raw}
	if len(shares) == 0 {
		return c.fanOut(q, f, nil)
	}
	s := shareFrom(shares, at.place())
	if s == nil {
		c.reply(scanEnd)
		return true
	}
	server := at.server()
	if s.place != at.place() {
		server = 0
	}
	f.place = s.place
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

// mergeScan makes the reply of a SCAN from that of one server.
func (s *split) mergeScan() []byte {
	part := &s.parts[0]
	n, rest, ok := cutHeader(part.reply, '*')
	if !ok || n != 2 {
		return s.unexpected(0)
	}
	given, rest, ok := cutBulk(rest)
	if !ok {
		return s.unexpected(0)
	}
	server, err := strconv.ParseUint(string(given), 10, 64)
	next, fits := cursorAt(s.fan.place, server)
	if err != nil || !fits {
		return s.misfit(given)
	}
	if server == 0 {
		next = s.nextGroup()
	}
	count, rest, ok := cutHeader(rest, '*')
	if !ok {
		return s.unexpected(0)
	}
	keys, count, ok := s.appendOwned(nil, part, count, rest)
	if !ok {
		return s.unexpected(0)
	}
	merged := resp.AppendArray(make([]byte, 0, len(keys)+48), 2)
	merged = resp.AppendBulk(merged, strconv.FormatUint(uint64(next), 10))
	return append(resp.AppendArray(merged, count), keys...)
}

// nextGroup is the cursor with which the next group begins, 0 when this was the last.
func (s *split) nextGroup() cursor {
	next := shareFrom(s.client.pool.view.Load().shares, s.fan.place+1)
	if next == nil {
		return 0
	}
	c, _ := cursorAt(next.place, 0)
	return c
}

// places are those of a pool's groups, each with its master: the cursor of a server says nothing to the one that takes its
// place, which orders its keys in another way and is scanned from its start. Guarded by Pool.viewMu.
type places struct {
	of   map[string]int // by placeName; never changed, but replaced
	next int
}

// placeName tells groups apart for places. IDs come first in it, so that it sorts by them.
func placeName(g *router.Group) string { return string(g.ID) + " " + g.Master.Addr }

// assign gives places to groups that have none, in the order of their IDs, and forgets those of groups that are gone: one
// that comes back is a new one. It returns the places of all. When they are used up all are given out anew, and scans that
// are going on then may miss keys.
func (p *places) assign(groups []*router.Group) map[string]int {
	of := make(map[string]int, len(groups))
	var fresh []string
	for _, g := range groups {
		name := placeName(g)
		if place, ok := p.of[name]; ok {
			of[name] = place
			continue
		}
		fresh = append(fresh, name)
	}
	if p.next+len(fresh) > 1<<placeBits {
		fresh = slices.AppendSeq(fresh, maps.Keys(of))
		p.next = 0
	}
	slices.Sort(fresh)
	for _, name := range fresh {
		of[name] = p.next
		p.next++
	}
	p.of = of
	return of
}
