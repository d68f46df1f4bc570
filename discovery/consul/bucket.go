package consul

import "time"

// bucket limits how often a watch asks. A round that finds a token does not wait, so a change after a quiet time is seen at
// once; a value that churns is looked at once per interval, and the interval doubles while it goes on. Owned by the
// goroutine of its watch.
type bucket struct {
	burst    float64
	min, max time.Duration // of interval

	interval time.Duration
	tokens   float64
	last     time.Time // when tokens was right; in the future while a round waits
}

// newBucket returns a full bucket.
func newBucket(burst int, minInterval, maxInterval time.Duration) *bucket {
	return &bucket{burst: float64(burst), min: minInterval, max: maxInterval, interval: minInterval, tokens: float64(burst)}
}

// take takes a token and returns how long to wait before it may be used.
func (b *bucket) take(now time.Time) time.Duration {
	if passed := now.Sub(b.last); passed > 0 {
		b.tokens = min(b.burst, b.tokens+float64(passed)/float64(b.interval))
		b.last = now
	}
	if b.tokens == b.burst {
		b.interval = b.min
	}
	if b.tokens >= 1 {
		b.tokens--
		return 0
	}
	wait := time.Duration((1 - b.tokens) * float64(b.interval))
	b.tokens, b.last = 0, b.last.Add(wait)
	b.interval = min(2*b.interval, b.max)
	return wait
}
