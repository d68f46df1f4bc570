package apps

import "testing"

// BullMQ works with scripts over a dozen keys, blocking reads and streams.
func TestBullMQ(t *testing.T) {
	t.Parallel()
	play(t, app{scenario: node("testdata/node/bullmq.js"), can: rounds | prefixes})
}
