package apps

import "testing"

// Sidekiq keeps its queues, sets and figures under names that no hash tag binds, and asks for two queues at once. A
// namespace, where it has one, comes first in every key.
func TestSidekiq(t *testing.T) {
	t.Parallel()
	play(t, app{
		workers: []worker{{
			command: ruby("/usr/bin/sidekiq", "-r", "./testdata/ruby/jobs.rb", "-q", "high,2", "-q", "low", "-c", "5"),
			ready:   "worker is up",
		}},
		scenario: ruby("testdata/ruby/sidekiq.rb"),
		can:      rounds | prefixes,
	})
}
