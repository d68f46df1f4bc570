package backend

import "sluice/internal/bufpool"

// chunkSize is the usual size of a piece of the send log: large enough for one write(2) to carry a turn's
// requests, small enough to stay in the cache.
const chunkSize = 32 << 10

// smallChunk is the size of a piece on a connection that carries one request at a time and may keep it for long.
const smallChunk = 1 << 10

// sendLog keeps the bytes of requests, in the order they are sent, until they are answered. It is the send
// queue and the memory of what was asked in one: a request that bounces (MOVED, ASK, a lost connection) is
// read back from here, so a plain request is copied once in its life.
//
//	consumed          sent              end
//	   |  sent, waiting |  not sent yet  |
//	---+----------------+----------------+--->   positions count bytes since the connection was made
//
// A request never straddles two chunks. Owned by the event loop; no locking.
type sendLog struct {
	pool   *bufpool.Pool
	small  bool     // pieces have smallChunk
	chunks [][]byte // chunks[0] holds the oldest unanswered request

	off      int    // where the oldest unanswered request starts in chunks[0]
	next     int    // chunk that is being sent
	nextOff  int    // and how much of it was sent
	consumed uint64 // position of the oldest unanswered request
	sent     uint64 // position up to which bytes were handed to the kernel or to gnet
	end      uint64 // position behind the newest request
}

// add copies a request to the end.
func (l *sendLog) add(req []byte) {
	last := len(l.chunks) - 1
	if last < 0 || cap(l.chunks[last])-len(l.chunks[last]) < len(req) {
		if last >= 0 && len(l.chunks[last]) == 0 { // A chunk that holds nothing must not stay in the middle.
			l.pool.Put(l.chunks[last])
			l.chunks = l.chunks[:last]
			last--
		}
		l.chunks = append(l.chunks, l.pool.Get(max(l.size(), len(req))))
		last++
	}
	l.chunks[last] = append(l.chunks[last], req...)
	l.end += uint64(len(req))
}

// size is the usual size of a piece.
func (l *sendLog) size() int {
	if l.small {
		return smallChunk
	}
	return chunkSize
}

// unsent is the next piece to send: whole requests, nil when there is none. It is valid until pop.
func (l *sendLog) unsent() []byte {
	for l.next < len(l.chunks) {
		if piece := l.chunks[l.next][l.nextOff:]; len(piece) > 0 {
			return piece
		}
		if l.next == len(l.chunks)-1 {
			return nil
		}
		l.next++
		l.nextOff = 0
	}
	return nil
}

// markSent moves the send position by n bytes of unsent.
func (l *sendLog) markSent(n int) {
	l.nextOff += n
	l.sent += uint64(n)
}

// oldest is the oldest unanswered request, which is size bytes long. It is valid until pop.
func (l *sendLog) oldest(size int) []byte { return l.chunks[0][l.off : l.off+size] }

// at is the request of size bytes that starts skip bytes behind the oldest unanswered one. It is valid until pop.
func (l *sendLog) at(skip, size int) []byte {
	off := l.off + skip
	for _, chunk := range l.chunks {
		if off < len(chunk) {
			return chunk[off : off+size]
		}
		off -= len(chunk)
	}
	panic("BUG: no such request in the send log")
}

// pop forgets the oldest request, of size bytes, sent or not.
func (l *sendLog) pop(size int) {
	l.off += size
	l.consumed += uint64(size)
	if l.sent < l.consumed { // It was given up before it was sent.
		l.sent = l.consumed
		l.next, l.nextOff = 0, l.off
	}
	if l.off < len(l.chunks[0]) {
		return
	}
	l.off = 0
	if len(l.chunks) == 1 {
		l.rewind()
		return
	}
	l.pool.Put(l.chunks[0])
	copy(l.chunks, l.chunks[1:])
	l.chunks[len(l.chunks)-1] = nil
	l.chunks = l.chunks[:len(l.chunks)-1]
	if l.next > 0 {
		l.next--
	} else {
		l.nextOff = 0
	}
}

// rewind reuses the only chunk once all of it is answered; an oversized one goes back.
func (l *sendLog) rewind() {
	l.next, l.nextOff = 0, 0
	if cap(l.chunks[0]) > l.size() {
		l.chunks[0] = nil
		l.chunks = l.chunks[:0]
		return
	}
	l.chunks[0] = l.chunks[0][:0]
}

// idle gives the memory of an answered log back.
func (l *sendLog) idle() {
	if l.consumed == l.end && len(l.chunks) == 1 {
		l.pool.Put(l.chunks[0])
		l.chunks[0] = nil
		l.chunks = l.chunks[:0]
	}
}
