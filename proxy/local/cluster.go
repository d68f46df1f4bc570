package local

import (
	"fmt"
	"net"
	"strconv"

	"sluice/proxy/resp"
	"sluice/router"
)

// A pool may be shown to its clients as a cluster of one node that owns every slot, which is this proxy at the address
// that the client has connected to. So clients that only speak to clusters need not be changed; they never see a
// redirect.

// LastSlot is the last slot of a cluster.
const LastSlot = router.ClusterSlots - 1

// inCluster runs a command only in a pool that is shown as a cluster; others answer like a Redis that is none.
func inCluster(run Command) Command {
	return func(dst []byte, c Client, args [][]byte) []byte {
		if !c.Pool().EmulatesCluster() {
			return resp.AppendError(dst, ErrNotCluster)
		}
		return run(dst, c, args)
	}
}

// node is what clients are told of the one node.
type node struct {
	id   string
	host string
	port int
}

// nodeOf is this proxy as a client can reach it: where it has connected to, or, from a unix socket, the first TCP
// listener of the pool.
func nodeOf(c Client) (n node, ok bool) {
	n.id = c.Proxy().ID
	host, port, err := net.SplitHostPort(c.Peer().LocalAddr)
	if n.port, _ = strconv.Atoi(port); err == nil && n.port > 0 {
		n.host = host
		return n, true
	}
	for _, addr := range c.Pool().Addrs() {
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

// ofNode is a command that tells of the one node.
func ofNode(tell func(dst []byte, n node, resp3 bool) []byte) Command {
	return inCluster(func(dst []byte, c Client, _ [][]byte) []byte {
		n, ok := nodeOf(c)
		if !ok {
			return resp.AppendError(dst, "ERR the cluster emulation has no address to give to a client of a unix "+
				"socket: the pool listens on no TCP port")
		}
		return tell(dst, n, c.RESP3())
	})
}

func clusterSlots(dst []byte, n node, resp3 bool) []byte {
	dst = resp.AppendArray(resp.AppendArray(dst, 1), 3)
	dst = resp.AppendInt(resp.AppendInt(dst, 0), LastSlot)
	dst = resp.AppendBulk(resp.AppendArray(dst, 4), n.host)
	dst = resp.AppendBulk(resp.AppendInt(dst, int64(n.port)), n.id)
	return resp.AppendMap(dst, 0, resp3)
}

func clusterShards(dst []byte, n node, resp3 bool) []byte {
	dst = resp.AppendMap(resp.AppendArray(dst, 1), 2, resp3)
	dst = resp.AppendArray(resp.AppendBulk(dst, "slots"), 2)
	dst = resp.AppendInt(resp.AppendInt(dst, 0), LastSlot)
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

func clusterNodes(dst []byte, n node, resp3 bool) []byte {
	line := fmt.Sprintf("%s %s:%d@%d myself,master - 0 0 0 connected 0-%d\n",
		n.id, n.host, n.port, n.port+10000, LastSlot)
	return resp.AppendVerbatim(dst, line, resp3)
}

func clusterInfo(dst []byte, c Client, _ [][]byte) []byte {
	state := "ok"
	if !c.Pool().Ready() {
		state = "fail"
	}
	text := fmt.Sprintf("cluster_state:%s\r\ncluster_slots_assigned:%d\r\ncluster_slots_ok:%d\r\n"+
		"cluster_slots_pfail:0\r\ncluster_slots_fail:0\r\ncluster_known_nodes:1\r\ncluster_size:1\r\n"+
		"cluster_current_epoch:0\r\ncluster_my_epoch:0\r\ncluster_stats_messages_sent:0\r\n"+
		"cluster_stats_messages_received:0\r\ntotal_cluster_links_buffer_limit_exceeded:0\r\n",
		state, LastSlot+1, LastSlot+1)
	return resp.AppendVerbatim(dst, text, c.RESP3())
}

func clusterMyID(dst []byte, c Client, _ [][]byte) []byte { return resp.AppendBulk(dst, c.Proxy().ID) }

// clusterKeySlot counts slots as a cluster does, whatever the servers do: it is what the client was told.
func clusterKeySlot(dst []byte, _ Client, args [][]byte) []byte {
	return resp.AppendInt(dst, int64(router.ClusterModel().Slot(args[2])))
}

func clusterReplicas(dst []byte, c Client, args [][]byte) []byte {
	if string(args[2]) != c.Proxy().ID {
		return resp.AppendError(dst, fmt.Sprintf("ERR Unknown node %s", args[2]))
	}
	return resp.AppendArray(dst, 0)
}
