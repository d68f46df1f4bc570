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

// node-redis takes cursors for doubles. There is no site of so many groups for the others, whose keys go to one of
// them.
func TestNodeRedisScan(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"redis4", "redis5"} {
		scan := app{scenario: node("testdata/node/scan.js", version)}
		t.Run(version, func(t *testing.T) {
			t.Run("server", func(t *testing.T) { scan.playAt(t, openServer(t)) })
			t.Run("six groups", func(t *testing.T) { scan.playAt(t, openSixGroups(t)) })
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
