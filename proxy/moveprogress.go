package proxy

import (
	"sluice/backend"
	"sluice/backend/dialect"
	"sluice/proxy/keymove"
)

// askProgress asks the source of the move how far it is, when the request has waited for a while.
func (d *retry) askProgress() {
	c, t := d.client, &d.migration
	l := c.loop
	in := keymove.In{Move: t.Move(), DB: c.db}
	if !d.hold.active || l.now-d.hold.since < int64(c.pool.Settings().Hold.MaxWait)/4 ||
		!c.pool.progress.Ask(in, c.pool.view.Load().table, l.now) {
		return
	}
	l.scratch = dialect.AppendSlotKeys(l.scratch[:0], in.Move.Slot)
	b := l.conns.Shared(t.source, c.proto, c.db)
	_ = b.Send(l.scratch, &slotKeys{pool: c.pool, in: in}, 0, l.now)
	l.markBackend(b)
}

// slotKeys waits for the answer of askProgress.
type slotKeys struct {
	pool  *Pool
	in    keymove.In
	reply []byte
}

// Reply implements backend.Owner.
func (k *slotKeys) Reply(_ uint32, r backend.Reply) {
	k.reply = append(k.reply, r.Data...)
	if !r.Last {
		return
	}
	left, ok := dialect.SlotKeys(k.reply)
	if !ok {
		return
	}
	now, limit, m := r.Conn.Home().(*loop).now, k.pool.Settings().Hold.MaxMoveWait, k.in.Move
	if k.pool.progress.Note(k.in, left, now, limit) {
		k.pool.server.log.Warn(
			"a slot has so many keys that requests may wait for longer than hold.max_move_wait while it moves",
			"pool", k.pool.Name, "slot", int(m.Slot), "from", m.From.Addr, "keys_left", left, "max_move_wait", limit)
	}
}

// Fail implements backend.Owner.
func (k *slotKeys) Fail(uint32, backend.Failure) {}
