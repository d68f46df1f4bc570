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

// setHeartbeats makes masters write heartbeats and their replicas read them, or stops that. The caller holds mu.
func (w *Watcher) setHeartbeats() {
	var keys map[*router.Group][]string
	if w.rules.Enabled && w.rules.Heartbeat && !w.cfg.Family.OffsetsProve && w.table != nil {
		keys = w.keysByGroup()
	}
	for _, g := range w.groups {
		w.beat(g.spec.Master.Addr, keys[g.spec], true)
		for _, r := range g.spec.Replicas {
			w.beat(r.Addr, keys[g.spec], false)
		}
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

// keysByGroup finds keys of this proxy for every group, in slots that it has and that do not move.
func (w *Watcher) keysByGroup() map[*router.Group][]string {
	keys := make(map[*router.Group][]string, len(w.table.Groups))
	for slot, names := range w.heartbeatNames() {
		g := w.table.Owner(router.Slot(slot))
		if g == nil || w.table.Move(router.Slot(slot)) != nil {
			continue
		}
		if free := heartbeatKeys - len(keys[g]); free > 0 {
			keys[g] = append(keys[g], names[:min(free, len(names))]...)
		}
	}
	return keys
}

// heartbeatNames lists names of heartbeats by slot, some for nearly every slot. It is computed once: that takes a while.
func (w *Watcher) heartbeatNames() [][]string {
	if len(w.names) == 0 {
		slots := w.table.Model.Slots()
		w.names = make([][]string, slots)
		for i := range 10*slots + 1000 {
			name := fmt.Sprintf("sluice:heartbeat:%.8s:%d", w.cfg.ID, i)
			slot := w.table.Model.Slot([]byte(name))
			if len(w.names[slot]) < heartbeatKeys {
				w.names[slot] = append(w.names[slot], name)
			}
		}
	}
	return w.names
}
