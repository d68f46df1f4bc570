package check

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// register is what may be stored under one own key (or one field of an own hash)
// that holds a versioned value. Owned by its client; no locking.
//
// While all is well there is one possible value, base. A write with an unknown
// outcome joins late: it may take effect at any time, once. A write that was
// refused must never be seen.
//
//	possible values = {base} + late
//	acknowledged write v:  base = v       (late stays: it may come after)
//	value x seen, x late:  base = x, x leaves late
//	anything else seen:    a violation; base = x, and the old base may come back
//
// The empty string stands for "no such key"; values are never empty.
type register struct {
	key, field string
	watched    bool
	tag        string // values are tag:version
	pad        string

	version int
	base    string
	acked   string // base, as far as no violation has changed it
	late    []string
	refused []string
	vague   bool // too many late writes to tell them apart

	track   *track            // nil: ages of reads are not asked for
	doubts  map[int64]verdict // by version: what is wrong if its write is acknowledged
	stamped bool              // pad is a time, another one in each value
}

// maxLate bounds the writes with an unknown outcome that are kept by value.
const maxLate = 64

// next makes the value of the next write. Every one is different.
func (r *register) next() string {
	r.version++
	return fmt.Sprintf("%s:%d%s", r.tag, r.version, r.pad)
}

// mine reports whether x was made by next.
func (r *register) mine(x string) bool { return strings.HasPrefix(x, r.tag+":") }

func (r *register) wrote(v string) { r.base, r.acked = v, v }

// wroteAt notes when the write of v was acknowledged, and returns what was wrong
// with the reads of v before that.
func (r *register) wroteAt(v string, at time.Duration, session int) verdict {
	r.wrote(v)
	if r.track == nil {
		return verdict{}
	}
	n, _ := r.number(v)
	r.track.settled = n
	r.track.acked(n, at, session)
	wrong := r.doubts[n]
	delete(r.doubts, n)
	return wrong
}

// unlessOpen keeps what is wrong with a read of version n until the write of n is
// over, if it is not yet: with an unknown outcome it may have come after later ones.
func (r *register) unlessOpen(n int64, v verdict) verdict {
	if v.text == "" || n <= r.track.settled {
		return v
	}
	if r.doubts == nil {
		r.doubts = make(map[int64]verdict)
	}
	if _, found := r.doubts[n]; !found {
		r.doubts[n] = v
	}
	return verdict{}
}

func (r *register) maybe(v string) {
	if r.track != nil {
		n, _ := r.number(v)
		r.track.settled = n
		delete(r.doubts, n)
		if r.track.has(n) && int64(r.version) == n { // A read has seen it already, and nothing can have come before it.
			r.wrote(v)
			return
		}
		r.track.forget(n) // Where it stands among what was sent behind it, nobody knows.
	}
	if len(r.late) == maxLate {
		r.vague = true
		return
	}
	r.late = append(r.late, v)
}

func (r *register) refuse(v string) verdict {
	if r.track != nil {
		n, _ := r.number(v)
		r.track.settled = n
		delete(r.doubts, n)
		if r.track.has(n) {
			r.wrote(v)
			return object(Ran, "refused %s, which a read had returned", show(v))
		}
	}
	if len(r.refused) == maxLate {
		r.refused = r.refused[1:]
	}
	r.refused = append(r.refused, v)
	return verdict{}
}

// absent and present report whether the key may be so.
func (r *register) absent() bool { return r.base == "" || r.vague || slices.Contains(r.late, "") }

func (r *register) present() bool {
	return r.base != "" || r.vague || slices.ContainsFunc(r.late, func(v string) bool { return v != "" })
}

// observe judges a value that was read.
func (r *register) observe(x string) verdict {
	if x == r.base {
		return verdict{}
	}
	if i := slices.Index(r.late, x); i >= 0 {
		r.late = slices.Delete(r.late, i, i+1)
		r.wrote(x)
		return verdict{}
	}
	if r.vague && (x == "" || r.mine(x)) {
		r.wrote(x)
		return verdict{}
	}
	v := r.blame(x, Stale)
	switch v.kind {
	case Ran: // It did overwrite what was acknowledged.
		r.wrote(x)
	case Stale:
		r.maybe(r.base)
		r.base = x
	default:
	}
	return v
}

// blame says what is wrong with the value x; older is the kind for a value of
// this key that has been overwritten.
func (r *register) blame(x string, older Kind) verdict {
	if i := slices.Index(r.refused, x); i >= 0 {
		r.refused = slices.Delete(r.refused, i, i+1)
		return object(Ran, "got %s, whose write was refused; want %s", show(x), show(r.acked))
	}
	if x == "" || r.mine(x) {
		return object(older, "got %s, want %s", show(x), r.wanted())
	}
	return object(Wrong, "got %s, which is not of this key; want %s", show(x), r.wanted())
}

func (r *register) wanted() string {
	s := show(r.base)
	for _, v := range r.late[:min(len(r.late), 3)] {
		s += " or " + show(v)
	}
	return s
}

// final judges the value read when everything has ended.
func (r *register) final(x string) verdict {
	if x == r.acked || slices.Contains(r.late, x) && x != r.base || r.vague && (x == "" || r.mine(x)) {
		return verdict{}
	}
	return r.blame(x, Lost)
}

// created judges the reply of SETNX and HSET: was the key, or field, new?
func (r *register) created(yes bool) verdict {
	if yes && !r.absent() {
		return object(Stale, "said to be new, want %s", r.wanted())
	}
	if !yes && !r.present() {
		return object(Wrong, "said to exist, want nothing")
	}
	return verdict{}
}

// show is a value for people.
func show(x string) string {
	if x == "" {
		return "nothing"
	}
	if len(x) > 40 {
		x = x[:40] + "…"
	}
	return x
}
