package proxy

import (
	"sluice/proxy/command"
	"sluice/proxy/local"
	"sluice/router"
)

// A pool may be shown to its clients as a cluster of one node that owns every slot, which is this proxy at the address
// that the client has connected to. So clients that only speak to clusters need not be changed; they never see a redirect.

// emulatesCluster reports whether the pool is shown as a cluster.
func (c *client) emulatesCluster() bool { return c.pool.Settings().ClusterEmulation }

// serverMode is the mode in HELLO and INFO.
func (c *client) serverMode() string {
	if c.emulatesCluster() {
		return "cluster"
	}
	return "standalone"
}

// clusterWide refuses what would change a cluster that is not there.
func clusterWide(name string) localFunc {
	return func(c *client, _ [][]byte) stall {
		if !c.emulatesCluster() {
			c.replyError(local.ErrNotCluster)
			return stallNone
		}
		c.reject(notAllowed(name))
		return stallNone
	}
}

// cmdClusterSlotKeys asks the owner of a slot for its keys, or their number, if the servers count slots as a cluster does.
func cmdClusterSlotKeys(c *client, q request) stall {
	if !c.emulatesCluster() {
		c.replyError(local.ErrNotCluster)
		return stallNone
	}
	for _, arg := range q.args[2:] {
		if _, ok := command.Integer(arg); !ok {
			c.replyError(errNotInteger)
			return stallNone
		}
	}
	slot, _ := command.Integer(q.args[2])
	count, counted := int64(0), len(q.args) > 3
	if counted {
		count, _ = command.Integer(q.args[3])
	}
	valid := slot >= 0 && slot <= local.LastSlot
	switch {
	case counted && (!valid || count < 0):
		c.replyError("ERR Invalid slot or number of keys")
	case !valid:
		c.replyError("ERR Invalid slot")
	case !c.pool.Model.Cluster():
		c.replyError("ERR the servers of this pool are no cluster and have other slots: their keys can't be listed by slots of a cluster")
	case !c.takeView(q.v, router.Slot(slot)):
		return stallDrain
	default:
		return c.forwardToMaster(q.v, q.cmd, router.Slot(slot), q.raw)
	}
	return stallNone
}
