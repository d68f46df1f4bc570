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

// RQ gives a job to a worker by a blocking pop of all its queues, and writes most of what it knows in transactions.
func TestRQ(t *testing.T) {
	t.Parallel()
	play(t, app{
		workers: []worker{{
			command: python("/usr/bin/rq", "worker", "high", "low"),
			ready:   "Listening on",
		}},
		scenario: python("testdata/python/rqclient.py"),
		can:      rounds,
	})
}

func TestDjango(t *testing.T) {
	t.Parallel()
	play(t, app{scenario: python("testdata/python/djangocache.py"), can: rounds | prefixes})
}

// Spring Session and others have the server publish what becomes of keys. Events are told once: those of a failover may
// be lost, as with the server alone.
func TestKeyEvents(t *testing.T) {
	t.Parallel()
	play(t, app{scenario: python("testdata/python/keyevents.py"), can: prefixes})
}

// iredis asks for what it shows at its start, and has one connection for everything.
func TestIRedis(t *testing.T) {
	t.Parallel()
	play(t, app{scenario: python("testdata/python/cli.py"), can: prefixes})
}
