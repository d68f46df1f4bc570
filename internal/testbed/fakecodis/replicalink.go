package fakecodis

import (
	"context"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"sluice/internal/testbed/fake"
)

// The states of a link, as repl_connect_status has them.
const (
	noConnect  = "no_connect"
	tryFull    = "try_to_full_sync"
	syncFull   = "syncing_full"
	tryIncr    = "try_to_incr_sync"
	connecting = "connecting"
	connected  = "connected"
	inError    = "error"
)

// link is a replica's connection to its master. Its goroutine runs in the life of the replica.
type link struct {
	port   int // The replica's.
	cancel context.CancelFunc
	done   chan struct{} // Closed when the goroutine has ended.
	drop   chan struct{} // Has room for one; see DropLink.

	full bool // It needs a full sync. Owned by the goroutine.

	state string // mu of the replica.

	fd    int    // mu of the master, as what follows.
	shown string // What the lag says, "" for a number.
	sent  int64
}

// runningPikas stands for the network: it has the Pikas of this process by host:port.
var runningPikas sync.Map // string to *pika

// retryEvery is how often a replica looks for a master that is away.
const retryEvery = 5 * time.Millisecond

// ReplicaOf makes a Pika the replica of another one, as SLAVEOF does; nil makes it a master.
func (s *Server) ReplicaOf(master *Server) {
	addr := ""
	if master != nil {
		addr = master.Addr()
	}
	s.pika.repl.follow(addr, false)
}

// DropLink makes a replica take its master for silent for 20 s: it connects again.
func (s *Server) DropLink() {
	r := &s.pika.repl
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.link == nil {
		return
	}
	select {
	case r.link.drop <- struct{}{}:
	default: // It has not connected again since the last one.
	}
}

// CaughtUp reports whether a replica has received and applied all that its master has logged, whatever INFO says.
func (s *Server) CaughtUp() bool {
	r := &s.pika.repl
	r.mu.Lock()
	addr, end := r.master, r.end
	idle := r.link != nil && r.link.state == connected && len(r.queue) == 0
	r.mu.Unlock()
	master, ok := runningPikas.Load(addr)
	if !ok || !idle {
		return false
	}
	m := &master.(*pika).repl
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.end == end
}

// slaveof is SLAVEOF host port [force] and SLAVEOF NO ONE.
func (p *pika) slaveof(_ context.Context, c *client, args []string) error {
	r := &p.repl
	if len(args) == 2 && strings.EqualFold(args[0], "no") && strings.EqualFold(args[1], "one") {
		r.follow("", false)
		c.Write(fake.OK)
		return nil
	}
	port, ok := integer(args[1])
	switch {
	case len(args) > 3 || len(args) == 3 && !strings.EqualFold(args[2], "force"):
		c.Write(wrongArity("slaveof"))
	case !ok:
		c.Write(replyNotInteger)
	case p.isSelf(args[0], port):
		c.Write("-ERR The master ip:port and the slave ip:port are the same\r\n")
	case r.hasSlaves():
		c.Write("-ERR already master of others, invalid usage\r\n")
	default:
		host := strings.ToLower(args[0])
		if host == "localhost" {
			host = "127.0.0.1"
		}
		r.follow(net.JoinHostPort(host, args[1]), len(args) == 3)
		c.Write(fake.OK)
	}
	return nil
}

func (r *replication) hasSlaves() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.slaves) > 0
}

// follow changes the master, "" for none, and returns when the old link has ended.
func (r *replication) follow(addr string, force bool) {
	r.turnover.Lock()
	defer r.turnover.Unlock()
	r.mu.Lock()
	old := r.link
	r.link, r.master = nil, addr
	r.change()
	r.mu.Unlock()
	if old != nil {
		old.cancel()
		<-old.done
	}
	r.slave.Store(addr != "")
	if addr != "" {
		r.connect(noConnect, force)
	}
}

// start starts a life: open opens the doors. The master is kept, what was not applied is not. Whoever comes through a door
// waits with SLAVEOF until the link of this life is there.
func (r *replication) start(open func() error) error {
	r.turnover.Lock()
	defer r.turnover.Unlock()
	r.mu.Lock()
	r.queue, r.applying = nil, false
	follows := r.master != ""
	r.mu.Unlock()
	if err := open(); err != nil {
		return err
	}
	runningPikas.Store(r.p.s.Addr(), r.p)
	if follows {
		r.connect(tryIncr, false)
	}
	return nil
}

// close is the end of the data.
func (r *replication) close() {
	runningPikas.Delete(r.p.s.Addr())
	r.order.Lock()
	defer r.order.Unlock()
	r.closed = true
}

// connect starts a link. r.turnover is held.
func (r *replication) connect(state string, full bool) {
	ctx, cancel := context.WithCancel(context.Background())
	l := &link{port: r.p.s.Port(), cancel: cancel, done: make(chan struct{}), drop: make(chan struct{}, 1), full: full, state: state}
	r.mu.Lock()
	r.link, r.kept = l, true
	r.change()
	r.mu.Unlock()
	began := r.p.s.host.Go(func(life context.Context) {
		defer close(l.done)
		defer context.AfterFunc(life, cancel)()
		for ctx.Err() == nil {
			if !r.attempt(ctx, l) {
				r.set(l, noConnect)
				_ = fake.Rest(ctx, retryEvery) // The loop looks at ctx itself.
			}
		}
	})
	if !began {
		cancel()
		close(l.done)
	}
}

// set changes the state of a link.
func (r *replication) set(l *link, state string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l.state = state
	r.change()
}

// attempt is one connection to the master, until one of the two is lost. It reports false when nobody is there.
func (r *replication) attempt(ctx context.Context, l *link) bool {
	if err := r.p.s.Faults.Pass(ctx, SlaveConnect, ""); err != nil {
		return true
	}
	r.mu.Lock()
	addr := r.master
	r.mu.Unlock()
	found, ok := runningPikas.Load(addr)
	if !ok {
		return false
	}
	m := &found.(*pika).repl
	whole := ctx
	ctx, cancel := context.WithCancel(ctx)
	next, refused, ended, watched := "", false, make(chan struct{}), make(chan struct{})
	alive := m.p.s.host.Go(func(life context.Context) {
		defer close(watched)
		defer cancel()
		select {
		case <-life.Done():
			next = noConnect
		case <-l.drop:
			next = tryIncr
		case <-ended:
		}
	})
	if !alive {
		cancel()
		return false
	}
	defer func() {
		close(ended)
		<-watched
		m.leave(l)
		if next != "" && !refused {
			r.set(l, next)
		}
	}()
	if refused = r.converse(ctx, l, m); refused {
		r.set(l, inError)
		<-whole.Done() // Only SLAVEOF helps.
	}
	return true
}

// converse is what replica and master say to each other. It reports whether the master refused for good.
func (r *replication) converse(ctx context.Context, l *link, m *replication) (refused bool) {
	if m.serve(ctx) != nil {
		return false
	}
	if !r.meet(l, m) {
		return true
	}
	for {
		if l.full && !r.fullSync(ctx, l, m) {
			return false
		}
		r.set(l, tryIncr)
		if r.p.s.Faults.Pass(ctx, SlaveIncr, "") != nil {
			return false
		}
		r.set(l, connecting)
		if r.p.s.Faults.Pass(ctx, SlaveReply, "") != nil || m.serve(ctx) != nil {
			return false
		}
		switch m.accept(l, r.offset()) {
		case purged:
			l.full = true
			continue
		case diverged:
			return true
		case goesOn:
		}
		if r.p.s.Faults.refuseIncr.Load() {
			return true
		}
		r.set(l, connected)
		r.stream(ctx, l, m)
		return false
	}
}

// serve passes when the master answers: not while it is frozen.
func (r *replication) serve(ctx context.Context) error {
	return r.p.s.Faults.Pass(ctx, MasterServe, "")
}

// meet compares the ids and puts the link into the list of the master. A replica without one takes the master's, and
// needs a full sync.
func (r *replication) meet(l *link, m *replication) bool {
	m.mu.Lock()
	if m.id == "" {
		m.id = newReplicationID()
	}
	id := m.id
	if !m.kept {
		m.kept = true
	}
	m.attached++
	l.fd, l.shown, l.sent = 80+m.attached, "not syncing", 0
	m.slaves = append(m.slaves, l)
	m.change()
	m.mu.Unlock()

	r.mu.Lock()
	defer r.mu.Unlock()
	if r.id == "" {
		r.id, l.full = id, true
	}
	return r.id == id
}

func (r *replication) leave(l *link) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.slaves = slices.DeleteFunc(r.slaves, func(s *link) bool { return s == l })
	r.change()
}

func (r *replication) offset() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.end
}

// fullSync copies all data of the master. Two faults leave the data out: see SkipFullSync and CutFullSync.
func (r *replication) fullSync(ctx context.Context, l *link, m *replication) bool {
	faults := r.p.s.Faults
	r.set(l, tryFull)
	if faults.Pass(ctx, SlaveFullSync, "") != nil || m.serve(ctx) != nil {
		return false
	}
	if faults.skipFull.Load() {
		r.pretend(l, m)
		return true
	}
	m.show(l, "full syncing", 0)
	r.mu.Lock()
	r.eligible = false
	l.state = syncFull
	r.change()
	r.mu.Unlock()
	s, ok := m.snapshot()
	if !ok || faults.Pass(ctx, SlaveCopy, "") != nil {
		return false
	}
	if faults.cutFull.Load() {
		r.pretend(l, m)
		return true
	}
	r.load(s)
	l.full = false
	return true
}

// pretend takes over the master's offset without its data.
func (r *replication) pretend(l *link, m *replication) {
	at := m.offset()
	r.order.Lock()
	defer r.order.Unlock()
	r.restart(at)
	l.full = false
}

// show is what the master's lag says of a link.
func (r *replication) show(l *link, shown string, sent int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l.shown, l.sent = shown, sent
	r.change()
}

// verdict is a master's about the offset from which a replica wants to go on.
type verdict int

const (
	goesOn   verdict = iota
	purged           // It has no records from there.
	diverged         // It is no offset of its own.
)

// accept judges an offset, and gives the link its place in the stream if it is one.
func (r *replication) accept(l *link, at int64) verdict {
	r.mu.Lock()
	defer r.mu.Unlock()
	if at < r.begin {
		return purged
	}
	_, found := slices.BinarySearchFunc(r.records, at, func(rec record, at int64) int { return int(rec.end - at) })
	if at > r.begin && !found {
		return diverged
	}
	l.shown, l.sent = "", at
	r.change()
	return goesOn
}

// stream receives what the master logs until ctx ends.
func (r *replication) stream(ctx context.Context, l *link, m *replication) {
	for {
		records, changed := m.after(r.offset())
		if len(records) == 0 {
			if fake.Wait(ctx, changed) != nil {
				return
			}
			continue
		}
		for _, rec := range records {
			if r.p.s.Faults.Pass(ctx, SlaveReceive, "") != nil || m.serve(ctx) != nil {
				return
			}
			r.receive(rec)
			m.show(l, "", rec.end)
		}
	}
}
