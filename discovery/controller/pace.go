package controller

import "time"

// Pace says how fast a move may go. The zero value of a limit is none, but for MaxStep.
type Pace struct {
	// MaxLatencyMS is what the servers may take to answer a PING while keys move, in milliseconds.
	MaxLatencyMS float64 `json:"max_latency_ms,omitempty"`
	// MaxStepMS is how long one command may keep a server busy, in milliseconds; default 5. One key is the least that a
	// command moves, however long it takes.
	MaxStepMS float64 `json:"max_step_ms,omitempty"`
	// MaxKeys and MaxBytes are a second.
	MaxKeys  int64 `json:"max_keys_per_second,omitempty"`
	MaxBytes int64 `json:"max_bytes_per_second,omitempty"`
}

// defaultStep is MaxStep where none is given.
const defaultStep = 5 * time.Millisecond

// MaxLatency is MaxLatencyMS, 0 for no limit.
func (p Pace) MaxLatency() time.Duration { return milliseconds(p.MaxLatencyMS) }

// MaxStep is MaxStepMS, or the default.
func (p Pace) MaxStep() time.Duration {
	if p.MaxStepMS == 0 {
		return defaultStep
	}
	return milliseconds(p.MaxStepMS)
}

func milliseconds(ms float64) time.Duration { return time.Duration(ms * float64(time.Millisecond)) }
