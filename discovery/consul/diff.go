package consul

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"sluice/router"
)

// Diff says in words what is different in b, one line each, nothing when it is the same topology.
func Diff(a, b *Document) []string {
	var lines []string
	say := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	if a.Format != b.Format {
		say("format: %+v -> %+v", a.Format, b.Format)
	}
	before, after := groupsByID(a), groupsByID(b)
	for _, id := range unionOf(before, after) {
		old, was := before[id]
		now, is := after[id]
		switch {
		case !was:
			say("group %s: new, %s", id, describe(now.Nodes))
		case !is:
			say("group %s: removed, %s", id, describe(old.Nodes))
		default:
			diffNodes(old, now, say)
		}
	}
	type change struct{ from, to Assignment }
	changed := make(map[change]map[router.Slot]bool)
	var order []change
	slots := max(a.Format.Slots, b.Format.Slots, 1)
	model := router.CodisModel(min(slots, router.ClusterSlots))
	was, _ := a.Assignments(model)
	is, _ := b.Assignments(model)
	for i := range was {
		c := change{was[i], is[i]}
		if c.from == c.to {
			continue
		}
		if changed[c] == nil {
			changed[c] = make(map[router.Slot]bool)
			order = append(order, c)
		}
		changed[c][router.Slot(i)] = true
	}
	for _, c := range order {
		slots := router.RangesOf(len(was), func(s router.Slot) bool { return changed[c][s] })
		say("slots %s: %s -> %s", router.FormatRanges(slots), c.from, c.to)
	}
	return lines
}

// diffNodes says what is different in the nodes of a group.
func diffNodes(old, now Group, say func(string, ...any)) {
	before, after := make(map[string]Node), make(map[string]Node)
	for _, n := range old.Nodes {
		before[n.Addr] = n
	}
	for _, n := range now.Nodes {
		after[n.Addr] = n
	}
	for _, addr := range unionOf(before, after) {
		o, was := before[addr]
		n, is := after[addr]
		switch {
		case !was:
			say("group %s: node %s added", now.ID, addr)
		case !is:
			say("group %s: node %s removed", now.ID, addr)
		case o.Zone != n.Zone:
			say("group %s: node %s: zone %q -> %q", now.ID, addr, o.Zone, n.Zone)
		}
	}
}

func groupsByID(d *Document) map[string]Group {
	groups := make(map[string]Group)
	for _, g := range d.Groups {
		groups[g.ID] = g
	}
	return groups
}

// unionOf lists the keys of both maps, in an order in which "2" is before "10".
func unionOf[V any](a, b map[string]V) []string {
	var keys []string
	for k := range a {
		keys = append(keys, k)
	}
	for k := range b {
		if _, both := a[k]; !both {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, func(x, y string) int {
		nx, errX := strconv.Atoi(x)
		ny, errY := strconv.Atoi(y)
		if errX == nil && errY == nil {
			return nx - ny
		}
		return cmp.Compare(x, y)
	})
	return keys
}

func describe(nodes []Node) string {
	if len(nodes) == 0 {
		return "nodes from the catalog"
	}
	addrs := make([]string, len(nodes))
	for i, n := range nodes {
		addrs[i] = n.Addr
	}
	return strings.Join(addrs, ", ")
}
