package backend

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

	"sluice/internal/bufpool"
)

// ConnSet is the connections of one event loop to servers, of every Kind. It makes all of them, and has each until that
// is closed, whoever closes it: it is taken out before the owners of its requests are told (Conn.leave), so that who
// asks from inside Owner.Fail gets another one.
//
//	Shared, ReplicaReads, Kill   found by node, protocol and database, made if there is none; one that is old or leads
//	                             to another process gets a successor (renewal.go)
//	Dedicated                    leased to one client, then given back or closed (dedicatedconns.go)
//	Migration                    few to a node, for one request at a time (migrationconns.go)
//	Subscription                 made for a hub of package proxy/pubsub, which dials again when it is closed
//
// A dial that fails is repeated by Tick as long as something waits on the connection; a Dedicated one fails its client,
// who asks for another one, and a hub dials again itself. A server that leaves a request unanswered has its connection
// closed by Tick. What time does to a connection beside that, by Kind, stands in Tick and Trim.
//
// Owned by the event loop, which calls everything here; no locking. Who waits for a connection, and what to do with
// requests that fail, is the loop's.
type ConnSet struct {
	home Home
	pool *bufpool.Pool

	shared        [][]*Conn // Shared, ReplicaReads and Kill, by Node.ID; few each
	dedicated     map[*Node]*dedicatedConns
	migration     map[*Node][]*Conn // a closed one keeps its place for a while, see MigrationRoom
	subscriptions []*Conn

	renewals uint64
	walked   []*Conn // scratch of All
}

// ErrClosed is the end of a connection that nobody needs any more.
var ErrClosed = errors.New("closed by Sluice")

// errSourceAway ends a connection that would have waited for minutes for a server that has gone.
var errSourceAway = errors.New("the source of the move is not available")

// NewConnSet returns an empty set on the loop of home. Send logs are made of buffers of pool.
func NewConnSet(home Home, pool *bufpool.Pool) *ConnSet {
	return &ConnSet{
		home: home, pool: pool, dedicated: make(map[*Node]*dedicatedConns), migration: make(map[*Node][]*Conn),
	}
}

// All goes over the open connections. Any of them may be closed meanwhile, and others made; those may be left out.
func (s *ConnSet) All() iter.Seq[*Conn] {
	return func(yield func(*Conn) bool) {
		walk := s.walked
		s.walked = nil // Who is called may go over all, too.
		defer func() {
			clear(walk[:cap(walk)])
			s.walked = walk[:0]
		}()
		for conns := range s.lists {
			walk = append(walk[:0], conns...)
			for _, c := range walk {
				if !c.Closed() && !yield(c) {
					return
				}
			}
		}
	}
}

func (s *ConnSet) lists(yield func([]*Conn) bool) {
	for _, conns := range s.shared {
		if !yield(conns) {
			return
		}
	}
	for _, conns := range s.migration {
		if !yield(conns) {
			return
		}
	}
	for _, d := range s.dedicated {
		if !yield(d.conns) {
			return
		}
	}
	yield(s.subscriptions)
}

// Shared finds or makes the connection to node for requests of all clients, for a protocol version and a database.
func (s *ConnSet) Shared(node *Node, proto, db int) *Conn { return s.to(node, Shared, proto, db) }

// Replica is Shared for reads that are sent to a replica on purpose.
func (s *ConnSet) Replica(node *Node, proto, db int) *Conn {
	return s.to(node, ReplicaReads, proto, db)
}

// Kill is Shared for what ends a script: a server that runs one reads nothing more from the connection it came on.
func (s *ConnSet) Kill(node *Node, proto int) *Conn { return s.to(node, Kill, proto, 0) }

func (s *ConnSet) to(node *Node, kind Kind, proto, db int) *Conn {
	for node.ID >= len(s.shared) {
		s.shared = append(s.shared, nil)
	}
	var old *Conn // that is to be replaced
	for _, c := range s.shared[node.ID] {
		switch {
		case c.Node != node || c.Proto != proto || c.DB != db || c.Kind != kind:
		case c.retiring:
			old = c
		default:
			return c
		}
	}
	c := s.newConn(node, kind, proto, db)
	if old != nil {
		c.succeed(old)
	}
	s.shared[node.ID] = append(s.shared[node.ID], c)
	return c
}

// Subscribe makes a Subscription to node, in RESP2, and dials it. What the server says unasked goes to pushes.
func (s *ConnSet) Subscribe(node *Node, pushes PushHandler) *Conn {
	c := s.newConn(node, Subscription, 2, 0)
	c.pushes = pushes
	s.subscriptions = append(s.subscriptions, c)
	c.Connect()
	return c
}

func (s *ConnSet) newConn(node *Node, kind Kind, proto, db int) *Conn {
	c := newConn(node, proto, db, s.pool, s.home)
	c.Kind, c.set = kind, s
	return c
}

// Close ends a connection, its socket included, and fails what waits on it.
func (s *ConnSet) Close(c *Conn, err error) {
	gc := c.gc
	c.Close(err)
	if gc != nil {
		s.home.HangUp(gc)
	}
}

// left is told that a connection is closed.
func (s *ConnSet) left(c *Conn) {
	this := func(o *Conn) bool { return o == c }
	switch c.Kind {
	case Shared, ReplicaReads, Kill:
		s.shared[c.Node.ID] = slices.DeleteFunc(s.shared[c.Node.ID], this)
	case Dedicated:
		s.dedicated[c.Node].left(c)
	case Migration: // It keeps its place until the next look, see MigrationRoom.
	case Subscription:
		s.subscriptions = slices.DeleteFunc(s.subscriptions, this)
	}
}

const (
	// patienceWithReplica is how long reads wait for a replica that is not proven to be fit any more.
	patienceWithReplica = int64(20 * time.Millisecond)
	// looksApart is more than the time between two Ticks while nothing is busy.
	looksApart = int64(2 * time.Second)
)

// Tick does what depends on time for a connection, which may end it. It reports whether c is busy: it has to be ticked
// ten times a second rather than once. Of a Subscription its hub knows that.
func (s *ConnSet) Tick(c *Conn, now int64) (busy bool) {
	if !c.Node.Available() || !c.Node.Wanted() {
		c.FailQueued() // Nothing of these requests has left: they may find another way.
	}
	if p := c.Node.Proof(); c.Replica() && (p == nil || now > p.ValidUntil) {
		c.GiveUp(now - patienceWithReplica) // The master will serve these reads.
	}
	if !c.Tick(now) {
		s.Close(c, fmt.Errorf("backend %s left a request unanswered", c.Node.Addr))
		return false
	}
	switch c.Kind {
	case Shared, ReplicaReads, Kill:
		if c.retiring || c.overdue(now) || c.outlived(now) {
			s.Retire(c)
		}
		return c.Waiting() || c.Stray()
	case Dedicated: // One that waits for a blocking command has no hurry but at the end.
		return c.Waiting() && (!c.Up() || c.Until != 0 && c.Until-now < looksApart)
	case Migration:
		busy = c.Waiting()
		if c.Patience > 0 && busy && c.Up() && !c.Node.Available() {
			s.Close(c, errSourceAway)
		}
		return busy
	case Subscription:
	}
	return false
}

// Trim closes a connection that nothing needs any more. The caller has looked whether keys move away from the node of
// a Migration, and the hub of a Subscription whether somebody wants it.
func (s *ConnSet) Trim(c *Conn, now int64) {
	needed := c.Node.Wanted()
	switch c.Kind {
	case Shared, ReplicaReads, Kill:
	case Dedicated:
		needed = needed && now-c.freeSince <= freeTime && !c.Stray() && !c.outlived(now)
	case Migration:
		needed = false
	case Subscription:
		return
	}
	if !needed && c.idle() {
		s.Close(c, ErrClosed)
	}
}

// Sweep forgets what closed connections have left behind. It is called after all were ticked.
func (s *ConnSet) Sweep(now int64) {
	for node, conns := range s.migration {
		if s.migration[node] = slices.DeleteFunc(conns, (*Conn).Closed); len(s.migration[node]) == 0 {
			delete(s.migration, node)
		}
	}
	maps.DeleteFunc(s.dedicated, func(_ *Node, d *dedicatedConns) bool {
		return len(d.conns) == 0 && (d.dials.Err() == nil || now-d.dials.FailedAt() > freeTime)
	})
}
