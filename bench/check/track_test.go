package check

import (
	"testing"
	"time"
)

// TestAge has versions 1 to 4: acknowledged at 10, 20, never, 40.
func TestAge(t *testing.T) {
	tr := newTrack(8, false)
	tr.acked(1, 10, 0)
	tr.acked(2, 20, 0)
	tr.note(3).seen = 25
	tr.acked(4, 40, 0)
	f := func(version int64, sent, want time.Duration) {
		t.Helper()
		if age, beyond := tr.age(version, sent); age != want || beyond {
			t.Errorf("version %d read at %d: age %d (beyond %t), want %d", version, sent, age, beyond, want)
		}
	}
	f(0, 10, 0) // Not before.
	f(0, 11, 1)
	f(0, 100, 90) // The first newer version counts.
	f(1, 20, 0)
	f(1, 50, 30)
	f(2, 40, 0) // Version 3 was not acknowledged.
	f(2, 41, 1)
	f(3, 41, 1)
	f(4, 1000, 0)
	f(5, 1000, 0)

	g := func(before time.Duration, want int64) {
		t.Helper()
		if got := tr.known(before); got != want {
			t.Errorf("known before %d: %d, want %d", before, got, want)
		}
	}
	g(10, 0)
	g(11, 1)
	g(25, 2)
	g(26, 3)
	g(41, 4)
	if !tr.behind(3) || tr.behind(4) || !newTrack(8, true).behind(0) {
		t.Error("behind is wrong")
	}
	tr.acked(3, 30, 0) // Its acknowledgement was taken late.
	f(2, 41, 11)
}

func TestWindowForgetsOldVersions(t *testing.T) {
	const window, versions = 4, 103
	tr := newTrack(window, true)
	for v := range int64(versions) {
		tr.acked(v+1, time.Duration(v+1), 0)
	}
	if n := len(tr.stamps); n < window || n >= 2*window || tr.newest() != versions {
		t.Errorf("%d versions are kept, the newest is %d", n, tr.newest())
	}
	oldest := tr.stamps[0]
	if age, beyond := tr.age(1, 1000); age != 1000-oldest.acked || !beyond {
		t.Errorf("age %d, beyond %t", age, beyond)
	}
	if _, beyond := tr.age(oldest.version, 1000); beyond {
		t.Error("the oldest version is beyond the window")
	}
	if tr.note(1) != nil || tr.has(1) {
		t.Error("a forgotten version was noted")
	}
}

func TestFloorIsOfOneConnection(t *testing.T) {
	var f floor
	f.raise(5, 0)
	f.raise(3, 0)
	if f.in(0) != 5 || f.in(1) != 0 {
		t.Errorf("got %d and %d", f.in(0), f.in(1))
	}
	f.raise(2, 1)
	if f.in(1) != 2 {
		t.Errorf("got %d", f.in(1))
	}
}
