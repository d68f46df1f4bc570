package peer

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Usage is what a process has used since it started, and what it holds.
type Usage struct {
	// CPU is user and system time of all its threads, ended ones included, to
	// the nanosecond.
	CPU time.Duration
	// User and System split the same time in steps of the kernel's tick, usually
	// 10 ms: good for a proportion over a second, not for more.
	User, System time.Duration
	// RSSBytes is the resident memory, PeakBytes the most there was since the
	// start or the last ResetPeak.
	RSSBytes, PeakBytes int64
}

// Measure reads the usage of the process with this id.
func Measure(pid int) (Usage, error) {
	var u Usage
	var err error
	if u.CPU, err = processCPU(pid); err != nil {
		return Usage{}, fmt.Errorf("CPU time of process %d: %w", pid, err)
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Usage{}, err
	}
	if u.User, u.System, err = parseStat(string(stat)); err != nil {
		return Usage{}, err
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return Usage{}, err
	}
	u.RSSBytes = statusBytes(string(status), "VmRSS:")
	u.PeakBytes = statusBytes(string(status), "VmHWM:")
	return u, nil
}

// ResetPeak makes PeakBytes start again from the present size.
func ResetPeak(pid int) error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0)
}

// tick is the unit of /proc/PID/stat; the kernel fixes it at 100 per second for
// user space on the usual architectures.
const tick = 10 * time.Millisecond

// parseStat finds utime and stime. The command name in the second field may
// contain blanks and parentheses, so fields count from the last parenthesis.
func parseStat(stat string) (user, system time.Duration, err error) {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 13 {
		return 0, 0, fmt.Errorf("process status %q: too few fields", stat)
	}
	var ticks [2]int64
	for i := range ticks {
		if ticks[i], err = strconv.ParseInt(fields[11+i], 10, 64); err != nil {
			return 0, 0, fmt.Errorf("process status: %w", err)
		}
	}
	return time.Duration(ticks[0]) * tick, time.Duration(ticks[1]) * tick, nil
}

// statusBytes returns a size from the text of /proc/PID/status, 0 if it is not
// there.
func statusBytes(status, key string) int64 {
	_, rest, found := strings.Cut(status, "\n"+key)
	if !found {
		return 0
	}
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return 0
	}
	kib, err := strconv.ParseInt(fields[0], 10, 64)
	if err != nil {
		return 0
	}
	return kib << 10
}
