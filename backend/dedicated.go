package backend

import "sync/atomic"

// dedicatedCount counts the connections to a node that belong to one client each, over all loops, which share
// Options.MaxDedicated. The zero value is none. Safe for concurrent use.
type dedicatedCount struct {
	all  atomic.Int32
	free atomic.Int32 // of them those that no client has
}

// Where Options.MaxDedicated is 0 a process takes a part of what the server allows, so that there is room for others.
const (
	dedicatedPart    = 4
	leastDedicated   = 16
	dedicatedUnknown = 1000 // while the server has not said how many it allows
)

// MaxDedicated is how many there may be: Options.MaxDedicated or, if that is 0, a quarter of the server's maxclients.
func (n *Node) MaxDedicated() int {
	if limit := n.Options().MaxDedicated; limit > 0 {
		return limit
	}
	if allowed := int(n.maxClients.Load()); allowed > 0 {
		return max(allowed/dedicatedPart, leastDedicated)
	}
	return dedicatedUnknown
}

// takeDedicated counts one more, if there may be one more.
func (n *Node) takeDedicated() bool {
	for limit := int32(n.MaxDedicated()); ; {
		now := n.dedicated.all.Load()
		if now >= limit {
			return false
		}
		if n.dedicated.all.CompareAndSwap(now, now+1) {
			return true
		}
	}
}

// FreeDedicated is how many no client has.
func (n *Node) FreeDedicated() int { return int(n.dedicated.free.Load()) }
