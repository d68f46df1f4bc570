package proxy

import (
	"math/bits"

	"sluice/backend"
	"sluice/internal/clock"
	"sluice/router"
)

// sessionGuarantees is what a client that may read from replicas has done lately, by bucket of slots. A command on
// one slot says nothing about keys of another, so what is remembered by bucket keeps fewer reads at the master than
// what would be remembered for the whole group.
//
// Two rules hold for every consistency, because commands of one connection on one key run in order: a read is not sent
// to a replica while a write of its bucket is in flight, and a write waits while a read of its bucket is in flight at a
// replica, which might see it.
type sessionGuarantees struct {
	kept Consistency // says which of the instants below are kept

	writes [buckets]uint32 // in flight
	reads  [buckets]uint32 // in flight at replicas

	multi map[uint32]uint64 // buckets of requests with keys in several slots that are counted in flight, by seq

	// ReadYourWrites.
	acked [buckets]int64 // when the last write was acknowledged
	taken int64          // when the last observing write was, in any bucket

	// Monotonic.
	others [buckets]uint32 // reads in flight at the master
	readAt [buckets]int64  // when the last read was answered
	from   [buckets]int32  // the node that the last read was sent to, its ID plus 1; 0 is unknown
}

// buckets is how many sessionGuarantees tell apart; one bit each in a mask.
const buckets = 64

// allBuckets is the mask of all of them.
const allBuckets = 1<<buckets - 1

func bucketOf(slot router.Slot) uint64 { return 1 << (slot % buckets) }

// each calls f with the number of every bucket in a mask.
func each(mask uint64, f func(b int)) {
	for ; mask != 0; mask &= mask - 1 {
		f(bits.TrailingZeros64(mask))
	}
}

// anyOf reports whether f holds for a bucket in a mask.
func anyOf(mask uint64, f func(b int) bool) bool {
	for ; mask != 0; mask &= mask - 1 {
		if f(bits.TrailingZeros64(mask)) {
			return true
		}
	}
	return false
}

// writing reports whether a write is in flight.
func (r *sessionGuarantees) writing(mask uint64) bool {
	return anyOf(mask, func(b int) bool { return r.writes[b] > 0 })
}

// reading reports whether a read is in flight at a replica.
func (r *sessionGuarantees) reading(mask uint64) bool {
	return anyOf(mask, func(b int) bool { return r.reads[b] > 0 })
}

// ackedIn is when the last write was acknowledged that reads of these buckets have to see.
func (r *sessionGuarantees) ackedIn(mask uint64) int64 {
	last := r.taken
	each(mask, func(b int) { last = max(last, r.acked[b]) })
	return last
}

// readingElsewhere reports whether a read is in flight at another node than this one, which may see more than this one
// does now.
func (r *sessionGuarantees) readingElsewhere(mask uint64, n *backend.Node) bool {
	return anyOf(mask, func(b int) bool { return r.reads[b]+r.others[b] > 0 && r.from[b] != int32(n.ID)+1 })
}

// mayGoOnAt reports whether a replica shows nothing older than what was read before: it was read from last, or has all
// that was acknowledged when the last read was answered.
func (r *sessionGuarantees) mayGoOnAt(mask uint64, conn *backend.Conn, caughtUpTo int64) bool {
	if r.readingElsewhere(mask, conn.Node) {
		return false
	}
	// A connection that is younger than the last read may lead to another process there.
	return !anyOf(mask, func(b int) bool {
		same := r.from[b] == int32(conn.Node.ID)+1 && conn.OpenedAt() <= r.readAt[b]
		return !same && caughtUpTo < r.readAt[b]
	})
}

// sent notes a read that goes to a node. Parts of one command may go to two nodes at once; then it is not known
// which of the two sees more.
func (r *sessionGuarantees) sent(mask uint64, n *backend.Node, replica bool) {
	id := int32(n.ID) + 1
	each(mask, func(b int) {
		if r.from[b] == id || r.reads[b]+r.others[b] == 0 {
			r.from[b] = id
		} else {
			r.from[b] = 0
		}
		if replica {
			r.reads[b]++
		} else {
			r.others[b]++
		}
	})
}

// sentSomewhere notes a read that goes to a master, which one is not known yet.
func (r *sessionGuarantees) sentSomewhere(mask uint64) {
	each(mask, func(b int) {
		r.from[b] = 0
		r.others[b]++
	})
}

// count adds n to what is in flight of a kind.
func (r *sessionGuarantees) count(mask uint64, what pendingFlags, n int32) {
	each(mask, func(b int) {
		switch {
		case what&atReplica != 0:
			r.reads[b] += uint32(n)
		case what&countedRead != 0:
			r.others[b] += uint32(n)
		}
	})
}

// strayed notes that a read was not answered where it was sent to.
func (r *sessionGuarantees) strayed(mask uint64) { each(mask, func(b int) { r.from[b] = 0 }) }

// answered notes the end of what was counted in flight.
func (r *sessionGuarantees) answered(mask uint64, what pendingFlags) {
	each(mask, func(b int) { r.answeredOne(router.Slot(b), what) })
}

// answeredOne is answered for one bucket.
func (r *sessionGuarantees) answeredOne(b router.Slot, what pendingFlags) {
	// The instants are not of the loop's clock, which stands still during a turn: a write may have been run since that
	// was read.
	switch {
	case what&countedWrite != 0:
		r.writes[b]--
		if r.kept == ReadYourWrites {
			r.acked[b] = clock.Now()
			if what&observesOthers != 0 {
				r.tookOver()
			}
		}
		return
	case what&atReplica != 0:
		r.reads[b]--
	default:
		r.others[b]--
	}
	if r.kept == Monotonic {
		r.readAt[b] = clock.Now()
	}
}

// tookOver notes that the client was shown something that others wrote.
func (r *sessionGuarantees) tookOver() {
	if r.kept == ReadYourWrites {
		r.taken = clock.Now()
	}
}

// renew makes everything that was done before count as done just now: another consistency has to start somewhere.
func (r *sessionGuarantees) renew() {
	now := clock.Now()
	r.taken = now
	for b := range buckets {
		r.acked[b], r.readAt[b], r.from[b] = now, now, 0
	}
}
