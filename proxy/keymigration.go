package proxy

import (
	"fmt"
	"slices"
	"time"

	"sluice/backend"
	"sluice/backend/dialect"
	"sluice/proxy/command"
	"sluice/proxy/hold"
	"sluice/proxy/keymove"
	"sluice/router"
)

// keyMigration is what a retry does while keys of its request are on their way: keymove.Search says what, and here it
// is sent, held, or passed on.
type keyMigration struct {
	*keymove.Search // nil before the request has met a move

	keys   [][]byte          // those that are looked for
	source *backend.Node     // of the move
	conn   *backend.Conn     // that has answered last
	found  map[foundKey]bool // keys that the request knows to have arrived

	bySlot  map[router.Slot][][]byte // keys of the request
	through int                      // how many of its slots need no more moving
	under   *router.Table            // by which that is so
}

// forget makes it forget the move that it is in.
func (t *keyMigration) forget() {
	if t.Search != nil {
		t.Forget()
	}
}

// moveAt is the move that the request waits for.
func (d *retry) moveAt() (in keymove.In, ok bool) {
	if d.migration.Search == nil || !d.hold.active || d.hold.cause != hold.Moving {
		return in, false
	}
	in = keymove.In{Move: d.migration.Move(), DB: d.client.db}
	return in, in.Move != nil
}

// reach takes the next step towards the keys of a slot that moves.
func (d *retry) reach(v *view, m *router.Move) {
	c, t := d.client, &d.migration
	if t.Search == nil {
		t.Search = keymove.New(&c.pool.keyMoves, &c.loop.stats.Moves)
	}
	t.keys = d.missing(t.keys[:0], m)
	t.source = v.nodes[m.From.Index]
	d.act(t.Begin(keymove.Request{
		Move: m, DB: c.db, Keys: t.keys,
		Single: len(d.keys) == 1 && d.exclusive == nil, Reads: d.cmd.Is(command.ReadOnly),
		Away: !t.source.Available(), Target: v.master(d.slot).Addr, Raw: d.raw,
		Args:    func() [][]byte { return splitRequest(d.raw) },
		Passes:  func(reply []byte) bool { return c.judge(d.cmd, d.slot, reply, t.conn).Kind != dialect.Pass },
		Family:  c.pool.Family,
		Timeout: t.source.Options().RequestTimeout, Parallel: c.pool.Settings().MoveParallel,
		MaxAnswer: c.loop.server.limits().ClientOutput,
	}))
}

// act does what the search wants next.
func (d *retry) act(a keymove.Action) {
	c, t := d.client, &d.migration
	switch a.Do {
	case keymove.Await:
	case keymove.Run:
		d.sendTo(c.pool.view.Load().master(d.slot))
	case keymove.HoldAway:
		away := blockReason{cause: hold.NoMaster, slot: d.slot, node: t.source, since: t.source.DownSince()}
		d.waitFor(c.pool.view.Load(), away)
	case keymove.Ask:
		d.askKeys(a.Sends, nil)
	case keymove.Connect:
		d.connect()
	case keymove.Again:
		d.state = retryIdle
		c.runRetries()
	case keymove.Found:
		d.arrived(a.Keys)
	case keymove.Hold:
		d.holdForKeys(a)
	case keymove.Obey:
		reply := backend.Reply{Conn: t.conn, Data: slices.Clone(a.Data)}
		if d.obey(c.judge(d.cmd, d.slot, reply.Data, reply.Conn), reply) {
			c.runRetries()
		}
	case keymove.Pass:
		d.pass(a.Data, a.First, a.Last)
	case keymove.Overflow:
		c.loop.stats.Overflows[OverflowOutput]++
		c.close()
	}
}

// askKeys sends what the search asks, over migration where that is to be the connection.
func (d *retry) askKeys(sends []keymove.Send, migration *backend.Conn) {
	c, l, t := d.client, d.client.loop, &d.migration
	for _, s := range sends {
		b := migration
		switch s.To {
		case keymove.Source:
			b = l.conns.Shared(t.source, c.proto, c.db)
		case keymove.Target:
			b = l.conns.Shared(c.pool.view.Load().master(d.slot), c.proto, c.db)
		case keymove.Migration:
		}
		if s.Kind == keymove.Wrapped && d.script != nil {
			if load := d.script.check.loadFor(b); load != nil {
				_ = b.Send(load, nil, 0, l.now) // What follows fails too, then.
			}
		}
		l.scratch = t.Append(l.scratch[:0], s)
		err := b.Send(l.scratch, d, s.Tag, l.now)
		switch {
		case err == nil:
		case s.Optional():
			return // It will not be known, or asked for again.
		default:
			t.NotSent(s)
			d.give(sendError(b.Node, err))
			return
		}
		if !s.Optional() {
			d.state, d.sentTo, d.sentAt = retrySent, b.Node, l.now
		}
		l.markBackend(b)
	}
}

// connect goes on with a migration connection, or waits for one.
func (d *retry) connect() {
	c, l, t := d.client, d.client.loop, &d.migration
	b := l.conns.Migration(t.source, c.db, max(1, c.pool.Settings().MoveParallel/len(l.server.loops)))
	if b == nil {
		why := fmt.Sprintf("is %s, and %s is busy with other keys", t.Move(), t.source.Addr)
		if d.enterHold(hold.Moving, why, true) {
			d.state = retryQueued
			q := l.migrationQueue(t.source)
			q.waiting = append(q.waiting, d)
		}
		return
	}
	a := t.Connected()
	if a.Do != keymove.Ask {
		d.act(a)
		return
	}
	if t.Moving() {
		b.Patience = keymove.Patience
	}
	d.askKeys(a.Sends, b)
	if t.Moving() {
		q := l.migrationQueue(t.source)
		q.running = append(q.running, d)
	}
}

// migrationReply takes an answer to what was asked, or a part of it.
func (d *retry) migrationReply(tag uint32, r backend.Reply) {
	t := &d.migration
	t.conn = r.Conn
	a := t.Reply(tag, r.Data, r.First, r.Last, d.client.loop.now)
	if a.Do == keymove.Pass && a.First && a.Last && keymove.KindOf(tag) == keymove.Wrapped &&
		d.healNoScript(backend.Reply{Conn: r.Conn, Data: a.Data}) {
		return
	}
	d.act(a)
}

// arrived goes on after keys have reached the target, and nothing of an older copy can any more.
func (d *retry) arrived(keys [][]byte) {
	c, m := d.client, d.migration.Move()
	d.state = retryIdle
	c.loop.arrivedKeys.Add(c.pool.Name, keymove.In{Move: m, DB: c.db}, keys)
	if d.migration.found == nil {
		d.migration.found = make(map[foundKey]bool)
	}
	for _, key := range keys {
		d.migration.found[foundKey{m, string(key)}] = true
	}
	c.runRetries()
}

// holdForKeys holds the request for a moment and tries again.
func (d *retry) holdForKeys(a keymove.Action) {
	c := d.client
	d.state = retryIdle
	if a.Trouble {
		c.pool.trouble(d.migration.source.Addr)
	}
	if a.Round {
		d.requestRound()
	}
	if !d.wait(hold.Moving, a.Why, a.Free) {
		return
	}
	if a.Pause > 0 {
		d.next.After = max(d.next.After, c.loop.now+int64(a.Pause))
		if d.hold.active {
			d.next.After = min(d.next.After, d.hold.deadline)
		}
	}
	if !a.Quiet {
		d.askProgress()
	}
	c.runRetries()
}

// moveOverdue gives a request up whose key takes too long to move. The move goes on.
func (d *retry) moveOverdue() {
	c, t := d.client, &d.migration
	if d.state != retrySent || c.closed || !t.Moving() {
		return
	}
	why, size := t.Slow(time.Duration(c.loop.now - d.sentAt))
	if !d.enterHold(hold.Moving, why, true) || d.overdue() {
		return
	}
	d.askProgress()
	d.askKeys(size, nil)
}

// requestRound asks the source for a round of the background migration, as the dashboard does, when a request has
// waited for long.
func (d *retry) requestRound() {
	c, l, source := d.client, d.client.loop, d.migration.source
	if !d.hold.active || l.now-l.roundAsked[source] < int64(keymove.RoundEvery) ||
		!keymove.RoundDue(time.Duration(l.now-d.hold.since), c.pool.Settings().Hold.MaxWait) {
		return
	}
	if l.roundAsked == nil {
		l.roundAsked = make(map[*backend.Node]int64)
	}
	l.roundAsked[source] = l.now
	l.stats.Moves.Rounds++
	l.scratch = keymove.AppendRound(l.scratch[:0], d.migration.Move(), source.Options().RequestTimeout)
	b := l.conns.Shared(source, c.proto, c.db)
	_ = b.Send(l.scratch, nil, 0, l.now)
	l.markBackend(b)
}
