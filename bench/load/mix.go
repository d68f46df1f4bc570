package load

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
)

// op is one command that the generator can send.
type op uint8

const (
	opGet op = iota
	opSet
	opMGet
	opPing
)

// Mix holds the weights of the commands; only their proportions count.
type Mix struct {
	Get, Set, MGet, Ping int
}

func (m Mix) total() int { return m.Get + m.Set + m.MGet + m.Ping }

// String returns the mix in the form that ParseMix reads.
func (m Mix) String() string {
	var parts []string
	add := func(name string, weight int) {
		if weight > 0 {
			parts = append(parts, name+"="+strconv.Itoa(weight))
		}
	}
	add("get", m.Get)
	add("set", m.Set)
	add("mget", m.MGet)
	add("ping", m.Ping)
	return strings.Join(parts, ",")
}

// ParseMix reads "get=8,set=2"; a command without a weight counts as 1.
func ParseMix(s string) (Mix, error) {
	var m Mix
	for part := range strings.SplitSeq(s, ",") {
		name, text, found := strings.Cut(strings.TrimSpace(part), "=")
		weight := 1
		if found {
			var err error
			if weight, err = strconv.Atoi(text); err != nil || weight < 0 || weight > 1_000_000 {
				return Mix{}, fmt.Errorf("mix %q: weight of %q is not a number in 0..1000000", s, name)
			}
		}
		switch strings.ToLower(name) {
		case "get":
			m.Get = weight
		case "set":
			m.Set = weight
		case "mget":
			m.MGet = weight
		case "ping":
			m.Ping = weight
		default:
			return Mix{}, fmt.Errorf("mix %q: unknown command %q, known are get, set, mget, ping", s, name)
		}
	}
	if m.total() == 0 {
		return Mix{}, fmt.Errorf("mix %q: no command has a weight", s)
	}
	return m, nil
}

// sequence draws n commands ahead of the run. The proportions are exact up to
// rounding; only the order is random, so short runs have the asked mix too.
func (m Mix) sequence(n int, rng *rand.Rand) []op {
	seq := make([]op, 0, n)
	upto, drawn := 0, 0
	for _, w := range []struct {
		op     op
		weight int
	}{{opGet, m.Get}, {opSet, m.Set}, {opMGet, m.MGet}, {opPing, m.Ping}} {
		upto += w.weight
		for ; drawn < n*upto/m.total(); drawn++ {
			seq = append(seq, w.op)
		}
	}
	rng.Shuffle(len(seq), func(i, j int) { seq[i], seq[j] = seq[j], seq[i] })
	return seq
}
