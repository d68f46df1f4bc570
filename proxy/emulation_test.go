package proxy

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"

	"sluice/internal/testbed"
	"sluice/router"
)

func emulating(_ *Config, pool *PoolConfig) { pool.ClusterEmulation = true }

// onEachEmulation runs f over a Codis pool of two servers and over a real cluster.
func onEachEmulation(t *testing.T, f func(t *testing.T, top *topology)) {
	onEachTopology(t, func(t *testing.T, top *topology) {
		s := *top.pool.Settings()
		s.ClusterEmulation = true
		top.pool.SetSettings(s)
		f(t, top)
	})
}

// emulationStatements are compared with a cluster of one node; "~" as in corpus_test.go.
const emulationStatements = `
CLUSTER KEYSLOT foo{bar}; CLUSTER KEYSLOT ""; CLUSTER LINKS; CLUSTER COUNTKEYSINSLOT x; CLUSTER GETKEYSINSLOT 0 x; CLUSTER GETKEYSINSLOT 0 -1; CLUSTER GETKEYSINSLOT 99999 1
CLUSTER COUNTKEYSINSLOT 16384; CLUSTER COUNTKEYSINSLOT -1; CLUSTER REPLICAS x; CLUSTER SLAVES x; CLUSTER FOO; CLUSTER; CLUSTER SLOTS x; ~CLUSTER HELP; ~CLUSTER MYID
READONLY; READWRITE; ASKING; SELECT 0; SELECT 1; SELECT x; CLUSTER INFO; INFO cluster; CONFIG GET cluster-enabled; ~CLUSTER NODES; ~CLUSTER SLOTS; ~CLUSTER SHARDS; ~CLUSTER MEET 1 2
`

func TestClusterEmulationAnswersAsAClusterDoes(t *testing.T) {
	t.Parallel()
	onEachEmulation(t, func(t *testing.T, top *topology) {
		direct := testbed.Cluster(t, 1, 0, "--cluster-announce-ip", "127.0.0.1").Nodes()[0]
		list := statements(t, emulationStatements)
		list = slices.DeleteFunc(list, func(s statement) bool { return strings.EqualFold(strings.Join(s.args, " "), "cluster info") })
		for i := range list {
			if strings.HasPrefix(strings.Join(list[i].args, " "), "CLUSTER MEET") {
				list[i].args = []string{"CLUSTER", "SETSLOT", "0", "nonsense", "x"}
			}
		}
		for _, proto := range []string{"2", "3"} {
			compare(t, "RESP"+proto, list, runOneByOne(t, top.addr, proto, list), runOneByOne(t, direct.Addr(), proto, list))
			c, d := top.dial(t), dial(t, "tcp", direct.Addr())
			c.do("HELLO", proto)
			d.do("HELLO", proto)
			for _, name := range []string{"SLOTS", "SHARDS", "NODES"} {
				got, want := normal(c.do("CLUSTER", name), top.addr, top.id), normal(d.do("CLUSTER", name), direct.Addr(), d.do("CLUSTER", "MYID"))
				if got != want {
					t.Errorf("CLUSTER %s in RESP%s\n got %q\nwant %q", name, proto, got, want)
				}
			}
			if got := c.do("HELLO"); !strings.Contains(got, "$7\r\ncluster\r\n") {
				t.Errorf("HELLO: %q", got)
			}
			if got := bulkText(t, c.do("CLUSTER", "INFO")); !strings.HasPrefix(got, "cluster_state:ok\r\ncluster_slots_assigned:16384\r\n") {
				t.Errorf("CLUSTER INFO: %q", got)
			}
		}
	})
}

// normal takes address, id, and numbers of time out of a reply.
func normal(reply, addr, id string) string {
	host, port, _ := net.SplitHostPort(addr)
	if i := strings.Index(id, "\r\n"); i >= 0 {
		id = id[i+2 : len(id)-2]
	}
	reply = strings.NewReplacer(id, "<id>", host+":"+port, "<addr>", ":"+port+"\r\n", ":<port>\r\n").Replace(reply)
	if _, line, ok := strings.Cut(reply, "@"); ok { // NODES
		_, rest, _ := strings.Cut(line, " ")
		words := strings.Fields(rest)
		words[4] = "<epoch>"
		return strings.Join(words, " ")
	}
	if i := strings.Index(reply, "replication-offset\r\n:"); i >= 0 {
		_, rest, _ := strings.Cut(reply[i+len("replication-offset\r\n"):], "\r\n")
		reply = reply[:i] + rest
	}
	return reply
}

// Without the setting nothing changes.
func TestWithoutClusterEmulation(t *testing.T) {
	top := codisTopology(t)
	direct := testbed.Redis(t)
	list := statements(t, "CLUSTER SLOTS; CLUSTER INFO; CLUSTER MYID; CLUSTER HELP; CLUSTER KEYSLOT x; CLUSTER COUNTKEYSINSLOT 0; CLUSTER SETSLOT 0 STABLE; READONLY; READWRITE; ASKING; INFO cluster; CONFIG GET cluster-enabled; SELECT 1")
	compare(t, "no cluster", list, runOneByOne(t, top.addr, "2", list), runOneByOne(t, direct.Addr(), "2", list))
}

// The clients that only speak to clusters work, in pipelines and with several keys of one slot.
func TestClusterClientsWorkWithTheEmulation(t *testing.T) {
	onEachEmulation(t, func(t *testing.T, top *topology) {
		ctx := t.Context()
		db := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{top.addr}})
		defer db.Close()
		keys := top.keysOnEveryNode("c", 5)
		pipe := db.Pipeline()
		for i, key := range keys {
			pipe.Set(ctx, key, i, 0)
			pipe.MSet(ctx, "{"+key+"}a", "a"+key, "{"+key+"}b", "b"+key)
		}
		if _, err := pipe.Exec(ctx); err != nil {
			t.Fatal(err)
		}
		for i, key := range keys {
			if got, err := db.MGet(ctx, "{"+key+"}a", key, "{"+key+"}b").Result(); err != nil || fmt.Sprint(got) != fmt.Sprintf("[a%s %d b%s]", key, i, key) {
				t.Errorf("MGET: %v, %v", got, err)
			}
		}
		if err := db.Get(ctx, "none").Err(); !errors.Is(err, redis.Nil) {
			t.Error(err)
		}
		top.checkOwners(t)
		rue, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{top.addr}, ShuffleInit: true})
		if err != nil {
			t.Fatal(err)
		}
		defer rue.Close()
		if mode := rue.Mode(); mode != rueidis.ClientModeCluster {
			t.Errorf("rueidis is in mode %s", mode)
		}
		var batch rueidis.Commands
		for _, key := range keys {
			batch = append(batch, rue.B().Get().Key(key).Build())
		}
		for i, r := range rue.DoMulti(ctx, batch...) {
			if got, err := r.AsInt64(); err != nil || got != int64(i) {
				t.Errorf("rueidis: %d, %v", got, err)
			}
		}
		if s := top.Stats(); s.Errors > 1 { // go-redis tries CLIENT MAINT_NOTIFICATIONS, which only Redis' own service knows.
			t.Errorf("%d errors", s.Errors)
		}
	})
}

// The keys of a slot are asked of its owner where the servers are a cluster.
func TestKeysOfASlot(t *testing.T) {
	onEachEmulation(t, func(t *testing.T, top *topology) {
		c := top.dial(t)
		for _, key := range top.keysOnEveryNode("k", 3) {
			c.want("+OK\r\n", "SET", key, "v")
			slot := fmt.Sprint(router.ClusterModel().Slot([]byte(key)))
			if !top.model.Cluster() {
				if got := c.do("CLUSTER", "COUNTKEYSINSLOT", slot); !strings.HasPrefix(got, "-ERR the servers of this pool are no cluster") {
					t.Errorf("%q", got)
				}
				continue
			}
			c.want(":1\r\n", "CLUSTER", "COUNTKEYSINSLOT", slot)
			c.want(fmt.Sprintf("*1\r\n$%d\r\n%s\r\n", len(key), key), "CLUSTER", "GETKEYSINSLOT", slot, "10")
		}
	})
}

// A client is led to the address that it has connected to; one of a unix socket to the first TCP listener.
func TestClusterEmulationGivesTheAddressOfTheClient(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "sluice.sock")
	p := startProxyTo(t, testbed.Redis(t), emulating, func(_ *Config, pool *PoolConfig) {
		pool.Listen = []Listen{{Network: "unix", Address: socket}, {Network: "tcp", Address: "127.0.0.1:0"}, {Network: "tcp", Address: "[::1]:0"}}
	})
	addrs := p.pool.Addrs()
	for _, f := range []struct{ at, want net.Addr }{{addrs[0], addrs[1]}, {addrs[1], addrs[1]}, {addrs[2], addrs[2]}} {
		host, port, _ := net.SplitHostPort(f.want.String())
		want := fmt.Sprintf("$%d\r\n%s\r\n:%s\r\n", len(host), host, port)
		if got := dial(t, f.at.Network(), f.at.String()).do("CLUSTER", "SLOTS"); !strings.Contains(got, want) {
			t.Errorf("by %s: %q", f.at, got)
		}
	}
	alone := filepath.Join(t.TempDir(), "alone.sock")
	q := startProxyTo(t, testbed.Redis(t), emulating, func(_ *Config, pool *PoolConfig) { pool.Listen = []Listen{{Network: "unix", Address: alone}} })
	if got := dial(t, "unix", q.pool.Addrs()[0].String()).do("CLUSTER", "SLOTS"); !strings.HasPrefix(got, "-ERR the cluster emulation has no address") {
		t.Errorf("%q", got)
	}
}
