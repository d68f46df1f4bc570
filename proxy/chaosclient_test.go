package proxy

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
)

// chaosClient pipelines commands on keys that nobody else writes. Its goroutine owns it.
type chaosClient struct {
	*testClient
	rng   *rand.Rand
	keys  map[string]*chaosKey
	names []string // of keys
	done  *atomic.Int64

	acked, unknown, failed int // writes
}

// chaosKey is what the client knows of a key.
type chaosKey struct {
	counter bool
	written int             // the last value of a SET, all are different
	may     map[string]bool // what a GET may answer now; "" is the absent key

	acked, unknown int // INCRs
	highest        int // result of an INCR
}

// chaosStep is a request of a pipeline and how its reply is judged.
type chaosStep struct {
	args  []string
	judge func(reply string) error
}

var errUnexpected = errors.New("unexpected reply")

// set, get, incr and mget make steps. What they do to the model happens when the reply is judged, in the
// order of the program, so a reply is compared with exactly what came before it.
func (c *chaosClient) set(name string) chaosStep {
	k := c.keys[name]
	k.written++
	value := strconv.Itoa(k.written)
	return chaosStep{[]string{"SET", name, value}, func(reply string) error {
		switch c.outcome(reply, reply == "+OK\r\n") {
		case chaosAcked:
			k.may = map[string]bool{value: true}
		case chaosUnknown:
			k.may[value] = true
		case chaosNotRun:
		case chaosWrong:
			return errUnexpected
		}
		return nil
	}}
}

func (c *chaosClient) get(name string) chaosStep {
	return chaosStep{[]string{"GET", name}, func(reply string) error {
		if isReadFailure(reply) {
			return nil
		}
		return c.keys[name].read(reply)
	}}
}

// read judges the reply of a GET. What was read is what is there: doubts end with it.
func (k *chaosKey) read(reply string) error {
	value, ok := bulkValue(reply)
	if !ok || !k.may[value] {
		return fmt.Errorf("it may be one of %q", slices.Sorted(maps.Keys(k.may)))
	}
	k.may = map[string]bool{value: true}
	return nil
}

func (c *chaosClient) mget(names []string) chaosStep {
	return chaosStep{append([]string{"MGET"}, names...), func(reply string) error {
		if isReadFailure(reply) {
			return nil
		}
		header := fmt.Sprintf("*%d\r\n", len(names))
		rest, ok := strings.CutPrefix(reply, header)
		for _, name := range names {
			one := rest
			if strings.HasPrefix(rest, "$-1\r\n") {
				one = one[:5]
			} else if lines := strings.SplitAfterN(rest, "\r\n", 3); ok && len(lines) == 3 {
				one = lines[0] + lines[1]
			}
			if err := c.keys[name].read(one); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			rest = rest[len(one):]
		}
		return nil
	}}
}

func (c *chaosClient) incr(name string) chaosStep {
	k := c.keys[name]
	return chaosStep{[]string{"INCR", name}, func(reply string) error {
		n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(reply, ":"), "\r\n"))
		switch c.outcome(reply, err == nil) {
		case chaosAcked:
			k.acked++
			if n <= k.highest || n < k.acked || n > k.acked+k.unknown {
				return fmt.Errorf("highest was %d, %d acknowledged, %d in doubt", k.highest, k.acked, k.unknown)
			}
			k.highest = n
		case chaosUnknown:
			k.unknown++
		case chaosNotRun:
		case chaosWrong:
			return errUnexpected
		}
		return nil
	}}
}

type chaosOutcome int

const (
	chaosAcked chaosOutcome = iota
	chaosUnknown
	chaosNotRun
	chaosWrong
)

// outcome sorts the reply of a write.
func (c *chaosClient) outcome(reply string, ok bool) chaosOutcome {
	switch {
	case ok:
		c.acked++
		return chaosAcked
	case strings.HasPrefix(reply, "-ERR outcome unknown: connection to backend "):
		c.unknown++
		return chaosUnknown
	case strings.HasPrefix(reply, "-ERR backend ") && strings.Contains(reply, " is unavailable: "):
		c.failed++
		return chaosNotRun
	}
	return chaosWrong
}

// isReadFailure tells a read that was retried and lost its connection again.
func isReadFailure(reply string) bool {
	return strings.HasPrefix(reply, "-ERR connection to backend ") ||
		strings.HasPrefix(reply, "-ERR backend ") && strings.Contains(reply, " is unavailable: ")
}

func bulkValue(reply string) (string, bool) {
	if reply == "$-1\r\n" {
		return "", true
	}
	parts := strings.Split(reply, "\r\n")
	if len(parts) != 3 || parts[0] != "$"+strconv.Itoa(len(parts[1])) {
		return "", false
	}
	return parts[1], true
}

// round sends one pipeline and judges its replies.
func (c *chaosClient) round() error {
	steps := make([]chaosStep, 1+c.rng.IntN(chaosDepth))
	for i := range steps {
		name := c.names[c.rng.IntN(len(c.names))]
		switch n := c.rng.IntN(10); {
		case c.keys[name].counter:
			steps[i] = c.incr(name)
		case n < 4:
			steps[i] = c.set(name)
		case n < 9:
			steps[i] = c.get(name)
		default:
			steps[i] = c.mget(c.plainNames())
		}
	}
	var requests strings.Builder
	for _, s := range steps {
		fmt.Fprintf(&requests, "*%d\r\n", len(s.args))
		for _, a := range s.args {
			requests.WriteString(bulkReply(a))
		}
	}
	if _, err := c.Write([]byte(requests.String())); err != nil {
		return err
	}
	for i, s := range steps {
		reply, err := c.tryReply()
		if err != nil {
			return fmt.Errorf("reply %d of %d: %w", i, len(steps), err)
		}
		if err := s.judge(reply); err != nil {
			return fmt.Errorf("reply %d of %d: %q: %.200q: %w", i, len(steps), s.args, reply, err)
		}
		c.done.Add(1)
	}
	return nil
}

// plainNames are one or more keys that are no counters, in different slots.
func (c *chaosClient) plainNames() []string {
	var names []string
	for _, name := range c.names {
		if !c.keys[name].counter && strings.HasSuffix(name, ":0") && c.rng.IntN(2) == 0 {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return []string{c.names[0]}
	}
	return names
}

// check compares the end with the model.
func (c *chaosClient) check() error {
	for _, name := range c.names {
		k := c.keys[name]
		reply := c.do("GET", name)
		if !k.counter {
			if err := k.read(reply); err != nil {
				return fmt.Errorf("in the end %s is %q: %w", name, reply, err)
			}
			continue
		}
		value, _ := bulkValue(reply)
		n, _ := strconv.Atoi(value)
		if n < k.acked || n > k.acked+k.unknown {
			return fmt.Errorf("in the end %s is %q, %d acknowledged, %d in doubt", name, reply, k.acked, k.unknown)
		}
	}
	return nil
}

func chaosTag(i int) string { return fmt.Sprintf("{tag%d}", i) }

func newChaosClient(t *testing.T, p *testProxy, id int, seed uint64, done *atomic.Int64) *chaosClient {
	c := &chaosClient{
		testClient: p.dial(t), rng: rand.New(rand.NewPCG(seed, uint64(id))), keys: make(map[string]*chaosKey), done: done,
	}
	for tag := range chaosTags {
		for i := range 2 {
			name := fmt.Sprintf("%sclient%d:%d", chaosTag(tag), id, i)
			c.keys[name] = &chaosKey{may: map[string]bool{"": true}}
			c.names = append(c.names, name)
		}
		name := fmt.Sprintf("%sclient%d:counter", chaosTag(tag), id)
		c.keys[name] = &chaosKey{counter: true}
		c.names = append(c.names, name)
	}
	return c
}
