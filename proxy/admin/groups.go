package admin

import (
	"net/http"
	"time"

	"sluice/backend"
	"sluice/discovery/replication"
	"sluice/proxy"
	"sluice/router"
)

// GroupList is the answer of GET /api/v1/groups: what is known of replication, and where reads go.
type GroupList struct {
	Pools []PoolGroups `json:"pools"`
}

// PoolGroups are the groups of a pool. There are none until its nodes were asked for the first time.
type PoolGroups struct {
	Name   string  `json:"name"`
	Groups []Group `json:"groups"`
}

// Group is a master and its replicas.
type Group struct {
	ID    string      `json:"id"`
	Slots string      `json:"slots"` // "0-511,600"; "" when it owns none
	Nodes []GroupNode `json:"nodes"` // the master first
}

// GroupNode is a node of a group: a replication.NodeStatus, what its breaker and probe say, and its part of the reads.
// What is null is not known.
type GroupNode struct {
	Addr     string    `json:"addr"`
	Zone     string    `json:"zone"`
	Role     string    `json:"role"` // its place in the topology
	Says     string    `json:"says"` // what it says it is
	State    string    `json:"state"`
	Reason   string    `json:"reason"`
	Since    time.Time `json:"since,omitzero"` // of the state
	Readable bool      `json:"readable"`

	LagSeconds         *float64 `json:"lag_seconds"`
	LagBytes           *int64   `json:"lag_bytes"`
	EvidenceAgeSeconds *float64 `json:"evidence_age_seconds"` // null: it never answered
	Offset             *int64   `json:"offset"`
	ReplicationID      string   `json:"replication_id"`

	Available bool   `json:"available"` // the breaker is closed
	Error     string `json:"error,omitempty"`
	RTTMicros int64  `json:"rtt_us"`
	Conns     int    `json:"connections"`

	Reads     uint64   `json:"reads"`      // served by it for this proxy
	ReadShare *float64 `json:"read_share"` // of the reads of the group, 0 to 1; null when there were none
}

func (s *Server) groups(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	out := GroupList{Pools: []PoolGroups{}}
	statuses, reads := s.replicas()
	for _, p := range s.cfg.Server.Pools() {
		if q.Has("pool") && p.Name != q.Get("pool") {
			continue
		}
		pool := PoolGroups{Name: p.Name, Groups: []Group{}}
		nodes, slots := nodesByAddr(p), slotsByGroup(p)
		for _, g := range statuses[p.Name].Groups {
			if q.Has("group") && g.ID != q.Get("group") {
				continue
			}
			pool.Groups = append(pool.Groups, Group{
				ID: g.ID, Slots: slots[g.ID], Nodes: describeReplication(g.Nodes, nodes, reads[p.Name]),
			})
		}
		out.Pools = append(out.Pools, pool)
	}
	writeJSON(w, out)
}

// replicas asks what is known of replication, and for the reads that each node has served, by pool and address.
func (s *Server) replicas() (map[string]replication.Status, map[string]map[string]uint64) {
	var statuses map[string]replication.Status
	if s.cfg.Groups != nil {
		statuses = s.cfg.Groups()
	}
	var reads map[string]map[string]uint64
	if s.cfg.Reads != nil {
		reads = s.cfg.Reads()
	}
	return statuses, reads
}

func describeReplication(list []replication.NodeStatus, nodes map[string]*backend.Node, reads map[string]uint64) []GroupNode {
	out := make([]GroupNode, 0, len(list))
	var all uint64
	for _, st := range list {
		all += reads[st.Addr]
	}
	for _, st := range list {
		n := GroupNode{
			Addr: st.Addr, Zone: st.Zone, Role: st.Role, Says: st.Says, State: st.State, Reason: st.Reason,
			Since: st.Since, Readable: st.Readable,
			LagSeconds: knownSeconds(st.Lag), LagBytes: known(st.LagBytes),
			EvidenceAgeSeconds: knownSeconds(st.EvidenceAge), Offset: known(st.Offset), ReplicationID: st.ReplID,
			Reads: reads[st.Addr],
		}
		if all > 0 {
			share := float64(n.Reads) / float64(all)
			n.ReadShare = &share
		}
		if b := nodes[st.Addr]; b != nil {
			probe := b.Status()
			n.Available, n.Error, n.RTTMicros, n.Conns = b.Available(), probe.Err, probe.RTT.Microseconds(), b.Conns()
		}
		out = append(out, n)
	}
	return out
}

func nodesByAddr(p *proxy.Pool) map[string]*backend.Node {
	nodes := make(map[string]*backend.Node)
	for _, n := range p.Nodes() {
		nodes[n.Addr] = n
	}
	return nodes
}

func slotsByGroup(p *proxy.Pool) map[string]string {
	slots := make(map[string]string)
	if t := p.Table(); t != nil {
		for _, g := range t.Groups {
			slots[string(g.ID)] = router.FormatRanges(t.Ranges(g))
		}
	}
	return slots
}

// known is nil for what stands for unknown, a number below 0.
func known(n int64) *int64 {
	if n < 0 {
		return nil
	}
	return &n
}

// knownSeconds is nil for what stands for unknown, a duration below 0.
func knownSeconds(d time.Duration) *float64 {
	if d < 0 {
		return nil
	}
	s := d.Seconds()
	return &s
}
