package keymove

import (
	"bytes"
	"fmt"

	"sluice/backend/dialect"
	"sluice/proxy/resp"
)

// Keys of a Redis that knows nothing of slots are brought to the target before they are used there, in three rounds:
//
//	source  DUMP and PTTL of each key
//	target  the script that brings each, or notes that the source does not have it
//	source  the script that deletes those that it had
//
// Each may be asked again as often as one likes, and nothing is in doubt after a failure (dialect, bringkey.go).

// maxDump bounds what a request reads of its keys. Larger ones wait for the controller to bring them.
const maxDump = 64 << 20

// dumped is what the source has of a key. dump is empty when it does not have it.
type dumped struct {
	dump []byte
	life int64
}

// dumpKeys begins the first round.
func (s *Search) dumpKeys() Action {
	s.start(Dump)
	for i := range s.keys {
		s.send(Source, Dump, i)
		s.send(Source, Life, i)
	}
	s.awaited = 2 * len(s.keys)
	return s.ask()
}

// bringReply takes an answer of a round, or a part of it.
func (s *Search) bringReply(kind Kind, data []byte, last bool) Action {
	if kind == Life {
		kind = Dump // They are read together.
	}
	if len(s.answers[kind])+len(data) > maxDump {
		s.attempt++ // The rest of the answers is Late.
		s.answers[kind] = nil
		return s.hold("is %s, and keys of the request are larger than %d MB: they wait for the controller", s.req.Move, maxDump>>20)
	}
	s.answers[kind] = append(s.answers[kind], data...)
	if !last {
		return Action{}
	}
	if s.awaited--; s.awaited > 0 {
		return Action{}
	}
	if kind == Dump {
		return s.bringKeys()
	}
	if kind == Bring {
		return s.dropKeys()
	}
	if reply, failed := s.errorIn(kind, len(s.keys)); failed {
		return s.bringFailed(s.source(), reply)
	}
	return s.found()
}

// bringKeys begins the second round.
func (s *Search) bringKeys() Action {
	list, reply, ok := readDumps(s.answers[Dump], len(s.keys))
	if !ok {
		return s.bringFailed(s.source(), reply)
	}
	s.start(Bring)
	s.dumps = list
	for i := range s.keys {
		s.send(Target, Bring, i)
		s.stats.KeyMoves++
	}
	s.awaited = len(s.keys)
	return s.ask()
}

// dropKeys begins the third round, if there is something to delete.
func (s *Search) dropKeys() Action {
	if reply, failed := s.errorIn(Bring, len(s.keys)); failed {
		s.stats.KeyMovesFailed++
		return s.bringFailed(s.req.Target, reply)
	}
	s.stats.KeysMoved += uint64(bytes.Count(s.answers[Bring], []byte(":1\r\n")))
	s.start(Drop)
	s.awaited = 0
	for i := range s.keys {
		if len(s.dumps[i].dump) > 0 {
			s.send(Source, Drop, i)
			s.awaited++
		}
	}
	s.dumps = nil
	if s.awaited == 0 {
		return s.found()
	}
	return s.ask()
}

// errorIn is the first of some replies that is no number.
func (s *Search) errorIn(kind Kind, replies int) (reply []byte, failed bool) {
	rest := s.answers[kind]
	for range replies {
		end := bytes.IndexByte(rest, '\n') + 1
		if end == 0 {
			return nil, false // The third round asks for fewer than all keys.
		}
		if rest[0] != ':' {
			return rest[:end], true
		}
		rest = rest[end:]
	}
	return nil, false
}

// bringFailed goes on after an error reply: whatever has happened, it is asked for again.
func (s *Search) bringFailed(addr string, reply []byte) Action {
	if s.passes(reply) {
		return Action{Do: Obey, Data: reply}
	}
	a := s.hold("is %s, and %s answered %.120q", s.req.Move, addr, line(reply))
	a.Quiet = true
	return a
}

// readDumps reads the replies to DUMP and PTTL of some keys. Without ok reply is the one that is an error, or makes no
// sense.
func readDumps(replies []byte, keys int) (list []dumped, reply []byte, ok bool) {
	rest := replies
	for range keys {
		var d dumped
		dump, behind, isBulk := resp.CutBulk(rest)
		end := bytes.IndexByte(rest, '\n') + 1
		switch {
		case isBulk:
			d.dump = dump
		case resp.IsNull(rest):
			behind = rest[end:]
		default:
			return nil, rest[:end], false
		}
		end = bytes.IndexByte(behind, '\n') + 1
		var pttl int64
		if n, err := fmt.Sscanf(string(behind[:end]), ":%d\r\n", &pttl); n != 1 || err != nil {
			return nil, behind[:end], false
		}
		life, lives := dialect.Life(pttl)
		if !lives {
			d.dump = nil // It has ended in between.
		}
		d.life = life
		list, rest = append(list, d), behind[end:]
	}
	return list, nil, true
}
