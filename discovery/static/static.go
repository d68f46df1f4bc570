// Package static is the source of topology that only says what it is told: the groups of the
// configuration. It opens no connection and looks at nothing. Run has a goroutine of its own; Set is
// called by whoever reloads the configuration.
package static

import (
	"context"
	"slices"
	"sync"

	"sluice/discovery"
	"sluice/router"
)

// Source publishes configured groups. Safe for concurrent use. Use New.
type Source struct {
	changed chan struct{} // Capacity 1: that groups is new, not how often.

	mu     sync.Mutex
	groups []router.GroupSpec // Never changed, only replaced: it has been published.
	done   chan error         // Of the last Set. Capacity 1.
}

var _ discovery.Source = (*Source)(nil)

// New returns a Source of the given groups, which it copies.
func New(groups []router.GroupSpec) *Source {
	s := &Source{changed: make(chan struct{}, 1)}
	s.Set(groups)
	return s
}

// Set replaces the groups with a copy of the given ones. The Keeper judges them: if they are not valid it
// stays with what it has. Set does not wait for that: the channel is told when it is over, nil for groups that are in
// force, unless another Set comes before or Run ends.
func (s *Source) Set(groups []router.GroupSpec) <-chan error {
	done := make(chan error, 1)
	groups = slices.Clone(groups)
	for i, g := range groups {
		groups[i].Replicas = slices.Clone(g.Replicas)
		groups[i].Slots = slices.Clone(g.Slots)
	}
	s.mu.Lock()
	s.groups, s.done = groups, done
	s.mu.Unlock()
	select {
	case s.changed <- struct{}{}:
	default: // Run has yet to look, and will find the newest.
	}
	return done
}

// Refresh does nothing: there is nothing to look at.
func (s *Source) Refresh() {}

// Run publishes the groups, and again whenever Set replaces them, until ctx ends.
func (s *Source) Run(ctx context.Context, publish func(discovery.Snapshot)) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.changed:
			s.mu.Lock()
			groups, done := s.groups, s.done
			s.mu.Unlock()
			publish(discovery.Snapshot{Groups: groups, Done: done})
		}
	}
}
