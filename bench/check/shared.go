package check

import (
	"fmt"
	"slices"
	"sync"
)

// sharedKey is one of the keys that every client writes. Since the search for a
// linearization is expensive in the length of a history, a key is used for
// Config.KeyHistory operations only: then the next generation, of the same hash
// tag and so of the same slot, takes its place.
type sharedKey struct {
	class   class
	stem    string // the key without its generation
	watched bool

	mu   sync.Mutex
	gens []*generation
}

// generation is one key and its history. mu guards the fields below it.
type generation struct {
	key     string
	class   class
	watched bool

	issued int // guarded by sharedKey.mu

	mu      sync.Mutex
	history []sharedOp
	refused []string // values that must never be seen; of sessions only
}

// sharedOp is one operation on a shared key, when it is over. Times are
// nanoseconds since the start of the load.
type sharedOp struct {
	client    int
	op        op
	arg       string
	call, ret int64
	// text and number are what the reply said: a value, or a whole list as one text.
	text   string
	number int64
	// unknown means that it may take effect at any time after call, or never.
	unknown bool
}

// acquire returns the generation to use for one more operation.
func (s *sharedKey) acquire(limit int) *generation {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.gens); n > 0 && s.gens[n-1].issued < limit {
		s.gens[n-1].issued++
		return s.gens[n-1]
	}
	g := &generation{key: fmt.Sprintf("%s:%d", s.stem, len(s.gens)), class: s.class, watched: s.watched, issued: 1}
	s.gens = append(s.gens, g)
	return g
}

func (g *generation) add(o sharedOp) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.history = append(g.history, o)
}

func (g *generation) refuse(v string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.refused = append(g.refused, v)
}

// ran finds values that were seen although their write was refused.
func (g *generation) ran() verdict {
	for _, o := range g.history {
		if o.text != "" && slices.Contains(g.refused, o.text) {
			return object(Ran, "got %s, whose write was refused", show(o.text))
		}
	}
	return verdict{}
}
