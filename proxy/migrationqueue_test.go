package proxy

import (
	"testing"

	"sluice/backend"
	"sluice/internal/testbed/fakecodis"
	"sluice/router"
)

// A client that goes away while it waits in the queue for a migration connection is forgotten.
func TestClientInTheMigrationQueueGoesAway(t *testing.T) {
	t.Parallel()
	x := startKeyMigration(t, fakecodis.Pika40, router.Sync, never, func(_ *Config, pool *PoolConfig) {
		pool.MoveParallel = 1
	})
	keys := x.keys(2)
	for _, key := range keys {
		x.source.Do("SET", key, "old")
	}
	x.target.Faults.Freeze()
	a, b := x.p.dial(x), x.p.dial(x)
	a.request("SET", keys[0], "new")
	x.awaitCalls("SLOTSMGRTTAGONE", 1)
	b.request("SET", keys[1], "new")
	x.p.awaitHeld(x, 2) // The one whose key takes long to move is held, too.
	if err := b.Close(); err != nil {
		x.Fatal(err)
	}
	x.p.awaitHeld(x, 1)
	x.p.onEachLoop(x.Context(), func(l *loop) {
		l.tickMigrationQueues()
		if q := l.migrationQueue(x.p.pool.node(x.source.Addr())); len(q.waiting) != 0 {
			x.Errorf("%d stand in the line", len(q.waiting))
		}
	})
	x.target.Faults.Thaw()
	a.wantReply("+OK\r\n")
	if n := x.p.Stats().Panics; n != 0 {
		x.Errorf("%d panics", n)
	}
}

// What was given to a migration connection is written, also when a panic comes between.
func TestMigrationConnAfterAPanic(t *testing.T) {
	x := startKeyMigration(t, fakecodis.Pika40, router.Sync, never, func(_ *Config, pool *PoolConfig) {
		pool.MoveParallel = 1
	})
	keys := x.keys(2)
	for _, key := range keys {
		x.source.Do("SET", key, "old")
	}
	c := x.p.dial(x)
	c.want("+OK\r\n", "SET", keys[0], "new")
	x.p.onEachLoop(x.Context(), func(l *loop) {
		l.markBackend(l.conns.Migration(x.p.pool.node(x.source.Addr()), 0, 1)) // As sendStep does.
		panic("for a test")
	})
	c.want("+OK\r\n", "SET", keys[1], "new")
	c.want(bulkReply("new"), "GET", keys[1])
}

// When all migration connections are closed, because the source was away, those who stand in the line go on as soon
// as it is back.
func TestQueueGoesOnWhenItsMigrationConnectionsWereClosed(t *testing.T) {
	t.Parallel()
	x := startKeyMigration(t, fakecodis.PikaFixed, router.Sync, never, func(_ *Config, pool *PoolConfig) {
		pool.MoveParallel = 1
	})
	keys := x.keys(3)
	for _, key := range keys {
		x.source.Do("SET", key, "old")
	}
	x.target.Faults.Freeze()
	first := x.p.dial(x)
	first.request("GETSET", keys[0], "new")
	x.awaitCalls("SLOTSMGRTTAGONE", 1)
	var others []*testClient
	for _, key := range keys[1:] {
		c := x.p.dial(x)
		c.request("GETSET", key, "new")
		others = append(others, c)
	}
	x.p.awaitHeld(x, 3)
	if err := first.Close(); err != nil {
		x.Fatal(err)
	}
	x.p.awaitHeld(x, 2)
	node := x.p.pool.node(x.source.Addr())
	x.p.onEachLoop(x.Context(), func(l *loop) {
		for i := 0; node.Available() && i < 1000; i++ {
			node.Report(errGivenUp)
		}
		l.tick()
		if conns := l.connsTo(node, backend.Migration); len(conns) > 0 {
			x.Errorf("%d migration connections", len(conns))
		}
	})
	x.target.Faults.Thaw()
	for _, c := range others {
		c.wantReply(bulkReply("old"))
	}
}
