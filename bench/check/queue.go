package check

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"sync"
	"time"

	"sluice/bench/load"
)

// queue is two lists of one hash tag that one producer fills with elements of which every one is different. One consumer
// takes from both with BLPOP; the other does, too, or moves what is in the first one to a third list, done.
//
// Every element that was acknowledged is given to one consumer, or is in a list at the end; a BLPOP of which nobody knows
// the outcome may have taken one. One consumer gets the elements of a list in the order in which they were pushed, but
// for those whose push has an unknown outcome: they may have come late.
type queue struct {
	index   int
	lists   [2]string
	done    string
	watched bool

	mu       sync.Mutex // guards the fields below it
	elements map[string]*element
	order    []*element // as pushed
	empty    [2][]vain  // by list
	doubts   int        // BLPOPs with an unknown outcome
	closed   bool       // nothing more will be pushed

	finals [3][]string // the content of the lists, and of done, at the end
	read   int         // how many of them were read
}

// element is one element of a queue. Times are since the start of the load.
type element struct {
	name   string
	list   int
	number int
	push   outcome
	acked  time.Duration

	taken      bool
	moved      bool          // to done
	call, ret  time.Duration // of the pop that has taken it
	foundFinal bool
}

func newQueue(index int, stem string, watched bool) *queue {
	return &queue{
		index: index, lists: [2]string{stem + ":0", stem + ":1"}, done: stem + ":done", watched: watched, elements: make(map[string]*element),
	}
}

// close is called when the producer has ended.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
}

// push is the step of the producer. Now and then it rests for so long that consumers get nothing.
func (q *queue) push(ctx context.Context, s *session) {
	if s.rng.IntN(60) == 0 {
		rest(ctx, s.cfg.Sessions.BlockTime+s.cfg.Sessions.BlockTime/4)
	}
	q.mu.Lock()
	e := &element{list: s.rng.IntN(len(q.lists)), number: len(q.order), push: unknown, acked: math.MaxInt64}
	e.name = fmt.Sprintf("q%d.%d", q.index, e.number)
	q.elements[e.name] = e
	q.order = append(q.order, e)
	q.mu.Unlock()
	key := q.lists[e.list]
	reply, out := s.do(stepPush, key, 0, []string{"RPUSH", key, e.name})
	if out == answered {
		if n, err := reply.integer(':'); err != nil || n < 1 {
			s.find(object(Wrong, "RPUSH answered with %v", reply), key)
			out = unknown
		} else {
			s.meters[stepPush].done++
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	e.push = out
	if out == answered {
		e.acked = s.ret
	}
	if out == refused && e.taken {
		s.find(object(Ran, "element %s was refused, and taken", e.name), key)
	}
}

// popper is a consumer. Owned by its session; no locking.
type popper struct {
	queue *queue
	moves bool
	last  [2]int // the number of the last element from each list, and 1
}

func (p *popper) pop(ctx context.Context, s *session) {
	q, block := p.queue, s.cfg.Sessions.BlockTime
	if p.moves {
		kind, from := stepMove, q.lists[0]
		reply, out := s.do(kind, from, block, []string{"BLMOVE", from, q.done, "LEFT", "RIGHT", seconds(block)})
		switch {
		case out != answered:
			rest(ctx, redialEvery)
		case reply.null:
			p.nothing(s, kind, 1)
		case reply.kind != '$':
			s.find(object(Wrong, "BLMOVE answered with %v", reply), from)
		default:
			p.got(s, kind, from, reply.text)
		}
		return
	}
	kind := stepPop
	reply, out := s.do(kind, q.lists[0], block, []string{"BLPOP", q.lists[0], q.lists[1], seconds(block)})
	switch {
	case out == unknown:
		q.mu.Lock()
		q.doubts++
		q.mu.Unlock()
		rest(ctx, redialEvery)
	case out == refused:
		rest(ctx, redialEvery)
	case reply.null:
		p.nothing(s, kind, len(q.lists))
	case len(reply.list) != 2:
		s.find(object(Wrong, "BLPOP answered with %v", reply), q.lists[0])
	default:
		p.got(s, kind, reply.list[0].text, reply.list[1].text)
	}
}

func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) }

// nothing notes a pop from so many of the lists that came back with nothing.
func (p *popper) nothing(s *session, kind stepKind, lists int) {
	q := p.queue
	s.meters[kind].nothing++
	s.inTime(kind, q.lists[0])
	q.mu.Lock()
	defer q.mu.Unlock()
	for i := range lists {
		q.empty[i] = append(q.empty[i], vain{s.call, s.ret})
	}
	s.over = q.closed
}

// got judges an element that a pop returned.
func (p *popper) got(s *session, kind stepKind, key, name string) {
	q := p.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	e := q.elements[name]
	s.meters[kind].done++
	switch {
	case e == nil || q.lists[e.list] != key:
		s.find(object(Wrong, "%s was taken, which is not of this list", show(name)), key)
		return
	case e.push == refused:
		s.find(object(Ran, "element %s was refused, and taken", name), key)
	case e.taken:
		s.find(object(Twice, "element %s was taken at %s, and again", name, rounded(e.ret)), key)
	case e.acked < math.MaxInt64: // A push that is not acknowledged yet may be the one before the next, or any later one.
		if e.number+1 < p.last[e.list] {
			s.find(object(Wrong, "element %s was taken behind %d", name, p.last[e.list]-1), key)
		}
		p.last[e.list] = e.number + 1
	}
	e.taken, e.moved, e.call, e.ret = true, p.moves, s.call, s.ret
	waited := s.ret - max(s.call, e.acked)
	s.meters[kind].stall = max(s.meters[kind].stall, waited)
	if waited > s.cfg.Sessions.Slack {
		s.find(object(Untimely, "element %s was there for %s before %s returned it", name, rounded(waited), stepNames[kind]), key)
	}
}

// queueFinals read the lists at the end.
func (r *Run) queueFinals() []finalRead {
	var out []finalRead
	for _, q := range r.sessions.queues {
		for i, key := range []string{q.lists[0], q.lists[1], q.done} {
			out = append(out, finalRead{key: key, args: []string{"LRANGE", key, "0", "-1"}, judge: func(reply load.Reply) (verdict, error) {
				content, err := elements(reply)
				if err != nil {
					return verdict{}, err
				}
				q.mu.Lock()
				defer q.mu.Unlock()
				q.finals[i] = content
				q.read++
				return verdict{}, nil
			}})
		}
	}
	return out
}

// end judges what is left when everybody has ended. Lists that could not be read have been found already.
func (q *queue) end(find func(v verdict, key string)) {
	if q.read < len(q.finals) {
		return
	}
	for i, key := range q.lists {
		q.endOf(i, q.finals[i], func(v verdict) { find(v, key) })
	}
	q.endOf(0, q.finals[2], func(v verdict) { find(v, q.done) })
	gone, first := 0, ""
	for _, e := range q.order {
		if e.push != answered || e.taken && !e.moved || e.foundFinal {
			continue
		}
		if gone++; first == "" {
			first = e.name
		}
	}
	if lost := gone - q.doubts; lost > 0 {
		find(verdict{kind: Lost, n: uint64(lost), text: fmt.Sprintf("%d acknowledged elements are neither delivered nor there, first %s; %d pops are unknown",
			gone, first, q.doubts)}, q.lists[0])
	}
	for i, key := range q.lists {
		q.endEmpty(i, func(v verdict) { find(v, key) })
	}
}

// endOf judges the content of a list at the end: elements that were pushed to list i, in their order, each once.
func (q *queue) endOf(i int, content []string, find func(verdict)) {
	last := -1
	for _, name := range content {
		e := q.elements[name]
		switch {
		case e == nil || e.list != i:
			find(object(Wrong, "element %s is not of this list", show(name)))
			continue
		case e.push == refused:
			find(object(Ran, "element %s was refused, and is there", name))
		case e.foundFinal || e.taken && !e.moved:
			find(object(Twice, "element %s was taken, or is in another place, and is there", name))
		case e.push == answered && e.number < last:
			find(object(Wrong, "element %s stands behind element %d", name, last))
		case e.push == answered:
			last = e.number
		}
		e.foundFinal = true
	}
}

// endEmpty judges the pops that came back without an element of list i.
func (q *queue) endEmpty(i int, find func(verdict)) {
	var there []span
	for _, e := range q.order {
		if e.list != i || e.push != answered {
			continue
		}
		switch {
		case e.taken:
			there = append(there, span{e.acked, e.call, e.name})
		case slices.Contains(q.finals[i], e.name):
			there = append(there, span{e.acked, math.MaxInt64, e.name})
		}
	}
	inVain(there, q.empty[i], find)
}
