package fakedragonfly

import (
	"context"
	"slices"
	"time"

	"sluice/internal/testbed/fake"
)

// follower is a replica's connection to its master. Its goroutine runs in the life of the replica.
type follower struct {
	port   int // The replica's.
	cancel context.CancelFunc
	done   chan struct{}

	// mu of the replica.
	state    string
	of       string // The id that it has synced with, "" for none.
	at       int    // Its place in the journal.
	applied  int    // slave_repl_offset: a count of its own.
	lost     time.Time
	attempts int // Of partial syncs.
	partial  int // Those that succeeded.

	// mu of the master.
	shown string
	acked int
}

// retryEvery is how often a replica looks for a master that is away.
const retryEvery = 5 * time.Millisecond

// follow changes the master, "" for none, and returns when the old link has ended.
func (r *replication) follow(addr string) {
	r.turnover.Lock()
	defer r.turnover.Unlock()
	r.mu.Lock()
	old := r.link
	r.link, r.master = nil, addr
	r.mu.Unlock()
	if old != nil {
		old.cancel()
		<-old.done
	}
	if addr == "" {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	l := &follower{port: r.s.Port(), cancel: cancel, done: make(chan struct{}), state: replConnecting, lost: time.Now()}
	r.mu.Lock()
	r.link, r.kept = l, true
	r.mu.Unlock()
	began := r.s.host.Go(func(life context.Context) {
		defer close(l.done)
		defer context.AfterFunc(life, cancel)()
		for ctx.Err() == nil {
			r.attempt(ctx, l, addr)
			_ = fake.Rest(ctx, retryEvery) // The loop looks at ctx itself.
		}
	})
	if !began {
		cancel()
		close(l.done)
	}
}

// attempt is one connection to the master, until one of the two is lost.
func (r *replication) attempt(ctx context.Context, l *follower, addr string) {
	if r.s.Faults.Pass(ctx, ReplicaConnect, "") != nil {
		return
	}
	found, ok := running.Load(addr)
	if !ok {
		return
	}
	m := &found.(*Server).repl
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watched := make(chan struct{})
	if !m.s.host.Go(func(life context.Context) {
		defer close(watched)
		defer cancel()
		_ = fake.Wait(life, ctx.Done()) // Whichever ends first.
	}) {
		return
	}
	defer func() {
		cancel()
		<-watched
		m.mu.Lock()
		m.replicas = slices.DeleteFunc(m.replicas, func(o *follower) bool { return o == l })
		m.mu.Unlock()
		r.mu.Lock()
		l.state, l.lost = replConnecting, time.Now()
		r.mu.Unlock()
	}()
	if m.serve(ctx) != nil {
		return
	}
	m.mu.Lock()
	id, end := m.id, len(m.journal)
	m.kept = true
	m.replicas = append(m.replicas, l)
	l.shown = replPreparation
	m.mu.Unlock()
	if !r.resume(l, id, end) && !r.fullSync(ctx, l, m, id) {
		return
	}
	r.stream(ctx, l, m, id)
}

// serve passes when the master answers: not while it is frozen.
func (r *replication) serve(ctx context.Context) error {
	return r.s.Faults.Pass(ctx, MasterServe, "")
}

// resume goes on where the link was, if the master is the one that it was.
func (r *replication) resume(l *follower, id string, end int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if l.of != "" {
		l.attempts++
	}
	if l.of != id || l.at > end {
		l.of, l.state = "", replPreparation
		return false
	}
	l.partial++
	l.state = replOnline
	return true
}

func (r *replication) fullSync(ctx context.Context, l *follower, m *replication, id string) bool {
	set := func(state string) {
		r.mu.Lock()
		l.state = state
		r.mu.Unlock()
		m.mu.Lock()
		l.shown = state
		m.mu.Unlock()
	}
	set(replFullSync)
	all, at, ok := m.snapshot(id)
	if !ok || r.s.Faults.Pass(ctx, ReplicaSync, "") != nil || m.serve(ctx) != nil {
		return false
	}
	r.apply(all)
	r.mu.Lock()
	l.of, l.at, l.applied = id, at, at
	r.mu.Unlock()
	set(replOnline)
	return true
}

// stream applies what the master logs until ctx ends, or the life of the master whose id it was told.
func (r *replication) stream(ctx context.Context, l *follower, m *replication, id string) {
	r.mu.Lock()
	at := l.at
	r.mu.Unlock()
	for {
		rest, changed, ok := m.after(l, id, at)
		if !ok {
			return
		}
		if len(rest) == 0 {
			if fake.Wait(ctx, changed) != nil {
				return
			}
			continue
		}
		if r.s.Faults.Pass(ctx, ReplicaApply, "") != nil || m.serve(ctx) != nil {
			return
		}
		r.apply(rest[0])
		at++
		r.mu.Lock()
		l.at = at
		l.applied++
		r.mu.Unlock()
	}
}

// following reports whether this is a replica, and whether it is being filled.
func (r *replication) following() (replica, loads bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.link != nil, r.link != nil && r.link.state == replFullSync
}
