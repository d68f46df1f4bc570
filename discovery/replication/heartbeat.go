package replication

import (
	"fmt"

	"sluice/backend"
	"sluice/router"
)

// heartbeatKeys is how many heartbeats a group gets. A server may apply its stream in several threads, each for some of
// the keys, so that one key proves nothing about the others; with 64 keys a thread of eight is missed once in 650 times,
// and one of four once in 25 million times.
const heartbeatKeys = 64

// setHeartbeats makes the master write heartbeats and the replicas read them, or stops that. The caller holds mu.
func (w *Watcher) setHeartbeats(g *group) {
	var keys []string
	if w.rules.Enabled && w.rules.Heartbeat && !w.cfg.Family.OffsetsProve {
		keys = w.keysOf(g.spec)
	}
	w.beat(g.spec.Master.Addr, keys, true)
	for _, r := range g.spec.Replicas {
		w.beat(r.Addr, keys, false)
	}
}

func (w *Watcher) beat(addr string, keys []string, write bool) {
	n := w.cfg.Node(addr)
	switch {
	case n == nil:
	case len(keys) == 0:
		n.SetHeartbeat(nil)
	default:
		n.SetHeartbeat(&backend.Heartbeat{Keys: keys, Write: write})
	}
}

// keysOf finds keys of this proxy in slots that the group has, and that do not move.
func (w *Watcher) keysOf(spec *router.Group) []string {
	keys := make([]string, 0, heartbeatKeys)
	if !w.settled(spec) {
		return keys
	}
	for i := 0; len(keys) < heartbeatKeys && i < 100*w.table.Model.Slots(); i++ {
		key := fmt.Sprintf("sluice:heartbeat:%.8s:%d", w.cfg.ID, i)
		slot := w.table.Model.Slot([]byte(key))
		if w.table.Owner(slot) == spec && w.table.Move(slot) == nil {
			keys = append(keys, key)
		}
	}
	return keys
}

// settled reports whether a group has a slot that does not move.
func (w *Watcher) settled(spec *router.Group) bool {
	for slot := range router.Slot(w.table.Model.Slots()) {
		if w.table.Owner(slot) == spec && w.table.Move(slot) == nil {
			return true
		}
	}
	return false
}
