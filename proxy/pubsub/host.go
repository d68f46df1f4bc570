package pubsub

import (
	"log/slog"
	"time"

	"sluice/backend"
	"sluice/backend/dialect"
	"sluice/internal/bufpool"
	"sluice/router"
)

// Loop is the event loop that a Hub lives on. A Hub calls it on that loop only.
type Loop interface {
	// Now is the loop clock: nanoseconds, read once per turn.
	Now() int64
	// Flush has what was queued on c written at the end of the turn.
	Flush(c *backend.Conn)
	// Tick looks after the time-outs of c, which may close it.
	Tick(c *backend.Conn)
	// Wake has Hub.Tick called within 100 ms, and again for as long as that asks for it.
	Wake()
}

// Pool is the pool that a Hub serves. A Hub calls it on its loop only.
type Pool interface {
	// Topology is the one in force, nil before the first.
	Topology() Topology
	// MaxWait is how long a SUBSCRIBE waits for a server that is away (hold.max_wait).
	MaxWait() time.Duration
	// MaxMessage is the number of bytes from which a message is not kept until its end has come (pubsub_output).
	MaxMessage() int
	// Moved is told that a server has redirected a shard channel in slot to addr.
	Moved(slot router.Slot, addr string)
	// Trouble is told that the topology may not be true any more: the node at addr refuses what it should have taken.
	Trouble(addr string)
}

// Topology says who serves what. Immutable.
type Topology interface {
	// Masters lists the masters of all groups, each once. Not to be changed.
	Masters() []*backend.Node
	// Master is that of a slot, nil when nobody owns the slot.
	Master(slot router.Slot) *backend.Node
	// Named is the node at addr, nil when the topology has none there.
	Named(addr string) *backend.Node
}

// Config is what a Hub is made of. Everything has to be there.
type Config struct {
	Loop     Loop
	Conns    *backend.ConnSet // the loop's
	Pool     Pool
	Model    router.Model
	Family   *dialect.Family // says what the errors of the pool's servers mean
	Registry *Registry       // the pool's
	Buffers  *bufpool.Pool   // the loop's
	Log      *slog.Logger    // for what others can make happen as often as they like
}
