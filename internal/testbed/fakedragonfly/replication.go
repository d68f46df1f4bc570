package fakedragonfly

import (
	"crypto/rand"
	"encoding/hex"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"

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

// running stands for the network: it has the fakes of this process by host:port, of both doors.
var running sync.Map // string to *Server

// ReplicaOf makes the fake the replica of another one, as REPLICAOF does; nil makes it a master.
func (s *Server) ReplicaOf(master *Server) {
	addr := ""
	if master != nil {
		addr = master.Addr()
	}
	s.repl.follow(addr)
}

func (r *replication) init(s *Server) { r.s, r.changed = s, make(chan struct{}) }

// forget is what a start does, before the doors open: a replica that came in between would find the journal of the last
// life. What a replica follows is forgotten too: it is not on its command line.
func (r *replication) forget() {
	id := make([]byte, 20)
	_, _ = rand.Read(id) // Never fails.
	r.mu.Lock()
	defer r.mu.Unlock()
	r.id, r.journal, r.kept, r.master, r.link = hex.EncodeToString(id), nil, false, "", nil
	r.change()
}

// listed puts the fake on the network.
func (r *replication) listed() {
	running.Store(r.s.Addr(), r.s)
	running.Store(r.s.AdminAddr(), r.s)
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

// flush deletes the keys of slots, here and at the replicas. gone must not change any more.
func (r *replication) flush(gone *[slots]bool) {
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

// snapshot copies all data and returns the place in the journal that it has; false when it is gone, or when id is not
// that of this life.
func (r *replication) snapshot(id string) (record, int, bool) {
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
	return all, len(r.journal), r.id == id
}

// after returns what the journal has from a place on, and a channel that is closed when there may be more; false when id
// is not that of this life: places in the journal of another one mean nothing. It notes that the replica is there.
func (r *replication) after(l *follower, id string, at int) (rest []record, changed <-chan struct{}, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.id != id {
		return nil, nil, false
	}
	l.shown, l.acked = replOnline, at
	return r.journal[at:], r.changed, true
}

// apply makes the data what a record says, and logs it for the replicas of this replica.
func (r *replication) apply(rec record) {
	if rec.flushed != nil {
		r.flush(rec.flushed)
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
