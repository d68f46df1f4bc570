package proxy

import (
	"errors"
	"testing"
	"time"

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
		l.tickMigrationConns()
		if n := l.migrationConns[x.p.pool.node(x.source.Addr())]; len(n.queue) != 0 {
			x.Errorf("%d stand in the line", len(n.queue))
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
		l.markBackend(l.migrationConn(x.p.pool.node(x.source.Addr()), 0, 1)) // As sendStep does.
		panic("for a test")
	})
	c.want("+OK\r\n", "SET", keys[1], "new")
	c.want(bulkReply("new"), "GET", keys[1])
}

// failing is an owner that does something when its request fails.
type failing func()

func (f failing) Reply(uint32, backend.Reply)  {}
func (f failing) Fail(uint32, backend.Failure) { f() }

// A request that has timed out on a migration connection may ask for a migration connection at once.
func TestMigrationConnIsAskedForInATick(t *testing.T) {
	x := startKeyMigration(t, fakecodis.Pika40, router.Sync, never)
	node := x.p.pool.node(x.source.Addr())
	asked := false
	x.p.onEachLoop(x.Context(), func(l *loop) {
		conns := make([]*backend.Conn, 3)
		for i := range conns {
			conns[i] = backend.NewConn(node, 2, 0, l.pool, l)
			conns[i].Kind = backend.Migration
		}
		l.migrationConns = map[*backend.Node]*migrationConns{node: {conns: conns}}
		again := failing(func() { asked = l.migrationConn(node, 0, 4) != nil })
		if err := conns[1].Send([]byte("*1\r\n$4\r\nPING\r\n"), again, 0, l.now-int64(time.Hour)); err != nil {
			x.Error(err)
		}
		conns[0].Close(errors.New("lost")) // A migration connection fewer moves the others in the list.
		l.tickMigrationConns()
	})
	if n := x.p.Stats().Panics; n != 0 || !asked {
		x.Errorf("%d panics, asked for a migration connection: %v", n, asked)
	}
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
			node.Report(errSourceAway)
		}
		l.tickMigrationConns()
		if n := l.migrationConns[node]; n == nil || len(n.conns) > 0 {
			x.Errorf("migration connections %+v", n)
		}
	})
	x.target.Faults.Thaw()
	for _, c := range others {
		c.wantReply(bulkReply("old"))
	}
}
