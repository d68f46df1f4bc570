package proxy

import (
	"time"

	"sluice/internal/clock"
)

// The ticker makes the loops do what depends on time: gnet has no timers on a loop. It runs only as often as
// there is something to wait for, because each tick wakes threads: a proxy that has nothing to do should not
// use the CPU of its host.
//
//	paceRest      nothing is in flight: memory is looked after, nothing else
//	paceTimeouts  requests are in flight: their timeouts need an eye
//	paceSoon      a client is about to be closed
//
// Loops raise the pace, at once, with Server.raisePace; the ticker lowers it when every loop has had less to do
// for a while.
type pace int32

const (
	paceRest pace = iota
	paceTimeouts
	paceSoon
)

// interval is the time between two ticks. That of paceTimeouts is how late a timeout may be.
func (p pace) interval() time.Duration {
	switch p {
	case paceRest:
		return trimInterval
	case paceTimeouts:
		return 100 * time.Millisecond
	case paceSoon:
		return 20 * time.Millisecond
	}
	panic("BUG: unknown pace")
}

const (
	// trimInterval is how often memory is looked after.
	trimInterval = time.Second
	// calmTime is how long a loop must have had less to do before the pace is lowered, so that a client that
	// comes back every few milliseconds does not wake the ticker each time.
	calmTime = 2 * time.Second
)

// raisePace raises the pace. It is one atomic load when the pace is high enough already.
func (s *Server) raisePace(p pace) {
	for {
		now := s.pace.Load()
		if now >= int32(p) {
			return
		}
		if s.pace.CompareAndSwap(now, int32(p)) {
			break
		}
	}
	select {
	case s.paceRaised <- struct{}{}:
	default:
	}
}

// runTicker runs until the Server stops.
func (s *Server) runTicker() {
	timer := time.NewTimer(trimInterval)
	defer timer.Stop()
	trimmed, busy := time.Now(), time.Now()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-timer.C:
		case <-s.paceRaised:
		}
		now := time.Now()
		if s.wanted() >= pace(s.pace.Load()) {
			busy = now
		}
		if now.Sub(busy) >= calmTime {
			// A loop that has just found more to do than it said raises the pace again in the tick below.
			s.pace.Store(int32(s.wanted()))
			busy = now
		}
		trim := now.Sub(trimmed) >= trimInterval
		if trim {
			trimmed = now
			s.returnMemory()
			for _, p := range s.pools {
				p.nodes.retireUnused(retireDelay)
			}
		}
		posted := clock.Now()
		for _, l := range s.loops {
			l.execute(func() {
				if l.skipLate(posted) {
					return
				}
				l.tick()
				if trim {
					l.trim()
				}
			})
		}
		timer.Reset(pace(s.pace.Load()).interval())
	}
}

// lateTick is how late a tick may be.
const lateTick = int64(200 * time.Millisecond)

// skipLate reports whether a tick comes so late that the loop must look at its sockets first: what seems to be a server
// that does not answer may be a loop that did not listen. It says so once, then the next tick counts.
func (l *loop) skipLate(posted int64) bool {
	l.late = !l.late && l.now-posted > lateTick
	if l.late {
		l.server.raisePace(paceTimeouts)
	}
	return l.late
}

// wanted is the highest pace that a loop asked for in its last tick.
func (s *Server) wanted() pace {
	highest := paceRest
	for _, l := range s.loops {
		highest = max(highest, pace(l.wants.Load()))
	}
	return highest
}
