package proxy

import (
	"bytes"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sluice/internal/testbed"
	"sluice/proxy/resp"
	"sluice/router"
)

// topology is a proxy in front of real servers that share the keys.
type topology struct {
	*testProxy
	model router.Model
	nodes []*testbed.Server
}

var codisModel = router.CodisModel(router.CodisSlots)

// onEachTopology runs a test in front of two servers of the Codis model and in front of a Redis Cluster.
func onEachTopology(t *testing.T, f func(t *testing.T, top *topology)) {
	t.Run("codis", func(t *testing.T) { f(t, codisTopology(t)) })
	t.Run("cluster", func(t *testing.T) { f(t, clusterTopology(t)) })
}

// patient keeps the time that a loaded machine needs from deciding a test.
func patient(_ *Config, pool *PoolConfig) { pool.Backend.RequestTimeout = time.Minute }

func codisTopology(t *testing.T, change ...func(*Config, *PoolConfig)) *topology {
	t.Helper()
	change = append([]func(*Config, *PoolConfig){patient}, change...)
	nodes := []*testbed.Server{testbed.Redis(t), testbed.Redis(t)}
	p := startProxy(t, codisModel, evenly(codisModel, nodes[0].Addr(), nodes[1].Addr()), change...)
	return &topology{testProxy: p, model: codisModel, nodes: nodes}
}

// startProxyTo runs a Codis pool in front of one server.
func startProxyTo(t testing.TB, s *testbed.Server, change ...func(*Config, *PoolConfig)) *testProxy {
	t.Helper()
	change = append([]func(*Config, *PoolConfig){patient}, change...)
	return startProxy(t, codisModel, evenly(codisModel, s.Addr()), change...)
}

func clusterTopology(t *testing.T) *topology {
	t.Helper()
	nodes := testbed.Cluster(t, 3, 0).Nodes()
	model := router.ClusterModel()
	var specs []router.GroupSpec
	for _, row := range nodes[0].Do("CLUSTER", "SLOTS").Array() {
		columns := row.Array()
		owner := columns[2].Array()
		specs = append(specs, router.GroupSpec{
			ID:     router.GroupID(owner[2].String()),
			Master: net.JoinHostPort(owner[0].String(), owner[1].String()),
			Slots:  []router.Range{{From: router.Slot(columns[0].Integer()), To: router.Slot(columns[1].Integer())}},
		})
	}
	return &topology{testProxy: startProxy(t, model, specs, patient), model: model, nodes: nodes}
}

// flush empties the servers.
func flush(t *testing.T, servers ...*testbed.Server) {
	t.Helper()
	for _, s := range servers {
		if err := s.Do("FLUSHALL").Error(); err != nil {
			t.Fatal(err)
		}
	}
}

// checkOwners looks for keys that are on another node than the owner of their slot: where a server doesn't
// refuse such a key, only this shows that a command was routed by the wrong argument. It returns the number
// of keys.
func (top *topology) checkOwners(t *testing.T) int {
	t.Helper()
	all := 0
	for _, node := range top.nodes {
		for _, key := range node.Do("KEYS", "*").Array() {
			all++
			if want := top.owner(key.String()); want != node {
				t.Errorf("key %q is on %s, its slot belongs to %s", key, node.Addr(), want.Addr())
			}
		}
	}
	if n := top.Stats().Redirects[RedirectMoved]; n > 0 {
		t.Errorf("%d requests went to the wrong node first", n)
	}
	return all
}

// owner is the server that serves the slot of key.
func (top *topology) owner(key string) *testbed.Server {
	addr := top.pool.Table().Owner(top.model.Slot([]byte(key))).Master.Addr
	return top.nodes[slices.IndexFunc(top.nodes, func(s *testbed.Server) bool { return s.Addr() == addr })]
}

// keysOnEveryNode returns keys that begin with prefix: n for each node, one node after the other.
func (top *topology) keysOnEveryNode(prefix string, n int) []string {
	found := make(map[*testbed.Server][]string)
	for i, left := 0, n*len(top.nodes); left > 0; i++ {
		key := prefix + strconv.Itoa(i)
		if node := top.owner(key); len(found[node]) < n {
			found[node] = append(found[node], key)
			left--
		}
	}
	var keys []string
	for _, node := range top.nodes {
		keys = append(keys, found[node]...)
	}
	return keys
}

// converse writes requests to addr as they are and returns everything that comes back until the server
// closes, which the last request must make it do.
func converse(t *testing.T, addr, requests string) string {
	t.Helper()
	c := dial(t, "tcp", addr)
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(replyWait)); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.WriteString(c.Conn, requests) }()
	var got bytes.Buffer
	if _, err := io.Copy(&got, c.Conn); err != nil {
		t.Fatalf("%.200q: after %q: %v", requests, got.String(), err)
	}
	return got.String()
}

// pipeline writes all requests before it reads a reply.
func (c *testClient) pipeline(requests string, n int) []string {
	c.t.Helper()
	go func() { _, _ = io.WriteString(c.Conn, requests) }()
	replies := make([]string, n)
	for i := range replies {
		replies[i] = c.reply()
	}
	return replies
}

// elements cuts an array, set or map into its values, and anything else not at all.
func elements(t *testing.T, reply string) []string {
	t.Helper()
	end := strings.Index(reply, "\r\n") + 2
	if !strings.ContainsAny(reply[:1], "*~%") {
		return []string{reply}
	}
	var list []string
	for rest := []byte(reply[end:]); len(rest) > 0; {
		var f resp.Framer
		n, done, err := f.Next(rest)
		if !done || err != nil {
			t.Fatalf("bad reply %q: %v", reply, err)
		}
		list = append(list, string(rest[:n]))
		rest = rest[n:]
	}
	return list
}
