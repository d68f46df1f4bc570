package admin

import (
	"slices"

	"sluice/discovery/replication"
	"sluice/proxy"
)

// nodeStates are the states of replication.NodeStatus. Every node has a sample for each of them, so that a series
// does not end when a node changes its state or its role.
var nodeStates = []string{"unknown", "syncing", "catching up", "in sync", "lagging", "broken", "diverged", "serving"}

// poolNode is a node with what its samples are labelled with.
type poolNode struct {
	*replication.NodeStatus
	labels []string // pool, group and node, names and values in turn
	reads  uint64
}

// replicas writes what is known of replication, and which nodes serve the reads.
func (e *exposition) replicas(pools []*proxy.Pool, statuses map[string]replication.Status, reads map[string]map[string]uint64) {
	var nodes []poolNode
	for _, p := range pools {
		for _, g := range statuses[p.Name].Groups {
			for i := range g.Nodes {
				n := &g.Nodes[i]
				nodes = append(nodes, poolNode{n, []string{"pool", p.Name, "group", g.ID, "node", n.Addr}, reads[p.Name][n.Addr]})
			}
		}
	}
	e.nodeStates(nodes)
	e.nodes(nodes, "sluice_node_readable", "1 when reads may go to a replica, as far as their limits of lag allow.",
		func(n poolNode) (float64, bool) { return oneIf(n.Readable), true })
	e.nodes(nodes, "sluice_node_lag_seconds", "How far a replica is proven to be behind its master at most; absent while unknown.",
		func(n poolNode) (float64, bool) { return n.Lag.Seconds(), n.Lag >= 0 })
	e.nodes(nodes, "sluice_node_lag_bytes", "Bytes, of other families records, that a replica was behind when it was asked last; absent while unknown.",
		func(n poolNode) (float64, bool) { return float64(n.LagBytes), n.LagBytes >= 0 })
	e.nodes(nodes, "sluice_node_evidence_age_seconds", "Time since a node last said how its replication is; absent when it never did.",
		func(n poolNode) (float64, bool) { return n.EvidenceAge.Seconds(), n.EvidenceAge >= 0 })
	e.family("sluice_node_reads_total", "counter", "Reads that a node has served, by its role in the topology now.")
	for _, n := range nodes {
		e.value("sluice_node_reads_total", float64(n.reads), n.with("role", n.Role)...)
	}
}

func (e *exposition) nodeStates(nodes []poolNode) {
	e.family("sluice_node_state", "gauge", "1 for the state that a node is in, 0 for the others.")
	for _, n := range nodes {
		for _, state := range nodeStates {
			e.value("sluice_node_state", oneIf(n.State == state), n.with("state", state)...)
		}
	}
}

// nodes writes one gauge for every node that has a value.
func (e *exposition) nodes(nodes []poolNode, name, help string, value func(n poolNode) (v float64, known bool)) {
	e.family(name, "gauge", help)
	for _, n := range nodes {
		if v, known := value(n); known {
			e.value(name, v, n.labels...)
		}
	}
}

// with returns the labels and one more.
func (n poolNode) with(name, value string) []string {
	return append(slices.Clip(n.labels), name, value)
}
