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
	// together is how many are under way at once. One more begins when one of them has returned, or has not for
	// patience: a thousand servers that do not answer are all asked within five seconds.
	together = 8
	patience = 5 * time.Millisecond
)

// Each runs f(0) to f(n-1), each in a goroutine of its own, and returns when all have returned.
func Each(n int, f func(i int)) {
	var all sync.WaitGroup
	returned := make(chan struct{}, n)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for i := range n {
		if i >= together {
			timer.Reset(patience)
			select {
			case <-returned:
			case <-timer.C:
			}
		}
		all.Go(func() {
			f(i)
			returned <- struct{}{}
		})
	}
	all.Wait()
}

// Shorten takes up to a part of d away, 0.1 for a tenth: what began together drifts apart.
func Shorten(d time.Duration, part float64) time.Duration {
	return d - time.Duration(rand.Float64()*part*float64(d))
}
