package apps

import "testing"

// BullMQ works with scripts over a dozen keys, blocking reads and streams.
func TestBullMQ(t *testing.T) {
	t.Parallel()
	play(t, app{scenario: node("testdata/node/bullmq.js"), can: rounds | prefixes})
}

func TestNodeRedis(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"redis4", "redis5"} {
		t.Run(version, func(t *testing.T) {
			play(t, app{scenario: node("testdata/node/noderedis.js", version), can: rounds | prefixes})
		})
	}
}

// The adapter of socket.io has everything that is said go through channels.
func TestSocketIO(t *testing.T) {
	t.Parallel()
	play(t, app{scenario: node("testdata/node/socketio.js"), can: rounds | prefixes})
}

// Locks and limits are scripts, sent by their hashes.
func TestLocksAndLimits(t *testing.T) {
	t.Parallel()
	play(t, app{scenario: node("testdata/node/limits.js"), can: rounds | prefixes})
}
