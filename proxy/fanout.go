package proxy

import (
	"fmt"
	"slices"

	"sluice/proxy/command"
	"sluice/proxy/hold"
	"sluice/proxy/scan"
	"sluice/router"
)

// A fan-out is a command over all keys, or about what every server has: it goes to the master of every group, and one
// reply is made of theirs (mergefan.go). It is a split whose parts are the whole command, one for each group, each
// with a slot that the group owns: by that slot a part is held, sent again and follows its master to another server,
// like any request.
//
// A fan-out has no slot of its own that would keep it in order with other commands, so it runs alone
// (client.beginAlone). It is held as a whole before anything is sent; after that its parts run independently, and a
// write of which some parts fail is answered with "outcome unknown". Slots that change hands while a part waits
// make it fail: what the part's slot stands for would be another set of keys.
//
// "All nodes" in the command table is taken for all masters. Replicas have functions and flushes from their
// masters, and a script that a server lacks is loaded when it is asked for (reload.go).
type fan struct {
	kind      fanKind
	view      *view  // under which it was sent
	raw       []byte // the request, during the dispatch
	writes    bool
	script    string        // of SCRIPT LOAD
	mark      scan.Mark     // fanScan: of its place
	functions bool          // it changes those of the servers
	config    *fanConfig    // fanConfigGet, fanConfigSet
	agreed    *router.Table // the last that divides the slots as view does
}

// fanKind says how the replies of all masters become one.
type fanKind uint8

const (
	fanAll       fanKind = iota // the first reply, if all succeed
	fanSum                      // numbers, added up
	fanMin                      // the least number
	fanAnd                      // arrays of numbers, each 1 if it is 1 everywhere
	fanKeys                     // arrays of keys, joined
	fanKey                      // a key or null: one of the keys at random
	fanStats                    // that of a server which runs a function, else the first
	fanOne                      // the first that succeeds; sent at once, apart and once
	fanAny                      // asked of one master: all have the same
	fanSingle                   // about one server: only where there is one
	fanScan                     // asked of one group after the other, see scan.go
	fanCommon                   // arrays, the elements that all have
	fanSame                     // the reply that all have given
	fanConfigGet                // names and values, see fanconfig.go
	fanConfigSet                // set at all of them
)

// fanCommands go to every master, by full name. Immutable after construction. LASTSAVE is the least because all
// that was written before that is saved.
var fanCommands = map[string]fanKind{
	"dbsize": fanSum, "keys": fanKeys, "randomkey": fanKey, "scan": fanScan, "lastsave": fanMin,
	"flushall": fanAll, "flushdb": fanAll, "swapdb": fanAll, "memory|purge": fanAll,
	"script|load": fanAll, "script|flush": fanAll, "script|exists": fanAnd, "script|kill": fanOne,
	"function|load": fanAll, "function|delete": fanAll, "function|flush": fanAll, "function|restore": fanAll,
	"function|kill": fanOne, "function|stats": fanStats, "function|list": fanAny, "function|dump": fanAny,
	"memory|doctor": fanSingle, "memory|stats": fanSingle, "memory|malloc-stats": fanSingle,
	"function|help": fanAny, "memory|help": fanAny, "object|help": fanAny, "script|help": fanAny,
	"xgroup|help": fanAny, "xinfo|help": fanAny,
	"module|list": fanCommon, "config|get": fanConfigGet, "config|set": fanConfigSet,
}

// share is a group that owns slots. Immutable.
type share struct {
	master *router.Node
	slot   router.Slot // one of its slots, a settled one if there is any
	place  int         // among the groups, for cursors
}

// sharesOf lists the groups that own slots in the order of their places.
func sharesOf(t *router.Table, place map[string]int) []share {
	at := make([]share, len(t.Groups))
	settled := make([]bool, len(t.Groups))
	for i := t.Model.Slots() - 1; i >= 0; i-- {
		slot := router.Slot(i)
		g := t.Owner(slot)
		if g == nil || settled[g.Index] && t.Move(slot) != nil {
			continue
		}
		at[g.Index] = share{g.Master, slot, place[scan.PlaceName(g)]}
		settled[g.Index] = t.Move(slot) == nil
	}
	var list []share
	for _, s := range at {
		if s.master != nil {
			list = append(list, s)
		}
	}
	slices.SortFunc(list, func(a, b share) int { return a.place - b.place })
	return list
}

// dispatchFanOut sends a command to every master.
func (c *client) dispatchFanOut(q request, kind fanKind) stall {
	if refusal := c.fanRefusal(q, kind); refusal != "" {
		c.replyError(refusal)
		return stallNone
	}
	var shares []share
	if q.v != nil {
		shares = q.v.shares
	}
	switch {
	case kind == fanScan:
		return c.dispatchScan(q, shares)
	case kind == fanConfigGet:
		return c.dispatchConfigGet(q, shares)
	case kind == fanConfigSet:
		return c.dispatchConfigSet(q, shares)
	case kind == fanAny && len(shares) > 1:
		at := max(0, slices.IndexFunc(shares, func(s share) bool { return q.v.servingMaster(s.slot) != nil }))
		shares = shares[at : at+1]
	}
	return c.fanOut(q, &fan{kind: kind, raw: q.raw}, shares)
}

// fanRefusal says why a command does not go to all masters, "" when it does.
func (c *client) fanRefusal(q request, kind fanKind) string {
	switch {
	case q.cmd.Name == "swapdb" && c.pool.Model.Cluster():
		return errSwapDB
	case q.cmd.Name == "dbsize" && c.pool.Family.NoDBSize:
		return unsupported(q.cmd.Name)
	case kind == fanSingle && q.v != nil && len(q.v.shares) > 1:
		return fmt.Sprintf("ERR '%s' is about one server and this pool has %d, send it to the server itself", q.cmd.Name, len(q.v.shares))
	}
	return ""
}

// fanOut sends a command to the masters of shares.
func (c *client) fanOut(q request, f *fan, shares []share) stall {
	if !c.pipe.empty() {
		return stallDrain
	}
	f.view, f.writes = q.v, q.cmd.Is(command.Write) || q.cmd.Name == "script|flush"
	if o, blocked := c.fanBlockReason(q, f, shares); blocked {
		return c.holdBack(q.v, o, len(q.raw))
	}
	c.takeView(q.v, anySlot)
	f.agreed = q.v.table
	if f.functions = f.writes && q.cmd.Parent != nil && q.cmd.Parent.Name == "function"; f.functions {
		c.pool.functionChanges.Add(1)
	}
	c.noteFlush(q)
	if q.cmd.Name == "script|load" {
		f.script = string(q.args[2])
	}
	s := &split{gathering: gathering{client: c}, cmd: q.cmd, fan: f}
	s.expect(len(shares))
	s.head = c.loop.pool.Append(nil, q.raw[:min(len(q.raw), slowHead)])
	for _, at := range shares {
		part := splitPart{slot: at.slot, node: q.v.nodes[at.master.Index]}
		part.need.buckets = allBuckets
		s.parts = append(s.parts, part)
	}
	s.seq, _ = c.beginAlone(q.cmd, anySlot)
	if q.cmd.Is(command.Write) {
		s.countWrites()
	}
	c.splits = append(c.splits, s)
	s.sendParts()
	f.raw = nil
	return stallNone
}

// fanBlockReason finds what keeps a fan-out from being sent. A write waits for every slot that is not settled: a key
// on its way between two groups would escape a FLUSHALL. A read asks those that own slots; if keys may be at a
// server that does not, because its last slot is about to leave, it waits for that.
func (c *client) fanBlockReason(q request, f *fan, shares []share) (o blockReason, blocked bool) {
	if len(shares) == 0 {
		return c.pool.blockReason(q.v, 0)
	}
	if f.kind == fanOne {
		return blockReason{}, false
	}
	for _, s := range shares {
		if o, blocked = c.pool.blockReason(q.v, s.slot); blocked {
			return o, true
		}
	}
	for _, m := range q.v.table.Moves() {
		orphan := m.From != nil && !slices.ContainsFunc(q.v.shares, func(s share) bool { return s.master == m.From })
		if !f.writes && !(orphan && q.cmd.Is(command.ReadOnly)) {
			continue
		}
		o = blockReason{cause: hold.Moving, slot: m.Slot, move: m}
		if m.Phase == router.Locked {
			o.cause = hold.Locked
		}
		return o, true
	}
	return blockReason{}, false
}

// atOnce reports whether the parts are neither held nor sent again: what ends a script is of no use later.
func (s *split) atOnce() bool { return s.fan != nil && s.fan.kind == fanOne }

// redivided reports whether the slots belong together in another way than when a fan-out was sent, so that the slots of
// its parts do not stand for all keys any more.
func (s *split) redivided(v *view) bool {
	f := s.fan
	if f == nil || f.kind == fanAny || v == nil || v.table == f.agreed {
		return false
	}
	if !f.view.table.SameDivision(v.table) || f.writes && len(v.table.Moves()) > 0 {
		return true
	}
	f.agreed = v.table
	return false
}

func dividedAnew(slot router.Slot) string {
	return fmt.Sprintf("TRYAGAIN slots have changed hands while the command waited for slot %d", slot)
}
