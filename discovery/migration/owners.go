package migration

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"time"

	"sluice/internal/control"
	"sluice/router"
)

// A Dragonfly says of a migration that is over only what its configuration still has of it. What became of the slots
// shows in the owners that its next configuration names, which is read in the same question: slots that went to the
// target were handed over; a migration that had handed over, of which no slot did, was undone, and what the target took
// meanwhile is deleted by the servers.

// owners are the slots of each master, by its id, as one node's configuration has them; nil when it was not asked, or
// has none.
type owners map[string][]router.Range

// parseOwners reads CLUSTER SLOTS and returns where the masters are, too.
func parseOwners(reply control.Value) (o owners, addrs map[string]string, err error) {
	if err := reply.Err(); err != nil {
		return nil, nil, err
	}
	o, addrs = make(owners), make(map[string]string)
	for _, row := range reply.Elems {
		master := row.At(2)
		from, to, id := number(row.At(0).Text), number(row.At(1).Text), master.At(2).Text
		if id == "" || from < 0 || to < from || to >= router.ClusterSlots {
			return nil, nil, fmt.Errorf("not understood: %.120q", row)
		}
		o[id] = append(o[id], router.Range{From: router.Slot(from), To: router.Slot(to)})
		addrs[id] = net.JoinHostPort(master.At(0).Text, master.At(1).Text)
	}
	return o, addrs, nil
}

// of are the slots of a node, by its id or its address.
func (l *ledger) of(o owners, node string) []router.Range {
	for id, ranges := range o {
		if id == node || l.name(id) == node {
			return ranges
		}
	}
	return nil
}

// fate is what became of the slots that a source had when the migration was first seen, as a node's configuration says.
type fate struct {
	known      bool
	went, left int // How many are the target's, and how many are not the source's any more.
}

func (l *ledger) fate(e *entry, by *answer) fate {
	if by == nil || by.owners == nil || e.before == nil {
		return fate{}
	}
	f := fate{known: true}
	sources, targets, within := l.of(by.owners, e.Source), l.of(by.owners, e.Target), parseRanges(e.Slots)
	for _, r := range e.before {
		for slot := int(r.From); slot <= int(r.To); slot++ {
			s := router.Slot(slot)
			if within != nil && !router.InRanges(within, s) {
				continue
			}
			if router.InRanges(targets, s) {
				f.went++
			}
			if !router.InRanges(sources, s) {
				f.left++
			}
		}
	}
	return f
}

// ending is what the end of a migration that nobody reports any more was.
func (l *ledger) ending(e *entry, answers []answer) State {
	f := l.fate(e, answerOf(answers, e.Source))
	if !f.known {
		f = l.fate(e, answerOf(answers, e.Target))
	}
	switch {
	case e.State != "" && !e.State.active() && e.State != Finished:
		return e.State
	case f.went > 0:
		return Finished
	case f.known && f.left == 0 && !e.HandedOver.IsZero():
		return Reverted
	case e.State == Finished:
		return Finished
	case f.known && f.left == 0:
		return Cancelled
	}
	return Gone
}

// undone reports whether a side has forgotten a migration that had handed over, and gives the slots to the source
// again.
func (l *ledger) undone(e *entry, answers []answer) bool {
	if e.HandedOver.IsZero() {
		return false
	}
	for node, seen := range map[string]sighting{e.Source: e.source, e.Target: e.target} {
		if seen.spoke || !seen.answered {
			continue
		}
		if f := l.fate(e, answerOf(answers, node)); f.known && f.left == 0 {
			return true
		}
	}
	return false
}

func answerOf(answers []answer, addr string) *answer {
	i := slices.IndexFunc(answers, func(a answer) bool { return a.addr == addr && a.err == nil })
	if i < 0 {
		return nil
	}
	return &answers[i]
}

// settleTime is how long nodes may disagree about owners while a configuration is given to one after the other.
const settleTime = 5 * time.Second

// dispute is about slots of which two nodes name different owners.
type dispute struct {
	text  string
	since time.Time
}

// compare looks for nodes whose configurations differ. text is "" as long as that may be a push under way.
func (d *dispute) compare(answers []answer, now time.Time) (text string) {
	found := ""
	var first *answer
	for i := range answers {
		a := &answers[i]
		switch {
		case a.owners == nil:
		case first == nil:
			first = a
		case found == "":
			found = differ(first, a)
		}
	}
	if found == "" || d.since.IsZero() {
		d.since = now
	}
	if found == "" {
		*d = dispute{}
		return ""
	}
	if d.text = found; now.Sub(d.since) < settleTime {
		return ""
	}
	return found
}

// differ names slots of which two nodes name different owners, "" when there are none.
func differ(a, b *answer) string {
	for _, id := range slices.Sorted(maps.Keys(a.owners)) {
		for _, r := range a.owners[id] {
			for slot := int(r.From); slot <= int(r.To); slot++ {
				if s := router.Slot(slot); !router.InRanges(b.owners[id], s) {
					return fmt.Sprintf("%s and %s have different configurations: slot %d belongs to %s by the first, and to %s by the second",
						a.addr, b.addr, slot, id, b.owners.owner(s))
				}
			}
		}
	}
	return ""
}

func (o owners) owner(slot router.Slot) string {
	for id, ranges := range o {
		if router.InRanges(ranges, slot) {
			return id
		}
	}
	return "nobody"
}
