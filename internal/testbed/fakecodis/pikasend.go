package fakecodis

import (
	"context"
	"errors"
	"slices"
	"time"
)

// errNoSuchType fails the round of a stream that the wrapper asked for.
var errNoSuchType = errors.New("no such type")

// noTimeout is how long the background waits for replies: Pika sets its timeout before it connects, to no effect.
const noTimeout = 24 * time.Hour

// send copies members to the target and deletes them here, and reports whether all went well.
func (m *mover) send(ctx context.Context, dest *target, members []string) bool {
	for part := range slices.Chunk(members, perSend) {
		replies := 0
		for _, member := range part {
			n, err := m.sendMember(ctx, dest, member)
			if err != nil {
				return false
			}
			replies += n
		}
		if err := m.p.s.Faults.Pass(ctx, AsyncWait, ""); err != nil {
			return false
		}
		for range replies {
			v, err := dest.receive(noTimeout)
			if err != nil || !accepted(v) {
				return false
			}
		}
		for _, member := range part {
			if err := m.p.s.Faults.Pass(ctx, AsyncDelete, ""); err != nil {
				return false
			}
			m.delete(member)
		}
	}
	return true
}

// sendMember sends a copy of one key and returns how many replies it will have. A key that is gone has none, but a
// list that is gone is deleted on the target.
func (m *mover) sendMember(ctx context.Context, dest *target, member string) (int, error) {
	s, key, sent := m.p.s, member[1:], 0
	send := func(commands ...[]string) error {
		sent += len(commands)
		if len(commands) == 0 {
			return nil
		}
		return dest.send(commands, noTimeout)
	}
	if letter := member[0]; letter == 'l' {
		if err := send([]string{"DEL", key}); err != nil {
			return 0, err
		}
	} else if letter == 'x' {
		return 0, errNoSuchType
	}
	if err := s.Faults.Pass(ctx, AsyncRead, ""); err != nil {
		return 0, err
	}
	v := s.read(0, key, shortScore)
	if letters[v.kind] != member[0] {
		return sent, nil
	}
	if err := s.Faults.Pass(ctx, AsyncSend, ""); err != nil {
		return 0, err
	}
	if v.kind == "stream" {
		err := send(streamCommand(key, v))
		return sent, err
	}
	if err := send(v.add(key)...); err != nil {
		return 0, err
	}
	if err := s.Faults.Pass(ctx, AsyncExpire, ""); err != nil {
		return 0, err
	}
	var err error
	switch ms := s.exec(0, "PTTL", key).Integer(); {
	case ms == -2 || ms >= 0 && ms < 1000: // Gone, or as good as gone.
		err = send([]string{"del", key})
	case ms > 0:
		err = send([]string{"expire", key, seconds(int64(ms))})
	}
	return sent, err
}

// delete takes a key that was copied out of the storage and of the set of its slot. The set of its tag keeps it.
func (m *mover) delete(member string) {
	m.p.index.removeSlot(member)
	m.p.repl.logged(func() {
		if member[0] == 'k' && m.p.version != Pika35 {
			m.p.s.data.DB(0).Del(member[1:])
			m.p.cache.written(member[1:])
			return
		}
		m.p.cache.deleteBehind(member[1:])
	}, "DEL", member[1:])
}
