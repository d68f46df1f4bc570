package proxy

import (
	"slices"
	"time"

	"sluice/backend"
)

// Connections that have to be replaced: they lead to another process than the one that is proven
// (backend.Conn.Stray), or are old. One on which something is in flight is left alone until that is answered, and
// what is sent meanwhile waits on the connection that takes its place. So no request is lost, run twice or overtaken.
//
//	up --retire--> retiring, with a successor that is not dialled yet
//	     |            | answered, or given up like any connection
//	     \- idle -----+--> closed; the successor dials, and looks the name up

// lookGap is the least time between two looks at a name whose server refuses what is asked of it.
const lookGap = int64(250 * time.Millisecond)

// tickAge replaces a connection if it is time for that.
func (l *loop) tickAge(b *backend.Conn) {
	if b.Retiring || b.Overdue(l.now) || b.Outlived(l.now) {
		l.retire(b)
	}
}

// retire replaces one of the loop's links as soon as nothing is in flight on it.
func (l *loop) retire(b *backend.Conn) {
	if b.Closed() {
		return
	}
	b.Retiring = true
	next := l.connTo(b.Node, b.Kind, b.Proto, b.DB)
	if b.Waiting() {
		return
	}
	l.stats.Renewals++
	l.closeBackend(b, errClosed)
	if b.Node.Wanted() {
		next.Connect()
	}
}

// leaveStrays replaces the connections to a node whose address leads to another process than they do: its name was
// moved, or the server was restarted.
func (l *loop) leaveStrays(n *backend.Node) {
	if n.ID < len(l.links) {
		for _, b := range slices.Clone(l.links[n.ID]) {
			if b.Node == n && b.Stray() {
				l.retire(b)
			}
		}
	}
	if of := l.migrationConns[n]; of != nil {
		for _, b := range slices.Clone(of.conns) {
			if b.Stray() && !b.Waiting() {
				l.closeBackend(b, errClosed)
			}
		}
	}
	l.trimDedicated()
	for _, h := range l.hubs {
		h.LeaveStray(n)
	}
}
