package proxy

import (
	"time"

	"sluice/backend"
	"sluice/proxy/command"
	"sluice/router"
)

// ReadPolicy says which nodes of a group may serve reads.
type ReadPolicy uint8

// Policies.
const (
	ReadMaster        ReadPolicy = iota // the master alone
	ReadPreferReplica                   // a replica that is fit, else the master
	ReadReplica                         // replicas alone
	ReadNearest                         // the nearest of all, by zone and then by latency
)

// Consistency says what a read must see at least.
type Consistency uint8

// Consistencies.
const (
	Eventual       Consistency = iota // any state within the limit of lag
	Monotonic                         // nothing older than the connection has read before
	ReadYourWrites                    // every write of the connection that was acknowledged
)

// ReadRules are how reads are routed. Immutable.
type ReadRules struct {
	Policy      ReadPolicy
	Consistency Consistency
	MaxLag      time.Duration // how old the data of a replica may be, above 0
	MaxBehind   int64         // how far it may be behind in the unit of the family's offsets; 0 is no limit
	Hedge       bool          // ask a second node when the first takes unusually long
}

// PoolReads are the rules of a pool, and what they need to know of its nodes. Immutable.
type PoolReads struct {
	ReadRules
	Zone    string         // of this host
	Weights map[string]int // share of a node among those that are fit, by address; others have 1
}

// reader is a node that reads of a group may go to.
type reader struct {
	node    *backend.Node
	master  *backend.Node // of its group
	replica bool
	weight  int
	given   bool // the weight was configured
	near    bool // in the zone of this host
}

// readersOf lists the nodes of a group that may serve reads, the master last.
func readersOf(g *router.Group, nodes []*backend.Node, s *PoolReads) []reader {
	var list []reader
	add := func(n *router.Node, replica bool) {
		weight, given := s.Weights[n.Addr]
		if !given {
			weight = 1
		}
		if weight == 0 {
			return
		}
		list = append(list, reader{
			node: nodes[n.Index], master: nodes[g.Master.Index], replica: replica, weight: weight, given: given, near: s.Zone != "" && g.Zones[n.Addr] == s.Zone,
		})
	}
	for _, n := range g.Replicas {
		add(n, true)
	}
	add(g.Master, false)
	return list
}

// mayUseReplicas reports whether any client may read from replicas, or ask for it.
func (s *PoolSettings) mayUseReplicas() bool {
	if s.Reads.Policy != ReadMaster {
		return true
	}
	for _, u := range s.Users {
		if u.Reads != nil && u.Reads.Policy != ReadMaster {
			return true
		}
	}
	return false
}

// setReaders makes the lists of readers.
func (v *view) setReaders(s *PoolSettings) {
	v.readers = nil
	if !s.mayUseReplicas() {
		return
	}
	v.readers = make([][]reader, len(v.table.Groups))
	for i, g := range v.table.Groups {
		v.readers[i] = readersOf(g, v.nodes, &s.Reads)
	}
}

// fromReplicas marks the commands that a replica may serve: they read keys and can't write. Scripts are left to the
// master, which has them loaded, and so is what reads or changes how a key was used.
var fromReplicas = makeFromReplicas()

func makeFromReplicas() (table [command.Count]bool) {
	for id := range table {
		cmd := command.At(id)
		top := cmd
		if cmd.Parent != nil {
			top = cmd.Parent
		}
		switch {
		case !hasKeys(cmd): // It asks all masters.
		case !cmd.Is(command.ReadOnly) || cmd.Is(command.MayReplicate) || isScript(cmd):
		case cmd.Name == "touch" || top.Name == "object" || top.Name == "memory":
		default:
			table[id] = true
		}
	}
	return table
}

// servedByReplicas reports whether a replica may serve a command. What declares one says whether it only reads.
func servedByReplicas(cmd *command.Command) bool {
	if cmd.ID == command.Declared {
		return cmd.Is(command.ReadOnly)
	}
	return fromReplicas[cmd.ID]
}

// mayReadReplica reports whether a command may be served by a replica at all. In a cluster a slot may move without the
// proxy knowing yet; then some keys of a command may be gone from a replica and others not, which its reply shows only
// where each key has a part of it.
func (c *client) mayReadReplica(cmd *command.Command, many bool) bool {
	return servedByReplicas(cmd) && (!many || !c.pool.Model.Cluster())
}
