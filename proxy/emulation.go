package proxy

import (
	"fmt"
	"net"
	"strconv"

	"sluice/proxy/command"
	"sluice/proxy/resp"
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

// asCluster runs a command only in a pool that is shown as a cluster; others answer like a Redis that is none.
func asCluster(run localFunc) localFunc {
	return func(c *client, args [][]byte) stall {
		if !c.emulatesCluster() {
			c.replyError(errNotCluster)
			return stallNone
		}
		return run(c, args)
	}
}

// clusterNode is what clients are told of the one node.
type clusterNode struct {
	id   string
	host string
	port int
}

// clusterNode is this proxy as the client can reach it: where it has connected to, or, from a unix socket, the first TCP
// listener of the pool.
func (c *client) clusterNode() (n clusterNode, ok bool) {
	n.id = c.loop.server.id
	host, port, err := net.SplitHostPort(c.laddr)
	if n.port, _ = strconv.Atoi(port); err == nil && n.port > 0 {
		n.host = host
		return n, true
	}
	for _, addr := range c.pool.Addrs() {
		tcp, isTCP := addr.(*net.TCPAddr)
		if !isTCP {
			continue
		}
		n.host, n.port = tcp.IP.String(), tcp.Port
		if tcp.IP.IsUnspecified() {
			n.host = "127.0.0.1" // Who comes by a unix socket is on this host.
		}
		return n, true
	}
	return n, false
}

// aboutNode is a command that tells of the one node.
func aboutNode(build func(c *client, n clusterNode, dst []byte) []byte) localFunc {
	return asCluster(func(c *client, _ [][]byte) stall {
		n, ok := c.clusterNode()
		if !ok {
			c.replyError("ERR the cluster emulation has no address to give to a client of a unix socket: the pool listens on no TCP port")
			return stallNone
		}
		c.answer(func(dst []byte) []byte { return build(c, n, dst) })
		return stallNone
	})
}

const lastSlot = router.ClusterSlots - 1

func clusterSlots(c *client, n clusterNode, dst []byte) []byte {
	dst = resp.AppendArray(resp.AppendArray(dst, 1), 3)
	dst = resp.AppendInt(resp.AppendInt(dst, 0), lastSlot)
	dst = resp.AppendBulk(resp.AppendArray(dst, 4), n.host)
	dst = resp.AppendBulk(resp.AppendInt(dst, int64(n.port)), n.id)
	return resp.AppendMap(dst, 0, c.resp3())
}

func clusterShards(c *client, n clusterNode, dst []byte) []byte {
	resp3 := c.resp3()
	dst = resp.AppendMap(resp.AppendArray(dst, 1), 2, resp3)
	dst = resp.AppendArray(resp.AppendBulk(dst, "slots"), 2)
	dst = resp.AppendInt(resp.AppendInt(dst, 0), lastSlot)
	dst = resp.AppendArray(resp.AppendBulk(dst, "nodes"), 1)
	dst = resp.AppendMap(dst, 7, resp3)
	dst = resp.AppendBulk(resp.AppendBulk(dst, "id"), n.id)
	dst = resp.AppendInt(resp.AppendBulk(dst, "port"), int64(n.port))
	dst = resp.AppendBulk(resp.AppendBulk(dst, "ip"), n.host)
	dst = resp.AppendBulk(resp.AppendBulk(dst, "endpoint"), n.host)
	dst = resp.AppendBulk(resp.AppendBulk(dst, "role"), "master")
	dst = resp.AppendInt(resp.AppendBulk(dst, "replication-offset"), 0)
	return resp.AppendBulk(resp.AppendBulk(dst, "health"), "online")
}

func clusterNodes(c *client, n clusterNode, dst []byte) []byte {
	line := fmt.Sprintf("%s %s:%d@%d myself,master - 0 0 0 connected 0-%d\n", n.id, n.host, n.port, n.port+10000, lastSlot)
	return resp.AppendVerbatim(dst, line, c.resp3())
}

func cmdClusterInfo(c *client, _ [][]byte) stall {
	state := "ok"
	if !c.pool.Ready() {
		state = "fail"
	}
	text := fmt.Sprintf("cluster_state:%s\r\ncluster_slots_assigned:%d\r\ncluster_slots_ok:%d\r\ncluster_slots_pfail:0\r\ncluster_slots_fail:0\r\n"+
		"cluster_known_nodes:1\r\ncluster_size:1\r\ncluster_current_epoch:0\r\ncluster_my_epoch:0\r\ncluster_stats_messages_sent:0\r\n"+
		"cluster_stats_messages_received:0\r\ntotal_cluster_links_buffer_limit_exceeded:0\r\n", state, lastSlot+1, lastSlot+1)
	c.answer(func(dst []byte) []byte { return resp.AppendVerbatim(dst, text, c.resp3()) })
	return stallNone
}

func cmdClusterMyID(c *client, _ [][]byte) stall {
	c.answer(func(dst []byte) []byte { return resp.AppendBulk(dst, c.loop.server.id) })
	return stallNone
}

// cmdClusterKeySlot counts slots as a cluster does, whatever the servers do: it is what the client was told.
func cmdClusterKeySlot(c *client, args [][]byte) stall {
	c.answer(func(dst []byte) []byte { return resp.AppendInt(dst, int64(router.ClusterModel().Slot(args[2]))) })
	return stallNone
}

func cmdClusterLinks(c *client, _ [][]byte) stall {
	c.answer(func(dst []byte) []byte { return resp.AppendArray(dst, 0) })
	return stallNone
}

func cmdClusterReplicas(c *client, args [][]byte) stall {
	if string(args[2]) != c.loop.server.id {
		c.replyError(fmt.Sprintf("ERR Unknown node %s", args[2]))
		return stallNone
	}
	return cmdClusterLinks(c, args)
}

// clusterWide refuses what would change a cluster that is not there.
func clusterWide(name string) localFunc {
	return func(c *client, _ [][]byte) stall {
		c.reject(notAllowed(name))
		return stallNone
	}
}

func cmdClusterOK(c *client, _ [][]byte) stall {
	c.replyOK()
	return stallNone
}

// cmdClusterSlotKeys asks the owner of a slot for its keys, or their number, if the servers count slots as a cluster does.
func cmdClusterSlotKeys(c *client, q request) stall {
	if !c.emulatesCluster() {
		c.replyError(errNotCluster)
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
	valid := slot >= 0 && slot <= lastSlot
	switch {
	case counted && (!valid || count < 0):
		c.replyError("ERR Invalid slot or number of keys")
	case !valid:
		c.replyError("ERR Invalid slot")
	case !c.pool.Model.Cluster():
		c.replyError("ERR the servers of this pool are no cluster and have other slots: their keys can't be listed by slots of a cluster")
	case !c.mayRoute(q.v, router.Slot(slot)):
		return stallDrain
	default:
		return c.forwardToMaster(q.v, q.cmd, router.Slot(slot), q.raw)
	}
	return stallNone
}
