package backend

import (
	"testing"

	"pgregory.net/rapid"
)

// The ring against a naive list: entries come out as they went in, however it grows, wraps and shrinks.
func TestFIFOModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var q fifo
		var want []entry
		var next uint32
		t.Repeat(map[string]func(*rapid.T){
			"push": func(t *rapid.T) {
				for range rapid.SampledFrom([]int{1, 3, minFIFO - 1, minFIFO, 20 * minFIFO}).Draw(t, "n") {
					next++
					e := entry{owner: idleOwner{}, start: int64(next), tag: next, size: int(next) * 2}
					q.push(e)
					want = append(want, e)
				}
			},
			"pop": func(t *rapid.T) {
				n := min(len(want), rapid.SampledFrom([]int{1, 2, minFIFO, 1 << 20}).Draw(t, "n"))
				for range n {
					oldest := q.at(0)
					q.pop()
					if oldest.owner != nil {
						t.Fatal("the ring keeps an owner that is done with")
					}
				}
				want = want[n:]
			},
			"idle": func(t *rapid.T) {
				q.idle()
				if q.len() == 0 && len(q.ring) > 16*minFIFO {
					t.Fatalf("an empty ring keeps %d places", len(q.ring))
				}
			},
			"": func(t *rapid.T) {
				if q.len() != len(want) {
					t.Fatalf("%d entries, want %d", q.len(), len(want))
				}
				if n := len(q.ring); n&(n-1) != 0 || n < len(want) {
					t.Fatalf("a ring of %d for %d entries", n, len(want))
				}
				for i, e := range want {
					if *q.at(i) != e {
						t.Fatalf("entry %d is %+v, want %+v", i, *q.at(i), e)
					}
				}
			},
		})
	})
}

type idleOwner struct{}

func (idleOwner) Reply(uint32, Reply)  {}
func (idleOwner) Fail(uint32, Failure) {}
