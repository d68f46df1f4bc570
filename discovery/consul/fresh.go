package consul

import (
	"context"
	"errors"
	"fmt"
)

// Fresh reads the topology and returns nil when what that read has found, or something newer, is in force. An older one in
// Consul is found too: what is in force is newer. One that is missing, makes no sense or can't be put into force is not. It
// does not wait for the pause after an error. ctx bounds it. Safe for concurrent use.
func (s *Source) Fresh(ctx context.Context) error {
	s.mu.Lock()
	s.wanted++
	want := s.wanted
	s.mu.Unlock()
	notify(s.kick)
	for {
		s.mu.Lock()
		done, news := s.fresh >= want, s.freshed
		s.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return fmt.Errorf("read the topology anew: %w", errors.Join(ctx.Err(), s.Err()))
		}
	}
}

// wantedNow is what a read that begins now is good for.
func (s *Source) wantedNow() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.wanted
}

// settleFresh ends the calls of Fresh that have what they waited for.
func (s *Source) settleFresh() {
	if s.consul == nil || s.current == nil || s.next != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.judged > s.fresh {
		s.fresh = s.judged
		close(s.freshed)
		s.freshed = make(chan struct{})
	}
}
