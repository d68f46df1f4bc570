package check

import (
	"fmt"
	"slices"
	"strings"
)

// list is what may be stored under one own key that only grows at its end: a list
// made by RPUSH, or a text made by APPEND. It records the order of its writes.
// Owned by its client; no locking.
//
// seen is the content that was read last: what is read later begins with it. Then
// come the acknowledged tokens in their order, with late ones anywhere between.
type list struct {
	key     string
	stem    string // the key without its generation
	gen     int
	watched bool
	text    bool
	tag     string

	version int
	seen    []string
	since   []string // acknowledged after seen was read
	late    []string
	refused []string
	acked   []string

	length int // the least length it may have now
	grow   int // so many more are possible
}

// tokenBytes is the length of every token, so that the length of a text tells how
// many it has.
const tokenBytes = 16

func (l *list) next() string {
	l.version++
	s := fmt.Sprintf("%s.%d;", l.tag, l.version)
	return strings.Repeat("0", max(tokenBytes-len(s), 0)) + s
}

// wrote judges the reply of a RPUSH or APPEND of v: the new length.
func (l *list) wrote(v string, n int64) verdict {
	l.since = append(l.since, v)
	l.acked = append(l.acked, v)
	if l.text {
		if n%tokenBytes != 0 {
			return object(Wrong, "length %d is no multiple of %d", n, tokenBytes)
		}
		n /= tokenBytes
	}
	low := l.length + 1
	high := low + l.grow
	got := int(n)
	l.length = low
	switch {
	case got < low:
		return object(Stale, "length %d, want %d..%d", got, low, high)
	case got <= high:
		l.grow -= got - low
		l.length = got
		return verdict{}
	case got <= high+len(l.refused):
		l.length, l.grow = got, 0
		return object(Ran, "length %d, want %d..%d: a refused element is there", got, low, high)
	default:
		l.length, l.grow = got, 0
		return object(Twice, "length %d, want %d..%d", got, low, high)
	}
}

func (l *list) maybe(v string) { l.late = append(l.late, v); l.grow++ }

func (l *list) refuse(v string) { l.refused = append(l.refused, v) }

// split cuts a text into its tokens; a rest that is too short is one, too.
func split(text string) []string {
	var out []string
	for len(text) > tokenBytes {
		out = append(out, text[:tokenBytes])
		text = text[tokenBytes:]
	}
	if text != "" {
		out = append(out, text)
	}
	return out
}

// observe judges the whole content.
func (l *list) observe(got []string) verdict {
	v := l.judge(got)
	for _, token := range l.since { // What is missing may have been missing in an old copy only.
		if !slices.Contains(got, token) {
			l.late = append(l.late, token)
		}
	}
	l.since = nil
	l.seen = slices.Clone(got)
	l.late = slices.DeleteFunc(l.late, func(t string) bool { return slices.Contains(got, t) })
	l.length, l.grow = len(got), len(l.late)
	return v
}

func (l *list) judge(got []string) verdict {
	if len(got) < len(l.seen) {
		return object(Stale, "%d elements, %d were there before", len(got), len(l.seen))
	}
	known := make(map[string]bool, len(got))
	for i, token := range got {
		if known[token] {
			return object(Twice, "element %s is there twice", show(token))
		}
		known[token] = true
		if i < len(l.seen) && token != l.seen[i] {
			return object(Wrong, "element %d is %s, was %s before", i, show(token), show(l.seen[i]))
		}
	}
	want := l.since
	for _, token := range got[len(l.seen):] {
		switch {
		case len(want) > 0 && token == want[0]:
			want = want[1:]
		case slices.Contains(l.late, token):
		case slices.Contains(l.refused, token):
			return object(Ran, "element %s was refused", show(token))
		case slices.Contains(want, token):
			if known[want[0]] {
				return object(Wrong, "element %s stands before %s", show(token), show(want[0]))
			}
			return object(Stale, "element %s is missing before %s", show(want[0]), show(token))
		default:
			return object(Wrong, "element %s is not of this key", show(token))
		}
	}
	if len(want) > 0 {
		return object(Stale, "element %s is missing at the end", show(want[0]))
	}
	return verdict{}
}

// final judges the content read when everything has ended.
func (l *list) final(got []string) verdict {
	missing := uint64(0)
	first := ""
	for _, token := range l.acked {
		if slices.Contains(got, token) {
			continue
		}
		if missing++; first == "" {
			first = token
		}
	}
	if missing > 0 {
		return verdict{kind: Lost, n: missing, text: fmt.Sprintf("%d acknowledged elements are missing, first %s", missing, first)}
	}
	return l.judge(got)
}
