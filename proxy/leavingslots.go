package proxy

import (
	"fmt"
	"slices"
	"time"

	"sluice/backend"
	"sluice/internal/clock"
	"sluice/proxy/hold"
	"sluice/router"
)

// Leaving is slots on their way from one node to another by a migration of the servers' own, of which the table shows
// nothing.
type Leaving struct {
	Source, Target string         // host:port, or a node id where the address is not known
	Ranges         []router.Range // nil: not known, it may be any of the source's
}

// leavingSlots is what is known of slots that leave a node: by SetLeaving, or, with until, by what a node has told
// a loop.
type leavingSlots struct {
	Leaving
	at    int64 // loop clock at which a loop was told
	until int64 // loop clock; 0: until the next SetLeaving
}

// leavingLife is how long it is believed that slots leave a node which tells nobody but the loops.
const leavingLife = time.Second

// SetLeaving says which slots leave which node, by the answers to questions that were asked age ago; answered reports
// whether a node has answered. It is for families that lose what transactions and scripts write to such slots.
func (p *Pool) SetLeaving(list []Leaving, answered func(addr string) bool, age time.Duration) {
	if !p.Family.LosesAtomics {
		return
	}
	asked, next := clock.Now()-int64(age), make([]leavingSlots, 0, len(list))
	for _, l := range list {
		next = append(next, leavingSlots{Leaving: l})
	}
	for {
		old := p.leaving.Load()
		all := next
		for _, d := range leavingList(old) {
			if d.until > clock.Now() && (d.at >= asked || !answered(d.Source)) {
				all = append(slices.Clip(all), d)
			}
		}
		if !p.leaving.CompareAndSwap(old, &all) {
			continue
		}
		if len(all) < len(leavingList(old)) {
			p.onLoops((*loop).settle)
		}
		return
	}
}

// noteLeaving takes in what a node has told a loop.
func (p *Pool) noteLeaving(l Leaving, now int64) {
	for {
		old := p.leaving.Load()
		all := append(slices.Clip(leavingList(old)), leavingSlots{Leaving: l, at: now, until: now + int64(leavingLife)})
		if p.leaving.CompareAndSwap(old, &all) {
			break
		}
	}
	p.found(l.Source)
}

func leavingList(list *[]leavingSlots) []leavingSlots {
	if list == nil {
		return nil
	}
	return *list
}

// leaves finds what is known to take slot away from node.
func (p *Pool) leaves(node *backend.Node, slot router.Slot) (l Leaving, leaves bool) {
	for _, d := range leavingList(p.leaving.Load()) {
		if d.Source == node.Addr && (d.until == 0 || d.until > clock.Now()) && (d.Ranges == nil || router.InRanges(d.Ranges, slot)) {
			return d.Leaving, true
		}
	}
	return Leaving{}, false
}

func (p *Pool) isLeaving(node *backend.Node, slot router.Slot) bool {
	_, leaves := p.leaves(node, slot)
	return leaves
}

// String says what is in the way, behind "slot 886".
func (l Leaving) String() string {
	is := "migrates"
	if l.Ranges == nil {
		is = "may be among those that migrate"
	}
	return fmt.Sprintf("%s from %s to %s, and what transactions and scripts write meanwhile is lost", is, l.Source, l.Target)
}

// writesAtomically reports whether the request is a transaction or a script that may write, in a pool whose servers
// lose that in a migration.
func (d *retry) writesAtomically() bool {
	if !d.client.pool.Family.LosesAtomics || len(d.keys) == 0 {
		return false
	}
	if x, ok := d.exclusive.(*execution); ok {
		return x.writes
	}
	return d.exclusive == nil && mayWriteByScript(d.cmd)
}

// mayBeLost is what keeps the request from being sent to node because a migration would lose what it writes.
func (d *retry) mayBeLost(node *backend.Node) (o blockReason, blocked bool) {
	if !d.writesAtomically() {
		return blockReason{}, false
	}
	l, blocked := d.client.pool.leaves(node, d.slot)
	return blockReason{cause: hold.Moving, slot: d.slot, why: l.String()}, blocked
}
