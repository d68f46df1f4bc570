package fakecodis

import (
	"sync"
	"sync/atomic"
	"time"

	"sluice/internal/testbed/fake"
)

// Faults are the switches of one fake: those that all fakes have, and these. Safe for concurrent use, at any time.
type Faults struct {
	*fake.Faults

	server *Server

	loading  atomic.Bool
	readonly atomic.Bool

	skipFull, cutFull, refuseIncr atomic.Bool

	mu           sync.Mutex
	falseZero    map[string]bool
	minusOneTill time.Time
}

// RefuseMigration makes all commands that move keys answer what a server answers that can't, or ends that: on Pika
// that another migration is running and that the target can't be reached, on codis-server the latter.
func (f *Faults) RefuseMigration(refuse bool) {
	times := 0
	if refuse {
		times = -1
	}
	batch, one := PikaBusy, PikaConnectError
	if f.server.kind == CodisServer {
		batch, one = CodisConnectionClosed, CodisWriteError
	}
	for _, name := range []string{"SLOTSMGRTONE", "SLOTSMGRTTAGONE", "SLOTSMGRTSLOT", "SLOTSMGRTTAGSLOT"} {
		f.Answer(name, one, times)
		if f.server.names.entry(f.server, name+"-ASYNC").known {
			f.Answer(name+"-ASYNC", batch, times)
		}
	}
}

// FalseZero makes Pika's wrapper answer 0, "not here", for these keys whatever is true, as 3.5 does for keys with
// capitals. Without keys it ends that.
func (f *Faults) FalseZero(keys ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.falseZero = set(keys...)
}

// MinusOne makes Pika's wrapper answer -1 for all keys for d from now on, as it does after a refused batch while
// the dashboard waits for its next try (6 s).
func (f *Faults) MinusOne(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.minusOneTill = time.Now().Add(d)
}

// Loading makes codis-server answer -LOADING to everything. Pika has no such state and serves what it has.
func (f *Faults) Loading(on bool) { f.loading.Store(on) }

// Readonly makes the server a replica: it refuses writes with its family's error, and its INFO says slave.
func (f *Faults) Readonly(on bool) { f.readonly.Store(on) }

// SkipFullSync makes a Pika that needs a full sync go on with the increments from the master's offset: its link is up, it
// says that it is eligible, and the data from before is missing (clients see it in the data alone).
func (f *Faults) SkipFullSync(on bool) { f.skipFull.Store(on) }

// CutFullSync makes every full sync of a Pika end before its copy is there. It goes on with the increments all the same
// and says that it is not eligible, until a full sync succeeds.
func (f *Faults) CutFullSync(on bool) { f.cutFull.Store(on) }

// RefuseIncrements makes a Pika end in error when its master has its offset, as after a failover with other writes on
// both sides. Only SLAVEOF leads out of it.
func (f *Faults) RefuseIncrements(on bool) { f.refuseIncr.Store(on) }

// wrapper returns what the wrapper of Pika is made to answer for a key.
func (f *Faults) wrapper(key string) (int, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Now().Before(f.minusOneTill) {
		return -1, true
	}
	return 0, f.falseZero[key]
}
