package check

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	"sluice/bench/load"
)

// stream is a stream with one writer, which counts its ids up: 1-0, 2-0, … An XADD that ran twice would be refused the
// second time. Readers of the whole stream must see every acknowledged entry, in order, none left out; a group must
// have every one exactly once.
type stream struct {
	key     string
	watched bool

	mu      sync.Mutex // guards the fields below it
	entries []entry    // entry n is at n-1
	empty   []vain     // of the group
	closed  bool       // nothing more will be written
}

// entry is one entry of a stream.
type entry struct {
	add    outcome
	acked  time.Duration
	given  bool          // to a consumer of the group
	call   time.Duration // of the read that was given it
	xacked bool          // XACK was answered
}

// The group of each stream, and how many consumers it has.
const (
	groupName      = "g"
	groupConsumers = 2
)

func consumerName(i int) string { return "c" + strconv.Itoa(i) }

// close is called when the writer has ended.
func (x *stream) close() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.closed = true
}

// write is the step of the writer.
func (x *stream) write(ctx context.Context, s *session) {
	if s.rng.IntN(60) == 0 {
		rest(ctx, s.cfg.Sessions.BlockTime+s.cfg.Sessions.BlockTime/4)
	}
	x.mu.Lock()
	x.entries = append(x.entries, entry{add: unknown, acked: math.MaxInt64})
	n := len(x.entries)
	x.mu.Unlock()
	id := entryID(n)
	reply, out := s.do(stepAdd, x.key, 0, []string{"XADD", x.key, id, "n", strconv.Itoa(n)})
	if out == answered && reply.text != id {
		s.find(object(Wrong, "XADD of %s answered with %v", id, reply), x.key)
		out = unknown
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.entries[n-1].add = out
	if out == answered {
		x.entries[n-1].acked = s.ret
		s.meters[stepAdd].done++
	}
}

func entryID(n int) string { return strconv.Itoa(n) + "-0" }

// received reads the entries of one stream out of a reply: their numbers.
func (x *stream) received(reply value) ([]int, error) {
	if reply.null {
		return nil, nil
	}
	if len(reply.list) != 1 || len(reply.list[0].list) != 2 || reply.list[0].list[0].text != x.key {
		return nil, fmt.Errorf("%v", reply)
	}
	return entriesOf(reply.list[0].list[1])
}

func entriesOf(v value) ([]int, error) {
	var out []int
	for _, e := range v.list {
		if len(e.list) != 2 || len(e.list[1].list) != 2 {
			return nil, fmt.Errorf("an entry %v", e)
		}
		n, err := strconv.Atoi(strings.TrimSuffix(e.list[0].text, "-0"))
		if err != nil || entryID(n) != e.list[0].text || e.list[1].list[1].text != strconv.Itoa(n) {
			return nil, fmt.Errorf("an entry %v", e)
		}
		out = append(out, n)
	}
	return out, nil
}

// inOrder judges entries that came behind entry last; all of them are asked for if whole is set. mu is held.
func (x *stream) inOrder(last int, got []int, whole bool) verdict {
	for _, n := range got {
		switch {
		case n > len(x.entries):
			return object(Wrong, "entry %d was not sent", n)
		case n <= last:
			return object(Wrong, "entry %d came behind %d", n, last)
		case x.entries[n-1].add == refused:
			return object(Ran, "entry %d was refused, and is there", n)
		}
		for missing := last + 1; whole && missing < n; missing++ {
			if x.entries[missing-1].add == answered {
				return object(Lost, "entry %d is missing before %d", missing, n)
			}
		}
		last = n
	}
	return verdict{}
}

// waiting is the first entry behind last that was acknowledged before a time; 0: none. mu is held.
func (x *stream) waiting(last int, before time.Duration) int {
	for n := last + 1; n <= len(x.entries); n++ {
		if x.entries[n-1].acked < before {
			return n
		}
	}
	return 0
}

// streamReader reads a stream from its beginning. Owned by its session; no locking.
type streamReader struct {
	stream *stream
	last   int
}

func (r *streamReader) read(ctx context.Context, s *session) {
	x, block := r.stream, s.cfg.Sessions.BlockTime
	reply, out := s.do(stepRead, x.key, block, []string{"XREAD", "COUNT", "16", "BLOCK", millisOf(block), "STREAMS", x.key, entryID(r.last)})
	if out != answered {
		rest(ctx, redialEvery)
		return
	}
	got, err := x.received(reply)
	if err != nil {
		s.find(object(Wrong, "XREAD answered with %v", err), x.key)
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(got) == 0 {
		s.meters[stepRead].nothing++
		s.inTime(stepRead, x.key)
		if n := x.waiting(r.last, s.call); n > 0 {
			s.find(object(Stale, "XREAD returned nothing, and entry %d was there", n), x.key)
		}
		s.over = x.closed
		return
	}
	s.meters[stepRead].done += uint64(len(got))
	s.find(x.inOrder(r.last, got, true), x.key)
	x.awaited(s, stepRead, got)
	r.last = max(r.last, got[len(got)-1])
}

// awaited judges how long the first of some entries was there before a command that waited returned it. mu is held.
func (x *stream) awaited(s *session, kind stepKind, got []int) {
	if got[0] > len(x.entries) {
		return
	}
	waited := s.ret - max(s.call, x.entries[got[0]-1].acked)
	s.meters[kind].stall = max(s.meters[kind].stall, waited)
	if waited > s.cfg.Sessions.Slack {
		s.find(object(Untimely, "entry %d was there for %s before %s returned it", got[0], rounded(waited), stepNames[kind]), x.key)
	}
}

func millisOf(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// groupReader is a consumer of the group. Owned by its session; no locking.
type groupReader struct {
	stream *stream
	name   string
	last   int
	doubt  bool // what an unknown read has been given, or an unknown XACK has left, is to be asked for
	late   bool // an XACK may be under way that nobody waits for
}

func (r *groupReader) read(ctx context.Context, s *session) {
	x := r.stream
	got, ok := r.ask(s)
	if !ok {
		r.doubt = true
		rest(ctx, redialEvery)
		return
	}
	if len(got) == 0 {
		return
	}
	command := []string{"XACK", x.key, groupName}
	for _, n := range got {
		command = append(command, entryID(n))
	}
	reply, out := s.do(stepAck, x.key, 0, command)
	if out != answered {
		r.doubt, r.late = true, r.late || out == unknown
		return
	}
	if n, err := reply.integer(':'); err != nil || int(n) > len(got) || int(n) < len(got) && !r.late {
		s.find(object(Wrong, "XACK of %d entries answered with %v", len(got), reply), x.key)
		return
	}
	s.meters[stepAck].done++
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, n := range got {
		x.entries[n-1].xacked = true
	}
}

// ask reads new entries, or those that were given to this consumer and not acknowledged.
func (r *groupReader) ask(s *session) (got []int, ok bool) {
	x, block := r.stream, s.cfg.Sessions.BlockTime
	pending := r.doubt
	command := []string{"XREADGROUP", "GROUP", groupName, r.name, "COUNT", "8", "BLOCK", millisOf(block), "STREAMS", x.key, ">"}
	if pending {
		command, block = []string{"XREADGROUP", "GROUP", groupName, r.name, "STREAMS", x.key, "0"}, 0
	}
	reply, out := s.do(stepGroup, x.key, block, command)
	if out != answered {
		return nil, false
	}
	got, err := x.received(reply)
	if err != nil {
		s.find(object(Wrong, "XREADGROUP answered with %v", err), x.key)
		return nil, true
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case len(got) == 0 && !pending:
		s.meters[stepGroup].nothing++
		s.inTime(stepGroup, x.key)
		x.empty = append(x.empty, vain{s.call, s.ret})
		s.over = x.closed
	case !pending:
		s.find(x.inOrder(r.last, got, false), x.key)
		x.awaited(s, stepGroup, got)
	}
	s.meters[stepGroup].done += uint64(len(got))
	for _, n := range got {
		if n > len(x.entries) {
			return nil, true
		}
		s.find(x.give(n, pending), x.key)
		if !pending {
			x.entries[n-1].call = s.call
		}
		r.last = max(r.last, n)
	}
	r.doubt = false
	return got, true
}

// give notes that the group has got an entry, of those that were pending or for the first time. mu is held.
func (x *stream) give(n int, pending bool) verdict {
	e := &x.entries[n-1]
	switch {
	case pending && e.xacked:
		return object(Lost, "entry %d is pending, and was acknowledged by XACK", n)
	case !pending && e.given:
		return object(Twice, "entry %d was given to the group twice", n)
	}
	e.given = true
	return verdict{}
}

// streamFinals read every stream, and what of the group was given to nobody: a consumer of its own takes that, and then
// the pending ones of all are asked for.
func (r *Run) streamFinals() []finalRead {
	var out []finalRead
	for _, x := range r.sessions.streams {
		add := func(judge func(value) (verdict, error), args ...string) {
			out = append(out, finalRead{key: x.key, args: args, judge: func(reply load.Reply) (verdict, error) {
				x.mu.Lock()
				defer x.mu.Unlock()
				return judge(decode(reply))
			}})
		}
		add(x.finalEntries, "XRANGE", x.key, "-", "+")
		const last = "end"
		add(x.finalGiven(false), "XREADGROUP", "GROUP", groupName, last, "STREAMS", x.key, ">")
		add(x.finalGiven(true), "XREADGROUP", "GROUP", groupName, last, "STREAMS", x.key, "0")
		for i := range groupConsumers {
			add(x.finalGiven(true), "XREADGROUP", "GROUP", groupName, consumerName(i), "STREAMS", x.key, "0")
		}
	}
	return out
}

func (x *stream) finalEntries(reply value) (verdict, error) {
	got, err := entriesOf(reply)
	if err != nil {
		return verdict{}, err
	}
	for n := len(x.entries); n > 0 && (len(got) == 0 || n > got[len(got)-1]); n-- {
		if x.entries[n-1].add == answered {
			return object(Lost, "entry %d of %d is missing at the end", n, len(x.entries)), nil
		}
	}
	return x.inOrder(0, got, true), nil
}

func (x *stream) finalGiven(pending bool) func(value) (verdict, error) {
	return func(reply value) (verdict, error) {
		got, err := x.received(reply)
		if err != nil {
			return verdict{}, err
		}
		for _, n := range got {
			if n > len(x.entries) {
				return object(Wrong, "entry %d was not sent", n), nil
			}
			if v := x.give(n, pending); v.text != "" {
				return v, nil
			}
		}
		return verdict{}, nil
	}
}

// end judges what the group has been given, when all that is pending has been read.
func (x *stream) end(find func(v verdict, key string)) {
	missing, first := 0, 0
	var there []span
	for i := range x.entries {
		switch e := &x.entries[i]; {
		case e.call > 0:
			there = append(there, span{e.acked, e.call, "entry " + strconv.Itoa(i+1)})
		case e.given || e.add != answered:
		default:
			if missing++; first == 0 {
				first = i + 1
			}
		}
	}
	inVain(there, x.empty, func(v verdict) { find(v, x.key) })
	if missing > 0 {
		find(verdict{kind: Lost, n: uint64(missing), text: fmt.Sprintf("%d entries were given to nobody of the group, first %d", missing, first)}, x.key)
	}
}
