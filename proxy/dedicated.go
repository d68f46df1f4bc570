package proxy

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"sluice/backend"
)

// Dedicated connections belong to one client at a time: to one that watches keys, or that a blocking command keeps
// waiting. On the shared connection a WATCH would be everybody's, and a BLPOP would make everybody wait.
//
//	lease --> used by one client --> giveBack, clean: free, for the next client
//	                             \-> giveBack, in doubt: closed
//
// A connection is clean when its client has got the last reply and the server remembers nothing of it: EXEC, DISCARD
// and UNWATCH end what WATCH began, and a blocking command ends with its reply. There is no RESET, which would also
// undo HELLO, AUTH and SELECT, and which not every store knows.
//
// When a dial has failed nobody gets a new connection before the pause is over, and then one dial shows whether the
// server takes connections again: thousands of clients may wait for that.
//
// All loops of the process share backend.max_dedicated. Where the connections that are left are free on other loops,
// those are asked to close them, and the client waits for a moment.
//
// Owned by the loop; no locking.
type dedicated struct {
	node  *backend.Node
	conns []*backend.Conn // all
	free  []freeConn      // of them those that no client has, the one that was used last at the end
	dials backend.Dials
	last  *backend.Conn // the last one that was made
}

type freeConn struct {
	conn  *backend.Conn
	since int64 // loop clock
}

// freeTime is how long a dedicated connection is kept without a client.
const freeTime = int64(30 * time.Second)

// lease finds or makes a connection to node for one client, or says why there is none: a refusal is the answer, and
// away is why the server took no connection at the last dial, with the next one not due yet.
func (l *loop) lease(node *backend.Node, proto, db int) (b *backend.Conn, refusal string, away error) {
	d := l.dedicated[node]
	if d == nil {
		if l.dedicated == nil {
			l.dedicated = make(map[*backend.Node]*dedicated)
		}
		d = &dedicated{node: node}
		l.dedicated[node] = d
	}
	d.forgetClosed()
	for i := len(d.free) - 1; i >= 0; i-- {
		if b := d.free[i].conn; b.Proto == proto && b.DB == db && b.Unblocking == 0 {
			d.free = slices.Delete(d.free, i, i+1)
			node.NoteFreeDedicated(-1)
			return b, "", nil
		}
	}
	if err := d.dials.Err(); err != nil && (!d.dials.Due(node, l.now) || d.last.UnderWay() != nil) {
		return nil, "", err
	}
	room := node.TakeDedicated()
	if !room && len(d.free) > 0 {
		l.closeBackend(d.free[0].conn, errClosed)
		d.forgetClosed()
		room = node.TakeDedicated()
	}
	switch {
	case room:
	case node.FreeDedicated() > 0:
		l.askForRoom(node)
		return nil, "", errNoRoom
	default:
		return nil, fmt.Sprintf("ERR %d connections to backend %s are taken by WATCH and blocking commands, see max_dedicated",
			node.MaxDedicated(), node.Addr), nil
	}
	b = backend.NewConn(node, proto, db, l.pool, l)
	b.Dedicate(&d.dials)
	d.conns, d.last = append(d.conns, b), b
	return b, "", nil
}

// errNoRoom says that connections of other loops have to be closed first.
var errNoRoom = errors.New("connections for WATCH and blocking commands are given back by other event loops")

// askForRoom has the other loops close a free connection to node.
func (l *loop) askForRoom(node *backend.Node) {
	for _, other := range l.server.loops {
		if other == l {
			continue
		}
		other.execute(func() {
			if d := other.dedicated[node]; d != nil && len(d.free) > 0 {
				other.closeBackend(d.free[0].conn, errClosed)
				d.forgetClosed()
			}
		})
	}
}

// giveBack ends the use of a connection by a client. One that is not clean is closed.
func (l *loop) giveBack(b *backend.Conn, clean bool) {
	d := l.dedicated[b.Node]
	if !b.Closed() && (!clean || d == nil || b.Stray()) {
		l.closeBackend(b, errClosed)
	}
	if b.Closed() {
		if d != nil {
			d.forgetClosed() // Others may wait for the room.
		}
		return
	}
	b.Until = l.now + int64(b.Node.Options().RequestTimeout) // For what may still be under way, such as UNWATCH.
	d.free = append(d.free, freeConn{b, l.now})
	d.node.NoteFreeDedicated(1)
}

func (d *dedicated) forgetClosed() {
	all, free := len(d.conns), len(d.free)
	d.conns = slices.DeleteFunc(d.conns, (*backend.Conn).Closed)
	d.free = slices.DeleteFunc(d.free, func(f freeConn) bool { return f.conn.Closed() })
	d.node.EndDedicated(all - len(d.conns))
	d.node.NoteFreeDedicated(len(d.free) - free)
}

// tickDedicated looks at dedicated connections as tick does at the others. It returns the pace that they need: one that
// waits for a blocking command needs none but for its end.
func (l *loop) tickDedicated() pace {
	wants := paceRest
	for node, d := range l.dedicated {
		for _, b := range slices.Clone(d.conns) {
			if b.Closed() {
				continue
			}
			l.tickBackend(b)
			switch {
			case !b.Waiting():
			case !b.Up(), b.Until != 0 && b.Until-l.now < int64(2*trimInterval):
				wants = paceTimeouts
			}
		}
		d.forgetClosed()
		if len(d.conns) == 0 && (d.dials.Err() == nil || l.now-d.dials.FailedAt() > freeTime) {
			delete(l.dedicated, node)
		}
	}
	return wants
}

// trimDedicated closes connections that no client has needed for a while, and those to nodes that nothing names.
func (l *loop) trimDedicated() {
	for node, d := range l.dedicated {
		for _, f := range slices.Clone(d.free) {
			if l.now-f.since > freeTime || !node.Wanted() || f.conn.Stray() || f.conn.Outlived(l.now) {
				l.closeBackend(f.conn, errClosed)
			}
		}
		d.forgetClosed()
	}
}
