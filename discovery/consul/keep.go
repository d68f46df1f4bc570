package consul

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"
)

// readFloor notes the epoch of the last good file: what Consul has at the start must not be older.
func (s *Source) readFloor() {
	if s.cfg.StateFile == "" {
		return
	}
	t, _, err := readSaved(s.cfg.StateFile, s.cfg.Root, s.cfg.Pool, s.cfg.Model, s.cfg.MaxStateAge, s.started)
	if t != nil {
		s.floor = &t.doc.Epoch
	} else if !errors.Is(err, fs.ErrNotExist) {
		s.log.Warn("the saved topology is not used, an older one in Consul would not be noticed", "err", err)
	}
}

// useFile starts with the last good file if Consul is away for long.
func (s *Source) useFile(now time.Time) {
	if s.current != nil || s.next != nil || s.fileTried || now.Sub(s.started) < fileAfter || !s.health.lastContact().IsZero() {
		return
	}
	for _, name := range []string{joining, watchTopology} {
		if err := s.health.last(name); err != nil && !away(err) {
			return // Consul is there, and has said no.
		}
	}
	s.fileTried = true
	s.takeFile(now)
}

// takeFile makes the last good file the next topology, if it may be used.
func (s *Source) takeFile(now time.Time) {
	if s.cfg.StateFile == "" || s.cfg.RequireConsul {
		return
	}
	t, seen, err := readSaved(s.cfg.StateFile, s.cfg.Root, s.cfg.Pool, s.cfg.Model, s.cfg.MaxStateAge, now)
	if err != nil {
		s.alarm(AlarmState, err)
		return
	}
	s.log.Warn("starting with the saved topology", "epoch", t.doc.Epoch.Epoch, "seen", seen)
	s.next, s.nextSeen, s.confirmed = t, now, seen
}

// away reports whether an error says that Consul can't be reached or has no leader, and not that it refuses us.
func away(err error) bool {
	if errors.Is(err, ErrIDTaken) || errors.As(err, new(*fs.PathError)) { // The second is of the file of the token.
		return false
	}
	text := err.Error()
	if strings.Contains(text, "Permission denied") || strings.Contains(text, "ACL not found") {
		return false
	}
	var status api.StatusError
	if errors.As(err, &status) {
		return status.Code >= http.StatusInternalServerError
	}
	// Not all calls of the client have a StatusError.
	return strings.Contains(text, "response code: 5") || errors.As(err, new(*url.Error)) || errors.As(err, new(net.Error)) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
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
