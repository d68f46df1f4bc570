package codis

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"sluice/internal/statefile"
)

// The state file lets a proxy start while the dashboard is away, and keeps its token whatever becomes of its addresses.
//
// The dashboard calls, and can't be asked. So the file is used when no fill has come within fileWait, if the
// dashboard was there at most MaxStateAge before it was written last. The first fill replaces what it says of its
// slots.

const (
	savedVersion = 1
	// fileWait is how long a dashboard may take to fill in slots before the file is used.
	fileWait = time.Second
	// confirmEvery is how often the file is told that the dashboard is still there.
	confirmEvery = time.Minute
)

// saved is what is saved.
type saved struct {
	Version   int       `json:"version"`
	Product   string    `json:"product"`
	Token     string    `json:"token"`
	Seen      time.Time `json:"seen"` // when the dashboard has called last
	Slots     []Slot    `json:"slots,omitempty"`
	Sentinels []string  `json:"sentinels,omitempty"`
}

// readSaved reads the file of a product. That there is none is no error: then the token is "".
func readSaved(path, product string, slots int) (saved, error) {
	var s saved
	err := statefile.Read(path, &s)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return saved{}, nil
	case err != nil:
	case s.Version != savedVersion:
		err = fmt.Errorf("it has version %d, known is %d", s.Version, savedVersion)
	case s.Product != product:
		err = fmt.Errorf("it is of product %q, not of %q", s.Product, product)
	case len(s.Slots) != 0 && len(s.Slots) != slots:
		err = fmt.Errorf("it has %d slots, the pool has %d", len(s.Slots), slots)
	}
	for i, slot := range s.Slots {
		if bad := slot.check(slots); err == nil && bad != nil {
			err = bad
		} else if err == nil && slot.ID != i {
			err = fmt.Errorf("slot %d stands in place %d", slot.ID, i)
		}
	}
	if err != nil {
		return saved{}, fmt.Errorf("state file %s: %w", path, err)
	}
	return s, nil
}

// useFile puts what the file says into force, unless the dashboard does within fileWait.
func (s *Source) useFile(ctx context.Context) {
	if len(s.file.Slots) == 0 {
		return
	}
	timer := time.NewTimer(fileWait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return
	}
	s.fills.Lock()
	defer s.fills.Unlock()
	if s.known().filledIn() {
		return
	}
	if age := time.Since(s.file.Seen); age > s.cfg.MaxStateAge {
		s.cfg.Log.Warn("the state file is too old to start with", "file", s.cfg.StateFile, "seen", s.file.Seen, "max_state_age", s.cfg.MaxStateAge)
		return
	}
	next, err := s.known().filled(s.file.Slots)
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, fillTime)
		defer cancel()
		err = s.putIntoForce(ctx, next)
	}
	if err != nil {
		s.cfg.Log.Warn("the state file is of no use", "file", s.cfg.StateFile, "err", err)
		return
	}
	s.cfg.Log.Warn("starting with the saved slots, codis-dashboard has not filled in any", "file", s.cfg.StateFile, "seen", s.file.Seen)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sentinels = s.file.Sentinels
	s.err = fmt.Errorf("the slots are those of the state file, of %s: codis-dashboard has not filled in any since the start",
		s.file.Seen.Format(time.RFC3339))
}

// called notes that the dashboard is there.
func (s *Source) called() {
	s.mu.Lock()
	s.seen = time.Now()
	old := s.seen.Sub(s.savedAt) > min(confirmEvery, s.cfg.MaxStateAge/4)
	s.mu.Unlock()
	if old {
		s.saveSoon()
	}
}

// saveSoon makes writeStates write the file.
func (s *Source) saveSoon() {
	select {
	case s.saves <- struct{}{}:
	default: // It will.
	}
}

// writeStates writes the file whenever there is something new, until ctx ends: a slow disk holds up nothing else.
func (s *Source) writeStates(ctx context.Context) {
	if s.cfg.StateFile == "" {
		return
	}
	s.writeState()
	for {
		select {
		case <-ctx.Done():
			s.writeState()
			return
		case <-s.saves:
			s.writeState()
		}
	}
}

// writeState writes the file. One that can't be written is removed: it would say what is not true any more.
func (s *Source) writeState() {
	if s.cfg.StateFile == "" {
		return
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	state := saved{Version: savedVersion, Product: s.cfg.Product, Token: s.model.Token, Seen: s.seen.UTC(), Sentinels: s.sentinels}
	switch {
	case s.closed: // The dashboard wants no more of this proxy: its slots may move without it.
		state.Slots, state.Sentinels = nil, nil
	case s.routes.filledIn():
		state.Slots = s.routes.slots
	default:
		state.Slots, state.Sentinels = s.file.Slots, s.file.Sentinels
	}
	s.savedAt = time.Now()
	s.mu.Unlock()
	err := statefile.Write(s.cfg.StateFile, state)
	if err != nil {
		err = fmt.Errorf("the state file %s can't be written: %w", s.cfg.StateFile, err)
		if removed := os.Remove(s.cfg.StateFile); removed != nil && !errors.Is(removed, fs.ErrNotExist) {
			err = fmt.Errorf("%w; nor removed, delete it before the next start: %w", err, removed)
		}
	}
	s.mu.Lock()
	failed := err != nil && s.saveErr == nil
	s.saveErr = err
	s.mu.Unlock()
	if failed {
		s.cfg.Log.Error("starting without the dashboard will not be possible", "err", err)
	}
}
