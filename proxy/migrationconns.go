package proxy

import (
	"slices"

	"sluice/backend"
)

// migrationConns are connections to the source of a moving slot that carry one SLOTSMGRTTAGONE at a time. That may take
// as long as the target lets it wait: on the shared connection everything behind it would wait too, and as
// many of them at once as the source has threads would stop the source (Pika 4.0.1, thread-pool-size). So
// there are few migration connections per source, and who finds none free waits in a queue.
type migrationConns struct {
	conns   []*backend.Conn
	queue   []*retry // wait for a free migration connection, oldest first
	running []*retry // have a Pika move a key
}

// migrationConn finds a free migration connection to node, nil when there is none. limit is for the whole process.
func (l *loop) migrationConn(node *backend.Node, db, limit int) *backend.Conn {
	n := l.migrationConns[node]
	if n == nil {
		if l.migrationConns == nil {
			l.migrationConns = make(map[*backend.Node]*migrationConns)
		}
		n = new(migrationConns)
		l.migrationConns[node] = n
	}
	n.conns = slices.DeleteFunc(n.conns, (*backend.Conn).Closed)
	var other *backend.Conn // free, but in another database
	for _, b := range n.conns {
		switch {
		case b.Waiting():
		case b.DB == db:
			return b
		default:
			other = b
		}
	}
	if len(n.conns) >= max(1, limit/len(l.server.loops)) {
		if other == nil {
			return nil
		}
		l.closeBackend(other, errClosed)
		n.conns = slices.DeleteFunc(n.conns, (*backend.Conn).Closed)
	}
	b := backend.NewConn(node, 2, db, l.pool, l)
	b.Kind = backend.Migration
	n.conns = append(n.conns, b)
	return b
}

// waitForMigrationConn puts a retry into the queue of node.
func (l *loop) waitForMigrationConn(node *backend.Node, d *retry) {
	l.migrationConns[node].queue = append(l.migrationConns[node].queue, d)
}

// runMigrationQueue lets those go on for whom a migration connection is free.
func (l *loop) runMigrationQueue() {
	l.migrationConnsFreed = false
	for _, n := range l.migrationConns {
		free := len(n.conns)
		for _, b := range n.conns {
			if !b.Closed() && b.Waiting() {
				free--
			}
		}
		if len(n.conns) == 0 {
			free = 1 // They were closed; whoever comes first makes one, and the others follow it.
		}
		for ; free > 0 && len(n.queue) > 0; free-- {
			d := n.queue[0]
			n.queue = slices.Delete(n.queue, 0, 1)
			if d.state != retryQueued || d.client.closed {
				free++
				continue
			}
			d.state = retryIdle
			d.client.runRetries()
		}
	}
}

// tickMigrationConns looks at migration connections as tick does at the other connections. It reports whether requests wait
// on them.
func (l *loop) tickMigrationConns() (waiting bool) {
	for node, n := range l.migrationConns {
		open := 0
		for _, b := range slices.Clone(n.conns) {
			if !b.Closed() {
				open++
				l.tickBackend(b)
				waiting = waiting || b.Waiting()
				if b.Patience > 0 && b.Waiting() && b.Up() && !node.Available() {
					l.closeBackend(b, errSourceAway) // Nobody waits for minutes for a server that has gone.
				}
			}
		}
		n.conns = slices.DeleteFunc(n.conns, (*backend.Conn).Closed)
		for _, d := range slices.Clone(n.queue) {
			if d.state == retryQueued && !d.client.closed {
				d.overdue()
			}
		}
		for _, d := range slices.Clone(n.running) {
			d.moveOverdue()
		}
		n.running = slices.DeleteFunc(n.running, func(d *retry) bool {
			return d.state != retrySent || !d.migration.Moving()
		})
		n.queue = slices.DeleteFunc(n.queue, func(d *retry) bool { return d.state != retryQueued || d.client.closed })
		if waiting = waiting || len(n.queue) > 0; open == 0 && len(n.queue) == 0 {
			delete(l.migrationConns, node)
		}
	}
	l.runMigrationQueue()
	return waiting
}

// trimMigrationConns closes migration connections that nothing needs any more: no slot moves away from their node.
func (l *loop) trimMigrationConns() {
	for node, n := range l.migrationConns {
		if len(n.queue) > 0 || l.moving(node) {
			continue
		}
		for _, b := range n.conns {
			if !b.Closed() && !b.Waiting() {
				l.closeBackend(b, errClosed)
			}
		}
	}
}

// moving reports whether a slot moves away from node.
func (l *loop) moving(node *backend.Node) bool {
	for _, p := range l.server.pools {
		v := p.view.Load()
		if v == nil {
			continue
		}
		for _, m := range v.table.Moves() {
			if m.From != nil && v.nodes[m.From.Index] == node {
				return true
			}
		}
	}
	return false
}
