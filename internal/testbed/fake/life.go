package fake

import (
	"math/rand/v2"
	"strings"
	"sync"
	"time"
)

// Life is a process as INFO server shows it: Begin is its start. Safe for concurrent use.
type Life struct {
	// Kept says that the run id stays from one start to the next one.
	Kept bool

	mu    sync.Mutex
	begun time.Time
	pid   int
	runID string
}

// Begin starts the process, or starts it again.
func (l *Life) Begin() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.begun, l.pid = time.Now(), 2+rand.IntN(1<<22)
	if l.runID != "" && l.Kept {
		return
	}
	var id strings.Builder
	for range 40 {
		id.WriteByte("0123456789abcdef"[rand.IntN(16)])
	}
	l.runID = id.String()
}

// PID is its number at the system.
func (l *Life) PID() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pid
}

// RunID is 40 hexadecimal digits.
func (l *Life) RunID() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.runID
}

// Uptime is for how many seconds it has run.
func (l *Life) Uptime() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return int(time.Since(l.begun).Seconds())
}
