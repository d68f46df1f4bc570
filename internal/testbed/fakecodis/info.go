package fakecodis

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"sluice/internal/testbed/fake"
)

// section is one part of INFO. Its lines end with "\n".
type section struct {
	name    string
	heading string
	lines   string
}

const pikaServerInfo = `pika_version:%s
pika_git_sha:0
pika_build_compile_date: local
os:Linux x86_64
arch_bits:64
process_id:%d
tcp_port:%d
thread_num:1
sync_thread_num:6
uptime_in_seconds:%d
uptime_in_days:1
server_id:1
run_id:%s
`

const pikaDataInfo = `db_size:432702
db_size_human:0M
log_size:67096
log_size_human:0M
compression:snappy
used_memory:43008
used_memory_human:0M
db_memtable_usage:43008
db_tablereader_usage:0
db_fatal:0
db_fatal_msg:nullptr
`

const pikaStatsInfo = `total_connections_received:0
instantaneous_ops_per_sec:0
total_commands_processed:10
is_bgsaving:No
is_scaning_keyspace:No
is_compact:No
compact_cron:
compact_interval:
is_slots_reloading:No, , 0
is_slots_cleaningup:No, , 0
is_slots_migrating:%s
slow_logs_count:0
`

const cpuInfo = `used_cpu_sys:0.09
used_cpu_user:0.05
used_cpu_sys_children:0.00
used_cpu_user_children:0.00
`

const pikaSlaveInfo = `role:slave
ReplicationID:
master_host:127.0.0.1
master_port:0
master_link_status:up
repl_connect_status:
db0:connected
slave_priority:100
slave_read_only:1
is_eligible_for_master_election:true
db0:binlog_offset=0 133,safety_purge=none
slave_repl_offset:133
`

func (p *pika) info(_ context.Context, c *client, args []string) error {
	if len(args) > 1 && !strings.EqualFold(args[0], "keyspace") {
		c.Write(replySyntax)
		return nil
	}
	version := "4.0.0"
	heading, repl := p.repl.section()
	if p.version == Pika35 {
		version = "3.5.5"
	}
	if p.s.Faults.readonly.Load() {
		heading, repl = "Replication(SLAVE)", pikaSlaveInfo
	}
	writeInfo(c, []section{
		{"server", "Server", fmt.Sprintf(pikaServerInfo, version, p.s.life.PID(), p.s.Port(), p.s.life.Uptime(), p.s.life.RunID())},
		{"data", "Data", pikaDataInfo},
		{"clients", "Clients", "connected_clients:1\n"},
		{"stats", "Stats", fmt.Sprintf(pikaStatsInfo, p.mover.infoLine())},
		{"cpu", "CPU", cpuInfo},
		{"replication", heading, p.s.replicationInfo(repl)},
		{"keyspace", "Keyspace", "# Use \"info keyspace 1\" to do async statistics\n"},
	}, args)
	return nil
}

const codisServerInfo = `redis_version:3.2.11
redis_git_sha1:de1ad026
redis_git_dirty:0
redis_mode:standalone
os:Linux x86_64
arch_bits:64
process_id:%d
run_id:%s
tcp_port:%d
uptime_in_seconds:%d
uptime_in_days:0
`

const codisMemoryInfo = `used_memory:1000000
used_memory_human:976.56K
maxmemory:0
maxmemory_human:0B
maxmemory_policy:noeviction
`

const codisMasterInfo = `role:master
connected_slaves:0
master_repl_offset:0
repl_backlog_active:0
repl_backlog_size:1048576
repl_backlog_first_byte_offset:0
repl_backlog_histlen:0
`

const codisSlaveInfo = `role:slave
master_host:127.0.0.1
master_port:0
master_link_status:up
master_last_io_seconds_ago:1
master_sync_in_progress:0
slave_repl_offset:1
slave_priority:100
slave_read_only:1
connected_slaves:0
master_repl_offset:0
`

func (k *codis) info(_ context.Context, c *client, args []string) error {
	repl := codisMasterInfo
	if k.s.Faults.readonly.Load() {
		repl = codisSlaveInfo
	}
	keyspace := ""
	for db := range 16 {
		if n := len(k.s.data.DB(db).Keys()); n > 0 {
			keyspace += fmt.Sprintf("db%d:keys=%d,expires=0,avg_ttl=0\n", db, n)
		}
	}
	writeInfo(c, []section{
		{"server", "Server", fmt.Sprintf(codisServerInfo, k.s.life.PID(), k.s.life.RunID(), k.s.Port(), k.s.life.Uptime())},
		{"clients", "Clients", "connected_clients:1\nblocked_clients:0\n"},
		{"memory", "Memory", codisMemoryInfo},
		{"persistence", "Persistence", "loading:0\nrdb_changes_since_last_save:0\n"},
		{"stats", "Stats", "total_connections_received:1\ntotal_commands_processed:1\ninstantaneous_ops_per_sec:0\n"},
		{"replication", "Replication", k.s.replicationInfo(repl)},
		{"cpu", "CPU", cpuInfo},
		{"cluster", "Cluster", "cluster_enabled:0\n"},
		{"keyspace", "Keyspace", keyspace},
	}, args)
	return nil
}

func (s *Server) replicationInfo(own string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.replInfo != "" {
		return s.replInfo
	}
	return own
}

// writeInfo answers INFO [section]: all sections without an argument, an empty text for an unknown one.
func writeInfo(c *client, sections []section, args []string) {
	const newline = "\r\n"
	wanted := "all"
	if len(args) > 0 {
		wanted = strings.ToLower(args[0])
	}
	var text strings.Builder
	for _, sec := range sections {
		if !slices.Contains([]string{sec.name, "all", "default"}, wanted) {
			continue
		}
		if text.Len() > 0 {
			text.WriteString(newline)
		}
		text.WriteString("# " + sec.heading + newline)
		text.WriteString(strings.ReplaceAll(sec.lines, "\n", newline))
	}
	c.Write(fake.Bulk(text.String()))
}
