package proxy

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"sluice/router"
)

// HoldSettings bound the requests that wait because their slot is locked or moving, or because nobody is
// known to serve it. Immutable.
type HoldSettings struct {
	MaxWait        time.Duration // how long a request may wait; 0 answers at once what would be held
	MaxMoveWait    time.Duration // how long one may wait for a key of a slot whose keys go
	MaxRequests    int           // held in the pool
	MaxBytes       int
	SlotRequests   int // held per slot
	SlotBytes      int
	ClientRequests int // held per client
	ClientBytes    int
	DryRun         bool // count what would be held, and answer it at once
}

// HoldCause says why a request waits.
type HoldCause uint8

// The causes.
const (
	HoldLocked     HoldCause = iota // its slot is locked
	HoldMoving                      // its slot is moving and its key is on the way
	HoldNoMaster                    // the master of its slot does not serve
	HoldNoTopology                  // nobody is known to own its slot
	HoldNoReplica                   // only a replica may serve it, and the connection to one is not ready
	HoldNoCommands                  // its name is not known, and the servers have not told their commands yet
	HoldCauses
)

// String names the cause as the metrics do.
func (c HoldCause) String() string {
	return [HoldCauses]string{"locked", "moving", "no_master", "no_topology", "no_replica", "no_commands"}[c]
}

// HoldEnd says how a hold ended.
type HoldEnd uint8

// The ends.
const (
	HoldReleased   HoldEnd = iota // the request went on
	HoldTimedOut                  // it waited for MaxWait
	HoldOverflowed                // a limit, or DryRun, answered it
	HoldClientGone                // its client closed the connection
	HoldEnds
)

// String names the end as the metrics do.
func (e HoldEnd) String() string {
	return [HoldEnds]string{"released", "timed_out", "overflowed", "client_gone"}[e]
}

// HoldCounts count the holds of a pool. Held is always the sum of Ended and Now.
type HoldCounts struct {
	Held  [HoldCauses]uint64 // by the cause at the start
	Now   [HoldCauses]int    // by the cause at the moment
	Ended [HoldEnds]uint64
	Bytes int           // of the requests that are held now, and what their clients sent behind them
	Waits time.Duration // sum over the holds that ended
}

// Check returns an error when the counts do not balance.
func (c *HoldCounts) Check() error {
	var held, ended uint64
	now := 0
	for i := range c.Held {
		held += c.Held[i]
		now += c.Now[i]
		if c.Now[i] < 0 {
			return fmt.Errorf("%d requests are held as %s", c.Now[i], HoldCause(i))
		}
	}
	for i := range c.Ended {
		ended += c.Ended[i]
	}
	if held != ended+uint64(now) {
		return fmt.Errorf("%d requests were held, %d ended and %d are held still", held, ended, now)
	}
	if c.Bytes < 0 || now == 0 && c.Bytes != 0 {
		return fmt.Errorf("%d requests of %d bytes are held", now, c.Bytes)
	}
	return nil
}

// holdUse is what holds take up.
type holdUse struct{ requests, bytes int }

func (u *holdUse) add(requests, bytes int) {
	u.requests += requests
	u.bytes += bytes
}

// holdBook keeps the account of a pool's holds over all loops. It has a lock, since only requests that wait
// anyhow come here.
type holdBook struct {
	mu     sync.Mutex
	counts HoldCounts
	total  holdUse
	slots  map[router.Slot]holdUse
}

// enter notes that a request is held, or names the limit that is in the way; then its hold has begun and
// ended at once.
func (b *holdBook) enter(s *HoldSettings, slot router.Slot, cause HoldCause, client holdUse, bytes int) (limit string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.counts.Held[cause]++
	if limit = b.limit(s, slot, client, bytes); limit != "" {
		b.counts.Ended[HoldOverflowed]++
		return limit
	}
	b.counts.Now[cause]++
	b.add(slot, 1, bytes)
	return ""
}

// grow notes that a held client has sent more, or names the limit that this exceeds. It is noted in any case.
func (b *holdBook) grow(s *HoldSettings, slot router.Slot, client holdUse, bytes int) (limit string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	limit = b.byteLimit(s, slot, client, bytes)
	b.add(slot, 0, bytes)
	return limit
}

// change notes that a hold has another cause now, or waits for another slot.
func (b *holdBook) change(h *hold, slot router.Slot, cause HoldCause) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.counts.Now[h.cause]--
	b.counts.Now[cause]++
	b.add(h.slot, -1, -h.bytes)
	b.add(slot, 1, h.bytes)
	h.slot, h.cause = slot, cause
}

// leave notes the end of a hold.
func (b *holdBook) leave(slot router.Slot, cause HoldCause, bytes int, end HoldEnd, waited time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.counts.Now[cause]--
	b.counts.Ended[end]++
	b.counts.Waits += waited
	b.add(slot, -1, -bytes)
}

func (b *holdBook) add(slot router.Slot, requests, bytes int) {
	b.counts.Bytes += bytes
	b.total.add(requests, bytes)
	use := b.slots[slot]
	use.add(requests, bytes)
	if use == (holdUse{}) {
		delete(b.slots, slot)
		return
	}
	if b.slots == nil {
		b.slots = make(map[router.Slot]holdUse)
	}
	b.slots[slot] = use
}

// limit names the limit that another hold of bytes would exceed, "" when there is none. client is what the
// client holds already.
func (b *holdBook) limit(s *HoldSettings, slot router.Slot, client holdUse, bytes int) string {
	switch use := b.slots[slot]; {
	case s.DryRun:
		return "dry run"
	case b.total.requests >= s.MaxRequests:
		return fmt.Sprintf("%d requests wait, see hold.max_requests", b.total.requests)
	case use.requests >= s.SlotRequests:
		return fmt.Sprintf("%d requests wait for the slot, see hold.slot_requests", use.requests)
	case client.requests >= s.ClientRequests:
		return fmt.Sprintf("%d requests of the client wait, see hold.client_requests", client.requests)
	}
	return b.byteLimit(s, slot, client, bytes)
}

func (b *holdBook) byteLimit(s *HoldSettings, slot router.Slot, client holdUse, bytes int) string {
	switch use := b.slots[slot]; {
	case b.total.bytes+bytes > s.MaxBytes:
		return fmt.Sprintf("%d bytes wait, see hold.max_bytes", b.total.bytes)
	case use.bytes+bytes > s.SlotBytes:
		return fmt.Sprintf("%d bytes wait for the slot, see hold.slot_bytes", use.bytes)
	case client.bytes+bytes > s.ClientBytes:
		return fmt.Sprintf("%d bytes of the client wait, see hold.client_bytes", client.bytes)
	}
	return ""
}

// Holds is the account of the pool's holds. Safe for concurrent use.
func (p *Pool) Holds() HoldCounts {
	p.holds.mu.Lock()
	defer p.holds.mu.Unlock()
	return p.holds.counts
}

// HeldSlots lists the slots that requests wait for, with how many. Safe for concurrent use.
func (p *Pool) HeldSlots() []HeldSlot {
	p.holds.mu.Lock()
	defer p.holds.mu.Unlock()
	list := make([]HeldSlot, 0, len(p.holds.slots))
	for _, slot := range slices.Sorted(maps.Keys(p.holds.slots)) {
		use := p.holds.slots[slot]
		list = append(list, HeldSlot{Slot: slot, Requests: use.requests, Bytes: use.bytes})
	}
	return list
}

// HeldSlot is a slot that requests wait for.
type HeldSlot struct {
	Slot            router.Slot
	Requests, Bytes int
}
