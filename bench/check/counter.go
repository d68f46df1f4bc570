package check

import "time"

// counter is what may be stored under one own counter key. Owned by its client;
// no locking.
//
// The value is base plus 0..late: each increment with an unknown outcome may still
// take effect, once. start is far from that of any other counter of the run, so
// that the reply of another key stands out.
type counter struct {
	key     string
	watched bool
	start   int64
	loaded  bool // written before the load

	base    int64
	late    int64
	refused int64

	undone bool  // see Config.Undone
	shaky  int64 // increments with an unknown outcome that were seen, with none acknowledged since

	sent, acked, unknown, denied int64 // increments of the whole run, by outcome

	track *track // nil: ages of reads are not asked for
}

// counterSpan is the distance between the starts of two counters: more than one
// key can be incremented in a run.
const counterSpan = 10_000_000

// wrote judges the reply of an INCR.
func (c *counter) wrote(n int64) verdict {
	c.acked++
	return c.observe(n, 1)
}

// wroteAt is wrote, with the time of the reply.
func (c *counter) wroteAt(n int64, at time.Duration, session int) verdict {
	v := c.wrote(n)
	if c.track != nil && v.text == "" {
		c.track.acked(c.version(n), at, session)
	}
	return v
}

// version counts the values that the key has had, as a track does.
func (c *counter) version(n int64) int64 {
	if c.loaded {
		return n - c.start + 1
	}
	return n - c.start
}

func (c *counter) maybe() { c.late++; c.unknown++ }

func (c *counter) refuse() { c.refused++; c.denied++ }

// observe judges a value that was read, or returned by an increment by step.
func (c *counter) observe(n, step int64) verdict {
	low := c.base + step
	high := low + c.late
	switch {
	case n >= low && n <= high:
		c.late -= n - low
		c.shaky += n - low
		if step > 0 {
			c.shaky = 0
		}
		c.base = n
		return verdict{}
	case c.undone && n < low && n >= low-c.shaky:
		c.shaky -= low - n
		c.base = n
		return verdict{}
	case n < c.start || n > c.start+c.sent+counterSpan/2:
		c.base = low
		return object(Wrong, "got %d, which is not of this key; want %d..%d", n, low, high)
	case n < low: // It may have been an old copy: the difference may come back.
		c.late += low - n
		c.base = n
		return object(Stale, "got %d, want %d..%d", n, low, high)
	case n <= high+c.refused:
		c.refused -= n - high
		c.late = 0
		c.base = n
		return object(Ran, "got %d, want %d..%d: a refused increment ran", n, low, high)
	default:
		c.late = 0
		c.base = n
		return object(Twice, "got %d, want %d..%d", n, low, high)
	}
}

// absent judges a reply that the key does not exist.
func (c *counter) absent() verdict {
	if !c.loaded && c.base == 0 {
		return verdict{}
	}
	c.late += c.base - c.start
	v := object(Stale, "got nothing, want %d..%d", c.base, c.base+c.late)
	c.base = c.start
	return v
}

// final judges the value read when everything has ended, by all increments ever
// sent, whatever was seen in between.
func (c *counter) final(n int64) verdict {
	low := c.start + c.acked
	high := low + c.unknown
	switch {
	case n < low:
		v := object(Lost, "%d acknowledged increments are missing: got %d, want %d..%d", low-n, n, low, high)
		v.n = uint64(low - n)
		return v
	case n <= high:
		return verdict{}
	case n <= high+c.denied:
		return object(Ran, "got %d, want %d..%d: a refused increment ran", n, low, high)
	default:
		return object(Twice, "got %d, want %d..%d", n, low, high)
	}
}
