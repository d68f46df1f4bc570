// Package bufpool recycles byte buffers inside one event loop. A Pool belongs to one goroutine; nothing
// here is locked, and buffers never change loops.
package bufpool

import "math/bits"

const (
	minClass = 6  // 64 B
	maxClass = 16 // 64 KiB; larger buffers are left to the garbage collector
)

// MaxSize is the largest capacity that a Pool recycles.
const MaxSize = 1 << maxClass

// Pool keeps free buffers by capacity, powers of two from 64 B to 64 KiB, up to a number of bytes in all.
// The zero value keeps nothing; see New.
type Pool struct {
	free  [maxClass + 1][][]byte
	bytes int
	limit int
}

// New returns a Pool that keeps at most limit bytes of free buffers.
func New(limit int) *Pool { return &Pool{limit: limit} }

// Get returns an empty buffer with room for at least size bytes. The caller owns it until Put.
func (p *Pool) Get(size int) []byte {
	if size > MaxSize {
		return make([]byte, 0, size)
	}
	class := classOf(size)
	list := p.free[class]
	if n := len(list); n > 0 {
		b := list[n-1]
		list[n-1] = nil
		p.free[class] = list[:n-1]
		p.bytes -= cap(b)
		return b
	}
	return make([]byte, 0, 1<<class)
}

// Put takes a buffer back. Buffers that are no size class, too large or over the limit are dropped.
func (p *Pool) Put(b []byte) {
	c := cap(b)
	if c < 1<<minClass || c > MaxSize || c&(c-1) != 0 || p.bytes+c > p.limit {
		return
	}
	class := bits.Len(uint(c)) - 1
	p.free[class] = append(p.free[class], b[:0])
	p.bytes += c
}

// Append adds data to b like append, but grows through the pool: b is put back when it is too small.
func (p *Pool) Append(b, data []byte) []byte {
	if cap(b)-len(b) >= len(data) {
		return append(b, data...)
	}
	bigger := p.Get(max(len(b)+len(data), 2*cap(b)))
	bigger = append(bigger, b...)
	p.Put(b)
	return append(bigger, data...)
}

// Trim forgets every free buffer, so that memory goes back after a burst.
func (p *Pool) Trim() {
	p.free = [maxClass + 1][][]byte{}
	p.bytes = 0
}

// Free is the number of bytes in free buffers.
func (p *Pool) Free() int { return p.bytes }

func classOf(size int) int {
	if size <= 1<<minClass {
		return minClass
	}
	return bits.Len(uint(size - 1))
}
