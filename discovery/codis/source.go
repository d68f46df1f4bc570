// Package codis lets codis-dashboard (Codis 3.2, and Pika's fork of it) take Sluice for a codis-proxy: it serves the
// admin HTTP API that the dashboard expects of a proxy, and turns the slots that it is given into topology. A site
// keeps its dashboard and its FE, registers Sluice where it had codis-proxy, and migrates as before.
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
	"net"
	"net/http"
	"os"
	"slices"
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

	// StateFile keeps the token, and what the dashboard has filled in last, for a start while it is away; "": none.
	StateFile string
	// MaxStateAge is how long ago the dashboard may have called for the slots in the file to be used.
	MaxStateAge time.Duration
	// SentinelEvery is the time between two looks at the sentinels; 0 is 1 s.
	SentinelEvery time.Duration
	// Counters are asked for by every GET stats.
	Counters func() Counters
	// AwaitAnswered waits until what was sent to the servers at addrs is answered, see proxy.Pool.
	AwaitAnswered func(ctx context.Context, addrs []string) error
	// AwaitBackground waits until the server at addr moves no slot in the background, or ctx ends, see proxy.Pool. May be nil.
	AwaitBackground func(ctx context.Context, addr string)
	// BeginMove is called when slots are locked that are about to move between the servers at two addresses, see
	// proxy.Pool. May be nil.
	BeginMove func(ctx context.Context, from, to string)
	// Shutdown ends the proxy, because the dashboard asked for it. It must not block.
	Shutdown func()
	Log      *slog.Logger
}

const (
	// fillTime bounds a fill: below the minute after which the dashboard gives up, above what a request
	// takes to be answered or to time out.
	fillTime = 10 * time.Second
	// backgroundTime bounds the wait for a server that a slot is about to leave.
	backgroundTime = 3 * time.Second
	// readTime bounds the head of a request.
	readTime = 5 * time.Second
	// endTime is how long the end waits for answers under way.
	endTime = time.Second
	// maxBody bounds what is read of a request.
	maxBody = 4 << 20
)

// Source is a source of topology and an HTTP server. Safe for concurrent use.
type Source struct {
	cfg   Config
	ln    net.Listener
	model Model
	xauth string

	publishing chan discovery.Snapshot // to Run
	file       saved                   // what the state file had at the start
	saves      chan struct{}           // to writeStates; capacity 1
	writing    sync.Mutex              // held while the state file is written
	fills      sync.Mutex              // held while routes change; guards owing
	owing      []string                // servers that a fill was not able to wait for

	mu        sync.Mutex // guards the fields below it
	routes    routes     // in force
	serving   bool       // a topology was put into force
	online    bool
	closed    bool
	sentinels []string
	said      map[int]string // by group: the master that the sentinels named last
	rates     sample
	seen      time.Time // when the dashboard has called last, before this process too
	savedAt   time.Time
	saveErr   error // of the state file
	err       error
}

// New returns a Source that serves on ln once Run is called.
func New(cfg Config, ln net.Listener) *Source {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Source{
		cfg: cfg, ln: ln, publishing: make(chan discovery.Snapshot), saves: make(chan struct{}, 1), routes: newRoutes(cfg.Slots),
	}
	s.model = newModel(&cfg, ln.Addr().String())
	if cfg.StateFile != "" {
		file, err := readSaved(cfg.StateFile, cfg.Product, cfg.Slots)
		if err != nil {
			kept := cfg.StateFile + ".refused" // It may be the right one, and the configuration wrong.
			cfg.Log.Warn("starting without the state file", "err", err, "kept_as", kept, "rename_err", os.Rename(cfg.StateFile, kept))
		} else if file.Token != "" {
			s.file, s.seen, s.model.Token = file, file.Seen, file.Token
		}
	}
	s.xauth = XAuth(cfg.Product, cfg.Auth, s.model.Token)
	s.err = errors.New("codis-dashboard has not filled in any slots yet: register the proxy with it, " +
		"codis-admin --create-proxy -x " + s.model.AdminAddr)
	return s
}

// Run implements discovery.Source: it serves the API until ctx ends.
func (s *Source) Run(ctx context.Context, publish func(discovery.Snapshot)) error {
	server := &http.Server{
		Handler: s.handler(ctx), ReadHeaderTimeout: readTime, ReadTimeout: 2 * readTime, IdleTimeout: time.Minute,
		ErrorLog: slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelWarn),
	}
	var work sync.WaitGroup
	work.Go(func() {
		if err := server.Serve(s.ln); !errors.Is(err, http.ErrServerClosed) {
			s.cfg.Log.Error("codis admin API ended", "err", err)
		}
	})
	work.Go(func() { s.watchSentinels(ctx) })
	work.Go(func() { s.writeStates(ctx) })
	work.Go(func() { s.useFile(ctx) })
	for {
		select {
		case snap := <-s.publishing:
			publish(snap)
		case <-ctx.Done():
			// What is being answered ends with ctx, too; a connection that says nothing is not waited for.
			end, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTime)
			defer cancel()
			_ = server.Shutdown(end)
			_ = server.Close()
			work.Wait()
			return ctx.Err()
		}
	}
}

// Refresh implements discovery.Source. Nobody can be asked: the dashboard tells when there is something new.
func (s *Source) Refresh() {}

// Err says why there is no topology, or why the last fill has failed.
func (s *Source) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(s.err, s.saveErr)
}

// Slots is what the dashboard has filled in, with the masters that count.
func (s *Source) Slots() []Slot {
	slots, _ := s.known().inForce()
	return slots
}

func (s *Source) known() routes {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.routes
}

// fill puts slots into force, as fillslots asks for.
func (s *Source) fill(ctx context.Context, slots []Slot) error {
	s.fills.Lock()
	defer s.fills.Unlock()
	err := s.fillNext(ctx, slots)
	s.mu.Lock()
	if s.err = err; errors.As(err, new(refusedError)) {
		s.err = nil // The Keeper says that.
	}
	s.mu.Unlock()
	if err != nil {
		s.cfg.Log.Warn("codis: slots not filled in", "slots", len(slots), "err", err)
	}
	return err
}

// fillNext is fill with s.fills held.
func (s *Source) fillNext(ctx context.Context, slots []Slot) error {
	ctx, cancel := context.WithTimeout(ctx, fillTime)
	defer cancel()
	known := s.known()
	next, err := known.filled(slots)
	if err != nil {
		return err
	}
	old, _ := known.inForce()
	now, _ := next.inForce()
	changed, servers := changes(old, now)
	s.awaitBackgrounds(ctx, old, now)
	if err := s.putIntoForce(ctx, next); err != nil {
		return err
	}
	s.writeState() // Before the answer: a process that ends now must not start with what was true before.
	s.beginMoves(ctx, old, now)
	if changed == 0 && len(s.owing) == 0 {
		return nil
	}
	// A fill that failed here may be asked for again when nothing is left to change.
	s.owing = append(s.owing, servers...)
	slices.Sort(s.owing)
	s.owing = slices.Compact(s.owing)
	if err := s.cfg.AwaitAnswered(ctx, s.owing); err != nil {
		return fmt.Errorf("%d slots are changed, but commands sent before are %w", changed, err)
	}
	s.owing = nil
	return nil
}

// awaitBackgrounds gives the servers that slots are about to leave the time to end the move of the slot before. It
// comes before the slots are locked, so that nobody is held for it.
func (s *Source) awaitBackgrounds(ctx context.Context, old, now []Slot) {
	if s.cfg.AwaitBackground == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, backgroundTime)
	defer cancel()
	asked := make(map[string]bool)
	for _, slot := range beginning(old, now) {
		if slot.ForwardMethod == forwardSemiAsync && !asked[slot.MigrateFrom] {
			asked[slot.MigrateFrom] = true
			s.cfg.AwaitBackground(ctx, slot.MigrateFrom)
		}
	}
}

// beginMoves prepares the servers for moves of slots that are locked.
func (s *Source) beginMoves(ctx context.Context, old, now []Slot) {
	if s.cfg.BeginMove == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, backgroundTime)
	defer cancel()
	type move struct{ from, to string }
	begun := make(map[move]bool)
	for _, slot := range beginning(old, now) {
		if m := (move{slot.MigrateFrom, slot.BackendAddr}); !begun[m] {
			begun[m] = true
			s.cfg.BeginMove(ctx, m.from, m.to)
		}
	}
}

// beginning are the slots that are about to move.
func beginning(old, now []Slot) []Slot {
	var slots []Slot
	for i, slot := range now {
		if slot.Locked && slot.MigrateFrom != "" && old[i].MigrateFrom != slot.MigrateFrom {
			slots = append(slots, slot)
		}
	}
	return slots
}

// putIntoForce publishes routes and waits until they are in force. s.fills is held.
func (s *Source) putIntoForce(ctx context.Context, r routes) error {
	slots, _ := r.inForce()
	snap := snapshot(slots)
	s.mu.Lock()
	idle := len(snap.Groups) == 0 && !s.serving
	s.mu.Unlock()
	if idle { // A product whose slots are all offline, as a new one.
		s.keep(r, false)
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
			return refusedError{err}
		}
	case <-ctx.Done():
		return fmt.Errorf("the topology is not in force: %w", ctx.Err())
	}
	s.keep(r, true)
	return nil
}

// refusedError is why the Keeper has not taken a topology.
type refusedError struct{ error }

func (e refusedError) Unwrap() error { return e.error }

// keep notes what is in force.
func (s *Source) keep(r routes, serving bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.routes, s.serving = r, serving
	s.saveSoon()
}
