package backend

import (
	"errors"
	"slices"
	"time"
)

// Dedicated connections belong to one client at a time: to one that watches keys, or that a blocking command keeps
// waiting. On the shared connection a WATCH would be everybody's, and a BLPOP would make everybody wait.
//
//	Lease --> used by one client --> GiveBack, clean: free, for the next client
//	                             \-> GiveBack, in doubt: closed
//
// A connection is clean when its client has got the last reply and the server remembers nothing of it: EXEC, DISCARD
// and UNWATCH end what WATCH began, and a blocking command ends with its reply. There is no RESET, which would also
// undo HELLO, AUTH and SELECT, and which not every store knows.
//
// When a dial has failed nobody gets a new connection before the pause is over, and then one dial shows whether the
// server takes connections again: thousands of clients may wait for that.
//
// All loops of the process share Options.MaxDedicated (dedicated.go). Where the connections that are left are free on
// other loops, those are asked to close them (ErrNoRoom, MakeRoom), and the client waits for a moment.
type dedicatedConns struct {
	conns []*Conn // all
	free  []*Conn // of them those that no client has, the one that was used last at the end
	dials Dials
	last  *Conn // the last one that was made
}

// freeTime is how long a dedicated connection is kept without a client.
const freeTime = int64(30 * time.Second)

var (
	// ErrNoRoom is returned by Lease when free connections of other loops have to be closed first.
	ErrNoRoom = errors.New("connections for WATCH and blocking commands are given back by other event loops")
	// ErrAllTaken is returned by Lease when clients have all connections that there may be.
	ErrAllTaken = errors.New("all connections for WATCH and blocking commands are taken")
)

// Lease finds or makes a connection to node for one client, for a protocol version and a database. The error is
// ErrNoRoom, ErrAllTaken, or why the server took no connection at the last dial, with the next one not due yet.
func (s *ConnSet) Lease(node *Node, proto, db int, now int64) (*Conn, error) {
	d := s.dedicated[node]
	if d == nil {
		d = new(dedicatedConns)
		s.dedicated[node] = d
	}
	for i, c := range slices.Backward(d.free) {
		if c.Proto == proto && c.DB == db && c.Unblocking == 0 {
			d.unfree(i)
			return c, nil
		}
	}
	if err := d.dials.Err(); err != nil && (!d.dials.Due(node, now) || d.last.UnderWay() != nil) {
		return nil, err
	}
	if !node.takeDedicated() && !(s.MakeRoom(node) && node.takeDedicated()) {
		if node.FreeDedicated() > 0 {
			return nil, ErrNoRoom
		}
		return nil, ErrAllTaken
	}
	c := s.newConn(node, Dedicated, proto, db)
	c.dedicate(&d.dials)
	d.conns, d.last = append(d.conns, c), c
	return c, nil
}

// MakeRoom closes the connection to node that no client has had for longest, and reports whether there was one.
func (s *ConnSet) MakeRoom(node *Node) bool {
	d := s.dedicated[node]
	if d == nil || len(d.free) == 0 {
		return false
	}
	s.Close(d.free[0], ErrClosed)
	return true
}

// GiveBack ends the use of a connection by a client. One that is not clean is closed.
func (s *ConnSet) GiveBack(c *Conn, clean bool, now int64) {
	switch {
	case c.Closed():
	case !clean || c.Stray():
		s.Close(c, ErrClosed)
	default:
		c.Until = now + int64(c.Node.Options().RequestTimeout) // For what may still be under way, such as UNWATCH.
		c.freeSince = now
		d := s.dedicated[c.Node]
		d.free = append(d.free, c)
		c.Node.dedicated.free.Add(1)
	}
}

// Dials is what the dials of dedicated connections to node have shown; nil when none is remembered.
func (s *ConnSet) Dials(node *Node) *Dials {
	if d := s.dedicated[node]; d != nil {
		return &d.dials
	}
	return nil
}

// unfree takes a connection out of those that are free.
func (d *dedicatedConns) unfree(i int) {
	c := d.free[i]
	d.free = slices.Delete(d.free, i, i+1)
	c.freeSince = 0
	c.Node.dedicated.free.Add(-1)
}

// left is told that a connection is closed.
func (d *dedicatedConns) left(c *Conn) {
	d.conns = slices.DeleteFunc(d.conns, func(o *Conn) bool { return o == c })
	if i := slices.Index(d.free, c); i >= 0 {
		d.unfree(i)
	}
	c.Node.dedicated.all.Add(-1)
}
