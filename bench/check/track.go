package check

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// How old is a read?
//
// Every version of a key with one writer has a number; 0 is "no such key". A read
// that was sent at t and returned version v is as old as
//
//	0                    if no version above v was acknowledged before t
//	t - acked(first)     else, of the first version above v that was acknowledged
//
// that is, how long v had been out of date when the read was sent. Both times are
// taken so that an age is never too high: a read counts from before its batch is
// written, an acknowledgement from when its reply is taken. All times are since
// the start of the load.
//
// Of each key a window of versions is kept, in order. A version is noted when it
// is acknowledged, or when a read returns it before that. One with an unknown
// outcome that nobody has seen is not in the window; where it stands in the order
// is not known, so a read that returns it later has no age.

// never is the time of what has not happened.
const never = time.Duration(math.MaxInt64)

// stamp is what is known of one version.
type stamp struct {
	version int64
	acked   time.Duration // never: not yet, or an unknown outcome
	seen    time.Duration // the reply of the first read that returned it
}

// track is the window of versions of one key. It has the owner of its key; no
// locking.
type track struct {
	window  int
	stamps  []stamp // ascending versions; fewer than twice window
	dropped bool    // older versions were forgotten

	settled int64 // the last version whose write is over, whatever its outcome
	wrote   floor // the last write acknowledged to the owner
	read    floor // of the owner's reads
}

// floor is the newest version that one connection has read of one key, or written.
type floor struct {
	version int64
	session int
}

// in returns the floor for a session: a new connection has seen nothing yet.
func (f floor) in(session int) int64 {
	if f.session != session {
		return 0
	}
	return f.version
}

func (f *floor) raise(version int64, session int) {
	*f = floor{version: max(version, f.in(session)), session: session}
}

// newTrack makes the track of a key that has version 1 before the load, or none.
func newTrack(window int, loaded bool) *track {
	t := &track{window: window}
	if loaded {
		t.settled = 1
		t.note(1).acked = -1
	}
	return t
}

func compareVersion(s stamp, version int64) int { return cmp.Compare(s.version, version) }

// note returns the stamp of a version, to be changed at once; nil if that is older
// than the window.
func (t *track) note(version int64) *stamp {
	i, found := slices.BinarySearchFunc(t.stamps, version, compareVersion)
	if found {
		return &t.stamps[i]
	}
	if i == 0 && t.dropped {
		return nil
	}
	t.stamps = slices.Insert(t.stamps, i, stamp{version: version, acked: never, seen: never})
	if len(t.stamps) < 2*t.window {
		return &t.stamps[i]
	}
	n := copy(t.stamps, t.stamps[t.window:])
	t.stamps, t.dropped = t.stamps[:n], true
	if i -= t.window; i < 0 {
		return nil
	}
	return &t.stamps[i]
}

// acked notes that a write was acknowledged to the owner in a session.
func (t *track) acked(version int64, at time.Duration, session int) {
	if s := t.note(version); s != nil {
		s.acked = min(s.acked, at)
	}
	t.wrote.raise(version, session)
}

func (t *track) has(version int64) bool {
	_, found := slices.BinarySearchFunc(t.stamps, version, compareVersion)
	return found
}

// forget takes a version out of the order.
func (t *track) forget(version int64) {
	if i, found := slices.BinarySearchFunc(t.stamps, version, compareVersion); found {
		t.stamps = slices.Delete(t.stamps, i, i+1)
	}
}

// newest is the last version that was acknowledged or seen at all.
func (t *track) newest() int64 {
	if len(t.stamps) == 0 {
		return 0
	}
	return t.stamps[len(t.stamps)-1].version
}

// known is the last version that was acknowledged or seen before a read was sent:
// what a linearizable read returns at least.
func (t *track) known(before time.Duration) int64 {
	for _, s := range slices.Backward(t.stamps) {
		if min(s.acked, s.seen) < before {
			return s.version
		}
	}
	return 0
}

// age is that of a read sent at a time. beyond says that the version is older than
// the window, so that the read may be older than that.
func (t *track) age(version int64, sent time.Duration) (age time.Duration, beyond bool) {
	i, _ := slices.BinarySearchFunc(t.stamps, version+1, compareVersion)
	beyond = i == 0 && t.dropped
	for _, s := range t.stamps[i:] {
		if s.acked == never {
			continue
		}
		return max(sent-s.acked, 0), beyond // Later versions were acknowledged later.
	}
	return 0, beyond
}

// behind reports whether a newer version is acknowledged by now.
func (t *track) behind(version int64) bool {
	i, _ := slices.BinarySearchFunc(t.stamps, version+1, compareVersion)
	return slices.ContainsFunc(t.stamps[i:], func(s stamp) bool { return s.acked != never })
}
