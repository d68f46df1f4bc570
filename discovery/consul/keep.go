package consul

import (
	"context"
	"time"
)

// useFile reads the last good file if Consul is away at the start.
func (s *Source) useFile(now time.Time) {
	if s.current != nil || s.next != nil || s.fileTried || s.cfg.StateFile == "" || s.cfg.RequireConsul {
		return
	}
	trouble := s.health.count(joining) > 0 || s.health.count(watchTopology) > 0
	if answered := !s.health.lastContact().IsZero(); answered || !trouble && now.Sub(s.started) < fileAfter {
		return
	}
	s.fileTried = true
	t, seen, err := readSaved(s.cfg.StateFile, s.cfg.Root, s.cfg.Pool, s.cfg.Model, s.cfg.MaxStateAge, now)
	if err != nil {
		s.alarm(AlarmState, err)
		return
	}
	s.log.Warn("consul is away, starting with the saved topology", "epoch", t.doc.Epoch.Epoch, "seen", seen)
	s.next, s.nextSeen, s.confirmed = t, now, seen
}

// agreed reports whether Consul has what is in force.
func (s *Source) agreed() bool {
	return s.current != nil && s.consul != nil && s.consul.Epoch == s.current.doc.Epoch
}

// confirm notes that Consul still has what is in force.
func (s *Source) confirm() {
	if !s.agreed() {
		return
	}
	s.confirmed = s.health.lastContact()
	if s.inflight == nil && s.confirmed.Sub(s.saved) > min(confirmEvery, s.cfg.MaxStateAge/4) {
		s.save()
	}
}

// save hands what is in force to the file.
func (s *Source) save() {
	if s.cfg.StateFile == "" || s.current == nil {
		return
	}
	if s.agreed() {
		s.confirmed = s.health.lastContact()
	}
	s.saved = s.confirmed
	s.saves.put(s.current.save(s.cfg.Root, s.cfg.Pool, s.confirmed))
}

// writeSaves writes the last good file: a slow disk holds up nothing else.
func (s *Source) writeSaves(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			select {
			case state := <-s.saves:
				s.writeSave(state)
			default:
			}
			return
		case state := <-s.saves:
			s.writeSave(state)
		}
	}
}

func (s *Source) writeSave(state saved) {
	err := writeSaved(s.cfg.StateFile, state)
	s.mu.Lock()
	s.saveErr = err
	s.mu.Unlock()
	s.poke()
}
