// Package bufpool recycles byte buffers inside one event loop. A Pool belongs to one goroutine; nothing
// here is locked, and buffers never change loops.
package bufpool

import "math/bits"

// Buffers come in size classes, four to a doubling: 64, 80, 96, 112, 128, 160, ... bytes. A finer division
// would find fewer buffers to recycle, a coarser one waste memory: with powers of two alone, a reply of 1 KiB
// and its header would take 2 KiB.
const (
	minSize = 64
	// MaxSize is the largest capacity that a Pool recycles; larger buffers are left to the garbage collector.
	MaxSize = 64 << 10

	minBits = 6 // of minSize
	classes = (16-minBits)*4 + 1
)

// Pool keeps free buffers by capacity, up to a number of bytes in all. The zero value keeps nothing; see New.
type Pool struct {
	free  [classes][][]byte
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
	class, capacity := classOf(size)
	list := p.free[class]
	if n := len(list); n > 0 {
		b := list[n-1]
		list[n-1] = nil
		p.free[class] = list[:n-1]
		p.bytes -= cap(b)
		return b
	}
	return make([]byte, 0, capacity)
}

// Put takes a buffer back. Buffers that are no size class, too large or over the limit are dropped.
func (p *Pool) Put(b []byte) {
	c := cap(b)
	if c < minSize || c > MaxSize || p.bytes+c > p.limit {
		return
	}
	class, capacity := classOf(c)
	if capacity != c {
		return
	}
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
	p.free = [classes][][]byte{}
	p.bytes = 0
}

// Free is the number of bytes in free buffers.
func (p *Pool) Free() int { return p.bytes }

// classOf is the smallest class with room for size bytes, which is at most MaxSize, and its capacity.
func classOf(size int) (class, capacity int) {
	if size <= minSize {
		return 0, minSize
	}
	top := bits.Len(uint(size-1)) - 1 // 2^top < size <= 2^(top+1)
	shift := top - 2
	quarter := (size - 1) >> shift // 4..7, the leading bits of size-1
	return (top-minBits)*4 + quarter - 3, (quarter + 1) << shift
}
