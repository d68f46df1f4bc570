package check

import (
	"fmt"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"
)

// readMeter sums up the reads of one client. Owned by the client until it has
// ended; no locking.
type readMeter struct {
	reads, stale, tooOld, back, ahead, beyond uint64

	ages     *hdr.Histogram // of stale reads, in microseconds; nil: there was none
	oldest   time.Duration
	oldestAt time.Duration
}

func (m *readMeter) note(age, now, bound time.Duration) {
	m.reads++
	if age == 0 {
		return
	}
	m.stale++
	if bound > 0 && age > bound {
		m.tooOld++
	}
	if m.ages == nil {
		m.ages = hdr.New(1, maxLatency, 2)
	}
	_ = m.ages.RecordValue(min(max(age.Microseconds(), 1), maxLatency)) // in range
	if age > m.oldest {
		m.oldest, m.oldestAt = age, now
	}
}

// ReadStats is what reads returned, of own keys or of those of other connections.
type ReadStats struct {
	// Reads counts keys, so that a MGET counts several times. Stale of them returned
	// what was out of date when they were sent, TooOld for longer than Config.MaxAge.
	Reads, Stale, TooOld uint64
	// Back is how many were older than an earlier read of their connection.
	Back uint64
	// Ahead is how many returned a write that was behind them in their pipeline.
	Ahead uint64
	// Beyond is how many were older than the window; their age is at least what was
	// counted.
	Beyond uint64
	// P99 is the age that 99 of 100 reads were not above, StaleP99 that of the stale
	// ones alone. Oldest was read OldestAt since the start of the load.
	P99, StaleP99, Oldest, OldestAt time.Duration
}

func newReadStats(clients []*client, meterOf func(*client) *readMeter) ReadStats {
	var s ReadStats
	ages := hdr.New(1, maxLatency, 2)
	for _, c := range clients {
		m := meterOf(c)
		s.Reads += m.reads
		s.Stale += m.stale
		s.TooOld += m.tooOld
		s.Back += m.back
		s.Ahead += m.ahead
		s.Beyond += m.beyond
		if m.oldest > s.Oldest {
			s.Oldest, s.OldestAt = m.oldest, m.oldestAt
		}
		if m.ages != nil {
			ages.Merge(m.ages)
		}
	}
	if s.Stale > 0 {
		s.StaleP99 = time.Duration(ages.ValueAtPercentile(99)) * time.Microsecond
		if q := 100 - float64(s.Reads)/float64(s.Stale); q > 0 {
			s.P99 = time.Duration(ages.ValueAtPercentile(q)) * time.Microsecond
		}
	}
	return s
}

func (s ReadStats) row(name string) string {
	share := 100 * float64(s.Stale) / float64(max(s.Reads, 1))
	return fmt.Sprintf("%s\t%d\t%d\t%.3f\t%s\t%s\t%s\t%.1f\t%d\t%d\t%d\t%d\t\n", name, s.Reads, s.Stale, share,
		millis(s.P99), millis(s.StaleP99), millis(s.Oldest), s.OldestAt.Seconds(), s.TooOld, s.Back, s.Ahead, s.Beyond)
}
