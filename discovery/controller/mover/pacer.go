package mover

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/time/rate"

	"sluice/discovery/controller"
)

// pacer says how many keys the next command takes, and when it may be sent:
//
//	a command takes longer than max_step, or the probes are above max_latency  half as many keys
//	less than half of both                                                     an eighth more
//	the probes are above max_latency                                           and a pause, twice as long each time
//
// What a command takes has the way there and back in it. A pacer belongs to the goroutine of a Copy; its probes have
// their own.
type pacer struct {
	pace        controller.Pace
	probes      *probes
	size        float64 // keys of the next command
	pause       time.Duration
	keys, bytes *rate.Limiter
}

const (
	firstSize = 4
	mostKeys  = 1000
	// bytesPerKey is what a key is taken for when bytes are counted against the size of a command.
	bytesPerKey = 4 << 10
	firstPause  = 5 * time.Millisecond
	lastPause   = time.Second
)

func newPacer(p controller.Pace, probes *probes) *pacer {
	return &pacer{
		pace: p, probes: probes, size: firstSize,
		keys: limiter(p.MaxKeys, mostKeys), bytes: limiter(p.MaxBytes, maxBring),
	}
}

// limiter lets perSecond through, a quarter of a second's worth of them at once. 0 is no limit.
func limiter(perSecond int64, most int) *rate.Limiter {
	if perSecond <= 0 {
		return rate.NewLimiter(rate.Inf, most)
	}
	return rate.NewLimiter(rate.Limit(perSecond), int(max(1, min(int64(most), perSecond/4))))
}

// next is how many keys the next command takes, and how many bytes it may have if it has more than one key.
func (p *pacer) next() (keys, bytes int) {
	keys = max(1, min(int(p.size), p.keys.Burst()))
	return keys, min(keys*bytesPerKey, p.bytes.Burst())
}

// done is told what a command has moved, and how long that took. It waits until the next may be sent.
func (p *pacer) done(ctx context.Context, keys int, bytes int64, took time.Duration) error {
	if err := p.probes.trouble(); err != nil {
		return err
	}
	p.adapt(took, p.probes.latency())
	if err := spend(ctx, p.keys, int64(keys)); err != nil {
		return err
	}
	if err := spend(ctx, p.bytes, bytes); err != nil {
		return err
	}
	return pause(ctx, p.pause)
}

// adapt makes the next command smaller or larger.
func (p *pacer) adapt(took, latency time.Duration) {
	limit, step := p.pace.MaxLatency(), p.pace.MaxStep()
	slow := limit > 0 && latency > limit
	switch {
	case slow || took > step:
		p.size = max(1, p.size/2)
	case took < step/2 && (limit == 0 || latency < limit/2):
		p.size = min(mostKeys, p.size*9/8)
	}
	switch {
	case slow:
		p.pause = min(max(2*p.pause, firstPause), lastPause)
	case p.pause > firstPause:
		p.pause /= 2
	default:
		p.pause = 0
	}
}

// spend waits until n have been let through, some at a time.
func spend(ctx context.Context, l *rate.Limiter, n int64) error {
	if l.Limit() == rate.Inf {
		return nil
	}
	for n > 0 {
		some := min(n, int64(l.Burst()))
		if err := l.WaitN(ctx, int(some)); err != nil {
			return err
		}
		n -= some
	}
	return nil
}

// note says what holds the mover up, "" when nothing does.
func (p *pacer) note() string {
	if p.pause == 0 {
		return ""
	}
	return fmt.Sprintf("the servers take %s to answer, max_latency is %s: %s between two commands",
		p.probes.latency().Round(100*time.Microsecond), p.pace.MaxLatency(), p.pause)
}
