package check

import (
	"context"
	"crypto/sha1" //nolint:gosec // That is what EVALSHA takes.
	"encoding/hex"
	"strings"
)

// luaScript is a script and its digest.
type luaScript struct{ text, sha string }

func newScript(text string) luaScript {
	sum := sha1.Sum([]byte(text)) //nolint:gosec // As above.
	return luaScript{text: text, sha: hex.EncodeToString(sum[:])}
}

var (
	// pairScript writes a pair and returns what was there.
	pairScript = newScript(`local a = redis.call('GET', KEYS[1]) local b = redis.call('GET', KEYS[2])
redis.call('SET', KEYS[1], ARGV[1]) redis.call('SET', KEYS[2], ARGV[1]) return {a, b}`)
	// swapScript is compare-and-set; an empty value stands for none.
	swapScript = newScript(`local v = redis.call('GET', KEYS[1]) if (v or '') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2]) return 1`)
	countScript = newScript(`return redis.call('INCR', KEYS[1])`)
)

func script(_ context.Context, s *session) {
	switch s.rng.IntN(3) {
	case 0:
		s.scriptPair()
	case 1:
		s.scriptSwap()
	default:
		s.scriptCount()
	}
}

// eval runs a script, by its digest mostly. A server that does not know that has not run it, and is given the text.
func (s *session) eval(script luaScript, keys []string, args ...string) (reply value, out outcome) {
	tail := append([]string{string(rune('0' + len(keys)))}, keys...)
	tail = append(tail, args...)
	by := func(name, what string) []string { return append([]string{name, what}, tail...) }
	if s.rng.IntN(4) > 0 {
		reply, out = s.do(stepScript, keys[0], 0, by("EVALSHA", script.sha))
		if out != refused || !strings.HasPrefix(reply.text, noScript) {
			return reply, out
		}
	}
	return s.do(stepScript, keys[0], 0, by("EVAL", script.text))
}

const noScript = "NOSCRIPT "

func (s *session) scriptPair() {
	g := s.generation(s.run.sessions.scripted)
	if g == nil {
		return
	}
	a, b := pairOf(g)
	token := s.token()
	reply, out := s.eval(pairScript, []string{a, b}, token)
	o := sharedOp{op: opGetSet, arg: token}
	switch {
	case out != answered:
	case len(reply.list) != 2:
		s.find(object(Wrong, "EVAL answered with %v", reply), a)
		out = unknown
	default:
		s.meters[stepScript].done++
		o.text = s.same(g, reply.list[0], reply.list[1])
	}
	s.note(g, o, out)
}

func (s *session) scriptSwap() {
	g := s.generation(s.run.sessions.swapped)
	if g == nil {
		return
	}
	read, out := s.do(stepScript, g.key, 0, []string{"GET", g.key})
	if out != answered {
		return
	}
	s.note(g, sharedOp{op: opGet, text: read.text}, out)
	o := sharedOp{op: opSwap, text: read.text, arg: s.token()}
	reply, out := s.eval(swapScript, []string{g.key}, o.text, o.arg)
	switch {
	case out != answered:
	case reply.kind != ':' || reply.text != "0" && reply.text != "1":
		s.find(object(Wrong, "EVAL answered with %v", reply), g.key)
		out = unknown
	case reply.text == "1":
		o.number = 1
		s.meters[stepScript].done++
	default:
		s.meters[stepScript].nothing++
	}
	s.note(g, o, out)
}

func (s *session) scriptCount() {
	g := s.generation(s.run.sessions.counted)
	if g == nil {
		return
	}
	reply, out := s.eval(countScript, []string{g.key})
	o := sharedOp{op: opIncr}
	if out == answered {
		n, err := reply.integer(':')
		if err != nil {
			s.find(object(Wrong, "EVAL answered with %v", err), g.key)
			out = unknown
		} else {
			s.meters[stepScript].done++
		}
		o.number = n
	}
	s.note(g, o, out)
}
