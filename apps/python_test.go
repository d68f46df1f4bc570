package apps

import "testing"

func TestRedisPy(t *testing.T) {
	t.Parallel()
	play(t, app{scenario: python("testdata/python/redispy.py"), can: rounds | prefixes})
}

// Celery has its queues and its results in Redis, and the events that tell of them.
func TestCelery(t *testing.T) {
	t.Parallel()
	play(t, app{
		workers: []worker{{
			command: python("-m", "celery", "-A", "celeryjobs", "worker", "--concurrency", "2", "--loglevel", "WARNING"),
			ready:   "worker is up",
		}},
		scenario: python("testdata/python/celeryclient.py"),
		can:      rounds,
	})
}
