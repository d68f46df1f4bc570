package backend

// entry is a request that waits for its reply. Its bytes are in the send log.
type entry struct {
	owner Owner // nil: the reply is dropped
	start int64 // loop clock when it was queued, in nanoseconds
	size  int   // bytes in the send log
	tag   uint32
}

// fifo is a ring of entries in send order. Owned by the event loop; no locking.
type fifo struct {
	ring []entry // length is a power of two
	head int     // index of the oldest, not wrapped
	tail int     // index behind the newest, not wrapped
}

const minFIFO = 64

func (q *fifo) len() int { return q.tail - q.head }

// at returns the i-th oldest entry. The pointer is valid until push.
func (q *fifo) at(i int) *entry { return &q.ring[(q.head+i)&(len(q.ring)-1)] }

func (q *fifo) push(e entry) {
	if q.len() == len(q.ring) {
		q.resize(max(minFIFO, 2*len(q.ring)))
	}
	q.ring[q.tail&(len(q.ring)-1)] = e
	q.tail++
}

func (q *fifo) pop() {
	q.ring[q.head&(len(q.ring)-1)].owner = nil
	q.head++
}

func (q *fifo) resize(size int) {
	ring := make([]entry, size)
	n := q.len()
	for i := range n {
		ring[i] = *q.at(i)
	}
	q.ring, q.head, q.tail = ring, 0, n
}

// idle gives a ring that a burst made large back.
func (q *fifo) idle() {
	if q.len() == 0 && len(q.ring) > 16*minFIFO {
		*q = fifo{}
	}
}
