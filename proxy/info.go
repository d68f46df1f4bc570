package proxy

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"sluice/proxy/command"
	"sluice/proxy/local"
	"sluice/proxy/merge"
)

// infoWriters write what Sluice says of itself in a section of INFO. Called on no loop: some of it takes a while.
var infoWriters = map[string]func(b *strings.Builder, c *client, stats *Stats){
	"Server": infoServer, "Clients": infoClients, "Memory": infoMemory, "Persistence": infoPersistence, "Stats": infoStats,
	"Replication": infoReplication, "CPU": infoCPU, "Commandstats": infoCommandStats, "Cluster": infoCluster,
	"Proxy": infoProxy, "Backends": infoBackends,
}

// cmdInfo answers INFO about Sluice and about the masters of the pool together. It asks every loop for its counters,
// and the masters if a section wants that.
func cmdInfo(c *client, args [][]byte) stall {
	wanted := local.WantedInfo(args[1:])
	resp3 := c.resp3()
	c.answerLater(func(ctx context.Context) func(dst []byte) []byte {
		var servers merge.Sections
		if wanted.OfServers() {
			servers = c.pool.serverInfo(ctx)
		}
		sum := new(Stats)
		if !c.loop.server.onEachLoop(ctx, func(l *loop) { sum.merge(l.snapshot()) }) {
			return nil
		}
		sum.since(c.loop.server.statBase.Load())
		reply := wanted.Append(nil, func(b *strings.Builder, section string) {
			if write := infoWriters[section]; write != nil {
				write(b, c, sum)
			}
		}, servers, resp3)
		return func(dst []byte) []byte { return append(dst, reply...) }
	})
	return stallNone
}

func infoServer(b *strings.Builder, c *client, _ *Stats) {
	s := c.loop.server
	fmt.Fprintf(b, "redis_version:%s\r\nredis_mode:%s\r\nos:%s %s\r\narch_bits:%d\r\n",
		c.pool.serverVersion(), c.serverMode(), runtime.GOOS, runtime.GOARCH, 32<<(^uint(0)>>63))
	fmt.Fprintf(b, "multiplexing_api:epoll\r\nprocess_supervised:no\r\nserver_time_usec:%d\r\n", time.Now().UnixMicro())
	fmt.Fprintf(b, "process_id:%d\r\nrun_id:%s\r\ntcp_port:%d\r\nuptime_in_seconds:%d\r\nuptime_in_days:%d\r\n",
		os.Getpid(), s.id, c.pool.tcpPort(), int(s.Uptime().Seconds()), int(s.Uptime().Hours()/24))
}

func infoClients(b *strings.Builder, c *client, stats *Stats) {
	s := c.loop.server
	fmt.Fprintf(b, "connected_clients:%d\r\nmaxclients:%d\r\nblocked_clients:%d\r\n", s.Clients(), s.settings.Load().MaxClients, stats.Blocked)
}

// infoMemory stands in for servers that do not answer: nothing is known of what they use.
func infoMemory(b *strings.Builder, _ *client, _ *Stats) {
	b.WriteString("used_memory:0\r\nused_memory_rss:0\r\nmaxmemory:0\r\n")
}

func infoStats(b *strings.Builder, c *client, stats *Stats) {
	fmt.Fprintf(b, "total_connections_received:%d\r\ntotal_commands_processed:%d\r\n", stats.ClientsOpened, stats.Requests)
	fmt.Fprintf(b, "total_net_input_bytes:%d\r\ntotal_net_output_bytes:%d\r\n", stats.ClientBytesIn, stats.ClientBytesOut)
	p := c.pool.PubSub()
	fmt.Fprintf(b, "pubsub_channels:%d\r\npubsub_patterns:%d\r\npubsubshard_channels:%d\r\n", p.Channels, p.Patterns, p.ShardChannels)
	fmt.Fprintf(b, "rejected_connections:%d\r\ntotal_error_replies:%d\r\n", c.loop.server.Rejected()-c.loop.server.rejectedBase.Load(), stats.Errors)
}

// infoPersistence stands in for servers that do not answer.
func infoPersistence(b *strings.Builder, c *client, _ *Stats) {
	fmt.Fprintf(b, "loading:0\r\nasync_loading:0\r\nrdb_changes_since_last_save:0\r\nrdb_bgsave_in_progress:0\r\nrdb_last_save_time:%d\r\n"+
		"rdb_last_bgsave_status:ok\r\naof_enabled:0\r\naof_rewrite_in_progress:0\r\n", c.loop.server.started.Unix())
}

func infoReplication(b *strings.Builder, c *client, _ *Stats) {
	if o, out := c.pool.outage(); out {
		infoOutage(b, o)
		return
	}
	b.WriteString("role:master\r\nconnected_slaves:0\r\nmaster_failover_state:no-failover\r\n")
}

// infoCPU stands in for servers that do not answer.
func infoCPU(b *strings.Builder, _ *client, _ *Stats) {
	b.WriteString("used_cpu_sys:0.000000\r\nused_cpu_user:0.000000\r\n")
}

func infoCommandStats(b *strings.Builder, _ *client, stats *Stats) {
	for id := range stats.Commands {
		s := &stats.Commands[id]
		if s.Calls == 0 {
			continue
		}
		usec := time.Duration(s.Nanos).Microseconds()
		fmt.Fprintf(b, "cmdstat_%s:calls=%d,usec=%d,usec_per_call=%.2f,rejected_calls=0,failed_calls=%d\r\n",
			command.NameOf(id), s.Calls, usec, float64(usec)/float64(s.Calls), s.Failed)
	}
}

func infoCluster(b *strings.Builder, c *client, _ *Stats) {
	enabled := 0
	if c.emulatesCluster() {
		enabled = 1
	}
	fmt.Fprintf(b, "cluster_enabled:%d\r\n", enabled)
}

func infoProxy(b *strings.Builder, c *client, stats *Stats) {
	s := c.loop.server
	fmt.Fprintf(b, "sluice_version:%s\r\nproxy_id:%s\r\nevent_loops:%d\r\npool:%s\r\nslot_model:%s\r\nslots:%d\r\n",
		s.version, s.id, len(s.loops), c.pool.Name, c.pool.Model, c.pool.Model.Slots())
	if t := c.pool.Table(); t != nil {
		up, all := c.pool.masters()
		uncovered := 0
		for _, r := range t.Uncovered() {
			uncovered += r.Len()
		}
		fmt.Fprintf(b, "topology_epoch:%d\r\ngroups:%d\r\nmasters_up:%d\r\nslots_uncovered:%d\r\n", t.Epoch, all, up, uncovered)
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	sys, user := cpuTime()
	fmt.Fprintf(b, "proxy_used_memory:%d\r\nproxy_used_memory_rss:%d\r\nproxy_free_buffers:%d\r\nproxy_held_replies:%d\r\n",
		m.HeapAlloc, m.Sys-m.HeapReleased, stats.FreeBuffers, stats.HeldReplies)
	fmt.Fprintf(b, "proxy_used_cpu_sys:%.6f\r\nproxy_used_cpu_user:%.6f\r\n", sys.Seconds(), user.Seconds())
	fmt.Fprintf(b, "requests_in_flight:%d\r\nmoved_followed:%d\r\nask_followed:%d\r\nretries:%d\r\n",
		stats.InFlight, stats.Redirects[RedirectMoved], stats.Redirects[RedirectAsk], stats.Retries)
}

func infoBackends(b *strings.Builder, c *client, _ *Stats) {
	v := c.pool.view.Load()
	if v == nil {
		return
	}
	i := 0
	for _, g := range v.table.Groups {
		infoBackend(b, i, string(g.ID), "master", v, g.Master.Index)
		i++
		for _, r := range g.Replicas {
			infoBackend(b, i, string(g.ID), "replica", v, r.Index)
			i++
		}
	}
}

func infoBackend(b *strings.Builder, i int, group, role string, v *view, index int) {
	n := v.nodes[index]
	st := n.Status()
	state := "up"
	if st.Err != "" || !n.Available() {
		state = "down"
	}
	fmt.Fprintf(b, "backend%d:addr=%s,group=%s,role=%s,state=%s,version=%s,conns=%d,rtt_us=%d,error=%s\r\n",
		i, n.Addr, group, role, state, st.Version, n.Conns(), st.RTT.Microseconds(), strings.ReplaceAll(st.Err, ",", ";"))
}
