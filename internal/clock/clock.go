// Package clock is the time of event loops: monotonic nanoseconds since the process started, cheaper to
// read and to compare than a time.Time.
package clock

import "time"

var start = time.Now()

// Now is the time since the process started. It never goes backwards and is never 0.
func Now() int64 { return int64(time.Since(start)) + 1 }

// Time is the time.Time of an instant of Now. It has a monotonic reading, so that those of two instants compare as they
// do.
func Time(at int64) time.Time { return start.Add(time.Duration(at - 1)) }
