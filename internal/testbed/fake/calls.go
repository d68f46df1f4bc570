package fake

import (
	"strings"
	"sync"
)

// Calls counts one command.
type Calls struct {
	// Seen is how many arrived, answered or not.
	Seen int
	// Running is how many are being executed, or wait for it, now.
	Running int
	// MaxRunning is the highest Running there has been.
	MaxRunning int
}

// callCounts counts by the name of the command, in capitals. Safe for concurrent use.
type callCounts struct {
	byName sync.Map // string to *callCount
}

type callCount struct {
	mu    sync.Mutex
	calls Calls
}

func (c *callCounts) of(name string) *callCount {
	if v, ok := c.byName.Load(name); ok {
		return v.(*callCount)
	}
	v, _ := c.byName.LoadOrStore(name, new(callCount))
	return v.(*callCount)
}

func (c *callCount) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls.Seen++
	c.calls.Running++
	c.calls.MaxRunning = max(c.calls.MaxRunning, c.calls.Running)
}

func (c *callCount) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls.Running--
}

// Calls returns the counts of a command.
func (h *Host) Calls(name string) Calls {
	c := h.calls.of(strings.ToUpper(name))
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calls
}
