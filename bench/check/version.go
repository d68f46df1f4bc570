package check

import (
	"slices"
	"strconv"
	"strings"
)

// number is the version that x is; no key is version 0.
func (r *register) number(x string) (n int64, mine bool) {
	if x == "" {
		return 0, true
	}
	rest, mine := strings.CutPrefix(x, r.tag+":")
	if !mine {
		return 0, false
	}
	digits, pad := rest, ""
	if i := strings.IndexByte(rest, ':'); i >= 0 {
		digits, pad = rest[:i], rest[i:]
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 1 || r.stamped && !validStamp(pad) || !r.stamped && pad != r.pad {
		return 0, false
	}
	return n, true
}

// identify returns the version that x is, or what is wrong with it: it was never
// written, or its write was refused.
func (r *register) identify(x string) (int64, verdict) {
	n, mine := r.number(x)
	if !mine {
		return 0, object(Wrong, "got %s, which is not of this key; want %s", show(x), r.wanted())
	}
	if n > int64(r.version) {
		return 0, object(Wrong, "got %s, which was never written; version %d is the last", show(x), r.version)
	}
	if x != "" && slices.Contains(r.refused, x) {
		return 0, r.observe(x)
	}
	return n, verdict{}
}

// unordered reports whether version n may have taken effect after later ones:
// its outcome is unknown, and later ones are known or on their way.
func (r *register) unordered(x string, n int64) bool {
	if r.track.has(n) || !r.vague && !slices.Contains(r.late, x) {
		return false
	}
	last := int64(r.version)
	return n < r.track.newest() || n < last && r.track.settled < last
}

// arrived takes a version out of those that may come, if it is known to be the newest one.
func (r *register) arrived(x string, n int64) {
	if i := slices.Index(r.late, x); i >= 0 && n == r.track.newest() {
		r.late = slices.Delete(r.late, i, i+1)
		r.wrote(x)
	}
}

// versionsOf are the versions whose value has a length; low is above high when
// there is none.
func (r *register) versionsOf(length int) (low, high int64) {
	if length == 0 {
		return 0, 0
	}
	digits := length - len(r.tag) - 1 - len(r.pad)
	if digits < 1 || digits > 18 {
		return 1, 0
	}
	low = 1
	for range digits - 1 {
		low *= 10
	}
	return low, min(10*low-1, int64(r.version))
}

// validStamp reports whether pad is the time that an observed value carries.
func validStamp(pad string) bool {
	digits, found := strings.CutPrefix(pad, ":")
	if !found {
		return false
	}
	_, err := strconv.ParseInt(digits, 10, 64)
	return err == nil
}
