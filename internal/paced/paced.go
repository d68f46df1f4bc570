// Package paced asks many servers without making many goroutines runnable at the same time. An event loop that the Go
// scheduler has interrupted stands behind all that are: a thousand answers that come together delay every client by as
// long as it takes to read them.
package paced

import (
	"math/rand/v2"
	"sync"
	"time"
)

const (
	// batch is how many start together, pause is the time between two batches: a thousand take an eighth of a second.
	batch = 8
	pause = time.Millisecond
)

// Each runs f(0) to f(n-1), each in a goroutine of its own, and returns when all have returned. Those that block do not
// keep others from starting.
func Each(n int, f func(i int)) {
	var all sync.WaitGroup
	for i := range n {
		if i > 0 && i%batch == 0 {
			time.Sleep(pause)
		}
		all.Go(func() { f(i) })
	}
	all.Wait()
}

// Shorten takes up to a part of d away, 0.1 for a tenth: what began together drifts apart.
func Shorten(d time.Duration, part float64) time.Duration {
	return d - time.Duration(rand.Float64()*part*float64(d))
}
