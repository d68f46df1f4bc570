package paced

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 1000
		var calls [n]atomic.Int32
		starts := make(map[time.Time]int)
		mu := make(chan struct{}, 1)
		began := time.Now()
		Each(n, func(i int) {
			calls[i].Add(1)
			mu <- struct{}{}
			starts[time.Now()]++
			<-mu
			time.Sleep(time.Hour) // Servers that do not answer.
		})
		for i := range calls {
			if got := calls[i].Load(); got != 1 {
				t.Errorf("f(%d) was called %d times", i, got)
			}
		}
		for at, count := range starts {
			if count > batch {
				t.Errorf("%d started together, after %v", count, at.Sub(began))
			}
		}
		if took := time.Since(began); took > time.Hour+n*pause {
			t.Errorf("took %v: those that block keep others waiting", took)
		}
		Each(0, nil)
		if before := time.Now(); true {
			Each(batch, func(int) {})
			if time.Since(before) > 0 {
				t.Error("a few wait for each other")
			}
		}
	})
}

func TestShorten(t *testing.T) {
	seen := make(map[time.Duration]bool)
	for range 1000 {
		d := Shorten(time.Second, 0.1)
		if d > time.Second || d < 900*time.Millisecond {
			t.Fatalf("a tenth off a second: %v", d)
		}
		seen[d/time.Millisecond] = true
	}
	if len(seen) < 50 {
		t.Errorf("only %d different times", len(seen))
	}
}
