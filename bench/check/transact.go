package check

import (
	"context"
	"fmt"
	"strconv"

	"sluice/bench/load"
)

// A pair is two keys of one hash tag that are only ever written together, with the same value: who sees them differ has
// seen half of a transaction. As one register its history is searched for a linearization as that of any shared key.
// Every write returns what was there before, so that a write that is lost, or runs twice, shows in the next one.

// pairOf are the two keys of a pair.
func pairOf(g *generation) (a, b string) { return g.key + ".a", g.key + ".b" }

func transact(_ context.Context, s *session) {
	switch s.rng.IntN(6) {
	case 0:
		s.readPair()
	case 1, 2, 3:
		s.writePair()
	default:
		s.increment()
	}
}

// writePair puts a value into both keys and reads what was there, in one transaction.
func (s *session) writePair() {
	g := s.generation(s.run.sessions.pairs)
	if g == nil {
		return
	}
	a, b := pairOf(g)
	token := s.token()
	reply, out := s.do(stepTransaction, a, 0, []string{"MULTI"}, []string{"GET", a}, []string{"GET", b},
		[]string{"SET", a, token}, []string{"SET", b, token}, []string{"EXEC"})
	o := sharedOp{op: opGetSet, arg: token}
	if out == answered {
		l := reply.list
		if len(l) != 4 || l[2].text != "OK" || l[3].text != "OK" {
			s.find(object(Wrong, "EXEC answered with %v", reply), a)
			out = unknown
		} else {
			o.text = s.same(g, l[0], l[1])
			s.meters[stepTransaction].done++
		}
	}
	s.note(g, o, out)
}

// readPair reads both keys, in a transaction or with one command. A proxy may have to send the parts of that to two
// servers when the keys have no hash tag.
func (s *session) readPair() {
	g := s.generation(s.run.sessions.pairs)
	if g == nil {
		return
	}
	a, b := pairOf(g)
	commands := [][]string{{"MULTI"}, {"GET", a}, {"GET", b}, {"EXEC"}}
	if !s.cfg.Sessions.Apart && s.rng.IntN(2) == 0 {
		commands = [][]string{{"MGET", a, b}}
	}
	reply, out := s.do(stepTransaction, a, 0, commands...)
	if out != answered {
		return
	}
	if len(reply.list) != 2 {
		s.find(object(Wrong, "a read of two keys answered with %v", reply), a)
		return
	}
	s.meters[stepTransaction].done++
	s.note(g, sharedOp{op: opGet, text: s.same(g, reply.list[0], reply.list[1])}, out)
}

// same returns the value of a pair, and finds fault with one of two values.
func (s *session) same(g *generation, a, b value) string {
	s.find(halves(a, b), g.key)
	return a.text
}

func halves(a, b value) verdict {
	if a.kind != '$' || b.kind != '$' {
		return object(Wrong, "values of a pair are %v and %v", a, b)
	}
	if a.text != b.text {
		return object(Wrong, "half of a write was seen: %v and %v", a, b)
	}
	return verdict{}
}

// increment adds one to a counter as clients do that know no INCR. An increment that was acknowledged is the only one from
// its number to the next; one that was not, because the key had changed, has not run.
func (s *session) increment() {
	g := s.generation(s.run.sessions.watched)
	if g == nil {
		return
	}
	if _, out := s.do(stepWatch, g.key, 0, []string{"WATCH", g.key}); out != answered {
		return
	}
	read, out := s.do(stepWatch, g.key, 0, []string{"GET", g.key})
	if out != answered {
		if s.wire.connected() {
			s.do(stepWatch, g.key, 0, []string{"UNWATCH"})
		}
		return
	}
	n, err := read.counter()
	if err != nil {
		s.find(object(Wrong, "GET answered with %v", err), g.key)
		return
	}
	s.note(g, sharedOp{op: opCount, number: n}, answered)
	reply, out := s.do(stepWatch, g.key, 0, []string{"MULTI"}, []string{"SET", g.key, strconv.FormatInt(n+1, 10)}, []string{"EXEC"})
	switch {
	case out == answered && reply.null:
		s.meters[stepWatch].nothing++
		return
	case out == answered && (len(reply.list) != 1 || reply.list[0].text != "OK"):
		s.find(object(Wrong, "EXEC answered with %v", reply), g.key)
		out = unknown
	case out == answered:
		s.meters[stepWatch].done++
	}
	s.note(g, sharedOp{op: opIncr, number: n + 1}, out)
}

// generations are the histories of all keys that sessions share.
func (a *sessions) generations() (pairs, singles []*generation) {
	for _, keys := range [][]*sharedKey{a.pairs, a.scripted} {
		for _, k := range keys {
			pairs = append(pairs, k.gens...)
		}
	}
	for _, keys := range [][]*sharedKey{a.watched, a.swapped, a.counted} {
		for _, k := range keys {
			singles = append(singles, k.gens...)
		}
	}
	return pairs, singles
}

// pairFinals read both keys at the end, which is the last operation of each history.
func (r *Run) pairFinals(pairs []*generation) []finalRead {
	var out []finalRead
	for _, g := range pairs {
		a, b := pairOf(g)
		call := int64(r.line.now())
		out = append(out, finalRead{key: a, args: []string{"MGET", a, b}, judge: func(reply load.Reply) (verdict, error) {
			v := decode(reply)
			if len(v.list) != 2 {
				return verdict{}, fmt.Errorf("%v", v)
			}
			g.add(sharedOp{client: finalClient, op: opGet, call: call, ret: int64(r.line.now()), text: v.list[0].text})
			return halves(v.list[0], v.list[1]), nil
		}})
	}
	return out
}
