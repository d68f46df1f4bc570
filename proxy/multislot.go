package proxy

import (
	"fmt"
	"slices"
	"time"

	"sluice/backend"
	"sluice/proxy/command"
	"sluice/proxy/hold"
	"sluice/proxy/keymove"
	"sluice/router"
)

// A request may have keys in several slots. Servers of a cluster refuse it. All others know nothing of slots, and
// there the owner counts (MultiKeyGroup): the request runs at the server that has all of its slots, as it is.
//
//	one owner, no slot moves           sent, like a request on one slot
//	one owner, some slots move to it   a retry: the keys are moved or awaited slot by slot, then it is sent
//	several owners, some slots move    held until they have one, or none moves
//	several owners, no slot moves      CROSSSLOT
//
// In the pipeline it has anySlot and the flag multiSlot. Commands whose parts stand alone, such as MGET, are split
// instead.

// MultiKey says which keys a command, a script or a transaction may have together.
type MultiKey uint8

// Values of MultiKey.
const (
	MultiKeyGroup MultiKey = iota // those of one group; in a pool of the cluster model it is MultiKeySlot
	MultiKeySlot                  // those of one slot
)

// keySlots are where the keys of a request are.
type keySlots struct {
	slot router.Slot   // of the first key; anySlot when there is none
	many bool          // there are several keys
	all  []router.Slot // several slots, each once and in order; nil when there is one. From slotsOf it is valid during the dispatch
}

// addSlot puts a slot into a list of slots, each once and in order.
func addSlot(list []router.Slot, slot router.Slot) []router.Slot {
	at, found := slices.BinarySearch(list, slot)
	if found {
		return list
	}
	return slices.Insert(list, at, slot)
}

// list are the slots, also when there is one.
func (k *keySlots) list() []router.Slot {
	if k.all == nil {
		return []router.Slot{k.slot}
	}
	return k.all
}

// keySlotsOf is the opposite of list.
func keySlotsOf(slots []router.Slot) keySlots {
	k := keySlots{slot: slots[0], many: true}
	if len(slots) > 1 {
		k.all = slots
	}
	return k
}

// keepsToSlot reports whether all keys of a command have to be in one slot.
func (p *Pool) keepsToSlot() bool { return p.Model.Cluster() || p.Settings().MultiKey == MultiKeySlot }

// blockReasonOf is blockReason for a request with keys in several slots.
func (p *Pool) blockReasonOf(v *view, slots []router.Slot) (o blockReason, blocked bool) {
	for _, slot := range slots {
		if o, blocked = p.blockReason(v, slot); blocked {
			return o, true
		}
	}
	apart, moving := false, anySlot
	owner := v.table.Owner(slots[0])
	for _, slot := range slots {
		apart = apart || v.table.Owner(slot) != owner
		if v.table.Move(slot) != nil {
			moving = slot
		}
	}
	switch {
	case !apart:
		return blockReason{}, false
	case moving == anySlot:
		return blockReason{slot: slots[0], apart: true}, true
	}
	m := v.table.Move(moving)
	why := fmt.Sprintf("is %s, and other keys of the request have another owner", m)
	return blockReason{cause: hold.Moving, slot: moving, move: m, apart: true, why: why}, true
}

// crossSlot is the answer to a request whose keys belong to several groups.
func (c *client) crossSlot(v *view, keys [][]byte) string {
	if len(keys) == 0 {
		return errCrossSlot
	}
	first := v.table.Owner(c.pool.Model.Slot(keys[0]))
	for _, key := range keys[1:] {
		if g := v.table.Owner(c.pool.Model.Slot(key)); g != first && g != nil && first != nil {
			return fmt.Sprintf("CROSSSLOT keys of one request are on two groups: %.60q on %s, %.60q on %s; "+
				"the same part in braces, as in {user1}:cart, keeps keys together", keys[0], first.ID, key, g.ID)
		}
	}
	return errCrossSlot
}

// keysAt are the keys at some positions of a request.
func keysAt(args [][]byte, at []int) [][]byte {
	keys := make([][]byte, len(at))
	for i, k := range at {
		keys[i] = args[k]
	}
	return keys
}

// argKeys are the keys of a request; they are views into it.
func argKeys(cmd *command.Command, args [][]byte) [][]byte {
	at, err := cmd.AppendKeys(nil, args)
	if err != nil {
		return nil
	}
	return keysAt(args, at)
}

// forwardTo is forward for the slots of a request.
func (c *client) forwardTo(q request, k keySlots) stall {
	if k.all == nil {
		return c.forward(q.v, q.cmd, k.slot, q.raw, k.many)
	}
	for _, slot := range k.all {
		if !c.takeView(q.v, slot) {
			return stallDrain
		}
	}
	if c.reads != nil && q.v != nil {
		return c.forwardMultiByPolicy(q, k.all)
	}
	return c.forwardMulti(q, k.all)
}

// forwardMulti sends a request with keys in several slots to their master.
func (c *client) forwardMulti(q request, slots []router.Slot) stall {
	if o, blocked := c.pool.blockReasonOf(q.v, slots); blocked {
		if o.apart && o.move == nil {
			o.fence = c.crossSlot(q.v, argKeys(q.cmd, q.args))
		}
		return c.holdBack(q.v, o, len(q.raw))
	}
	lossChecked := c.pool.Family.LosesAtomics && mayWriteByScript(q.cmd)
	switch {
	case lossChecked && !c.pipe.empty():
		return stallDrain
	case lossChecked, c.keysAway(q.v, slots, q):
		seq := c.beginMulti(q.cmd, slots)
		c.addRetry(c.newRetry(c, seq, seq, slots[0], q.raw))
		return stallNone
	}
	c.sendMulti(c.loop.conns.Shared(q.v.master(slots[0]), c.proto, c.db), q, slots)
	return stallNone
}

// sendMulti sends a request with keys in several slots as it is.
func (c *client) sendMulti(b *backend.Conn, q request, slots []router.Slot) {
	l := c.loop
	seq := c.beginMulti(q.cmd, slots)
	if c.reads != nil && q.cmd.Is(command.ReadOnly) {
		c.countMultiRead(b, seq, bucketsOf(slots))
	}
	if err := b.Send(q.raw, c, seq, l.now); err != nil {
		c.deliverError(seq, sendError(b.Node, err))
		return
	}
	l.sent(b)
}

// keysAway reports whether keys of a request are in slots that move, and not known to have arrived.
func (c *client) keysAway(v *view, slots []router.Slot, q request) bool {
	if !slices.ContainsFunc(slots, func(slot router.Slot) bool { return v.table.Move(slot) != nil }) {
		return false
	}
	return slices.ContainsFunc(argKeys(q.cmd, q.args), func(key []byte) bool {
		m := v.table.Move(c.pool.Model.Slot(key))
		return m != nil && len(c.loop.arrivedKeys.Missing(nil, keymove.In{Move: m, DB: c.db}, [][]byte{key})) > 0
	})
}

// beginMulti is begin for a request with keys in several slots.
func (c *client) beginMulti(cmd *command.Command, slots []router.Slot) uint32 {
	seq := c.begin(cmd, anySlot)
	p := c.pipe.at(seq)
	p.flags |= multiSlot
	c.served.noteMultiSlot(cmd)
	if c.guarantees != nil && !cmd.Is(command.ReadOnly) {
		c.guarantees.countMulti(p, seq, bucketsOf(slots), countedWrite)
		p.flags |= observers[cmd.ID]
	}
	return seq
}

// beginSlots is begin for a request on one slot or several.
func (c *client) beginSlots(cmd *command.Command, k keySlots) uint32 {
	if k.all == nil {
		return c.begin(cmd, k.slot)
	}
	return c.beginMulti(cmd, k.all)
}

// spread finds the slots of the keys, when these are several.
func (d *retry) spread() {
	var slots []router.Slot
	for _, key := range d.keys {
		slots = addSlot(slots, d.client.pool.Model.Slot(key))
	}
	if len(slots) > 1 {
		d.slots = slots
	}
	if len(slots) > 0 && d.slot == anySlot {
		d.slot = slots[0]
	}
}

// blockReason finds what keeps the request from being sent to the owner of its slots.
func (d *retry) blockReason(v *view) (o blockReason, blocked bool) {
	c := d.client
	if d.slots == nil {
		return c.pool.blockReason(v, d.slot)
	}
	if o, blocked = c.pool.blockReasonOf(v, d.slots); !blocked {
		return o, false
	}
	d.slot = o.slot
	if o.apart {
		// A move that it has waited for has nothing to do with this.
		d.migration.forget()
		if o.move == nil {
			o.fence = c.crossSlot(v, d.allKeys())
		}
		if _, part := d.sink.(*split); part {
			o.fence = notHeld(d.slot, "has another owner than the other slots of the command", "they had the same when it was divided")
		}
	}
	return o, true
}

// nextMove is the move of a slot whose keys have to be found before the request is sent, nil when there is none.
func (d *retry) nextMove(v *view) *router.Move {
	if d.slots == nil {
		return v.table.Move(d.slot)
	}
	if d.migration.under != v.table {
		d.migration.under, d.migration.through = v.table, 0
	}
	for ; d.migration.through < len(d.slots); d.migration.through++ {
		slot := d.slots[d.migration.through]
		if m := v.table.Move(slot); m != nil && len(d.missing(nil, m)) > 0 {
			d.slot = slot
			return m
		}
	}
	return nil
}

// missing appends the keys in the slot of a move to dst that are not known to have arrived: to the loop, which forgets
// them when they are many, or to the request itself.
func (d *retry) missing(dst [][]byte, m *router.Move) [][]byte {
	dst = d.client.loop.arrivedKeys.Missing(dst, keymove.In{Move: m, DB: d.client.db}, d.keysIn(m.Slot))
	return slices.DeleteFunc(dst, func(key []byte) bool { return d.migration.found[foundKey{m, string(key)}] })
}

// foundKey is a key that has arrived by a move.
type foundKey struct {
	move *router.Move
	key  string
}

// keysIn are the keys of a slot of the request.
func (d *retry) keysIn(slot router.Slot) [][]byte {
	if d.slots == nil {
		return d.keys
	}
	if d.migration.bySlot == nil {
		d.migration.bySlot = make(map[router.Slot][][]byte)
		for _, key := range d.keys {
			in := d.client.pool.Model.Slot(key)
			d.migration.bySlot[in] = append(d.migration.bySlot[in], key)
		}
	}
	return d.migration.bySlot[slot]
}

// allKeys are the keys of the request, and one of those that its client watches.
func (d *retry) allKeys() [][]byte {
	if x, ok := d.exclusive.(*execution); ok && x.watch != nil {
		return append([][]byte{x.watch.key}, d.keys...)
	}
	return d.keys
}

// tooSlow is the answer to a request that has been on its way through slots that move for longer than it may, ""
// before.
func (d *retry) tooSlow(m *router.Move) string {
	c := d.client
	s, since := &c.pool.Settings().Hold, c.pipe.at(d.seq).start
	waited := c.loop.now - since
	if d.slots == nil || waited < int64(max(s.MaxWait, s.MaxMoveWait)) {
		return ""
	}
	return heldFor(d.slot, fmt.Sprintf("is %s, and so are other slots of the request, see hold.max_move_wait", m), time.Duration(waited))
}
