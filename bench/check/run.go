package check

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Run is a load under way. Safe for concurrent use.
type Run struct {
	cfg     Config
	space   *keyspace
	clients []*client
	// sessions do what takes more than one command and one reply.
	sessions sessions
	journal  *journal
	line     *timeline
	history  atomic.Int64 // operations on shared keys

	cancel context.CancelFunc
	ended  chan struct{} // closed when all clients have ended

	stop   sync.Once
	report *Report

	mu    sync.Mutex
	marks []mark
}

// mark is the beginning of a phase.
type mark struct {
	name string
	at   time.Duration
}

// Start writes the keys, connects the clients and starts the load, whose first
// phase is "before". ctx bounds the start and ends the load. The caller must call
// Stop.
func Start(ctx context.Context, cfg Config) (*Run, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	r := &Run{cfg: cfg, journal: newJournal(&cfg), ended: make(chan struct{})}
	r.space = newKeyspace(&r.cfg)
	for i := range cfg.Clients {
		r.clients = append(r.clients, newClient(i, r))
	}
	if err := r.space.fill(r.clients); err != nil {
		return nil, err
	}
	if err := r.space.fillSessions(r); err != nil {
		return nil, err
	}
	if err := r.preload(ctx); err != nil {
		return nil, err
	}
	for _, c := range r.everybody() {
		if err := c.wire.dial(ctx); err != nil {
			r.hangUp()
			return nil, fmt.Errorf("client %d of %d: %w", c.id+1, len(r.everybody()), err)
		}
	}
	limit := cfg.Duration
	if limit == 0 {
		limit = maxDuration
	}
	ctx, r.cancel = context.WithTimeout(ctx, limit)
	// Replies may come until Stop's last wait is over.
	r.line = newTimeline(limit + cfg.ReplyTimeout)
	r.marks = []mark{{name: "before"}}
	var all sync.WaitGroup
	for _, c := range r.clients {
		c.begin(r.line)
		all.Go(func() { c.load(ctx) })
	}
	r.sessions.start(ctx, r.line, &all)
	go func() {
		all.Wait()
		close(r.ended)
	}()
	return r, nil
}

// Mark begins a phase. Beyond 64 phases, what follows counts in the last one.
func (r *Run) Mark(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.marks) == maxPhases {
		return
	}
	r.marks = append(r.marks, mark{name: name, at: r.line.now()})
	r.line.phase.Store(int32(len(r.marks) - 1))
}

// Done is closed when all clients have ended: by Duration, Requests, the end of
// the context, Stop, or because none could connect any more.
func (r *Run) Done() <-chan struct{} { return r.ended }

// Progress is the number of replies so far, and how many of them were for
// watched keys.
func (r *Run) Progress() (replies, watched uint64) {
	for i := range r.line.windows {
		replies += uint64(r.line.windows[i].all.Load())
		watched += uint64(r.line.windows[i].watched.Load())
	}
	return replies, watched
}

// Stop ends the clients, reads every key, searches the histories of the shared
// keys and returns the report. Each of the three takes at most Config.EndLimit.
// A second call returns the same report.
func (r *Run) Stop() *Report {
	r.stop.Do(func() {
		r.cancel()
		<-r.ended
		end := r.line.now()
		gens := r.generations()
		r.readAll(gens)
		r.hangUp()
		r.report = newReport(r, end)
		r.report.Linear = r.linearize(gens)
		at, phase := r.moment()
		r.sessions.end(gens, func(v verdict, key string) { r.journal.find(v, at, phase, key) })
		r.report.close(r.journal)
	})
	return r.report
}

// moment is the time and the phase.
func (r *Run) moment() (time.Duration, string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.line.now(), r.marks[len(r.marks)-1].name
}

// everybody is every connection.
func (r *Run) everybody() []*client {
	all := slices.Clone(r.clients)
	for _, s := range r.sessions.all {
		all = append(all, s.client)
	}
	return all
}

func (r *Run) hangUp() {
	for _, c := range r.everybody() {
		c.wire.hangUp()
	}
}

// generations returns every shared key that was used, in a fixed order.
func (r *Run) generations() []*generation {
	var out []*generation
	for _, keys := range r.space.shared {
		for _, k := range keys {
			out = append(out, k.gens...)
		}
	}
	pairs, singles := r.sessions.generations()
	out = append(append(out, pairs...), singles...)
	slices.SortFunc(out, func(a, b *generation) int { return cmp.Compare(a.key, b.key) })
	return out
}

// readAll reads the state at the end: every client its own keys, all together the
// others.
func (r *Run) readAll(gens []*generation) {
	ctx, cancel := r.endContext()
	defer cancel()
	pairs, _ := r.sessions.generations()
	isPair := func(g *generation) bool { return slices.Contains(pairs, g) }
	others := append(r.sharedFinals(slices.DeleteFunc(slices.Clone(gens), isPair)), r.fillerFinals()...)
	share := (len(others) + len(r.clients) - 1) / len(r.clients)
	var all sync.WaitGroup
	for i, c := range r.clients {
		todo := c.finals()
		todo = append(todo, others[min(i*share, len(others)):min((i+1)*share, len(others))]...)
		all.Go(func() { c.read(ctx, todo) })
	}
	if len(r.sessions.all) > 0 {
		todo := slices.Concat(r.pairFinals(pairs), r.queueFinals(), r.streamFinals())
		all.Go(func() { r.sessions.all[0].read(ctx, todo) })
	}
	all.Wait()
}

func (r *Run) linearize(gens []*generation) Linear {
	at, phase := r.moment()
	complete := func(g *generation) bool { return sharedComplete(g.history) }
	return linearize(gens, complete, r.cfg.Undone, time.Now().Add(r.cfg.EndLimit), func(g *generation, n int) {
		r.journal.find(object(Unordered, "%s with %d operations", classNames[g.class], n), at, phase, g.key)
	})
}
