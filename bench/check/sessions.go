package check

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"sluice/bench/load"
)

// Sessions is the part of a load that is more than one command and one reply: transactions, scripts, blocking pops,
// streams. It runs beside the mix, on connections and keys of its own. The zero value is none of it.
type Sessions struct {
	// Transactions and Scripts are numbers of connections.
	Transactions, Scripts int
	// Pops is a number of queues, each with a producer and two consumers. Streams is a number of streams, each with a
	// writer, a reader, and two consumers of a group.
	Pops, Streams int
	// Apart leaves the hash tags of their keys out: those of one step are in several slots, which one server behind the
	// address has to have.
	Apart bool
	// Rate is the number of steps per second of each connection, other than of those that block; 0: as fast as
	// replies come.
	Rate float64
	// Moves makes one consumer of each queue use BLMOVE, which is younger than BLPOP.
	Moves bool
	// BlockTime is what a blocking command asks for. Older servers know whole seconds only.
	BlockTime time.Duration
	// Slack is how much longer than its block time a command may wait: for the longest hold and a request timeout.
	Slack time.Duration
}

// together is the pattern of keys that are used together.
func (s Sessions) together(pattern string) string {
	if s.Apart {
		return strings.NewReplacer("{", "", "}", "").Replace(pattern)
	}
	return pattern
}

func (s Sessions) any() bool { return s.Transactions+s.Scripts+s.Pops+s.Streams > 0 }

// connections is how many there are in all.
func (s Sessions) connections() int { return s.Transactions + s.Scripts + 3*s.Pops + 4*s.Streams }

func (s Sessions) validate(check func(ok bool, format string, args ...any)) {
	for _, n := range []int{s.Transactions, s.Scripts, s.Pops, s.Streams} {
		check(n >= 0 && n <= 64, "sessions: %d is not in 0..64", n)
	}
	if !s.any() {
		return
	}
	check(s.Rate >= 0 && s.Rate <= 1e6, "sessions: rate %g is not in 0..1e6", s.Rate)
	check(s.BlockTime >= 2*early && s.BlockTime <= time.Minute, "sessions: block time %s is not in %s..1m", s.BlockTime, 2*early)
	check(s.Slack > 0 && s.Slack <= maxDuration, "sessions: slack %s is not in 0..%s", s.Slack, maxDuration)
}

// stepKind is what a session does in one step. Figures are kept by it.
type stepKind uint8

const (
	stepTransaction stepKind = iota // MULTI … EXEC
	stepWatch                       // WATCH, GET, MULTI, SET, EXEC
	stepScript                      // EVAL, EVALSHA
	stepPush                        // RPUSH
	stepPop                         // BLPOP
	stepMove                        // BLMOVE
	stepAdd                         // XADD
	stepRead                        // XREAD BLOCK
	stepGroup                       // XREADGROUP BLOCK
	stepAck                         // XACK
	stepKinds
)

var stepNames = [stepKinds]string{"MULTI", "WATCH", "EVAL", "RPUSH", "BLPOP", "BLMOVE", "XADD", "XREAD", "XREADGROUP", "XACK"}

// stepMeter sums up the steps of one kind.
type stepMeter struct {
	done, nothing, unknown, refused uint64
	stall                           time.Duration
}

func (m *stepMeter) add(o stepMeter) {
	m.done += o.done
	m.nothing += o.nothing
	m.unknown += o.unknown
	m.refused += o.refused
	m.stall = max(m.stall, o.stall)
}

// session is one connection that does steps, one after the other. Its client has no keys and draws no requests. Owned
// by its goroutine until that has ended, then by Stop; no locking.
type session struct {
	*client

	// step does one step. ended is called behind the last one; it may be nil.
	step   func(context.Context, *session)
	ended  func()
	feeds  bool // its steps have a pace and a number; the others end when nothing more can come, see over
	over   bool
	meters [stepKinds]stepMeter
	tokens int

	call, ret time.Duration // of the step under way
}

// sessions are those of a run, and their keys.
type sessions struct {
	all      []*session
	pairs    []*sharedKey // written in transactions
	watched  []*sharedKey // counted with WATCH
	scripted []*sharedKey // pairs that scripts write
	swapped  []*sharedKey // values that scripts compare and set
	counted  []*sharedKey // counters of scripts
	queues   []*queue
	streams  []*stream
}

// sessionKeys is how many keys the transactions of a run share, and its scripts, for each thing that they do.
const sessionKeys = 3

// leastSessionShare is the share of the keys of sessions that are in watched slots, if some keys are to be.
const leastSessionShare = 0.6

// fillSessions makes the sessions with their keys.
func (k *keyspace) fillSessions(r *Run) error {
	cfg, all := k.cfg.Sessions, &r.sessions
	if k.share > 0 {
		k.share = max(k.share, leastSessionShare) // There are few of these keys.
	}
	add := func(step func(context.Context, *session), feeds bool, ended func()) {
		all.all = append(all.all, &session{client: newClient(k.cfg.Clients+len(all.all), r), step: step, feeds: feeds, ended: ended})
	}
	shared := func(n int, c class, name string, keys *[]*sharedKey) error {
		for range min(n, 1) * sessionKeys {
			stem, watched, err := k.find(c, cfg.together(k.cfg.Prefix+":"+name+":{%s}:"+k.run))
			if err != nil {
				return err
			}
			*keys = append(*keys, &sharedKey{class: c, stem: stem, watched: watched})
		}
		return nil
	}
	for _, err := range []error{
		shared(cfg.Transactions, classValue, "tx", &all.pairs),
		shared(cfg.Transactions, classCounter, "watch", &all.watched),
		shared(cfg.Scripts, classValue, "eval", &all.scripted),
		shared(cfg.Scripts, classValue, "cas", &all.swapped),
		shared(cfg.Scripts, classCounter, "evalcnt", &all.counted),
	} {
		if err != nil {
			return err
		}
	}
	for range cfg.Transactions {
		add(transact, true, nil)
	}
	for range cfg.Scripts {
		add(script, true, nil)
	}
	for i := range cfg.Pops {
		stem, watched, err := k.find(classList, cfg.together(k.cfg.Prefix+":queue:{%s}:"+k.run))
		if err != nil {
			return err
		}
		q := newQueue(i, stem, watched)
		all.queues = append(all.queues, q)
		add(q.push, true, q.close)
		add((&popper{queue: q}).pop, false, nil)
		add((&popper{queue: q, moves: cfg.Moves}).pop, false, nil)
	}
	for range cfg.Streams {
		stem, watched, err := k.find(classList, k.cfg.Prefix+":stream:{%s}:"+k.run)
		if err != nil {
			return err
		}
		x := &stream{key: stem, watched: watched}
		all.streams = append(all.streams, x)
		add(x.write, true, x.close)
		add((&streamReader{stream: x}).read, false, nil)
		for i := range groupConsumers {
			add((&groupReader{stream: x, name: consumerName(i)}).read, false, nil)
		}
	}
	return nil
}

// start starts a goroutine for each session, which ends with ctx.
func (a *sessions) start(ctx context.Context, line *timeline, all *sync.WaitGroup) {
	for _, s := range a.all {
		s.line = line
		all.Go(func() { s.work(ctx) })
	}
}

// end judges what only shows when everything has been read.
func (a *sessions) end(gens []*generation, find func(v verdict, key string)) {
	for _, g := range gens {
		find(g.ran(), g.key)
	}
	for _, q := range a.queues {
		q.end(find)
	}
	for _, x := range a.streams {
		x.end(find)
	}
}

func (s *session) work(ctx context.Context) {
	p := &pace{}
	if rate := s.cfg.Sessions.Rate; s.feeds && rate > 0 {
		p = &pace{interval: time.Duration(float64(time.Second) / rate), due: time.Now(), timer: time.NewTimer(time.Hour)}
	}
	defer p.stop()
	if s.ended != nil {
		defer s.ended()
	}
	for n := 0; !s.over && (!s.feeds || s.cfg.Requests == 0 || n < s.cfg.Requests); n++ {
		if !p.wait(ctx) || !s.connect(ctx) {
			return
		}
		s.step(ctx, s)
	}
}

// steps sums up what the sessions have done.
func (a *sessions) steps() []Step {
	var out []Step
	for kind, name := range stepNames {
		var m stepMeter
		for _, s := range a.all {
			m.add(s.meters[kind])
		}
		if m != (stepMeter{}) {
			out = append(out, Step{Name: name, Done: m.done, Nothing: m.nothing, Unknown: m.unknown, Refused: m.refused, Stall: m.stall})
		}
	}
	return out
}

// outcome is what is known of a step.
type outcome uint8

const (
	answered outcome = iota
	refused          // an error: it must not have run
	unknown          // it may have run, once
)

// do sends commands in one pipeline and returns the reply of the last, which decides what has become of the step. The
// block time is no part of how long it has taken.
func (s *session) do(kind stepKind, key string, block time.Duration, commands ...[]string) (last value, o outcome) {
	m := &s.meters[kind]
	limit := s.cfg.ReplyTimeout
	if block > 0 {
		limit = block + s.cfg.Sessions.Slack
	}
	s.wire.deadline(time.Now().Add(limit))
	s.call = s.line.now()
	err := s.wire.exchange(commands, func(_ int, r load.Reply) { last = decode(r) })
	s.ret = s.line.now()
	m.stall = max(m.stall, s.ret-s.call-block)
	if err != nil {
		s.wire.hangUp()
		text := fmt.Sprintf("connection lost: %v", err)
		if isTimeout(err) {
			text = fmt.Sprintf("no reply within %s", limit)
			if block > 0 {
				s.find(object(Untimely, "%s has not come back in %s", stepNames[kind], limit), key)
			}
		}
		s.fail(text, key)
		s.run.journal.outcomeUnknown()
		m.unknown++
		return value{}, unknown
	}
	switch {
	case last.kind != '-':
		return last, answered
	case strings.HasPrefix(last.text, unknownPrefix):
		s.run.journal.outcomeUnknown()
		m.unknown++
		return last, unknown
	case commands[0][0] == "EVALSHA" && strings.HasPrefix(last.text, noScript):
		return last, refused
	default:
		m.refused++
		s.fail(last.text, key)
		return last, refused
	}
}

// token is a value that nobody else writes.
func (s *session) token() string {
	s.tokens++
	return fmt.Sprintf("v%04d.%09d;", s.id, s.tokens)
}

// generation is the one of a key that the next step is for; nil when no more history may be kept.
func (s *session) generation(keys []*sharedKey) *generation {
	if s.run.history.Add(1) > int64(s.cfg.History) {
		return nil
	}
	return keys[s.rng.IntN(len(keys))].acquire(s.cfg.KeyHistory)
}

// note adds a step to the history of a key.
func (s *session) note(g *generation, o sharedOp, out outcome) {
	if out == refused {
		if o.arg != "" {
			g.refuse(o.arg)
		}
		return
	}
	o.client, o.call, o.ret, o.unknown = s.id, int64(s.call), int64(s.ret), out == unknown
	g.add(o)
}

// value is a whole reply.
type value struct {
	kind byte
	null bool
	text string
	list []value
}

func decode(r load.Reply) value {
	v := value{kind: r.Kind, null: r.Null}
	if r.Kind != '*' {
		v.text = string(r.Body)
		return v
	}
	rest := r.Body
	for range r.Elements {
		n, e, _ := load.Frame(rest) // The whole was framed, so its parts are.
		v.list = append(v.list, decode(e))
		rest = rest[n:]
	}
	return v
}

// integer is a number, of kind ':' or as GET returned it.
func (v value) integer(kind byte) (int64, error) {
	return integer(load.Reply{Kind: v.kind, Null: v.null, Body: []byte(v.text)}, kind)
}

// counter is a number as GET returned it; none is 0.
func (v value) counter() (int64, error) {
	if v.kind == '$' && v.null {
		return 0, nil
	}
	return v.integer('$')
}

// String is a value for people.
func (v value) String() string {
	switch {
	case v.null:
		return "null"
	case v.kind == '*':
		return fmt.Sprint(v.list)
	}
	return fmt.Sprintf("%c%s", v.kind, show(v.text))
}
