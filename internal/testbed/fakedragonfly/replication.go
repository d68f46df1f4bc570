package fakedragonfly

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"sluice/internal/testbed/fake"
)

// The states of a replica, as ROLE has them.
const (
	replConnecting  = "connecting"
	replPreparation = "preparation"
	replFullSync    = "full_sync"
	replOnline      = "online"
)

// replication is that of a fake: another one of the same process may follow it. What goes between them is handed over,
// not sent.
//
//	REPLICAOF -> connecting -> preparation -> full_sync -> online
//	                 ^   '--- partial sync --------------->   |
//	                 '------------- the master dies ----------'
//
// The journal has what keys hold after each write, so a replica ends up with the same whatever the command was. One
// record is one write. A replica counts what it has applied, and that is all that it says of its place: its master has
// no number to compare it with.
//
// Not modelled: a master that stops serving for 30 s when its replica hangs, REPLTAKEOVER, streams.
type replication struct {
	s        *Server
	turnover sync.Mutex // Held while the master is changed.

	// order is held while a write is run and logged and while all data is copied. It is taken behind gate and Server.mu
	// and before mu.
	order  sync.Mutex
	closed bool

	mu       sync.Mutex
	id       string // master_replid: a new one in each life.
	journal  []record
	kept     bool // There is a journal: not before somebody follows.
	master   string
	link     *follower // nil for a master.
	replicas []*follower
	changed  chan struct{} // Closed, and replaced, when any of this changes.
}

// record is a write: keys that hold something else now, or slots that are empty. Immutable.
type record struct {
	keys     []string
	commands [][]string
	flushed  *[slots]bool
}

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

// running stands for the network: it has the fakes of this process by host:port, of both doors.
var running sync.Map // string to *Server

// retryEvery is how often a replica looks for a master that is away.
const retryEvery = 5 * time.Millisecond

// ReplicaOf makes the fake the replica of another one, as REPLICAOF does; nil makes it a master.
func (s *Server) ReplicaOf(master *Server) {
	addr := ""
	if master != nil {
		addr = master.Addr()
	}
	s.repl.follow(addr)
}

func (r *replication) init(s *Server) { r.s, r.changed = s, make(chan struct{}) }

// beginLife is what a start does. What a replica follows is forgotten: it is not on its command line.
func (r *replication) beginLife() {
	running.Store(r.s.Addr(), r.s)
	running.Store(r.s.AdminAddr(), r.s)
	id := make([]byte, 20)
	_, _ = rand.Read(id) // Never fails.
	r.mu.Lock()
	defer r.mu.Unlock()
	r.id, r.journal, r.kept, r.master, r.link = hex.EncodeToString(id), nil, false, "", nil
	r.change()
}

func (r *replication) close() {
	running.Delete(r.s.Addr())
	running.Delete(r.s.AdminAddr())
	r.order.Lock()
	defer r.order.Unlock()
	r.closed = true
}

// change tells those who wait. r.mu is held.
func (r *replication) change() {
	close(r.changed)
	r.changed = make(chan struct{})
}

// write runs a write and logs what its keys hold then. One that blocks has run already.
func (r *replication) write(keys []string, run func()) {
	r.order.Lock()
	defer r.order.Unlock()
	run()
	r.log(func() record {
		rec := record{keys: keys}
		for _, key := range keys {
			rec.commands = append(rec.commands, r.s.data.CopyCommands(key)...)
		}
		return rec
	})
}

// flush deletes the keys of slots, here and at the replicas.
func (r *replication) flush(in func(slot int) bool) {
	gone := new([slots]bool)
	for slot := range gone {
		gone[slot] = in(slot)
	}
	r.order.Lock()
	defer r.order.Unlock()
	r.s.data.Flush(func(slot int) bool { return gone[slot] })
	r.log(func() record { return record{flushed: gone} })
}

// log puts a record into the journal, if there is one. r.order is held.
func (r *replication) log(make func() record) {
	r.mu.Lock()
	kept := r.kept
	r.mu.Unlock()
	if !kept {
		return
	}
	rec := make()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.journal = append(r.journal, rec)
	r.change()
}

// snapshot copies all data and returns the place in the journal that it has; false when it is gone.
func (r *replication) snapshot() (record, int, bool) {
	r.order.Lock()
	defer r.order.Unlock()
	if r.closed {
		return record{}, 0, false
	}
	all := record{flushed: new([slots]bool)}
	for slot := range slots {
		all.flushed[slot] = true
		for _, key := range r.s.data.Keys(slot) {
			all.keys = append(all.keys, key)
			all.commands = append(all.commands, r.s.data.CopyCommands(key)...)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return all, len(r.journal), true
}

// apply makes the data what a record says, and logs it for the replicas of this replica.
func (r *replication) apply(rec record) {
	if rec.flushed != nil {
		r.flush(func(slot int) bool { return rec.flushed[slot] })
	}
	if len(rec.keys) == 0 {
		return
	}
	r.s.data.Note(rec.keys)
	r.write(rec.keys, func() {
		fake.Ask(func(c *fake.Client) error { // At once, for those who read.
			for _, args := range slices.Concat([][]string{{"MULTI"}}, rec.commands, [][]string{{"EXEC"}}) {
				r.s.data.Run(c.Peer, args)
			}
			return nil
		})
	})
}

// replicaOf is REPLICAOF.
func (s *Server) replicaOf(args []string) string {
	if len(args) != 2 {
		return "-ERR wrong number of arguments for 'replicaof' command\r\n"
	}
	if strings.EqualFold(args[0], "no") && strings.EqualFold(args[1], "one") {
		s.repl.follow("")
		return fake.OK
	}
	if n, err := strconv.Atoi(args[1]); err != nil || n < 1 || n > 65535 {
		return "-ERR value is not an integer or out of range\r\n"
	}
	s.repl.follow(net.JoinHostPort(args[0], args[1]))
	return fake.OK
}

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
	r.stream(ctx, l, m)
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
	all, at, ok := m.snapshot()
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

// stream applies what the master logs until ctx ends.
func (r *replication) stream(ctx context.Context, l *follower, m *replication) {
	r.mu.Lock()
	at := l.at
	r.mu.Unlock()
	for {
		m.mu.Lock()
		l.shown, l.acked = replOnline, at
		rest, changed := m.journal[at:], m.changed
		m.mu.Unlock()
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
