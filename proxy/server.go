package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/panjf2000/gnet/v2"
	"github.com/panjf2000/gnet/v2/pkg/logging"

	"sluice/internal/epoll"
	"sluice/internal/sparselog"
	"sluice/proxy/local"
)

// Server runs the event loops and the pools on them. Its exported methods are safe for concurrent use.
//
//	New -> AddPool ... -> Start -> Shutdown
type Server struct {
	id      string
	version string
	log     *slog.Logger
	often   *slog.Logger // for what others can make happen as often as they like
	started time.Time

	engine *gnet.Client
	loops  []*loop
	pools  []*Pool
	ctx    context.Context // ends when the Server stops
	stop   context.CancelFunc
	work   sync.WaitGroup // acceptors, admissions, the ticker

	memoryAt int64 // clock of the last returnMemory that did something; the ticker's

	mu        sync.Mutex // guards listeners and Pool.addrs
	listeners []net.Listener

	admission
	nodeIDs  nodeIDs
	draining atomic.Bool
	ended    sync.Once   // guards left
	left     int         // requests that Shutdown has cut off
	running  atomic.Bool // the loops are there

	slow local.SlowLog
	inForce
	statBase     atomic.Pointer[Stats] // what CONFIG RESETSTAT has set to 0; nil for nothing
	rejectedBase atomic.Uint64         // rejected at the last CONFIG RESETSTAT

	pace       atomic.Int32  // how often the ticker runs; raised by loops, lowered by the ticker
	paceRaised chan struct{} // capacity 1: that pace was raised
}

// admission counts the clients that came.
type admission struct {
	clients    atomic.Int64  // accepted and not gone; written by acceptors and loops
	rejected   atomic.Uint64 // refused because of MaxClients
	acceptErrs atomic.Uint64
	lastClient atomic.Uint64 // id of the newest client
}

// inForce is what can be changed while the Server runs.
type inForce struct {
	settings   atomic.Pointer[Settings] // written by SetSettings
	configMu   sync.Mutex               // held from reading settings to replacing them, by CONFIG SET and Reconfigure
	configSet  map[string]bool          // what CONFIG SET has set, by parameter; guarded by configMu
	level      *slog.LevelVar           // of log; nil when it can't be changed
	affordable int                      // Config.AffordableClients
}

// readBuffer is what a loop reads from a connection at once, and so how long one connection can keep
// the others waiting.
const readBuffer = 64 << 10

// New returns a Server that does nothing yet.
func New(cfg Config) *Server {
	s := &Server{id: cfg.ID, version: cfg.Version, log: cfg.Log, started: time.Now(),
		paceRaised: make(chan struct{}, 1)}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.often = slog.New(sparselog.New(s.log.Handler()))
	s.level, s.affordable = cfg.Level, cfg.AffordableClients
	s.ctx, s.stop = context.WithCancel(context.Background())
	settings := cfg.Settings
	s.settings.Store(&settings)
	s.loops = make([]*loop, max(cfg.Loops, 1))
	return s
}

// AddPool adds a pool. It must be called before Start.
func (s *Server) AddPool(cfg PoolConfig) *Pool {
	p := newPool(s, cfg)
	s.pools = append(s.pools, p)
	return p
}

// Pools lists the pools in the order they were added.
func (s *Server) Pools() []*Pool { return s.pools }

// Settings are those in force.
func (s *Server) Settings() Settings { return *s.settings.Load() }

// SetSettings puts settings into force. Settings that are made of those in force are set within Reconfigure.
func (s *Server) SetSettings(settings Settings) { s.settings.Store(&settings) }

// Reconfigure runs apply, which puts settings of the process, of pools and of the log into force, apart from every
// CONFIG SET: one that has begun ends before, and the next one begins with what apply has set. It returns the names
// of the parameters that CONFIG SET had set since the last call; what they had is over. apply must not wait for a
// loop.
func (s *Server) Reconfigure(apply func()) (ended []string) {
	s.configMu.Lock()
	defer s.configMu.Unlock()
	apply()
	ended = slices.Sorted(maps.Keys(s.configSet))
	s.configSet = nil
	return ended
}

func (s *Server) limits() *Limits { return &s.settings.Load().Limits }

// Start opens the listeners and runs the loops. On an error nothing is left running.
func (s *Server) Start() error {
	if err := s.startLoops(); err != nil {
		s.stop()
		return fmt.Errorf("start event loops: %w", err)
	}
	s.work.Go(s.runTicker)
	for _, p := range s.pools {
		for _, l := range p.listen {
			if err := s.listen(p, l); err != nil {
				s.Shutdown(context.Background())
				return err
			}
		}
	}
	return nil
}

// startLoops starts the engine and finds its loops: gnet does not list them, so each is found through a
// connection that is enrolled on it. The engine is gnet's client engine, which has loops but no acceptor;
// see listen for why.
func (s *Server) startLoops() error {
	engine, err := gnet.NewClient(&handler{},
		gnet.WithNumEventLoop(len(s.loops)),
		gnet.WithReadBufferCap(readBuffer),
		gnet.WithLogger(engineLogger{s.log}),
		gnet.WithLogLevel(logging.WarnLevel),
	)
	if err != nil {
		return err
	}
	if err := engine.Start(); err != nil {
		return err
	}
	found, err := s.findLoops(engine, len(s.loops))
	if err != nil {
		return errors.Join(err, engine.Stop())
	}
	s.engine = engine
	for i, f := range found {
		s.loops[i] = newLoop(s, i, f.el)
		s.loops[i].poller = f.poller
		s.loops[i].keepProcessor()
	}
	s.running.Store(true)
	return nil
}

// foundLoop is a loop of gnet.
type foundLoop struct {
	el     gnet.EventLoop
	poller epoll.Instance
}

// findLoops enrolls one connection per loop; the engine gives each to the loop that has the fewest.
func (s *Server) findLoops(engine *gnet.Client, n int) ([]foundLoop, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer func() { _ = ln.Close() }()
	var loops []foundLoop
	seen := make(map[gnet.EventLoop]bool)
	for range n {
		nc, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			return nil, err
		}
		gc, err := engine.Enroll(nc)
		if err != nil {
			return nil, err
		}
		defer func() { _ = gc.Close() }()
		if el := gc.EventLoop(); !seen[el] {
			seen[el] = true
			poller, err := epoll.Find(gc.Fd())
			if err != nil {
				s.log.Warn("clients that send too fast can't be slowed down, only closed at max_unparsed", "err", err)
			}
			loops = append(loops, foundLoop{el: el, poller: poller})
		}
	}
	if len(loops) < n {
		return nil, fmt.Errorf("found %d of %d event loops", len(loops), n)
	}
	return loops, nil
}

// onEachLoop runs f on every loop, one after the other. It returns when all are done, or false when ctx ends
// before that or there are none yet. Not to be called on a loop.
func (s *Server) onEachLoop(ctx context.Context, f func(l *loop)) bool {
	if !s.running.Load() {
		return false
	}
	for _, l := range s.loops {
		if !s.runOn(ctx, l, func() { f(l) }) {
			return false
		}
	}
	return true
}

// runOn runs f on a loop and waits for it. It reports false when the engine stops or ctx ends before that; then f may
// still run. Not to be called on a loop.
func (s *Server) runOn(ctx context.Context, l *loop, f func()) bool {
	done := make(chan struct{})
	if !l.execute(func() { defer close(done); f() }) {
		return false
	}
	select {
	case <-done:
		return true
	case <-ctx.Done():
		return false
	case <-s.ctx.Done():
		return false
	}
}

// loopWait is how long a loop may take to answer before it counts as stuck. Its longest turn takes
// milliseconds.
const loopWait = 5 * time.Second

// Stats is the sum of the counters of all loops that answer.
func (s *Server) Stats() *Stats {
	sum, _ := s.statsWithin(loopWait)
	return sum
}

// Responsive reports whether every loop answers; not before Start.
func (s *Server) Responsive() bool {
	_, ok := s.statsWithin(loopWait)
	return ok
}

func (s *Server) statsWithin(d time.Duration) (*Stats, bool) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	var mu sync.Mutex // A loop that answers too late must not write into what was returned.
	sum := new(Stats)
	ok := s.onEachLoop(ctx, func(l *loop) {
		mu.Lock()
		defer mu.Unlock()
		sum.merge(l.snapshot())
	})
	mu.Lock()
	defer mu.Unlock()
	out := *sum
	return &out, ok
}

// Clients is the number of connected clients.
func (s *Server) Clients() int { return int(s.clients.Load()) }

// Rejected is the number of clients refused because MaxClients were connected.
func (s *Server) Rejected() uint64 { return s.rejected.Load() }

// AcceptErrors counts failed accepts, such as those for want of file descriptors.
func (s *Server) AcceptErrors() uint64 { return s.acceptErrs.Load() }

// Uptime is the time since New.
func (s *Server) Uptime() time.Duration { return time.Since(s.started) }

// Draining reports whether Shutdown was called.
func (s *Server) Draining() bool { return s.draining.Load() }

func (s *Server) clientGone() { s.clients.Add(-1) }

// engineLogger passes gnet's messages on.
type engineLogger struct{ log *slog.Logger }

func (e engineLogger) Debugf(format string, args ...any) {
	e.log.Debug("gnet: " + fmt.Sprintf(format, args...))
}
func (e engineLogger) Infof(format string, args ...any) {
	e.log.Debug("gnet: " + fmt.Sprintf(format, args...))
}
func (e engineLogger) Warnf(format string, args ...any) {
	if strings.HasPrefix(format, "received event[") { // Of a connection that loop.poll has closed meanwhile.
		e.Debugf(format, args...)
		return
	}
	e.log.Warn("gnet: " + fmt.Sprintf(format, args...))
}
func (e engineLogger) Errorf(format string, args ...any) {
	e.log.Error("gnet: " + fmt.Sprintf(format, args...))
}
func (e engineLogger) Fatalf(format string, args ...any) {
	e.log.Error("gnet: " + fmt.Sprintf(format, args...))
}
