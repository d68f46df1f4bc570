package load

import (
	"fmt"
	"math/rand/v2"
)

// Dist says how keys are drawn.
type Dist uint8

const (
	// DistUniform draws every key with the same chance.
	DistUniform Dist = iota
	// DistZipf draws few keys very often, as caches see it.
	DistZipf
	// DistSequential takes each key in turn; used to fill a key space.
	DistSequential
)

// String returns the name that ParseDist reads.
func (d Dist) String() string {
	switch d {
	case DistUniform:
		return "uniform"
	case DistZipf:
		return "zipf"
	case DistSequential:
		return "sequential"
	}
	return fmt.Sprintf("dist(%d)", uint8(d))
}

// ParseDist reads the name of a distribution.
func ParseDist(s string) (Dist, error) {
	for _, d := range []Dist{DistUniform, DistZipf, DistSequential} {
		if s == d.String() {
			return d, nil
		}
	}
	return 0, fmt.Errorf("distribution %q: known are uniform, zipf, sequential", s)
}

// drawnKeys is how many keys are drawn ahead of a run. Drawing them ahead makes
// every distribution cost the same during the run: one read of an array. It is
// repeated after that many requests, which no cache on the way can exploit.
const drawnKeys = 1 << 18

func newRand(seed, part uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, part)) }

// keyStream hands out key numbers. Owned by one loop; no locking.
type keyStream struct {
	drawn []uint32
	keys  uint64
	step  uint64 // distance between two sequential keys of this stream

	next uint64
}

// newKeyStream returns the part'th of parts streams; together, sequential
// streams cover the key space once per keys requests.
func newKeyStream(d Dist, keys uint64, zipfS float64, seed, part, parts uint64) *keyStream {
	s := &keyStream{keys: keys, step: parts, next: part}
	rng := newRand(seed, part)
	switch d {
	case DistSequential:
		return s
	case DistUniform:
		s.drawn = make([]uint32, drawnKeys)
		for i := range s.drawn {
			s.drawn[i] = uint32(rng.Uint64N(keys))
		}
	case DistZipf:
		s.drawn = make([]uint32, drawnKeys)
		z := rand.NewZipf(rng, zipfS, 1, keys-1)
		for i := range s.drawn {
			s.drawn[i] = uint32(z.Uint64())
		}
	}
	s.next, s.step = 0, 1
	return s
}

func (s *keyStream) key() uint64 {
	n := s.next
	s.next += s.step
	if s.drawn == nil {
		return n % s.keys
	}
	return uint64(s.drawn[n&(drawnKeys-1)])
}
