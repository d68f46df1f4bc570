package lag

import "slices"

// maxPoints bounds a History: with a sample every 100 ms the newest half minute is kept point by point.
const maxPoints = 512

// History is what a master has said of its stream: at which instants its end was at least at which offset. A sample
// that was asked for at s and names offset o proves that every write acknowledged before s lies before o.
type History struct {
	points []point // both fields ascending, strictly
}

type point struct{ at, offset int64 }

// Add notes a sample. It reports false, and notes nothing, when the stream has gone backwards: then the history is
// that of another stream.
func (h *History) Add(at, offset int64) bool {
	if n := len(h.points); n > 0 {
		last := &h.points[n-1]
		switch {
		case offset < last.offset:
			return false
		case at <= last.at:
			return true
		case offset == last.offset:
			last.at = at
			return true
		}
	}
	if len(h.points) == maxPoints {
		h.thin()
	}
	h.points = append(h.points, point{at, offset})
	return true
}

// End is the offset of the newest sample, -1 when there is none.
func (h *History) End() int64 {
	if len(h.points) == 0 {
		return -1
	}
	return h.points[len(h.points)-1].offset
}

// thin forgets every second point of the older half. What is forgotten can only make a watermark later than it need
// be, never too early.
func (h *History) thin() {
	kept := h.points[:0]
	for i, p := range h.points {
		if i >= maxPoints/2 || i%2 == 0 {
			kept = append(kept, p)
		}
	}
	h.points = kept
}

// Reached is the watermark of a replica that has applied the stream up to an offset: the latest instant for which it
// is proven that all writes acknowledged before it lie before the offset. 0 when nothing is proven.
func (h *History) Reached(applied int64) int64 {
	i, found := slices.BinarySearchFunc(h.points, applied, func(p point, applied int64) int {
		switch {
		case p.offset < applied:
			return -1
		case p.offset > applied:
			return 1
		}
		return 0
	})
	if found {
		return h.points[i].at
	}
	if i == 0 {
		return 0
	}
	return h.points[i-1].at
}

// Clear forgets everything.
func (h *History) Clear() { h.points = h.points[:0] }
