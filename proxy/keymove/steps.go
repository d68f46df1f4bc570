package keymove

import (
	"net"
	"time"

	"sluice/backend/dialect"
	"sluice/proxy/resp"
	"sluice/router"
)

// Kind is what a request of a Search asks. 0 is none.
type Kind uint8

// The kinds.
const (
	Wrapped    Kind = iota + 1 // the request in a wrapper
	Read                       // the request, a read, at the source
	Exists                     // EXISTS
	Length                     // XLEN, behind Exists
	Fence                      // before keys are moved
	MoveKey                    // SLOTSMGRTTAGONE
	FenceEnd                   // after keys were moved
	Size                       // how large the key is that is being moved
	TargetSize                 // how large the target says that it is
	Dump                       // DUMP
	Life                       // PTTL, behind Dump
	Bring                      // the script that brings a key
	Drop                       // the script that deletes it at the source
)

const kinds = int(Drop) + 1

// A tag is a Kind, and above it the attempt that asks.
const (
	tagBits = 4
	tagMask = 1<<tagBits - 1
)

// KindOf is the kind in a tag.
func KindOf(tag uint32) Kind { return Kind(tag & tagMask) }

// Side is a connection.
type Side uint8

// The sides.
const (
	Source    Side = iota // the loop's connection to the source
	Migration             // the migration connection, to the source too
	Target                // the loop's connection to the target
)

// Send is a request to be sent; Search.Append has its bytes.
type Send struct {
	To   Side
	Kind Kind
	N    int // Size and TargetSize: which question; others: which key
	// Tag is what the answer is given back with.
	Tag uint32
}

// Optional reports whether the Search goes on when it can't be sent.
func (s Send) Optional() bool { return s.Kind == Size }

// Append appends the bytes of a request.
func (s *Search) Append(dst []byte, send Send) []byte {
	switch send.Kind {
	case Wrapped:
		return dialect.AppendWrapped(dst, s.keys[0], s.req.Args())
	case Read:
		return append(dst, s.req.Raw...)
	case Exists:
		return dialect.AppendExists(dst, s.keys[0])
	case Length:
		return dialect.AppendLength(dst, s.keys[0])
	case Fence, FenceEnd:
		return append(dst, dialect.FenceRequest...)
	case MoveKey:
		host, port, _ := net.SplitHostPort(s.req.Move.To.Addr)
		return dialect.AppendMoveKey(dst, host, port, s.limit(), s.keys[send.N])
	case Dump:
		return dialect.AppendDump(dst, s.keys[send.N])
	case Life:
		return dialect.AppendLife(dst, s.keys[send.N])
	case Bring:
		d := s.dumps[send.N]
		return dialect.AppendBring(dst, s.req.Move.Token, s.req.DB, s.keys[send.N], d.life, d.dump)
	case Drop:
		return dialect.AppendDrop(dst, s.req.Move.Token, s.req.DB, s.keys[send.N])
	case Size, TargetSize:
		return dialect.AppendSizeQuestion(dst, send.N, s.keys[0])
	}
	panic("BUG: no such step")
}

const (
	// minLimit is the least that a source is given for one key.
	minLimit = 20 * time.Millisecond
	// patientLimit is how long a Pika waits for one answer of its target: what it gives up, the target still runs.
	patientLimit = 30 * time.Second
	// Patience is how long a Pika may take to move one key.
	Patience = 10 * time.Minute
)

// limit is how long the source may wait for an answer of the target, of which a Pika gets many for a key. A
// codis-server does nothing else meanwhile, and must not keep the requests of others waiting until they time out.
func (s *Search) limit() time.Duration {
	if s.way == dialect.MoveAlone {
		return patientLimit
	}
	return max(s.req.Timeout/time.Duration(2*len(s.keys)*max(1, s.req.Parallel)), minLimit)
}

const (
	// roundAfter is how long a request waits for the background before that is asked for a round.
	roundAfter = time.Second
	// RoundEvery is the time between two such rounds at one source.
	RoundEvery = 100 * time.Millisecond
	// roundKeys is the size of a round, the default of a dashboard.
	roundKeys = 500
)

// RoundDue reports whether a request that has waited for so long asks for a round of the background migration. The
// dashboard pauses for six seconds when one of its batches was refused. While it does not pause nobody waits that long,
// and it is better left alone: two who ask at the same moment refuse each other.
func RoundDue(waited, maxWait time.Duration) bool { return waited >= min(roundAfter, maxWait/2) }

// AppendRound appends what asks the source of a move for a round. Whether it is refused shows in the keys.
func AppendRound(dst []byte, m *router.Move, timeout time.Duration) []byte {
	host, port, _ := net.SplitHostPort(m.To.Addr)
	return dialect.AppendMoveSlot(dst, host, port, timeout, m.Slot, roundKeys)
}

// line is an error reply for people.
func line(reply []byte) string { return string(resp.TrimLine(reply)) }
