package proxy

import (
	"sluice/internal/bufpool"
	"sluice/proxy/command"
	"sluice/router"
)

// pipeline puts replies back into the order of their requests. A request gets a sequence number when it is
// dispatched; a reply of the oldest one goes straight to the client, any other waits in its slot until the
// older ones are answered.
//
//	     head             tail
//	      |                |
//	done  | oldest ....... | free       slots are ring[seq & mask]
//
// Owned by the client's event loop; no locking.
type pipeline struct {
	ring []pending // length is a power of two
	head uint32
	tail uint32
}

// pending is a request in flight.
type pending struct {
	cmd   *command.Command
	start int64  // loop clock when it was dispatched
	long  []byte // a reply that came too early and does not fit into short; from the loop's pool
	short [18]byte
	slot  router.Slot // anySlot for a command over several
	flags pendingFlags
	size  uint8 // bytes used in short
}

// anySlot stands for more than one slot.
const anySlot = router.Slot(1<<16 - 1)

type pendingFlags uint16

const (
	answered       pendingFlags = 1 << iota // the whole reply is here
	failed                                  // the reply is an error
	sentTwice                               // it was retried after a lost connection
	passedPart                              // a part of the reply went to the client
	retried                                 // the request, or a part of it, is or was retried
	atReplica                               // a read, sent to a replica; counted in client.guarantees
	countedWrite                            // counted in client.guarantees
	countedRead                             // a read, sent to the master; counted in client.guarantees
	muted                                   // its reply is dropped: CLIENT REPLY
	multiSlot                               // its keys are in several slots, at one owner
	blocks                                  // it may have waited for as long as its client likes
	observesOthers                          // a write that shows what others wrote; see observers.go
)

const minPipeline = 4

func (q *pipeline) len() int { return int(q.tail - q.head) }

func (q *pipeline) empty() bool { return q.head == q.tail }

// full reports whether so many requests are in flight that client.process stops, because of Limits.MaxPipeline; roomy
// whether client.wake goes on, when half of them are answered.
func (q *pipeline) full(most int) bool { return q.len() >= most }

func (q *pipeline) roomy(most int) bool { return q.len() <= most/2 }

// at is the request with sequence number seq, which must be in flight. Valid until push.
func (q *pipeline) at(seq uint32) *pending { return &q.ring[seq&uint32(len(q.ring)-1)] }

// push adds a request and returns its sequence number.
func (q *pipeline) push(cmd *command.Command, slot router.Slot, now int64) uint32 {
	if q.len() == len(q.ring) {
		q.grow()
	}
	seq := q.tail
	q.tail++
	p := q.at(seq)
	p.cmd, p.slot, p.start, p.size, p.flags = cmd, slot, now, 0, 0
	return seq
}

// writesAfter reports whether a request after seq may change slot. Commands that Sluice answers itself have no
// cmd and change nothing.
func (q *pipeline) writesAfter(seq uint32, slot router.Slot) bool {
	for seq++; seq != q.tail; seq++ {
		p := q.at(seq)
		if p.cmd != nil && !p.cmd.Is(command.ReadOnly) && (p.slot == slot || p.slot == anySlot || slot == anySlot) {
			return true
		}
	}
	return false
}

func (q *pipeline) grow() {
	ring := make([]pending, max(minPipeline, 2*len(q.ring)))
	for seq := q.head; seq != q.tail; seq++ {
		ring[seq&uint32(len(ring)-1)] = *q.at(seq)
	}
	q.ring = ring
}

// store keeps data, a reply or a part of it, until the older requests are answered. It returns how many
// bytes of memory outside the slot that took.
func (p *pending) store(data []byte, pool *bufpool.Pool) int {
	if p.long == nil && int(p.size)+len(data) <= len(p.short) {
		p.size += uint8(copy(p.short[p.size:], data))
		return 0
	}
	before := cap(p.long)
	if p.long == nil && p.size > 0 {
		p.long = pool.Append(nil, p.short[:p.size])
	}
	p.long = pool.Append(p.long, data)
	return cap(p.long) - before
}

// stored is what store has kept.
func (p *pending) stored() []byte {
	if p.long != nil {
		return p.long
	}
	return p.short[:p.size]
}

// release gives the memory of a stored reply back and returns how much it was.
func (p *pending) release(pool *bufpool.Pool) int {
	p.size = 0
	if p.long == nil {
		return 0
	}
	n := cap(p.long)
	pool.Put(p.long)
	p.long = nil
	return n
}

// idleRing is the length of a ring that is kept while there is nothing in it.
const idleRing = 16

// shrink gives a ring that a burst made large back. It reports false while that is in use.
func (q *pipeline) shrink() bool {
	if !q.empty() {
		return len(q.ring) <= idleRing
	}
	if len(q.ring) > idleRing {
		q.ring = nil
	}
	return true
}
