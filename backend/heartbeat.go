package backend

import (
	"strconv"

	"sluice/internal/control"
)

// Heartbeat names the keys of a node's heartbeats. Immutable.
type Heartbeat struct {
	Keys  []string
	Write bool // to a master, the others read
}

// heartbeatLife is how long a heartbeat is kept by a server after the last proxy that wrote it is gone.
const heartbeatLife = "3600"

// commands write heartbeats, or read them. Their life is set by a command of its own: the replicas of a Pika 4.0.1 have
// no key that was written by SET with EX, since it replicates an expiry in 1970.
func (h *Heartbeat) commands(now int64) [][]string {
	value := strconv.FormatInt(now, 10)
	commands := make([][]string, 0, 2*len(h.Keys))
	for _, key := range h.Keys {
		if h.Write {
			commands = append(commands, []string{"SET", key, value}, []string{"EXPIRE", key, heartbeatLife})
		} else {
			commands = append(commands, []string{"GET", key})
		}
	}
	return commands
}

// oldestHeartbeat is when the oldest of the heartbeats in replies was written, 0 when one is missing.
func oldestHeartbeat(replies []control.Value) int64 {
	oldest := int64(0)
	for _, reply := range replies {
		at, err := strconv.ParseInt(reply.Text, 10, 64)
		if err != nil || reply.Kind != control.Bulk {
			return 0
		}
		if oldest == 0 || at < oldest {
			oldest = at
		}
	}
	return oldest
}
