package migration

import (
	"strings"

	"sluice/internal/control"
)

// parseRedis reads CLUSTER MIGRATION STATUS ALL of Redis 8.4 and later: maps with id, slots, source, dest, operation
// (import or migrate), state, last_error, retries and times.
func parseRedis(reply control.Value) ([]report, error) {
	return parseTasks(reply, func(f map[string]control.Value) report {
		r := report{out: f["operation"].Text == "migrate", slots: slotList(f["slots"].Text), word: f["state"].Text, err: f["last_error"].Text}
		r.peer = f["dest"].Text
		if !r.out {
			r.peer = f["source"].Text
		}
		r.state = redisState(r.word)
		if !r.out && r.word == "failed" {
			r.state = Connecting // An import is tried again.
		}
		r.retries = number(f["retries"].Text)
		return r
	})
}

// parseValkey reads CLUSTER GETSLOTMIGRATIONS of Valkey 9: maps with name, operation (IMPORT or EXPORT), slot_ranges,
// target_node, source_node, times, state and message.
func parseValkey(reply control.Value) ([]report, error) {
	return parseTasks(reply, func(f map[string]control.Value) report {
		r := report{out: strings.EqualFold(f["operation"].Text, "export"), slots: slotList(f["slot_ranges"].Text), word: f["state"].Text, err: f["message"].Text, retries: -1}
		r.peer = f["target_node"].Text
		if !r.out {
			r.peer = f["source_node"].Text
		}
		r.state = valkeyState(r.word)
		return r
	})
}

func parseTasks(reply control.Value, read func(map[string]control.Value) report) ([]report, error) {
	if err := reply.Err(); err != nil {
		return nil, err
	}
	var list []report
	for _, e := range reply.Elems {
		fields, err := e.Fields()
		if err != nil {
			return nil, err
		}
		r := read(fields)
		r.keys, r.copied = -1, -1
		list = append(list, r)
	}
	return list, nil
}

// redisState sorts the states of src/cluster_asm.c.
func redisState(word string) State {
	switch word {
	case "none", "connecting", "auth-reply", "send-handshake", "handshake-reply", "send-syncslots", "syncslots-reply",
		"init-rdbchannel", "wait-rdbchannel", "rdbchannel-request", "rdbchannel-reply":
		return Connecting
	case "accumulate-buffer", "ready-to-stream", "streaming-buffer", "wait-bgsave-start", "send-bulk-and-stream",
		"send-stream", "rdbchannel-transfer":
		return Copying
	case "wait-stream-eof", "takeover", "handoff-prep", "handoff", "stream-eof":
		return Finalising
	case "completed":
		return Finished
	case "canceled":
		return Cancelled
	case "failed":
		return Failed
	}
	return Unknown
}

// valkeyState sorts the states of src/cluster_migrateslots.c.
func valkeyState(word string) State {
	switch strings.ReplaceAll(word, " ", "-") {
	case "connecting", "sending-auth-command", "reading-auth-response", "sending-establish-command", "reading-establish-response":
		return Connecting
	case "waiting-to-snapshot", "snapshotting", "replicating", "waiting-snapshot", "waiting-for-snapshot", "receiving-snapshot":
		return Copying
	case "waiting-to-pause", "failover-paused", "failover-granted", "waiting-for-paused", "failover-requested", "cleaning-up":
		return Finalising
	case "success":
		return Finished
	case "cancelled", "canceled":
		return Cancelled
	case "failed":
		return Failed
	}
	return Unknown
}
