package proxy

import (
	"slices"

	"sluice/backend"
)

// migrationQueue is what the loop has to do with the migration connections to the source of a moving slot, of which
// there are few (backend.ConnSet.Migration).
type migrationQueue struct {
	waiting []*retry // for one that is free, oldest first
	running []*retry // have a Pika move a key
}

// migrationQueue is that of node, made if needed.
func (l *loop) migrationQueue(node *backend.Node) *migrationQueue {
	q := l.migrationQueues[node]
	if q == nil {
		if l.migrationQueues == nil {
			l.migrationQueues = make(map[*backend.Node]*migrationQueue)
		}
		q = new(migrationQueue)
		l.migrationQueues[node] = q
	}
	return q
}

// runMigrationQueues lets those go on for whom a migration connection is free.
func (l *loop) runMigrationQueues() {
	l.migrationConnsFreed = false
	for node, q := range l.migrationQueues {
		for room := l.conns.MigrationRoom(node); room > 0 && len(q.waiting) > 0; room-- {
			d := q.waiting[0]
			q.waiting = slices.Delete(q.waiting, 0, 1)
			if d.state != retryQueued || d.client.closed {
				room++
				continue
			}
			d.state = retryIdle
			d.client.runRetries()
		}
	}
}

// tickMigrationQueues ends what has waited for too long. It reports whether requests wait.
func (l *loop) tickMigrationQueues() (waiting bool) {
	for node, q := range l.migrationQueues {
		for _, d := range slices.Clone(q.waiting) {
			if d.state == retryQueued && !d.client.closed {
				d.overdue()
			}
		}
		for _, d := range slices.Clone(q.running) {
			d.moveOverdue()
		}
		q.running = slices.DeleteFunc(q.running, func(d *retry) bool {
			return d.state != retrySent || !d.migration.Moving()
		})
		q.waiting = slices.DeleteFunc(q.waiting, func(d *retry) bool { return d.state != retryQueued || d.client.closed })
		waiting = waiting || len(q.waiting) > 0
		if len(q.waiting)+len(q.running) == 0 {
			delete(l.migrationQueues, node)
		}
	}
	l.runMigrationQueues()
	return waiting
}

// movesKeys reports whether migration connections to node are needed.
func (l *loop) movesKeys(node *backend.Node) bool {
	q := l.migrationQueues[node]
	return q != nil && len(q.waiting) > 0 || l.moving(node)
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
