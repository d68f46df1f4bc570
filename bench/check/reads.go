package check

import (
	"slices"
	"time"
)

// sighting is one version of one key in the reply of a read.
type sighting struct {
	reads   *readMeter
	track   *track
	floor   *floor // of the reads of this connection
	version int64
	atLeast int64 // what the consistency asks for, besides Monotonic
	sent    time.Duration

	unordered bool // its write had an unknown outcome and may have come after later ones
	atMost    bool // version is the newest one that would fit the reply
}

// sighted counts a read and judges it by the consistency and its age.
func (c *client) sighted(s sighting) verdict {
	if s.unordered {
		s.reads.note(0, c.repliedAt, 0)
		return verdict{}
	}
	age, beyond := s.track.age(s.version, s.sent)
	s.reads.note(age, c.repliedAt, c.cfg.MaxAge)
	if beyond {
		s.reads.beyond++
	}
	last := s.floor.in(c.session)
	if s.version < last {
		s.reads.back++
	}
	if !s.atMost {
		s.floor.raise(s.version, c.session)
		if n := s.track.note(s.version); n != nil {
			n.seen = min(n.seen, c.repliedAt)
		}
	}
	switch {
	case s.version < s.atLeast:
		return object(Stale, "got version %d, want %d or later; out of date for %s", s.version, s.atLeast, rounded(age))
	case c.cfg.Consistency == Monotonic && s.version < last:
		return object(Back, "got version %d after %d had been read; out of date for %s", s.version, last, rounded(age))
	case c.cfg.MaxAge > 0 && age > c.cfg.MaxAge:
		return object(Old, "got version %d, out of date for %s, newest is %d", s.version, rounded(age), s.track.newest())
	}
	return verdict{}
}

func rounded(age time.Duration) time.Duration { return age.Round(10 * time.Microsecond) }

// ownSighting is a read of an own key, whatever it returns.
func (c *client) ownSighting(q *request, t *track, version int64) sighting {
	s := sighting{reads: &c.own, track: t, floor: &t.read, version: version, sent: q.call}
	if c.cfg.Consistency == ReadYourWrites {
		s.atLeast = t.wrote.in(c.session)
	}
	return s
}

// sightedOwn is sighted, and counts what is older than acknowledged to the client.
func (c *client) sightedOwn(s sighting) verdict {
	if !s.unordered && s.track.behind(s.version) {
		c.staleOwn++
	}
	return c.sighted(s)
}

// readValue judges the value of an own register.
func (c *client) readValue(q *request, r *register, x string) verdict {
	if r.track == nil {
		return r.observe(x)
	}
	n, v := r.identify(x)
	if v.text != "" {
		return v
	}
	// A write that was sent behind this read in the pipeline may have overtaken it.
	ahead := n > r.track.settled
	if c.cfg.Consistency == Linearizable && ahead {
		return r.observe(x)
	}
	if ahead {
		c.own.ahead++
	}
	s := c.ownSighting(q, r.track, n)
	s.unordered = r.unordered(x, n)
	v = c.sightedOwn(s)
	if c.cfg.Consistency != Linearizable {
		r.arrived(x, n)
		return r.unlessOpen(n, v)
	}
	if exact := r.observe(x); exact.text != "" {
		return exact
	}
	return v
}

// readLength judges the length of the value of an own register.
func (c *client) readLength(q *request, r *register, n int64) verdict {
	low, high := r.versionsOf(int(n))
	if low > high {
		return object(Wrong, "got a length of %d, which no value has had; want %s", n, r.wanted())
	}
	fits := r.vague || int(n) == len(r.base) || slices.ContainsFunc(r.late, func(v string) bool { return int(n) == len(v) })
	var v verdict
	if r.track != nil {
		s := c.ownSighting(q, r.track, high)
		s.atMost, s.unordered = true, r.vague || len(r.late) > 0
		v = c.sightedOwn(s)
	}
	if c.cfg.Consistency == Linearizable && !fits {
		return object(Stale, "got a length of %d, want that of %s", n, r.wanted())
	}
	return v
}

// readCounter judges the value of an own counter, or that there is none.
func (c *client) readCounter(q *request, k *counter, n int64, absent bool) verdict {
	exactly := func() verdict {
		if absent {
			return k.absent()
		}
		return k.observe(n, 0)
	}
	if k.track == nil {
		return exactly()
	}
	version := int64(0)
	if !absent {
		version = k.version(n)
	}
	flying := k.sent - k.acked - k.unknown - k.denied // sent behind this read
	if !absent && (n < k.start || n > k.base+k.late+flying) {
		return exactly()
	}
	if c.cfg.Consistency == Linearizable {
		v := c.sightedOwn(c.ownSighting(q, k.track, version))
		if exact := exactly(); exact.text != "" {
			return exact
		}
		return v
	}
	v := c.sightedOwn(c.ownSighting(q, k.track, version))
	if n > k.base+k.late {
		c.own.ahead++
	}
	if n > k.base && flying == 0 {
		k.observe(n, 0) // An increment with an unknown outcome has run.
	}
	return v
}
