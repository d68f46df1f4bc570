package proxy

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"sluice/internal/testbed"
)

// INFO has what the masters have together.
func TestInfoSumsUpTheServers(t *testing.T) {
	top := codisTopology(t)
	for i, n := range top.nodes {
		n.Do("CONFIG", "SET", "maxmemory", fmt.Sprint((i+1)*100<<20), "maxmemory-policy", []string{"noeviction", "allkeys-lru"}[i])
	}
	c := top.dial(t)
	for _, key := range top.keysOnEveryNode("k", 2) {
		c.want("+OK\r\n", "SET", key, "v", "EX", "1000")
		c.want("$1\r\nv\r\n", "GET", key)
		c.want("$-1\r\n", "GET", key+"{"+key+"}none")
		c.do("LPUSH", key, "wrong")
	}
	top.awaitAnswers(t)
	info := infoSectionsOf(t, c.do("INFO", "everything"))
	for _, want := range []struct{ section, field, value string }{
		{"Memory", "maxmemory", fmt.Sprint(300 << 20)}, {"Memory", "maxmemory_human", "300.00M"}, {"Memory", "maxmemory_policy", "noeviction|allkeys-lru"},
		{"Stats", "keyspace_hits", "4"}, {"Stats", "keyspace_misses", "4"}, {"Stats", "evicted_keys", "0"}, {"Errorstats", "errorstat_WRONGTYPE", "count=4"},
		{"Persistence", "rdb_changes_since_last_save", "4"}, {"Persistence", "loading", "0"}, {"Persistence", "rdb_last_bgsave_status", "ok"},
		{"Server", "redis_mode", "standalone"}, {"Replication", "role", "master"}, {"Clients", "connected_clients", "1"},
	} {
		if got := info[want.section][want.field]; got != want.value {
			t.Errorf("%s %s:%s, want %s", want.section, want.field, got, want.value)
		}
	}
	if got := info["Keyspace"]["db0"]; !strings.HasPrefix(got, "keys=4,expires=4,avg_ttl=") {
		t.Errorf("db0:%s", got)
	}
	if got := info["Latencystats"]["latency_percentiles_usec_get"]; !strings.HasPrefix(got, "p50=") {
		t.Errorf("latencies of GET: %s", got)
	}
	checkFields(t, info["Memory"], "used_memory used_memory_rss used_memory_peak total_system_memory mem_fragmentation_ratio", "used_memory_human mem_allocator")
	checkFields(t, info["Stats"], "instantaneous_ops_per_sec expired_keys total_forks total_reads_processed", "")
	checkFields(t, info["CPU"], "used_cpu_sys used_cpu_user used_cpu_sys_children", "")
	checkFields(t, info["Proxy"], "proxy_used_memory proxy_used_memory_rss proxy_used_cpu_sys", "")
	fields := 0
	for _, section := range info {
		fields += len(section)
	}
	if fields < 190 {
		t.Errorf("%d fields", fields)
	}
}

// awaitAnswers waits until the probes of all masters are answered.
func (top *topology) awaitAnswers(t *testing.T) {
	t.Helper()
	testbed.Eventually(t, func() error {
		if up, all := top.pool.masters(); up < all {
			return fmt.Errorf("%d of %d masters answer", up, all)
		}
		return nil
	}, replyWait)
}

// INFO shows what was done before it, however soon it is asked again.
func TestInfoIsNotOlderThanItsQuestion(t *testing.T) {
	top := codisTopology(t)
	top.awaitAnswers(t)
	c := top.dial(t)
	for i := range 5 {
		c.want("+OK\r\n", "SET", fmt.Sprint("k", i), "v")
		got := infoSectionsOf(t, c.do("INFO", "keyspace"))["Keyspace"]["db0"]
		if !strings.HasPrefix(got, fmt.Sprintf("keys=%d,", i+1)) {
			t.Fatalf("%s after SET number %d", got, i+1)
		}
	}
}

// Those who ask together share an answer, and the masters are not asked for what Sluice knows itself.
func TestInfoAsksSeldom(t *testing.T) {
	t.Parallel()
	top := codisTopology(t)
	top.awaitAnswers(t)
	clients := make([]*testClient, 40)
	for i := range clients {
		clients[i] = top.dial(t)
	}
	asked := func() (times int) {
		for line := range strings.Lines(top.nodes[0].Do("INFO", "commandstats").String()) {
			if calls, ok := strings.CutPrefix(line, "cmdstat_info:calls="); ok {
				times, _ = strconv.Atoi(calls[:strings.IndexByte(calls, ',')])
			}
		}
		return times
	}
	began := time.Now()
	before := asked()
	clients[0].do("INFO", "keyspace")
	inRound := max(asked()-before, 1) // Or more: a probe may have come.
	before = asked()
	for range 10 {
		for _, c := range clients {
			c.request("INFO", "keyspace")
		}
		for _, c := range clients {
			c.reply()
		}
	}
	// And those of the probes.
	if n, rounds := asked()-before, int(time.Since(began)/infoPause)+1; n > inRound*rounds+20 {
		t.Errorf("%d INFOs at a master for %d in %s", n, 10*len(clients), time.Since(began))
	}
	top.pool.infos.mu.Lock()
	last := top.pool.infos.at
	top.pool.infos.mu.Unlock()
	clients[0].do("INFO", "commandstats", "proxy", "backends", "replication", "cluster")
	top.pool.infos.mu.Lock()
	defer top.pool.infos.mu.Unlock()
	if top.pool.infos.at != last {
		t.Error("asked for what Sluice knows itself")
	}
}

// A master that is away is left out, and holds nobody up.
func TestInfoWithoutAMaster(t *testing.T) {
	top := codisTopology(t)
	c := top.dial(t)
	for _, key := range top.keysOnEveryNode("k", 1) {
		c.want("+OK\r\n", "SET", key, "v")
	}
	for i, want := range []string{"keys=1,expires=0,avg_ttl=0", ""} {
		if err := top.nodes[i].Kill(); err != nil {
			t.Fatal(err)
		}
		testbed.Eventually(t, func() error {
			info := infoSectionsOf(t, c.do("INFO"))
			if got := info["Keyspace"]["db0"]; got != want || info["Memory"]["maxmemory"] != "0" || info["Persistence"]["loading"] != "0" {
				return fmt.Errorf("db0:%s, want %s", got, want)
			}
			return nil
		}, replyWait)
	}
}
