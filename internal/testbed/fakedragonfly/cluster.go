package fakedragonfly

import (
	"fmt"
	"strconv"
	"strings"

	"sluice/internal/testbed/fake"
)

// cluster is CLUSTER. It shows the configuration that was pushed, whatever has moved since.
func (s *Server) cluster(args []string) string {
	if len(args) == 0 {
		return "-ERR wrong number of arguments for 'cluster' command\r\n"
	}
	sub := strings.ToUpper(args[0])
	if sub == "KEYSLOT" && len(args) == 2 {
		return fake.Int(fake.SlotOf(args[1]))
	}
	if len(args) > 1 {
		return "-ERR wrong number of arguments for 'cluster " + strings.ToLower(sub) + "' command\r\n"
	}
	s.mu.Lock()
	config := s.config
	s.mu.Unlock()
	switch sub {
	case "MYID":
		return fake.Simple(s.opts.ID)
	case "INFO":
		return fake.Bulk(clusterInfo(config))
	case "SHARDS", "SLOTS", "NODES":
	default:
		return "-ERR Unknown subcommand or wrong number of arguments for '" + sub + "'. Try CLUSTER HELP.\r\n"
	}
	if s.takenOver.Load() {
		return loading
	}
	if config == nil {
		return notConfigured
	}
	switch sub {
	case "SHARDS":
		return clusterShards(config)
	case "SLOTS":
		return clusterSlots(config)
	}
	return fake.Bulk(clusterNodes(config, s.opts.ID))
}

func clusterShards(config []Shard) string {
	var shards []string
	for _, sh := range config {
		var bounds, nodes []string
		for _, r := range sh.Slots {
			bounds = append(bounds, fake.Int(r.Start), fake.Int(r.End))
		}
		describe := func(n Node, role string) {
			nodes = append(nodes, fake.Array(fake.Bulk("id"), fake.Bulk(n.ID), fake.Bulk("endpoint"), fake.Bulk(n.IP),
				fake.Bulk("ip"), fake.Bulk(n.IP), fake.Bulk("port"), fake.Int(n.Port), fake.Bulk("role"), fake.Bulk(role),
				fake.Bulk("replication-offset"), fake.Int(0), fake.Bulk("health"), fake.Bulk(n.health())))
		}
		describe(sh.Master, "master")
		for _, n := range sh.Replicas {
			if n.health() != "hidden" {
				describe(n, "replica")
			}
		}
		shards = append(shards, fake.Array(fake.Bulk("slots"), fake.Array(bounds...), fake.Bulk("nodes"), fake.Array(nodes...)))
	}
	return fake.Array(shards...)
}

func (n Node) health() string {
	if n.Health == "" {
		return "online"
	}
	return strings.ToLower(n.Health)
}

func clusterSlots(config []Shard) string {
	var rows []string
	for _, sh := range config {
		describe := func(n Node) string { return fake.Array(fake.Bulk(n.IP), fake.Int(n.Port), fake.Bulk(n.ID)) }
		nodes := []string{describe(sh.Master)}
		for _, n := range sh.Replicas {
			if n.health() == "online" {
				nodes = append(nodes, describe(n))
			}
		}
		for _, r := range sh.Slots {
			rows = append(rows, fake.Array(append([]string{fake.Int(r.Start), fake.Int(r.End)}, nodes...)...))
		}
	}
	return fake.Array(rows...)
}

func clusterNodes(config []Shard, id string) string {
	var b strings.Builder
	line := func(n Node, role, master string, ranges []Range) {
		me, link := "", "connected"
		if n.ID == id {
			me = "myself,"
		}
		if n.health() == "fail" {
			link = "disconnected"
		}
		fmt.Fprintf(&b, "%s %s@%d %s%s %s 0 0 0 %s", n.ID, n.addr(), n.Port, me, role, master, link)
		for _, r := range ranges {
			fmt.Fprintf(&b, " %d", r.Start)
			if r.Start != r.End {
				fmt.Fprintf(&b, "-%d", r.End)
			}
		}
		b.WriteByte('\n')
	}
	for _, sh := range config {
		line(sh.Master, "master", "-", sh.Slots)
		for _, n := range sh.Replicas {
			if n.health() != "hidden" {
				line(n, "slave", sh.Master.ID, nil)
			}
		}
	}
	return b.String()
}

// clusterInfo is the same for all that has a configuration but for two counts.
func clusterInfo(config []Shard) string {
	state, assigned, nodes, size := "ok", slots, 0, 0
	if config == nil {
		state, assigned = "fail", 0
	}
	for _, sh := range config {
		nodes += 1 + len(sh.Replicas)
		if len(sh.Slots) > 0 {
			size++
		}
	}
	var b strings.Builder
	add := func(name string, value any) { fmt.Fprintf(&b, "%s:%v\r\n", name, value) }
	add("cluster_state", state)
	add("cluster_slots_assigned", assigned)
	add("cluster_slots_ok", assigned)
	add("cluster_slots_pfail", 0)
	add("cluster_slots_fail", 0)
	add("cluster_known_nodes", nodes)
	add("cluster_size", size)
	for _, name := range []string{"current_epoch", "my_epoch", "stats_messages_ping_sent", "stats_messages_pong_sent",
		"stats_messages_sent", "stats_messages_ping_received", "stats_messages_pong_received"} {
		add("cluster_"+name, 1)
	}
	add("cluster_stats_messages_meet_received", 0)
	add("cluster_stats_messages_received", 1)
	return b.String()
}

// dflyCluster is DFLYCLUSTER, which the client port takes as well.
func (s *Server) dflyCluster(args []string) string {
	if len(args) == 0 {
		return "-ERR wrong number of arguments for 'dflycluster' command\r\n"
	}
	switch sub := strings.ToUpper(args[0]); {
	case sub == "CONFIG" && len(args) == 2:
		return s.configure(args[1])
	case sub == "GETSLOTINFO" && len(args) > 2 && strings.EqualFold(args[1], "SLOTS"):
		return s.slotInfo(args[2:])
	case sub == "FLUSHSLOTS" && len(args) > 2 && len(args)%2 == 1:
		s.gate.Lock()
		defer s.gate.Unlock()
		s.flushRanges(args[1:])
		return fake.OK
	case sub == "SLOT-MIGRATION-STATUS" && len(args) <= 2:
		filter := ""
		if len(args) == 2 {
			filter = args[1]
		}
		return s.status(filter)
	default:
		return "-ERR Unknown subcommand or wrong number of arguments for '" + sub + "'. Try DFLYCLUSTER HELP.\r\n"
	}
}

func (s *Server) slotInfo(args []string) string {
	var out []string
	for _, arg := range args {
		slot, err := strconv.Atoi(arg)
		if err != nil || slot < 0 || slot >= slots {
			return "-ERR Invalid slot id\r\n"
		}
		n := s.data.Count(func(of int) bool { return of == slot })
		out = append(out, fake.Array(fake.Int(slot), fake.Bulk("key_count"), fake.Int(n), fake.Bulk("total_reads"), fake.Int(0),
			fake.Bulk("total_writes"), fake.Int(n), fake.Bulk("memory_bytes"), fake.Int(36*n)))
	}
	return fake.Array(out...)
}

// flushRanges deletes the keys of slots: first, last, first, last. What is no number flushes nothing.
func (s *Server) flushRanges(bounds []string) {
	s.repl.flush(slotsOf(parseRanges(bounds)))
}

func parseRanges(bounds []string) []Range {
	var ranges []Range
	for i := 0; i+1 < len(bounds); i += 2 {
		start, err1 := strconv.Atoi(bounds[i])
		end, err2 := strconv.Atoi(bounds[i+1])
		if err1 == nil && err2 == nil {
			ranges = append(ranges, Range{start, end})
		}
	}
	return ranges
}
