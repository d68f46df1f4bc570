package paced

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestEach(t *testing.T) {
	f := func(name string, work, most time.Duration) {
		synctest.Test(t, func(t *testing.T) {
			const n = 1000
			var calls [n]atomic.Int32
			var now, highest atomic.Int32
			began := time.Now()
			Each(n, func(i int) {
				if at := now.Add(1); at > highest.Load() {
					highest.Store(at)
				}
				calls[i].Add(1)
				time.Sleep(work)
				now.Add(-1)
			})
			for i := range calls {
				if got := calls[i].Load(); got != 1 {
					t.Errorf("%s: f(%d) was called %d times", name, i, got)
				}
			}
			if took := time.Since(began); took > most {
				t.Errorf("%s: took %v, want at most %v", name, took, most)
			}
			if work < patience && highest.Load() > together {
				t.Errorf("%s: %d under way together", name, highest.Load())
			}
		})
	}
	f("quick", time.Millisecond, time.Second/together+together*time.Millisecond)
	f("slow", time.Hour, time.Hour+1000*patience) // Those that block keep nobody from being asked.
	synctest.Test(t, func(t *testing.T) {
		Each(0, nil)
		before := time.Now()
		Each(together, func(int) { time.Sleep(time.Second) })
		if took := time.Since(before); took > time.Second {
			t.Errorf("a few wait for each other: %v", took)
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
