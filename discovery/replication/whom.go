package replication

import (
	"context"
	"fmt"
	"slices"
	"time"

	"sluice/backend"
)

// Evidence is about a process, and an address may lead to several, or to another one by now.

// look has a node's name looked up again when what it leads to is not what the topology says: it may have been moved.
// The caller holds mu.
func (w *Watcher) look(addr string, amiss bool) {
	if n := w.cfg.Node(addr); amiss && n != nil {
		n.LookAgain(lookGap)
	}
}

// lookGap is the least time between two looks at the name of a node that is not what it should be.
const lookGap = int64(5 * time.Second)

// strays says how many connections of a node lead elsewhere than its evidence, "" when none does.
func strays(n *backend.Node) string {
	if n == nil {
		return ""
	}
	lost, all := n.Strays()
	if lost == 0 {
		return ""
	}
	return fmt.Sprintf("%d of %d connections to it lead to another process, and are replaced", lost, all)
}

// reachTries is how often a node is dialled until the process answers that the evidence is about: the address may
// lead to others too.
const reachTries = 4

// reach connects to a process of a node.
func reach(ctx context.Context, n *backend.Node, replica bool, process uint64) (*backend.Control, error) {
	for range reachTries {
		c, err := n.OpenControl(ctx, replica, compareLimits)
		if err != nil {
			return nil, err
		}
		if process != 0 && c.Process() == process {
			return c, nil
		}
		c.Close()
	}
	return nil, fmt.Errorf("%s leads to another process than the one that gives the evidence", n.Addr)
}

// maxInvited is how many servers a group is asked to take, so that servers which name ever others don't make it
// grow for ever.
const maxInvited = 8

// findUnlisted proposes servers that may be the master, or replicas, and that the group does not have. The caller
// holds mu.
func (w *Watcher) findUnlisted(g *group, now int64) {
	if w.cfg.Invite == nil {
		return
	}
	listed, why := g.MasterCandidates, "it may be the master now, and is not in the configuration; it is asked"
	if w.cfg.InviteReplicas {
		listed, why = g.Unlisted, "the master lists it as its replica, and the source of the topology does not; it is asked"
	}
	g.invited = slices.DeleteFunc(g.invited, func(addr string) bool { // One that has left the group since may come again.
		_, member := g.Sample(addr)
		return member && w.cfg.InviteReplicas
	})
	for _, addr := range listed(now) {
		if slices.Contains(g.invited, addr) || len(g.invited) >= maxInvited {
			continue
		}
		g.invited = append(g.invited, addr)
		w.cfg.Log.Warn("a server is followed", "group", g.spec.ID, "node", addr, "why", why)
		w.cfg.Journal.Add(Event{Pool: w.cfg.Pool, Group: string(g.spec.ID), Node: addr, Kind: "evidence", Reason: why})
		w.cfg.Invite(g.spec.ID, addr)
	}
}
