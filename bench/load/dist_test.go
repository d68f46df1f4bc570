package load

import "testing"

// histogram draws n keys.
func histogram(s *keyStream, keys uint64, n int) []int {
	h := make([]int, keys)
	for range n {
		h[s.key()]++
	}
	return h
}

func TestUniformDrawsAllKeysAlike(t *testing.T) {
	const keys, each = 100, 2000
	for key, n := range histogram(newKeyStream(DistUniform, keys, 0, 1, 0, 1), keys, keys*each) {
		if n < each*8/10 || n > each*12/10 {
			t.Errorf("key %d drawn %d times, want about %d", key, n, each)
		}
	}
}

func TestZipfDrawsFewKeysOften(t *testing.T) {
	const keys, draws = 10_000, 200_000
	h := histogram(newKeyStream(DistZipf, keys, 1.1, 1, 0, 1), keys, draws)
	top := 0
	for _, n := range h[:100] {
		top += n
	}
	if share := float64(top) / draws; share < 0.5 || share > 0.95 {
		t.Errorf("the first 1%% of the keys got %.2f of the draws", share)
	}
	if h[0] <= h[1] || h[1] <= h[10] || h[10] <= h[1000] {
		t.Errorf("draws of keys 0, 1, 10, 1000: %d, %d, %d, %d", h[0], h[1], h[10], h[1000])
	}
}

func TestSequentialStreamsCoverEachKeyOnce(t *testing.T) {
	const keys, parts = 1000, 4
	h := make([]int, keys)
	for part := range uint64(parts) {
		s := newKeyStream(DistSequential, keys, 0, 1, part, parts)
		for range keys / parts {
			h[s.key()]++
		}
	}
	for key, n := range h {
		if n != 1 {
			t.Fatalf("key %d came %d times", key, n)
		}
	}
}

func TestStreamsRepeatWithTheirSeed(t *testing.T) {
	draw := func(seed, part uint64) (k [20]uint64) {
		s := newKeyStream(DistUniform, 1<<30, 0, seed, part, 2)
		for i := range k {
			k[i] = s.key()
		}
		return k
	}
	if first, again := draw(1, 0), draw(1, 0); first != again {
		t.Error("the same seed gives other keys")
	}
	if draw(1, 0) == draw(2, 0) || draw(1, 0) == draw(1, 1) {
		t.Error("another seed or part gives the same keys")
	}
}

func TestParseDist(t *testing.T) {
	for _, d := range []Dist{DistUniform, DistZipf, DistSequential} {
		if got, err := ParseDist(d.String()); err != nil || got != d {
			t.Errorf("ParseDist(%q) = %v, %v", d, got, err)
		}
	}
	if _, err := ParseDist("normal"); err == nil {
		t.Error("an unknown distribution has no error")
	}
}
