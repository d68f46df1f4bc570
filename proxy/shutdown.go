package proxy

import (
	"context"
	"sync/atomic"
	"time"
)

// drainCheck is the time between two looks at what is still in flight.
const drainCheck = 20 * time.Millisecond

// Shutdown stops accepting, lets the requests in flight be answered, for at most Settings.Drain or until ctx ends, and
// stops everything. It returns how many requests were cut off. Once is enough: later calls wait and say the same,
// because gnet would close descriptors that are somebody else's by then.
func (s *Server) Shutdown(ctx context.Context) int {
	s.ended.Do(func() { s.left = s.shutdown(ctx) })
	return s.left
}

func (s *Server) shutdown(ctx context.Context) int {
	s.draining.Store(true)
	s.closeListeners()
	ctx, cancel := context.WithTimeout(ctx, s.settings.Load().Drain)
	defer cancel()
	s.drain(ctx)
	left := s.cutOff()
	s.stop()
	s.work.Wait()
	for _, p := range s.pools {
		p.stop()
	}
	if s.engine != nil {
		if err := s.engine.Stop(); err != nil {
			s.log.Warn("stopping the event loops", "err", err)
		}
		for _, l := range s.loops {
			l.leaveProcessor()
		}
	}
	return left
}

// cutOff keeps all loops from sending anything again, and counts what is in flight then. It has a time of its own,
// since that of the drain may be over: a loop that does not answer counts as one request, whose outcome is as
// unknown.
func (s *Server) cutOff() int {
	if !s.running.Load() {
		return 0
	}
	var left atomic.Int64 // A loop that answers too late still counts into it.
	asked, done := 0, make(chan struct{}, len(s.loops))
	for _, l := range s.loops {
		if l.execute(func() {
			l.stopping = true
			left.Add(l.inFlight())
			done <- struct{}{}
		}) {
			asked++
		}
	}
	late := time.NewTimer(loopWait)
	defer late.Stop()
	for i := range asked {
		select {
		case <-done:
		case <-s.ctx.Done(): // It has been stopped before.
			return int(left.Load())
		case <-late.C:
			s.log.Warn("event loops do not answer at the end", "loops", asked-i)
			return int(left.Load()) + asked - i
		}
	}
	return int(left.Load())
}

// inFlight counts the requests of the loop's clients that are not answered.
func (l *loop) inFlight() (n int64) {
	for _, c := range l.clients {
		n += int64(c.pipe.len())
		if c.hold.active {
			n++
		}
	}
	return n
}

// drain closes idle clients and waits until the others are answered, or ctx ends.
func (s *Server) drain(ctx context.Context) {
	if s.engine == nil {
		return
	}
	check := time.NewTicker(drainCheck)
	defer check.Stop()
	for {
		var left atomic.Int64 // A loop that answers too late still counts into it.
		s.onEachLoop(ctx, func(l *loop) {
			l.freeBlocked()
			l.schedule()
			left.Add(l.inFlight())
			for _, c := range l.clients {
				if !c.closing && len(c.retries) == 0 && c.stall == stallNone { // What it holds is half a request.
					c.finish()
				}
			}
		})
		if left.Load() == 0 && s.Clients() == 0 {
			return
		}
		select {
		case <-check.C:
		case <-ctx.Done():
			return
		}
	}
}
