package keymove

import (
	"fmt"
	"time"

	"sluice/backend/dialect"
	"sluice/router"
)

// Request is what a Search needs to know of the request whose keys it looks for. The slices stay valid until the
// request ends.
type Request struct {
	Move *router.Move
	DB   int
	Keys [][]byte // those in the slot of Move that are not known to have arrived
	// Single says that the request has one key and takes no more than to be sent; Reads that it only reads.
	Single, Reads bool
	// Away says that the source can't be asked now.
	Away   bool
	Target string // address of the slot's owner
	Raw    []byte // in wire form
	// Args are the arguments of Raw, the command's name first.
	Args func() [][]byte
	// Passes reports whether an error reply is one that passes by itself, so that Obey follows.
	Passes func(reply []byte) bool
	Family *dialect.Family
	// Timeout is that of requests at the source, Parallel how many keys it moves at once.
	Timeout   time.Duration
	Parallel  int
	MaxAnswer int // bytes of one answer that are kept
}

// Do is what an Action asks for.
type Do uint8

// What to do.
const (
	Await    Do = iota // wait for more answers
	Run                // the keys are at the target: send the request there
	Ask                // send Sends in order, then wait for their answers
	Connect            // get a migration connection, then call Connected; or wait for one, then Begin
	Again              // Begin again, at once
	Found              // remember that Keys have arrived (Arrived), then Begin again
	Hold               // hold the request because of Why, then Begin again
	HoldAway           // hold the request until the source is back
	Obey               // do what the error reply Data proves
	Pass               // Data is the client's, or a part of it; First and Last say which
	Overflow           // an answer has more than MaxAnswer bytes
)

// Action is what a Search wants next. Its slices are valid until the next call.
type Action struct {
	Do    Do
	Sends []Send
	Keys  [][]byte
	Data  []byte
	First bool
	Last  bool
	// Hold: Why goes behind "slot 886". Free says that it waits also where nothing may be held, Pause is the least time
	// to wait. Quiet says that it is no wait for keys to go. Round says that the background migration is waited for, and
	// Trouble that the source has said that it is no master.
	Why     string
	Free    bool
	Pause   time.Duration
	Quiet   bool
	Round   bool
	Trouble bool
}

// Search is how far a request is in finding its keys. Each attempt sends one or more requests and draws its conclusion
// when the last is answered; answers to older attempts mean nothing.
//
//	                  +-- Connect --Connected--> Ask --+
//	--Begin--> way? --+-- Ask -------------------------+--answers--> Found, Again, Hold, Obey, Pass
//	                  +-- Run
//
// Make it with New. It belongs to one loop.
type Search struct {
	moves *Moves
	stats *Stats

	req      Request
	keys     [][]byte // those that are looked for now
	way      dialect.Way
	refused  bool // the source has refused to run the command
	notThere bool // the source does not have the key of a read
	passing  bool // the rest of the wrapper's answer is the client's
	begun    bool // and a part of that was passed on

	attempt uint32
	last    Kind // of the attempt's last request
	answers [kinds][]byte
	failure string   // why a key was not moved
	moving  Key      // that a Pika was asked to move, and has not answered
	sizing  bool     // the source was asked how large it is
	sizes   int      // answers of the target to that
	moved   int      // keys that were
	dumps   []dumped // of BringKeys, what the source has; they lie in the answers to Dump
	awaited int      // replies to the round of BringKeys
	sends   []Send
}

// New makes a Search. moves is that of its pool, stats of its loop.
func New(moves *Moves, stats *Stats) *Search { return &Search{moves: moves, stats: stats} }

// Move is the move that it is in, nil before Begin.
func (s *Search) Move() *router.Move { return s.req.Move }

// Forget makes it forget the move that it is in.
func (s *Search) Forget() { *s = Search{moves: s.moves, stats: s.stats, attempt: s.attempt} }

// Begin looks for the keys of a request.
func (s *Search) Begin(r Request) Action {
	if s.req.Move != r.Move {
		s.Forget()
	}
	s.req, s.keys = r, append(s.keys[:0], r.Keys...)
	if len(s.keys) == 0 || s.notThere {
		s.notThere = false
		return Action{Do: Run}
	}
	if r.Away {
		return Action{Do: HoldAway}
	}
	s.way = r.Family.FindKey(dialect.KeyRequest{
		Method: r.Move.Method, Single: r.Single, Reads: r.Reads, Refused: s.refused,
	})
	switch s.way {
	case dialect.RunAtSource:
		s.start(Wrapped)
		s.send(Source, Wrapped, 0)
	case dialect.ReadAtSource:
		s.start(Length)
		s.stats.SourceReads++
		s.send(Source, Read, 0)
		s.askExists(Source)
	case dialect.AwaitBackground:
		s.keys = s.keys[:1]
		s.start(Length)
		s.askExists(Source)
	case dialect.MoveFenced, dialect.MoveAlone:
		return Action{Do: Connect}
	case dialect.BringKeys:
		return s.dumpKeys()
	}
	return s.ask()
}

// Connected goes on with a migration connection.
func (s *Search) Connected() Action {
	if s.way == dialect.MoveFenced {
		s.start(FenceEnd)
		if s.req.Move.Method != router.Sync {
			s.send(Migration, Fence, 0)
		}
		for i := range s.keys {
			s.moveKey(i)
		}
		s.send(Migration, FenceEnd, 0)
		return s.ask()
	}
	s.keys = s.keys[:1]
	key := Key{s.req.DB, string(s.keys[0])}
	switch s.moves.begin(key) {
	case moveRunning:
		return s.hold("is %s, and %s is moving the key", s.req.Move, s.source())
	case moveFailed:
		s.start(TargetSize)
		s.askSize(Target, TargetSize)
		return s.ask()
	case moveBegun:
	}
	s.start(Length)
	s.moving = key
	s.moveKey(0)
	s.askExists(Migration)
	return s.ask()
}

// Moving reports whether a Pika moves a key for it.
func (s *Search) Moving() bool { return s.moving != Key{} }

// start forgets the last attempt.
func (s *Search) start(last Kind) {
	s.attempt++
	s.last = last
	s.failure, s.moved = "", 0
	s.passing, s.begun, s.sizing, s.sizes = false, false, false, 0
	s.sends = s.sends[:0]
	for i := range s.answers {
		s.answers[i] = s.answers[i][:0]
	}
}

func (s *Search) send(to Side, kind Kind, n int) {
	s.sends = append(s.sends, Send{To: to, Kind: kind, N: n, Tag: s.attempt<<tagBits | uint32(kind)})
}

func (s *Search) ask() Action { return Action{Do: Ask, Sends: s.sends} }

func (s *Search) moveKey(n int) {
	s.stats.KeyMoves++
	s.send(Migration, MoveKey, n)
}

// askExists asks whether the source has the key, see dialect.AppendExists.
func (s *Search) askExists(to Side) {
	s.send(to, Exists, 0)
	s.send(to, Length, 0)
}

func (s *Search) askSize(to Side, kind Kind) {
	for i := range dialect.SizeQuestions() {
		s.send(to, kind, i)
	}
}

// Slow is told that the source has been moving a key for a while: it says why the request waits, and what asks for the
// size of the key, once.
func (s *Search) Slow(waited time.Duration) (why string, ask []Send) {
	what := ""
	if size := dialect.Size(s.answers[Size]); size != "" {
		what = ", " + size
	}
	why = fmt.Sprintf("is %s, and %s has been moving the key %.100q%s for %.1fs",
		s.req.Move, s.source(), s.moving.key, what, waited.Seconds())
	if s.sizing {
		return why, nil
	}
	s.sizing, s.sends = true, s.sends[:0]
	s.askSize(Source, Size)
	return why, s.sends
}

// source is the address of the source.
func (s *Search) source() string { return s.req.Move.From.Addr }

// hold is the Action of a request that waits for its keys.
func (s *Search) hold(why string, args ...any) Action {
	return Action{Do: Hold, Why: fmt.Sprintf(why, args...)}
}
