package discovery

import "context"

// Source sees the topology of one pool. Implementations live in packages below this one.
type Source interface {
	// Run publishes a Snapshot for everything it learns, from its own goroutine, until ctx ends; an
	// unchanged one may be published again. A source that can see nothing keeps trying: it returns only
	// when ctx has ended. The receiver may keep a Snapshot, so it must not be changed afterwards.
	Run(ctx context.Context, publish func(Snapshot)) error
	// Refresh asks for a look soon. The source limits its own rate. It never blocks and is safe for
	// concurrent use.
	Refresh()
}

// failing is the part of a Source that can say why it sees nothing. Err is nil while it sees; it is safe
// for concurrent use.
type failing interface{ Err() error }
