package mover

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sluice/discovery/controller"
	"sluice/internal/testbed"
)

// Commands grow while they are short and the servers quick, and shrink at once when one is not.
func TestPacerAdapts(t *testing.T) {
	const ms = time.Millisecond
	p := newPacer(controller.Pace{MaxLatencyMS: 10}, new(probes))
	f := func(times int, took, latency time.Duration, want string) {
		t.Helper()
		for range times {
			p.adapt(took, latency)
		}
		keys, bytes := p.next()
		if got := fmt.Sprintf("%d keys, %d KiB, pause %s", keys, bytes>>10, p.pause); got != want {
			t.Errorf("after %d commands of %s with a latency of %s: %s, want %s", times, took, latency, got, want)
		}
	}
	f(0, 0, 0, "4 keys, 16 KiB, pause 0s")
	f(16, ms, ms, "26 keys, 104 KiB, pause 0s")
	f(3, 3*ms, ms, "26 keys, 104 KiB, pause 0s") // Neither short nor long.
	f(3, ms, 6*ms, "26 keys, 104 KiB, pause 0s")
	f(1, 6*ms, ms, "13 keys, 52 KiB, pause 0s")
	f(2, ms, 11*ms, "3 keys, 12 KiB, pause 10ms")
	if want := "max_latency is 10ms: 10ms between two commands"; !strings.Contains(p.note(), want) {
		t.Errorf("it says %q, want %q", p.note(), want)
	}
	f(9, ms, 11*ms, "1 keys, 4 KiB, pause 1s")
	f(10, 3*ms, ms, "1 keys, 4 KiB, pause 0s")
	f(100, ms, ms, "1000 keys, 4000 KiB, pause 0s")
	if p.note() != "" {
		t.Errorf("it says %q", p.note())
	}
}

// A limit of keys and bytes holds over any time, and for a command that has more than a burst.
func TestPacerLimits(t *testing.T) {
	t.Parallel()
	p := newPacer(controller.Pace{MaxKeys: 1000, MaxBytes: 1 << 20}, new(probes))
	if keys, _ := p.next(); keys > 250 {
		t.Errorf("a command has %d keys, a quarter of a second's worth is 250", keys)
	}
	began := time.Now()
	if err := p.done(t.Context(), 400, 0, 0); err != nil { // 250 at once, and 150 in 150 ms.
		t.Fatal(err)
	}
	if took := time.Since(began); took < 149*time.Millisecond {
		t.Errorf("400 keys at 1000 a second took %s", took)
	}
	began = time.Now()
	if err := p.done(t.Context(), 1, 1<<19, 0); err != nil { // A quarter of a MiB at once, the rest in 250 ms.
		t.Fatal(err)
	}
	if took := time.Since(began); took < 249*time.Millisecond {
		t.Errorf("half a MiB at one MiB a second took %s", took)
	}
}

// A target without room gets nothing, and the error says how much it would take.
func TestTargetWithoutRoom(t *testing.T) {
	t.Parallel()
	source, target, b := redisPair(t)
	key := b.keysOf(1)[0]
	source.Do("SET", key, "v")
	used := infoNumber(target.Do("INFO", "memory").String(), "used_memory")
	target.Do("CONFIG", "SET", "maxmemory", fmt.Sprint(used+used/100))
	err := redis{}.Copy(t.Context(), b, ignore)
	if want := "MB free: it goes on when there is room"; err == nil || !strings.Contains(err.Error(), want) ||
		!strings.Contains(err.Error(), b.Target) {
		t.Errorf("the error is %v, want one that says %q", err, want)
	}
	if source.Do("EXISTS", key).Integer() != 1 {
		t.Error("the key was moved all the same")
	}
	target.Do("CONFIG", "SET", "maxmemory", "0")
	if err := (redis{}).Copy(t.Context(), b, ignore); err != nil {
		t.Error(err)
	}
}

// What counts is the slower side, and all but one of its answers: one that is late alone is not the servers'.
func TestProbesLatency(t *testing.T) {
	p := new(probes)
	f := func(side, times int, took, want time.Duration) {
		t.Helper()
		for range times {
			p.took(side, took)
		}
		if got := p.latency(); got != want {
			t.Errorf("after %d answers of side %d in %s the latency is %s, want %s", times, side, took, got, want)
		}
	}
	const ms = time.Millisecond
	f(0, 5, ms, ms)
	f(1, 5, 2*ms, 2*ms)
	f(0, 1, 50*ms, 2*ms)
	f(0, 1, 40*ms, 40*ms)
	f(0, probesKept, ms, 2*ms)
}

// Both sides are asked, and nothing goes on behind the end.
func TestProbesAsk(t *testing.T) {
	t.Parallel()
	_, _, b := redisPair(t)
	p, err := b.probe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer p.stop()
	testbed.Eventually(t, func() error {
		p.mu.Lock()
		defer p.mu.Unlock()
		if len(p.times[0]) < 2 || len(p.times[1]) < 2 {
			return fmt.Errorf("%d and %d answers", len(p.times[0]), len(p.times[1]))
		}
		return nil
	}, time.Minute)
}
