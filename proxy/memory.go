package proxy

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"sluice/internal/clock"
)

// idleHeap is how much free memory the process may keep after a burst before it is given back at once.
const idleHeap = 8 << 20

// memoryPause is the least time between two forced collections.
const memoryPause = int64(10 * time.Second)

// returnMemory gives memory that a burst left behind back to the system. Without garbage there is no
// collection, and without a collection the runtime keeps what it has, so a proxy that allocates nothing
// would stay as large as its largest moment. Called by the ticker.
func (s *Server) returnMemory() {
	sample := []metrics.Sample{
		{Name: "/memory/classes/heap/free:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/unused:bytes"},
		{Name: "/gc/heap/live:bytes"},
	}
	metrics.Read(sample)
	free, objects := sample[0].Value.Uint64(), sample[1].Value.Uint64()
	unused, live := sample[2].Value.Uint64(), sample[3].Value.Uint64()
	garbage := uint64(0)
	if objects > live {
		garbage = objects - live
	}
	now := clock.Now()
	if free+unused+garbage < idleHeap || now-s.memoryAt < memoryPause {
		return
	}
	s.memoryAt = now
	// What gnet keeps in a sync.Pool survives one collection.
	runtime.GC()
	debug.FreeOSMemory()
}
