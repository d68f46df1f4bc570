package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sluice/discovery"
)

// The rhythm of the looks:
//
//	           .--- periodic: Interval, ± a fifth -----------.
//	           v                                             |
//	look --> pause --> (asked meanwhile? look) --> wait -----+
//	  ^       gap                                   | asked: look
//	  '--- failed: back-off, from minBackoff to maxBackoff, ± a fifth
//
// Whoever asks for a look after a quiet time gets one at once. When looks are asked for without end, as in a
// long migration where every slot brings a MOVED, the gap doubles from minGap up to maxGap: the MOVED have
// already mended the routes, and hundreds of proxies that ask all masters ten times a second are a load that
// the nodes feel. The jitter keeps proxies that were started together from asking together for ever.
const (
	minGap     = 100 * time.Millisecond
	maxGap     = time.Second
	minBackoff = 250 * time.Millisecond
	maxBackoff = 5 * time.Second
	// maxAsked bounds the nodes asked in a look. Gossip spreads each change to all; 16 voices are enough
	// for a majority that two or three stragglers can't turn.
	maxAsked = 16
	// grace is how long a look waits for the rest once more than half of the nodes have given a view, so
	// that a node that hangs does not hold up the news that it was replaced.
	grace = 100 * time.Millisecond
)

// Config says whom to ask and how. Seeds are required.
type Config struct {
	// Seeds are addresses (host:port) of some nodes. They are asked until other nodes are known, and after
	// that together with them.
	Seeds []string
	// Username and Password are sent with AUTH when they are set.
	Username, Password string
	// ClientName is what the nodes show in CLIENT LIST. Optional.
	ClientName string
	// Interval is the time between looks when nothing asks for one. Default 10 s.
	Interval time.Duration
	// Timeout bounds asking one node, from dialling to the last reply. Default 1 s.
	Timeout time.Duration
	// Dial opens a connection. Default: that of net.Dialer.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Log is optional.
	Log *slog.Logger
}

// Source asks the nodes of a cluster. Use New. mu guards the fields below it; Run's goroutine owns the rest.
type Source struct {
	cfg  atomic.Pointer[Config] // Written by SetConfig.
	wake chan struct{}          // Capacity 1: that somebody asked for a look, not how often.

	last     topology
	failures int // Looks without an answer since the last good one.

	mu       sync.Mutex
	seeds    []string // Never changed, only replaced.
	replaced int      // How often SetConfig did that.
	err      error
}

var _ discovery.Source = (*Source)(nil)

// New returns a Source that does nothing until Run.
func New(cfg Config) *Source {
	s := &Source{wake: make(chan struct{}, 1), seeds: slices.Clone(cfg.Seeds)}
	s.cfg.Store(cfg.withDefaults())
	return s
}

func (cfg Config) withDefaults() *Config {
	if cfg.Interval == 0 {
		cfg.Interval = 10 * time.Second
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = time.Second
	}
	if cfg.Dial == nil {
		cfg.Dial = new(net.Dialer).DialContext
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &cfg
}

// SetConfig replaces the configuration but for Dial and Log, from the next look on, and asks for that look.
// If the seeds differ from the old ones, the nodes learnt so far are forgotten: the new seeds may lead to another cluster, and
// two must not be mixed. Safe for concurrent use.
func (s *Source) SetConfig(cfg Config) {
	s.mu.Lock()
	if !slices.Equal(s.seeds, cfg.Seeds) {
		s.seeds = slices.Clone(cfg.Seeds)
		s.replaced++
	}
	old := s.cfg.Load()
	cfg.Dial, cfg.Log = old.Dial, old.Log
	s.cfg.Store(cfg.withDefaults())
	s.mu.Unlock()
	s.Refresh()
}

// Config is the configuration in force. Safe for concurrent use.
func (s *Source) Config() Config { return *s.cfg.Load() }

// Refresh asks for a look soon. Safe for concurrent use; it never blocks.
func (s *Source) Refresh() {
	select {
	case s.wake <- struct{}{}:
	default: // It has been asked for already.
	}
}

// Err says whom the last look asked and why none of them gave a view; nil after a good look. Safe for
// concurrent use.
func (s *Source) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Run looks at the cluster and publishes what it sees until ctx ends.
func (s *Source) Run(ctx context.Context, publish func(discovery.Snapshot)) error {
	gap, seen := minGap, 0
	for {
		seeds, replaced := s.currentSeeds()
		if replaced != seen {
			seen, s.last, s.failures = replaced, topology{}, 0
		}
		t, err := s.look(ctx, seeds)
		if ctx.Err() != nil {
			return nil
		}
		if _, now := s.currentSeeds(); now != seen {
			continue // It was a look at the old cluster.
		}
		s.note(err)
		if err == nil {
			s.last = t
			publish(discovery.Snapshot{Groups: t.groups})
		}
		storm, ok := s.pause(ctx, gap)
		if !ok {
			return nil
		}
		if storm {
			gap = min(2*gap, maxGap)
			continue
		}
		gap = minGap
	}
}

// pause waits out the gap and then until the next look is due. It reports whether a look was asked for
// within the gap, and false for ok when ctx has ended.
func (s *Source) pause(ctx context.Context, gap time.Duration) (storm, ok bool) {
	timer := time.NewTimer(gap)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false, false
	case <-timer.C:
	}
	select {
	case <-s.wake:
		return true, true
	default:
	}
	timer.Reset(max(0, s.nextLook()-gap))
	select {
	case <-ctx.Done():
		return false, false
	case <-s.wake:
	case <-timer.C:
	}
	return false, true
}

// nextLook is how long after a look the next one comes if nobody asks for it.
func (s *Source) nextLook() time.Duration {
	wait := s.cfg.Load().Interval
	if s.failures > 0 {
		wait = maxBackoff
		if n := s.failures - 1; n < 5 { // 250 ms doubled 5 times is more than 5 s.
			wait = minBackoff << n
		}
	}
	return wait - wait/5 + rand.N(2*wait/5+1)
}

// note keeps the outcome of a look, and logs it when it is another than before.
func (s *Source) note(err error) {
	switch {
	case err == nil && s.failures > 0:
		s.cfg.Load().Log.Info("cluster answers again", "failed_looks", s.failures)
	case err != nil && s.failures == 0:
		s.cfg.Load().Log.Warn("no view of the cluster; the last topology stays", "err", err)
	}
	s.failures++
	if err == nil {
		s.failures = 0
	}
	s.mu.Lock()
	s.err = err
	s.mu.Unlock()
}

func (s *Source) currentSeeds() (seeds []string, replaced int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seeds, s.replaced
}

// look asks nodes and merges what they say.
func (s *Source) look(ctx context.Context, seeds []string) (topology, error) {
	masters := make([]string, len(s.last.groups))
	for i, g := range s.last.groups {
		masters[i] = g.Master
	}
	targets := pick(masters, s.last.nodes, seeds, maxAsked, s.failures > 0, func(addrs []string) {
		rand.Shuffle(len(addrs), func(i, j int) { addrs[i], addrs[j] = addrs[j], addrs[i] })
	})
	views, complaints := s.askAll(ctx, targets)
	switch {
	case len(targets) == 0:
		return topology{}, errors.New("no view of the cluster: there are no seeds")
	case len(views) == 0:
		return topology{}, fmt.Errorf("no view of the cluster: %s", strings.Join(complaints, "; "))
	}
	t := merge(views, s.last.owners)
	s.cfg.Load().Log.Debug("looked at the cluster",
		"asked", len(targets), "views", len(views), "groups", len(t.groups), "complaints", complaints)
	return t, nil
}

// askAll asks the targets in parallel and returns their views, and what was wrong with the others, in the
// order of targets. It waits for every goroutine it starts.
func (s *Source) askAll(ctx context.Context, targets []string) (views []view, complaints []string) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make([]view, len(targets))
	errs := make([]error, len(targets))
	done := make(chan int, len(targets)) // Each goroutine sends once and ends.
	for i, addr := range targets {
		go func() {
			answers[i], errs[i] = s.ask(ctx, addr)
			done <- i
		}()
	}
	var enough <-chan time.Time
	for range targets {
		var i int
		select {
		case i = <-done:
		case <-enough:
			cancel()
			i = <-done
		}
		if errs[i] == nil {
			views = append(views, answers[i])
		}
		if enough == nil && 2*len(views) > len(targets) {
			timer := time.NewTimer(grace)
			defer timer.Stop()
			enough = timer.C
		}
	}
	for _, err := range errs {
		if err != nil {
			complaints = append(complaints, err.Error())
		}
	}
	return views, complaints
}
