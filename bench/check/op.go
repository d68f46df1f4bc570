package check

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// op is a kind of operation. It names what is asked of a key rather than the
// command alone: GET is asked of a value, of a counter and of a text.
type op uint8

const (
	opGet    op = iota // GET of a versioned value
	opSet              // SET of a versioned value
	opGetSet           // GETSET
	opSetNX            // SETNX
	opDel              // DEL of one value
	opMGet             // MGET of several values
	opMSet             // MSET of several values
	opMDel             // DEL of several values
	opIncr             // INCR
	opCount            // GET of a counter
	opHSet             // HSET of one field
	opHGet             // HGET of one field
	opPush             // RPUSH of one element
	opRange            // LRANGE of the whole list
	opAppend           // APPEND of one token
	opText             // GET of a text made by APPEND
	opStrLen           // STRLEN of a versioned value
	opScript           // EVAL of a script that increments a counter
	opKinds            // how many there are

	opSwap // compare-and-set; of sessions only, in no mix
)

var opNames = [opKinds]string{
	"get", "set", "getset", "setnx", "del", "mget", "mset", "mdel", "incr", "count", "hset", "hget", "push", "range", "append", "text", "strlen", "script",
}

// String is the name that ParseMix reads.
func (o op) String() string {
	if o < opKinds {
		return opNames[o]
	}
	return fmt.Sprintf("op(%d)", uint8(o))
}

// writes reports whether the operation changes its key.
func (o op) writes() bool {
	switch o {
	case opGet, opMGet, opCount, opHGet, opRange, opText, opStrLen, opKinds:
		return false
	case opSet, opGetSet, opSetNX, opDel, opMSet, opMDel, opIncr, opScript, opHSet, opPush, opAppend, opSwap:
		return true
	}
	return false
}

// class is the kind of key that an operation is for.
type class uint8

const (
	classValue class = iota
	classCounter
	classHash
	classList
	classText
	classes
)

func (o op) class() class {
	switch o {
	case opIncr, opScript, opCount:
		return classCounter
	case opHSet, opHGet:
		return classHash
	case opPush, opRange:
		return classList
	case opAppend, opText:
		return classText
	case opGet, opSet, opGetSet, opSetNX, opDel, opMGet, opMSet, opMDel, opStrLen, opSwap, opKinds:
		return classValue
	}
	return classValue
}

// sharable reports whether there is a linearizability model for the operation.
func (o op) sharable() bool {
	switch o {
	case opGet, opSet, opGetSet, opIncr, opScript, opCount, opPush, opRange, opAppend, opText:
		return true
	case opSetNX, opDel, opMGet, opMSet, opMDel, opHSet, opHGet, opStrLen, opSwap, opKinds:
		return false
	}
	return false
}

// Mix says how often each operation is sent: a weight per operation.
type Mix struct{ weights [opKinds]int }

// ParseMix reads "set=3,get=1". Known are get, set, getset, setnx, del, mget, mset, mdel, strlen (values), incr, script,
// count (counters), hset, hget (hashes), push, range (lists), append, text (texts).
func ParseMix(text string) (Mix, error) {
	var m Mix
	for part := range strings.SplitSeq(text, ",") {
		name, number, found := strings.Cut(strings.TrimSpace(part), "=")
		weight := 1
		if found {
			var err error
			if weight, err = strconv.Atoi(number); err != nil || weight < 0 || weight > 1_000_000 {
				return Mix{}, fmt.Errorf("mix %q: weight of %q is not a number in 0..1000000", text, name)
			}
		}
		i := slices.Index(opNames[:], name)
		if i < 0 {
			return Mix{}, fmt.Errorf("mix %q: unknown operation %q, known are %s", text, name, strings.Join(opNames[:], ", "))
		}
		m.weights[i] = weight
	}
	if m.total() == 0 {
		return Mix{}, fmt.Errorf("mix %q: no operation has a weight", text)
	}
	return m, nil
}

func mustMix(text string) Mix {
	m, err := ParseMix(text)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return m
}

// String is what ParseMix reads.
func (m Mix) String() string {
	var parts []string
	for i, w := range m.weights {
		if w > 0 {
			parts = append(parts, fmt.Sprintf("%s=%d", op(i), w))
		}
	}
	return strings.Join(parts, ",")
}

func (m Mix) total() int {
	sum := 0
	for _, w := range m.weights {
		sum += w
	}
	return sum
}

// uses reports whether an operation on keys of class c has a weight.
func (m Mix) uses(c class) bool {
	for i, w := range m.weights {
		if w > 0 && op(i).class() == c {
			return true
		}
	}
	return false
}

// only is the part of the mix that writes, or that does not.
func (m Mix) only(writes bool) Mix {
	for i := range m.weights {
		if op(i).writes() != writes {
			m.weights[i] = 0
		}
	}
	return m
}

func (m Mix) draw(rng *rand.Rand) op {
	n := rng.IntN(m.total())
	for i, w := range m.weights {
		if n -= w; n < 0 {
			return op(i)
		}
	}
	panic("BUG: weights changed")
}
