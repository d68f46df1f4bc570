package check

import (
	"sync/atomic"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"
)

// windowLength is the step of the request rate.
const windowLength = 100 * time.Millisecond

// maxPhases bounds Run.Mark.
const maxPhases = 64

// maxLatency is in microseconds.
const maxLatency = int64(maxDuration / time.Microsecond)

// window counts the replies of one step of time. Safe for concurrent use.
type window struct{ all, watched atomic.Uint32 }

// timeline is what all clients of a run share for measuring. Safe for concurrent
// use.
type timeline struct {
	start   time.Time
	phase   atomic.Int32
	windows []window
}

func newTimeline(limit time.Duration) *timeline {
	return &timeline{start: time.Now(), windows: make([]window, limit/windowLength+1)}
}

// now is the time since the start of the load.
func (t *timeline) now() time.Duration { return time.Since(t.start) }

func (t *timeline) count(at time.Duration, watched bool) {
	w := &t.windows[min(int(at/windowLength), len(t.windows)-1)]
	w.all.Add(1)
	if watched {
		w.watched.Add(1)
	}
}

// phaseMeter is what one client saw in one phase; index 1 is for watched keys.
type phaseMeter struct {
	latency [2]*hdr.Histogram // microseconds
	stall   time.Duration
}

// meter measures one client. Owned by the client until it has ended; no locking.
//
// A request that was under way when a phase was marked counts in both phases, and
// so does a stall.
type meter struct {
	line   *timeline
	phases []*phaseMeter

	waiting      bool          // requests are outstanding, or were lost and none was answered since
	waitingSince time.Duration // the last reply, or the first request after none was outstanding
	waitingPhase int
}

func (m *meter) at(phase int) *phaseMeter {
	for len(m.phases) <= phase {
		p := &phaseMeter{}
		for i := range p.latency {
			p.latency[i] = hdr.New(1, maxLatency, 2)
		}
		m.phases = append(m.phases, p)
	}
	return m.phases[phase]
}

// sent notes that requests are outstanding now.
func (m *meter) sent(now time.Duration) {
	if !m.waiting {
		m.waiting, m.waitingSince, m.waitingPhase = true, now, int(m.line.phase.Load())
	}
}

// replied notes the reply of a request sent in phase from at sentAt, and returns
// the time.
func (m *meter) replied(sentAt time.Duration, from int, watched bool) time.Duration {
	now, to := m.line.now(), int(m.line.phase.Load())
	i := 0
	if watched {
		i = 1
	}
	for p := from; p <= to; p++ {
		_ = m.at(p).latency[i].RecordValue(min(max((now-sentAt).Microseconds(), 1), maxLatency)) // in range
	}
	m.stalled(now, to)
	m.waitingSince, m.waitingPhase = now, to
	m.line.count(now, watched)
	return now
}

// stalled notes how long the connection has been waiting.
func (m *meter) stalled(now time.Duration, to int) {
	if !m.waiting {
		return
	}
	for p := m.waitingPhase; p <= to; p++ {
		m.at(p).stall = max(m.at(p).stall, now-m.waitingSince)
	}
}

// idle notes that nothing is outstanding any more.
func (m *meter) idle() { m.waiting = false }
