package proxy

import (
	"fmt"
	"slices"
	"time"

	"sluice/backend"
	"sluice/proxy/hold"
	"sluice/router"
)

// A hold is a request that waits instead of failing, because its slot is locked or moves, or nobody serves it: then its
// client is not parsed, and the bytes stay where they are. When the reason has gone (checkHeld) the request is parsed
// again as if it had just come; when its time is over it is parsed again and answered with the words of heldFor. What
// may wait, and how much of it, package hold counts. A request that came back from a server waits as a retry does, with
// the same words (retryhold.go).

// heldRequest is the wait of one request: of the next one of a client, which is not parsed meanwhile, or of one that
// came back from a server (see retry). The zero value is no hold.
type heldRequest struct {
	slot     router.Slot
	cause    hold.Cause
	active   bool
	over     bool // no use in waiting any longer: answer text
	listed   bool // stands in loop.held
	end      hold.End
	bytes    int
	since    int64 // loop clock
	deadline int64 // loop clock
	text     string
}

// blockReason keeps commands on a slot from being sent.
type blockReason struct {
	cause hold.Cause
	slot  router.Slot
	move  *router.Move  // hold.Locked, hold.Moving
	node  *backend.Node // hold.NoMaster
	since int64         // loop clock at which it began, 0 when that is not known
	apart bool          // the keys of the request have several owners; with a move that may change
	fence string        // the answer, when it is not waited for at all
	why   string        // what String says, when that is more than the cause
}

// blockReason finds what keeps commands on slot from being sent to its master, if anything.
func (p *Pool) blockReason(v *view, slot router.Slot) (o blockReason, blocked bool) {
	if v == nil {
		return blockReason{cause: hold.NoTopology, slot: slot}, true
	}
	if v.fence != "" {
		return blockReason{cause: hold.NoTopology, slot: slot, fence: v.fence}, true
	}
	if m := v.table.Move(slot); m != nil && m.Phase == router.Locked {
		return blockReason{cause: hold.Locked, slot: slot, move: m}, true
	} else if m != nil && !p.Family.FindsKeys(m) {
		return blockReason{cause: hold.Moving, slot: slot, move: m}, true
	}
	node := v.master(slot)
	switch {
	case node == nil:
		return blockReason{cause: hold.NoTopology, slot: slot, since: v.since}, true
	case !node.Available():
		return blockReason{cause: hold.NoMaster, slot: slot, node: node, since: node.DownSince()}, true
	case node.Paused():
		return blockReason{cause: hold.NoMaster, slot: slot, node: node, why: "is not served: " + paused(node)}, true
	}
	return blockReason{}, false
}

// stopsRedirects reports whether whoever is sent elsewhere by a redirect has to wait as well.
func (o blockReason) stopsRedirects() bool { return o.cause == hold.Locked || o.fence != "" }

// String says what is in the way, behind "slot 886".
func (o blockReason) String() string {
	if o.why != "" {
		return o.why
	}
	switch o.cause {
	case hold.Locked, hold.Moving:
		return "is " + o.move.String()
	case hold.NoMaster:
		return fmt.Sprintf("is not served: %s", unavailable(o.node)[len("ERR "):])
	case hold.NoReplica:
		return "has no connection yet to a replica that may be read"
	case hold.NoTopology, hold.NoCommands, hold.Causes:
	}
	return "has no known owner"
}

// refusal is the answer when there is no holding.
func (o blockReason) refusal(v *view) string {
	switch {
	case o.fence != "":
		return o.fence
	case o.cause == hold.NoMaster:
		return unavailable(o.node)
	case o.cause == hold.NoReplica:
		return noReader(v.readableGroup(o.slot))
	case o.cause == hold.NoTopology && v == nil:
		return errNoTopology
	case o.cause == hold.NoTopology:
		return errSlotUnserved
	}
	return notHeld(o.slot, o.String(), "hold.max_wait is 0")
}

func notHeld(slot router.Slot, why, limit string) string {
	return fmt.Sprintf("TRYAGAIN slot %d %s (not held: %s)", slot, why, limit)
}

func heldFor(slot router.Slot, why string, waited time.Duration) string {
	return fmt.Sprintf("TRYAGAIN slot %d %s (held %.1fs)", slot, why, waited.Seconds())
}

// deadline is when a hold that began at since ends. What was the matter before has used up a part of the
// patience: requests for a server that is down for good must not all wait.
func (o blockReason) deadline(since int64, s *hold.Settings) int64 {
	if o.since != 0 && o.since < since {
		since = o.since
	}
	return since + int64(s.MaxWait)
}

// holdBack makes the client wait in front of the request at hand, of size bytes, or answers it when it may not
// or need not wait any longer.
func (c *client) holdBack(v *view, o blockReason, size int) stall {
	h, l := &c.hold, c.loop
	if h.over {
		c.replyError(h.text)
		c.endHold(h, h.end)
		return stallNone
	}
	if o.fence != "" {
		c.replyError(o.fence)
		c.endHold(h, hold.Released)
		return stallNone
	}
	s := &c.pool.Settings().Hold
	if !h.active {
		if o.deadline(l.now, s) <= l.now {
			c.replyError(o.refusal(v))
			return stallNone
		}
		if limit := c.beginHold(h, o.slot, o.cause, size); limit != "" {
			c.replyError(notHeld(o.slot, o.String(), limit))
			return stallNone
		}
	}
	c.renewHold(h, o)
	if l.now >= h.deadline {
		c.replyError(heldFor(o.slot, o.String(), time.Duration(l.now-h.since)))
		c.endHold(h, hold.TimedOut)
		return stallNone
	}
	if !h.listed {
		h.listed = true
		l.held = append(l.held, c)
	}
	l.watchHold(h)
	return stallHold
}

// beginHold enters a hold into the book, or names the limit that is in the way.
func (c *client) beginHold(h *heldRequest, slot router.Slot, cause hold.Cause, bytes int) (limit string) {
	s := &c.pool.Settings().Hold
	if limit = c.pool.holds.Enter(s, slot, cause, c.holding, bytes); limit != "" {
		return limit
	}
	c.holding.Add(1, bytes)
	*h = heldRequest{slot: slot, cause: cause, active: true, listed: h.listed, bytes: bytes, since: c.loop.now}
	h.deadline = h.since + int64(s.MaxWait)
	return ""
}

// changeHold notes that a hold has another cause now, or waits for another slot.
func (c *client) changeHold(h *heldRequest, slot router.Slot, cause hold.Cause) {
	c.pool.holds.Change(h.slot, h.cause, slot, cause, h.bytes)
	h.slot, h.cause = slot, cause
}

// renewHold notes what is in the way now.
func (c *client) renewHold(h *heldRequest, o blockReason) {
	if h.cause != o.cause || h.slot != o.slot {
		c.changeHold(h, o.slot, o.cause)
	}
	h.deadline = o.deadline(h.since, &c.pool.Settings().Hold)
}

// growHold counts what a held client sends while it waits. A client that exceeds a limit gets its answer now.
func (c *client) growHold() {
	h := &c.hold
	more := len(c.in) - c.inOff - h.bytes
	if !h.active || more == 0 {
		return
	}
	limit := c.pool.holds.Grow(&c.pool.Settings().Hold, h.slot, c.holding, more)
	h.bytes += more
	c.holding.Add(0, more)
	if limit != "" && !h.over && more > 0 {
		h.over, h.end, h.text = true, hold.Overflowed, notHeld(h.slot, "is not ready", limit)
		c.unhold()
	}
}

// endHold takes a hold out of the book.
func (c *client) endHold(h *heldRequest, end hold.End) {
	if !h.active {
		return
	}
	c.pool.holds.Leave(h.slot, h.cause, h.bytes, end, time.Duration(c.loop.now-h.since))
	c.holding.Add(-1, -h.bytes)
	*h = heldRequest{listed: h.listed}
}

// unhold lets a held client look at its next request again.
func (c *client) unhold() {
	if c.stall != stallHold || c.queued {
		return
	}
	c.queued = true
	c.loop.ready = append(c.loop.ready, c)
}

// holdStep is how often held clients are looked at, at most: all of them, so they share the moments. It is also how
// often a master that does not serve, and a replica that is not ready, is looked at while requests wait for it.
const holdStep = int64(10 * time.Millisecond)

// watchHold makes the loop look at its held clients when there may be something to do for h.
func (l *loop) watchHold(h *heldRequest) {
	at := h.deadline
	if h.cause == hold.NoMaster || h.cause == hold.NoReplica || h.cause == hold.NoCommands {
		at = min(at, l.now+holdStep)
	}
	l.wakeAt((at + holdStep - 1) / holdStep * holdStep)
}

// checkHeld lets those held clients go on whose block reason is gone or whose time is over.
func (l *loop) checkHeld() {
	if len(l.held) == 0 {
		return
	}
	l.held = slices.DeleteFunc(l.held, func(c *client) bool {
		h := &c.hold
		if !h.active || c.stall != stallHold {
			h.listed = false
			return true
		}
		o, blocked := c.pool.blockReason(c.pool.view.Load(), h.slot)
		if blocked {
			c.renewHold(h, o)
		}
		switch {
		case blocked && o.fence != "":
		case blocked && l.now < h.deadline && h.cause == hold.NoMaster && c.reads != nil:
			c.pool.askAround(l.now, o.node.Addr) // And a replica may have become fit for it.
		case blocked && l.now < h.deadline:
			if h.cause == hold.NoMaster {
				c.pool.askAround(l.now, o.node.Addr)
			}
			l.watchHold(h)
			return false
		case blocked:
			h.over, h.end = true, hold.TimedOut
			h.text = heldFor(h.slot, o.String(), time.Duration(l.now-h.since))
		}
		h.listed = false
		c.unhold()
		return true
	})
	l.schedule()
}

// Holds is the account of the pool's holds. Safe for concurrent use.
func (p *Pool) Holds() hold.Counts { return p.holds.Counts() }

// HeldSlots lists the slots that requests wait for, with how many. Safe for concurrent use.
func (p *Pool) HeldSlots() []hold.SlotUse { return p.holds.Slots() }
