package check

import (
	"math"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// The model of one shared key, for porcupine. One state serves all classes: value
// is the versioned value or the concatenated elements, number the counter.
//
// An operation with an unknown outcome has its return at infinity. That covers
// "never" as well, because it may come after the last read. To keep the search
// short without changing its answer:
//
//   - increments with an unknown outcome are alike, so they take effect in the
//     order of their calls;
//   - a write whose unique value nobody has seen changes no reply: of values that
//     are overwritten it is left out, of lists if the content at the end is known.
//
// With Config.Undone each of them has a second operation behind it, which takes it
// back if nothing else was written since.
//
// Requests of one connection on one key must take effect in their order, also
// within a pipeline, where their times overlap; that is what linState.done is for.

// orderedClients is how many clients have their order checked on shared keys.
const orderedClients = 64

// linState is comparable. Immutable.
type linState struct {
	value  string
	number int64
	late   int  // increments with an unknown outcome so far
	shaky  bool // written last with an unknown outcome; before that it was:
	before struct {
		value  string
		number int64
	}
	done [orderedClients]uint16
}

// linOp is a sharedOp with its place. Immutable.
type linOp struct {
	sharedOp
	order int  // among the operations of its client with a known outcome; -1: any
	late  int  // among the increments with an unknown outcome
	undo  bool // take back what was written with an unknown outcome
}

func linearModel() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return linState{} },
		Step: func(state, input, _ any) (bool, any) {
			return step(state.(linState), input.(*linOp))
		},
	}
}

func step(s linState, o *linOp) (bool, linState) {
	if o.undo {
		if s.shaky {
			s.value, s.number, s.shaky = s.before.value, s.before.number, false
		}
		return true, s
	}
	before := s
	ok, s := take(s, o)
	switch {
	case !o.op.writes():
	case !o.unknown:
		s.shaky = false
	case !s.shaky:
		s.shaky, s.before.value, s.before.number = true, before.value, before.number
	}
	return ok, s
}

// take lets an operation take effect.
func take(s linState, o *linOp) (bool, linState) {
	if o.order >= 0 {
		if int(s.done[o.client]) != o.order {
			return false, s
		}
		s.done[o.client]++
	}
	switch o.op {
	case opGet, opRange, opText:
		return o.text == s.value, s
	case opCount:
		return o.number == s.number, s
	case opSet:
		s.value = o.arg
		return true, s
	case opGetSet:
		ok := o.unknown || o.text == s.value
		s.value = o.arg
		return ok, s
	case opIncr:
		s.number++
		if o.unknown {
			s.late++
			return o.late == s.late-1, s
		}
		return o.number == s.number, s
	case opSwap:
		swaps := s.value == o.text
		if swaps {
			s.value = o.arg
		}
		return o.unknown || swaps == (o.number == 1), s
	case opPush, opAppend:
		s.value += o.arg
		return o.unknown || int(o.number)*tokenBytes == len(s.value), s
	case opSetNX, opDel, opMGet, opMSet, opMDel, opHSet, opHGet, opStrLen, opScript, opKinds:
	}
	panic("BUG: no model for " + o.op.String())
}

// prepare turns a history into porcupine's form. complete says that the content at
// the end was read, undone that what has an unknown outcome may be taken back.
func prepare(history []sharedOp, complete, undone bool) []porcupine.Operation {
	var seen strings.Builder
	for _, o := range history {
		seen.WriteString(o.text)
		seen.WriteByte(' ')
	}
	text := seen.String()
	history = slices.Clone(history)
	order := make(map[int]int)
	late := 0
	var out []porcupine.Operation
	for i := range history {
		o := &linOp{sharedOp: history[i], order: -1}
		if o.unknown {
			droppable := o.op == opSet || o.op == opGetSet || o.op == opSwap || (o.op == opPush || o.op == opAppend) && complete
			if !o.op.writes() || droppable && !strings.Contains(text, o.arg) {
				continue
			}
			o.ret = math.MaxInt64
		} else if o.client < orderedClients {
			o.order = order[o.client]
			order[o.client]++
		}
		out = append(out, porcupine.Operation{ClientId: o.client, Input: o, Call: o.call, Return: o.ret})
		if o.unknown && undone {
			undo := &linOp{sharedOp: o.sharedOp, order: -1, undo: true}
			out = append(out, porcupine.Operation{ClientId: o.client, Input: undo, Call: o.call, Return: o.ret})
		}
	}
	slices.SortStableFunc(out, func(a, b porcupine.Operation) int { return int(min(max(a.Call-b.Call, -1), 1)) })
	for _, p := range out {
		if o := p.Input.(*linOp); o.unknown && o.op == opIncr && !o.undo {
			o.late = late
			late++
		}
	}
	return out
}

// Linear is the outcome of the search on shared keys.
type Linear struct {
	Keys, Operations int
	Good, Bad        int
	// Unknown keys could be neither proven nor refuted in the time there was.
	Unknown int
}

// linearize judges every generation, one after another, until deadline. bad is
// called for those without a linearization.
func linearize(gens []*generation, complete func(*generation) bool, undone bool, deadline time.Time, bad func(*generation, int)) Linear {
	var l Linear
	for _, g := range gens {
		l.Keys++
		l.Operations += len(g.history)
		left := time.Until(deadline)
		if left <= 0 {
			l.Unknown++
			continue
		}
		ops := prepare(g.history, complete(g), undone)
		if len(ops) == 0 {
			l.Good++
			continue
		}
		// A quarter of what is left at most, so that one hard key leaves time for others.
		switch porcupine.CheckOperationsTimeout(linearModel(), ops, max(left/4, time.Millisecond)) {
		case porcupine.Ok:
			l.Good++
		case porcupine.Illegal:
			l.Bad++
			bad(g, len(ops))
		case porcupine.Unknown:
			l.Unknown++
		}
	}
	return l
}
