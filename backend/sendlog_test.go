package backend

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"

	"sluice/internal/bufpool"
	"sluice/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// The send log against a naive list of requests: what is sent is the requests in order, what is read back is
// the oldest one, whatever the sizes and however adding, sending and popping interleave.
func TestSendLogModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := sendLog{pool: bufpool.New(1 << 20), small: rapid.Bool().Draw(t, "small")}
		var waiting [][]byte // requests that were not popped
		var sent, all []byte // what was sent, and what has to be
		next := byte(0)
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				size := rapid.SampledFrom([]int{1, 30, 1000, chunkSize - 1, chunkSize, chunkSize + 1, 3 * chunkSize}).Draw(t, "size")
				next++
				req := bytes.Repeat([]byte{next}, size)
				l.add(req)
				waiting = append(waiting, req)
				all = append(all, req...)
			},
			"send": func(t *rapid.T) {
				piece := l.unsent()
				l.markSent(len(piece))
				sent = append(sent, piece...)
			},
			"pop": func(t *rapid.T) {
				if len(waiting) == 0 {
					l.idle()
					return
				}
				req := waiting[0]
				if !bytes.Equal(l.oldest(len(req)), req) {
					t.Fatalf("oldest is not the request of %d bytes", len(req))
				}
				before := int(l.end - l.sent)
				l.pop(len(req))
				waiting = waiting[1:]
				if skipped := before - int(l.end-l.sent); skipped > 0 { // Given up before it was sent.
					all = append(all[:len(sent):len(sent)], all[len(sent)+skipped:]...)
				}
			},
			"": func(t *rapid.T) {
				if !bytes.Equal(sent, all[:len(sent)]) {
					t.Fatal("bytes were sent twice, skipped or out of order")
				}
				if got := int(l.end - l.sent); got != len(all)-len(sent) {
					t.Fatalf("%d bytes unsent, want %d", got, len(all)-len(sent))
				}
				total := 0
				for _, req := range waiting {
					total += len(req)
				}
				if got := int(l.end - l.consumed); got != total {
					t.Fatalf("%d bytes waiting, want %d", got, total)
				}
			},
		})
	})
}
