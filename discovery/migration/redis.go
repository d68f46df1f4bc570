package migration

import "strings"

// parseRedis reads CLUSTER MIGRATION STATUS ALL of Redis 8.4 and later: maps with id, slots, source, dest, operation
// (import or migrate), state, last_error, retries and times.
func parseRedis(reply value) ([]report, error) {
	return parseTasks(reply, func(f map[string]value) report {
		r := report{out: f["operation"].text == "migrate", slots: slotList(f["slots"].text), word: f["state"].text, err: f["last_error"].text}
		r.peer = f["dest"].text
		if !r.out {
			r.peer = f["source"].text
		}
		r.state = redisState(r.word)
		if !r.out && r.word == "failed" {
			r.state = Connecting // An import is tried again.
		}
		r.retries = f["retries"].number()
		return r
	})
}

// parseValkey reads CLUSTER GETSLOTMIGRATIONS of Valkey 9: maps with name, operation (IMPORT or EXPORT), slot_ranges,
// target_node, source_node, times, state and message.
func parseValkey(reply value) ([]report, error) {
	return parseTasks(reply, func(f map[string]value) report {
		r := report{out: strings.EqualFold(f["operation"].text, "export"), slots: slotList(f["slot_ranges"].text), word: f["state"].text, err: f["message"].text, retries: -1}
		r.peer = f["target_node"].text
		if !r.out {
			r.peer = f["source_node"].text
		}
		r.state = valkeyState(r.word)
		return r
	})
}

func parseTasks(reply value, read func(map[string]value) report) ([]report, error) {
	if err := reply.err(); err != nil {
		return nil, err
	}
	var list []report
	for _, e := range reply.list {
		fields, err := e.fields()
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
