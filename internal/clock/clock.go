// Package clock is the time of event loops: monotonic nanoseconds since the process started, cheaper to
// read and to compare than a time.Time.
package clock

import "time"

var start = time.Now()

// Now is the time since the process started. It never goes backwards and is never 0.
func Now() int64 { return int64(time.Since(start)) + 1 }
