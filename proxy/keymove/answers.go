package keymove

import (
	"time"

	"sluice/backend/dialect"
)

// What a Search makes of the answers.

// Reply takes an answer, or a part of it, to what was sent with tag. now is the loop's clock.
func (s *Search) Reply(tag uint32, data []byte, first, last bool, now int64) Action {
	kind := KindOf(tag)
	if tag>>tagBits != s.attempt {
		s.Late(tag, data, first, last)
		return Action{}
	}
	if kind == Wrapped {
		return s.wrapped(data, last)
	}
	if s.way == dialect.BringKeys {
		return s.bringReply(kind, data, last)
	}
	s.answers[kind] = append(s.answers[kind], data...)
	if len(s.answers[kind]) > s.req.MaxAnswer {
		return Action{Do: Overflow}
	}
	if !last {
		return Action{}
	}
	if kind == MoveKey {
		s.keyMoved()
	}
	if kind == TargetSize {
		if s.sizes++; s.sizes < dialect.SizeQuestions() {
			return Action{}
		}
	}
	if kind != s.last {
		return Action{}
	}
	switch {
	case kind == TargetSize:
		return s.targetShown(now)
	case s.way == dialect.ReadAtSource:
		return s.readDone()
	case s.way == dialect.AwaitBackground:
		return s.lookDone()
	case s.way == dialect.MoveFenced && s.failure == "":
		return s.found()
	case s.way == dialect.MoveFenced:
		return s.moveFailed()
	}
	return s.moveDone()
}

// Late takes an answer that nobody waits for any more.
func (s *Search) Late(tag uint32, data []byte, first, last bool) {
	if KindOf(tag) == MoveKey && last {
		_, ok := dialect.KeyMoved(data)
		s.endMove(ok && first)
	}
}

// Failed is told that what was sent with tag failed: with sent its server may have run it. With own it is the
// failure of the request itself, which may have been run by the source.
func (s *Search) Failed(tag uint32, sent bool, err error) (a Action, own bool) {
	kind := KindOf(tag)
	if kind == MoveKey {
		s.endMove(!sent)
	}
	if tag>>tagBits != s.attempt || kind == Size {
		return Action{}, false
	}
	s.attempt++
	if kind == Wrapped {
		return Action{}, true
	}
	// Moving a key and reading it can be asked for again as often as one likes.
	if kind == MoveKey {
		s.stats.KeyMovesFailed++
	}
	addr := s.source()
	if kind == Bring || kind == TargetSize {
		addr = s.req.Target
	}
	return s.hold("is %s, and %s failed: %v", s.req.Move, addr, err), false
}

// NotSent is told that send could not be sent, and that the request ends because of it.
func (s *Search) NotSent(send Send) {
	s.attempt++
	if send.Kind == MoveKey {
		s.endMove(true)
	}
}

// endMove notes that the move of a key by a Pika is over. With quiet the target has run all of it.
func (s *Search) endMove(quiet bool) {
	if s.Moving() {
		s.moves.end(s.moving, quiet)
		s.moving = Key{}
	}
}

// wrapped takes the wrapper's answer, or a part of it.
func (s *Search) wrapped(data []byte, last bool) Action {
	if s.passing {
		first := !s.begun
		s.begun = true
		return Action{Do: Pass, Data: data, First: first, Last: last}
	}
	answer := append(s.answers[Wrapped], data...)
	s.answers[Wrapped] = answer
	w, body, ok := dialect.ReadWrapped(answer)
	if ok && w == dialect.WrappedRun {
		s.stats.Wrapped[w]++
		s.passing, s.begun = true, len(answer) > body
		if !s.begun {
			return Action{}
		}
		return Action{Do: Pass, Data: answer[body:], First: true, Last: last}
	}
	if !last {
		return Action{}
	}
	if !ok {
		w = dialect.WrappedUnknown
	}
	s.stats.Wrapped[w&3]++ // -1 and what is no answer of a wrapper are counted together.
	switch w {
	case dialect.WrappedGone:
		return s.found()
	case dialect.WrappedMoving:
		return s.hold("is %s", s.req.Move)
	case dialect.WrappedUnknown, dialect.WrappedError, dialect.WrappedRun:
	}
	if s.passes(answer) {
		return Action{Do: Obey, Data: answer}
	}
	s.refused = true
	return Action{Do: Again}
}

// passes reports whether a reply is an error that passes by itself.
func (s *Search) passes(reply []byte) bool {
	return len(reply) > 0 && reply[0] == '-' && s.req.Passes(reply)
}

func (s *Search) found() Action { return Action{Do: Found, Keys: s.keys} }

func (s *Search) present() bool { return dialect.Present(s.answers[Exists], s.answers[Length]) }

func (s *Search) absent() bool { return dialect.Absent(s.answers[Exists], s.answers[Length]) }

// existsRefused goes on when the source did not say whether it has the key.
func (s *Search) existsRefused() Action {
	reply := s.answers[Exists]
	if s.passes(reply) {
		return Action{Do: Obey, Data: reply}
	}
	return s.hold("is %s, and %s answered EXISTS with %.80q", s.req.Move, s.source(), line(reply))
}

// readDone concludes a read at the source.
func (s *Search) readDone() Action {
	switch reply := s.answers[Read]; {
	case s.absent():
		// This read is the target's. Of the key that says no more: it may be on its way.
		s.notThere = true
		return Action{Do: Again}
	case !s.present():
		return s.existsRefused()
	case s.passes(reply):
		return Action{Do: Obey, Data: reply}
	default:
		return Action{Do: Pass, Data: reply, First: true, Last: true}
	}
}

// lookDone concludes a look whether the background has moved the key.
func (s *Search) lookDone() Action {
	switch {
	case s.absent():
		return s.found()
	case s.present():
		a := s.hold("is %s, and the background migration of %s has not come to the key", s.req.Move, s.source())
		a.Round = true
		return a
	}
	return s.existsRefused()
}

// keyMoved takes the answer of one SLOTSMGRTTAGONE.
func (s *Search) keyMoved() {
	n, ok := dialect.KeyMoved(s.answers[MoveKey])
	s.endMove(ok)
	if ok {
		s.moved += n
		s.stats.KeysMoved += uint64(n)
	} else {
		s.stats.KeyMovesFailed++
		s.failure = line(s.answers[MoveKey])
	}
	s.answers[MoveKey] = s.answers[MoveKey][:0]
}

// moveDone concludes a move at a Pika: the key must be gone.
func (s *Search) moveDone() Action {
	switch {
	case s.absent():
		return s.found()
	case s.failure == "" && s.present() && s.moved == 0:
		return s.hold("is %s, and %s has the key but does not move it: SLOTSRELOAD there, or the type is one that Pika can't move",
			s.req.Move, s.source())
	case s.failure == "" && s.present(): // Pika 3.5 lets one key have several types.
		return s.hold("is %s", s.req.Move)
	}
	return s.moveFailed()
}

// moveFailed goes on after SLOTSMGRTTAGONE was answered with an error: the key may be on either side, or on both.
func (s *Search) moveFailed() Action {
	a := s.hold("is %s, and %s answered %.120q", s.req.Move, s.source(), s.failure)
	a.Trouble = s.req.Family.Judge([]byte(s.failure), "").Kind == dialect.NoMaster
	return a
}

// targetShown takes what the target has of a key whose move has failed.
func (s *Search) targetShown(now int64) Action {
	answer := s.answers[TargetSize]
	if s.passes(answer) {
		return Action{Do: Obey, Data: answer}
	}
	s.moves.look(Key{s.req.DB, string(s.keys[0])}, string(answer), now)
	a := s.hold("is %s, a move of the key has failed, and %s may still be at work on it", s.req.Move, s.req.Target)
	a.Free, a.Quiet, a.Pause = true, true, time.Duration(quietPause)
	return a
}
