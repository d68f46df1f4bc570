package load

import (
	"testing"
	"time"
)

func TestScheduleSpreadsRequestsOverConnections(t *testing.T) {
	s := newSchedule(1000, 1000, 3) // one request per millisecond
	f := func(conn int, k uint64, want time.Duration) {
		t.Helper()
		if got := time.Duration(s.atConn(conn, k) - 1000); got != want {
			t.Errorf("request %d of connection %d is due at %s, want %s", k, conn, got, want)
		}
	}
	f(0, 0, 0)
	f(1, 0, time.Millisecond)
	f(2, 0, 2*time.Millisecond)
	f(0, 1, 3*time.Millisecond)
	f(2, 10, 32*time.Millisecond)
}

func TestScheduleDoesNotDrift(t *testing.T) {
	s := newSchedule(0, 30_000, 1) // a period that is no whole number of nanoseconds
	if got := time.Duration(s.at(30_000 * 3600)); got != time.Hour {
		t.Errorf("after an hour of requests the timetable says %s", got)
	}
}

func TestScheduleTickHasBounds(t *testing.T) {
	for rate, want := range map[float64]time.Duration{
		1: 5 * time.Millisecond, 1000: time.Millisecond, 1e6: 50 * time.Microsecond,
	} {
		if got := newSchedule(0, rate, 1).tick(); got != want {
			t.Errorf("tick at %.0f per second is %s, want %s", rate, got, want)
		}
	}
}
