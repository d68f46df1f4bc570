package hold

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"sluice/router"
)

// Counts count the holds of a pool. Held is always the sum of Ended and Now.
type Counts struct {
	Held  [Causes]uint64 // by the cause at the start
	Now   [Causes]int    // by the cause at the moment
	Ended [Ends]uint64
	Bytes int           // of the requests that are held now, and what their clients sent behind them
	Waits time.Duration // sum over the holds that ended
}

// Check returns an error when the counts do not balance.
func (c *Counts) Check() error {
	var held, ended uint64
	now := 0
	for i := range c.Held {
		held += c.Held[i]
		now += c.Now[i]
		if c.Now[i] < 0 {
			return fmt.Errorf("%d requests are held as %s", c.Now[i], Cause(i))
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

// Use is what holds take up.
type Use struct{ Requests, Bytes int }

// Add adds to it; negative numbers take away.
func (u *Use) Add(requests, bytes int) {
	u.Requests += requests
	u.Bytes += bytes
}

// Account keeps the counts of a pool's holds over all loops. Safe for concurrent use: it has a lock, since only
// requests that wait anyhow come here. The zero value is ready.
type Account struct {
	mu     sync.Mutex
	counts Counts
	total  Use
	slots  map[router.Slot]Use
}

// Enter notes that a request is held, or names the limit that is in the way; then its hold has begun and
// ended at once.
func (b *Account) Enter(s *Settings, slot router.Slot, cause Cause, client Use, bytes int) (limit string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.counts.Held[cause]++
	if limit = b.limit(s, slot, client, bytes); limit != "" {
		b.counts.Ended[Overflowed]++
		return limit
	}
	b.counts.Now[cause]++
	b.add(slot, 1, bytes)
	return ""
}

// Grow notes that a held client has sent more, or names the limit that this exceeds. It is noted in any case.
func (b *Account) Grow(s *Settings, slot router.Slot, client Use, bytes int) (limit string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	limit = b.byteLimit(s, slot, client, bytes)
	b.add(slot, 0, bytes)
	return limit
}

// Change notes that a hold has another cause now, or waits for another slot.
func (b *Account) Change(from router.Slot, was Cause, to router.Slot, is Cause, bytes int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.counts.Now[was]--
	b.counts.Now[is]++
	b.add(from, -1, -bytes)
	b.add(to, 1, bytes)
}

// Leave notes the end of a hold.
func (b *Account) Leave(slot router.Slot, cause Cause, bytes int, end End, waited time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.counts.Now[cause]--
	b.counts.Ended[end]++
	b.counts.Waits += waited
	b.add(slot, -1, -bytes)
}

func (b *Account) add(slot router.Slot, requests, bytes int) {
	b.counts.Bytes += bytes
	b.total.Add(requests, bytes)
	use := b.slots[slot]
	use.Add(requests, bytes)
	if use == (Use{}) {
		delete(b.slots, slot)
		return
	}
	if b.slots == nil {
		b.slots = make(map[router.Slot]Use)
	}
	b.slots[slot] = use
}

// limit names the limit that another hold of bytes would exceed, "" when there is none. client is what the
// client holds already.
func (b *Account) limit(s *Settings, slot router.Slot, client Use, bytes int) string {
	switch use := b.slots[slot]; {
	case s.DryRun:
		return "dry run"
	case b.total.Requests >= s.MaxRequests:
		return fmt.Sprintf("%d requests wait, see hold.max_requests", b.total.Requests)
	case use.Requests >= s.SlotRequests:
		return fmt.Sprintf("%d requests wait for the slot, see hold.slot_requests", use.Requests)
	case client.Requests >= s.ClientRequests:
		return fmt.Sprintf("%d requests of the client wait, see hold.client_requests", client.Requests)
	}
	return b.byteLimit(s, slot, client, bytes)
}

func (b *Account) byteLimit(s *Settings, slot router.Slot, client Use, bytes int) string {
	switch use := b.slots[slot]; {
	case b.total.Bytes+bytes > s.MaxBytes:
		return fmt.Sprintf("%d bytes wait, see hold.max_bytes", b.total.Bytes)
	case use.Bytes+bytes > s.SlotBytes:
		return fmt.Sprintf("%d bytes wait for the slot, see hold.slot_bytes", use.Bytes)
	case client.Bytes+bytes > s.ClientBytes:
		return fmt.Sprintf("%d bytes of the client wait, see hold.client_bytes", client.Bytes)
	}
	return ""
}

// Counts is a copy.
func (b *Account) Counts() Counts {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.counts
}

// SlotUse is a slot that requests wait for.
type SlotUse struct {
	Slot            router.Slot
	Requests, Bytes int
}

// Slots lists the slots that requests wait for, with how many.
func (b *Account) Slots() []SlotUse {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := make([]SlotUse, 0, len(b.slots))
	for _, slot := range slices.Sorted(maps.Keys(b.slots)) {
		use := b.slots[slot]
		list = append(list, SlotUse{Slot: slot, Requests: use.Requests, Bytes: use.Bytes})
	}
	return list
}
