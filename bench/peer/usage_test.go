package peer

import (
	"testing"
	"time"
)

func TestParseStatSkipsTheName(t *testing.T) {
	f := func(in string, user, system time.Duration) {
		t.Helper()
		u, s, err := parseStat(in)
		if err != nil || u != user || s != system {
			t.Errorf("parseStat(%q) = %s, %s, %v; want %s, %s", in, u, s, err, user, system)
		}
	}
	f("7 (x) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0", 2500*time.Millisecond, 500*time.Millisecond)
	f("7 (a) b) R) S 1 2 3 4 5 6 7 8 9 10 1 2 0 0", 10*time.Millisecond, 20*time.Millisecond)
	for _, in := range []string{"", "7 (x) S 1 2", "7 (x) S 1 2 3 4 5 6 7 8 9 10 x 50 0"} {
		if _, _, err := parseStat(in); err == nil {
			t.Errorf("parseStat(%q) has no error", in)
		}
	}
}

func TestStatusBytes(t *testing.T) {
	const status = "Name:\tx\nVmPeak:\t  9 kB\nVmHWM:\t    4321 kB\nVmRSS:\t     100 kB\nThreads:\t1\n"
	for key, want := range map[string]int64{"VmRSS:": 100 << 10, "VmHWM:": 4321 << 10, "VmSwap:": 0} {
		if got := statusBytes(status, key); got != want {
			t.Errorf("%s %d, want %d", key, got, want)
		}
	}
}
