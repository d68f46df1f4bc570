package testbed

import "sync"

// tailBytes is what is kept of a server's output: enough for its start and its last minutes.
const tailBytes = 64 << 10

// tail is a Writer that keeps the end of what was written. Safe for concurrent use.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

// Write never fails and does not keep b.
func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, b...)
	if over := len(t.buf) - tailBytes; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	return len(b), nil
}

// String returns a copy of what is kept.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf)
}

func (t *tail) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = t.buf[:0]
}
