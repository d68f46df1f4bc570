// Package codis lets codis-dashboard (Codis 3.2, and Pika's fork of it) take Sluice for a codis-proxy: it serves the admin HTTP API
// that the dashboard expects of a proxy, and turns the slots that it is given into topology. A site keeps its
// dashboard and its FE, registers Sluice where it had codis-proxy, and migrates as before.
//
//	waiting --fillslots--> has slots --start--> online --shutdown--> closed
//
// Filling in slots is answered when the new topology is in force on every event loop and everything is answered
// that was sent to the servers of the changed slots before, so "locked" means that no command of the slot is on its way any
// more. Fills are taken one at a time; everything else is answered meanwhile.
package codis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"sluice/discovery"
)

// Config is what a Source needs.
type Config struct {
	Product   string // product_name
	Auth      string // product_auth, "" when there is none
	ProxyAddr string // where clients connect, as the dashboard shows it
	Slots     int    // max_slot_num
	Version   string

	// Counters are asked for by every GET stats.
	Counters func() Counters
	// AwaitAnswered waits until what was sent to the servers at addrs is answered, see proxy.Pool.
	AwaitAnswered func(ctx context.Context, addrs []string) error
	// Shutdown ends the proxy, because the dashboard asked for it. It must not block.
	Shutdown func()
	Log      *slog.Logger
}

const (
	// fillTime bounds a fill: below the minute after which the dashboard gives up, above what a request
	// takes to be answered or to time out.
	fillTime = 10 * time.Second
	// maxBody bounds what is read of a request.
	maxBody = 16 << 20
)

// Source is a source of topology and an HTTP server. Safe for concurrent use.
type Source struct {
	cfg   Config
	ln    net.Listener
	model Model
	xauth string

	publishing chan discovery.Snapshot // to Run
	fills      sync.Mutex              // held during a fill

	mu        sync.Mutex // guards the fields below it
	slots     []Slot
	serving   bool // a topology was put into force
	online    bool
	closed    bool
	sentinels []string
	masters   map[string]string // group number -> address, by the sentinels
	rates     sample
	err       error
}

// New returns a Source that serves on ln once Run is called.
func New(cfg Config, ln net.Listener) *Source {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Source{cfg: cfg, ln: ln, publishing: make(chan discovery.Snapshot), slots: make([]Slot, cfg.Slots)}
	for i := range s.slots {
		s.slots[i].ID = i
	}
	s.model = newModel(&cfg, ln.Addr().String())
	s.xauth = XAuth(cfg.Product, cfg.Auth, s.model.Token)
	s.err = errors.New("codis-dashboard has not filled in any slots yet: register the proxy with it, codis-admin --create-proxy -x " + s.model.AdminAddr)
	return s
}

// Run implements discovery.Source: it serves the API until ctx ends.
func (s *Source) Run(ctx context.Context, publish func(discovery.Snapshot)) error {
	server := &http.Server{Handler: s.handler(), ReadHeaderTimeout: 5 * time.Second, ErrorLog: slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelWarn)}
	var work sync.WaitGroup
	work.Go(func() {
		if err := server.Serve(s.ln); !errors.Is(err, http.ErrServerClosed) {
			s.cfg.Log.Error("codis admin API ended", "err", err)
		}
	})
	work.Go(func() { s.watchSentinels(ctx) })
	for {
		select {
		case snap := <-s.publishing:
			publish(snap)
		case <-ctx.Done():
			_ = server.Close()
			work.Wait()
			return ctx.Err()
		}
	}
}

// Refresh implements discovery.Source. Nobody can be asked: the dashboard tells when there is something new.
func (s *Source) Refresh() {}

// Err says why there is no topology, or why the last fill was refused.
func (s *Source) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Slots is what the dashboard has filled in.
func (s *Source) Slots() []Slot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.slots)
}

// fill puts slots into force, as fillslots asks for. Slots that are not listed stay as they are.
func (s *Source) fill(ctx context.Context, slots []Slot) error {
	s.fills.Lock()
	defer s.fills.Unlock()
	err := s.fillLocked(ctx, slots)
	s.mu.Lock()
	s.err = err
	s.mu.Unlock()
	if err != nil {
		s.cfg.Log.Warn("codis: slots not filled in", "slots", len(slots), "err", err)
	}
	return err
}

func (s *Source) fillLocked(ctx context.Context, slots []Slot) error {
	ctx, cancel := context.WithTimeout(ctx, fillTime)
	defer cancel()
	next := s.Slots()
	var before []string // servers of the slots that change
	changed := 0
	for _, slot := range slots {
		if err := slot.check(len(next)); err != nil {
			return err
		}
		old := next[slot.ID]
		if old.equal(slot) {
			continue
		}
		changed++
		if old.BackendAddr != slot.BackendAddr {
			s.forgetMaster(slot.BackendAddrGroupID)
		}
		for _, addr := range []string{old.BackendAddr, old.MigrateFrom} {
			if addr != "" && !slices.Contains(before, addr) {
				before = append(before, addr)
			}
		}
		next[slot.ID] = slot
	}
	if err := s.putIntoForce(ctx, next); err != nil {
		return err
	}
	if changed == 0 {
		return nil
	}
	if err := s.cfg.AwaitAnswered(ctx, before); err != nil {
		return fmt.Errorf("%d slots are changed, but commands sent before are %w", changed, err)
	}
	return nil
}

// forgetMaster lets the dashboard say who is the master of a group; the sentinels may say otherwise again.
func (s *Source) forgetMaster(group int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	masters := maps.Clone(s.masters)
	delete(masters, strconv.Itoa(group))
	s.masters = masters
}

// putIntoForce publishes slots and waits until they are in force on every loop.
func (s *Source) putIntoForce(ctx context.Context, slots []Slot) error {
	s.mu.Lock()
	snap, serving := snapshot(switched(slots, s.masters)), s.serving
	s.mu.Unlock()
	if len(snap.Groups) == 0 && !serving {
		s.keep(slots, false) // A product whose slots are all offline, as a new one.
		return nil
	}
	done := make(chan error, 1)
	snap.Done = done
	select {
	case s.publishing <- snap:
	case <-ctx.Done():
		return fmt.Errorf("the topology was not taken: %w", ctx.Err())
	}
	select {
	case err := <-done:
		if err != nil {
			return err
		}
	case <-ctx.Done():
		return fmt.Errorf("the topology is not in force: %w", ctx.Err())
	}
	s.keep(slots, true)
	return nil
}

// keep notes what is in force.
func (s *Source) keep(slots []Slot, serving bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.slots, s.serving = slots, serving
}
