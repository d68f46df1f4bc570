package proxy

import (
	"slices"
	"time"

	"sluice/proxy/command"
	"sluice/proxy/keymove"
)

// Stats are the counters of one loop, or the sum of several. A loop owns its own and counts without atomics;
// others get a copy through Server.Stats, which asks the loop.
type Stats struct {
	Requests        uint64 // requests that were answered
	Errors          uint64 // error replies among them
	Unknown         uint64 // requests with a name that is no command
	ProtocolErrors  uint64
	AuthFailures    uint64
	Denied          uint64 // requests that the rights of their user don't allow
	Panics          uint64
	Retries         uint64 // requests sent again after a lost connection
	Renewals        uint64 // connections replaced because of whom they reached, or their age
	ReadsAgain      uint64 // reads sent again because a replica could not serve them
	Hedges          uint64 // reads sent to a second node because the first took long
	HedgesWon       uint64 // those that the second answered first
	IntakeStops     uint64 // times that a client was not read, because it sent faster than its requests were run
	Yields          uint64 // turns that a client did not finish, because others had theirs
	Messages        uint64 // written to clients that are subscribed to channels
	Resubscriptions uint64 // of channels with subscribers, at another server or after a lost connection
	Redirects       [redirectKinds]uint64
	Overflows       [overflowKinds]uint64
	Moves           keymove.Stats

	ClientsOpened  uint64
	ClientsClosed  uint64
	ClientBytesIn  uint64
	ClientBytesOut uint64
	BackendBytesIn uint64

	Commands [command.Declared + 1]CommandStats // by command.Command.ID
	Latency  Histogram                          // from the dispatch of a forwarded request to its turn in the reply stream
	Turns    Histogram                          // how long turns and tasks of the loop took
	Waits    Histogram                          // how long tasks waited for the loop

	// Gauges. Blocked and FreeBuffers are taken when the copy is made.
	InFlight    int
	Blocked     int // clients that a blocking command or WAIT keeps waiting at a server, and those that are paused in front of a request
	HeldReplies int // bytes of replies that wait for older ones
	FreeBuffers int // bytes
}

// CommandStats count one command.
type CommandStats struct {
	Calls  uint64
	Failed uint64 // answered with an error
	Nanos  uint64 // total time, as in Stats.Latency
}

// Redirects that were followed.
const (
	RedirectMoved = iota
	RedirectAsk
	redirectKinds
)

// Overflows are clients closed because of a limit.
const (
	OverflowUnparsed = iota
	OverflowOutput
	OverflowPubSub
	overflowKinds
)

// LatencyBounds are the upper bounds of Histogram's buckets; the last bucket has none.
var LatencyBounds = [...]time.Duration{
	50 * time.Microsecond, 100 * time.Microsecond, 200 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond,
	20 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond,
	500 * time.Millisecond, time.Second,
}

// Histogram counts durations by LatencyBounds.
type Histogram struct {
	Buckets [len(LatencyBounds) + 1]uint64
	Nanos   uint64
}

func (h *Histogram) add(d int64) {
	i := 0
	for i < len(LatencyBounds) && d > int64(LatencyBounds[i]) {
		i++
	}
	h.Buckets[i]++
	h.Nanos += uint64(d)
}

func (h *Histogram) merge(o *Histogram) {
	for i := range o.Buckets {
		h.Buckets[i] += o.Buckets[i]
	}
	h.Nanos += o.Nanos
}

// Count is the number of durations.
func (h *Histogram) Count() uint64 {
	var n uint64
	for _, b := range h.Buckets {
		n += b
	}
	return n
}

// record counts a request that left the pipeline.
func (s *Stats) record(p *pending, now int64) {
	s.Requests++
	if p.flags&failed != 0 {
		s.Errors++
	}
	if p.cmd == nil {
		return
	}
	cmd := &s.Commands[p.cmd.ID]
	cmd.Calls++
	if p.flags&blocks == 0 {
		d := now - p.start
		s.Latency.add(d)
		cmd.Nanos += uint64(d)
	}
	if p.flags&failed != 0 {
		cmd.Failed++
	}
}

// merge adds the counters of o.
func (s *Stats) merge(o *Stats) {
	s.Requests += o.Requests
	s.Errors += o.Errors
	s.Unknown += o.Unknown
	s.ProtocolErrors += o.ProtocolErrors
	s.AuthFailures += o.AuthFailures
	s.Denied += o.Denied
	s.Panics += o.Panics
	s.Retries += o.Retries
	s.Renewals += o.Renewals
	s.Yields += o.Yields
	s.IntakeStops += o.IntakeStops
	s.ReadsAgain += o.ReadsAgain
	s.Hedges += o.Hedges
	s.HedgesWon += o.HedgesWon
	s.Messages += o.Messages
	s.Resubscriptions += o.Resubscriptions
	for i := range o.Redirects {
		s.Redirects[i] += o.Redirects[i]
	}
	for i := range o.Overflows {
		s.Overflows[i] += o.Overflows[i]
	}
	s.Moves.Merge(&o.Moves)
	s.ClientsOpened += o.ClientsOpened
	s.ClientsClosed += o.ClientsClosed
	s.ClientBytesIn += o.ClientBytesIn
	s.ClientBytesOut += o.ClientBytesOut
	s.BackendBytesIn += o.BackendBytesIn
	for i := range o.Commands {
		s.Commands[i].Calls += o.Commands[i].Calls
		s.Commands[i].Failed += o.Commands[i].Failed
		s.Commands[i].Nanos += o.Commands[i].Nanos
	}
	s.Latency.merge(&o.Latency)
	s.Turns.merge(&o.Turns)
	s.Waits.merge(&o.Waits)
	s.InFlight += o.InFlight
	s.Blocked += o.Blocked
	s.HeldReplies += o.HeldReplies
	s.FreeBuffers += o.FreeBuffers
}

// since takes those counters off that INFO shows and base has counted already. base may be nil.
func (s *Stats) since(base *Stats) {
	if base == nil {
		return
	}
	s.Requests -= base.Requests
	s.Errors -= base.Errors
	s.Retries -= base.Retries
	s.Renewals -= base.Renewals
	s.Yields -= base.Yields
	for i := range s.Redirects {
		s.Redirects[i] -= base.Redirects[i]
	}
	s.ClientsOpened -= base.ClientsOpened
	s.ClientBytesIn -= base.ClientBytesIn
	s.ClientBytesOut -= base.ClientBytesOut
	for i := range s.Commands {
		s.Commands[i].Calls -= base.Commands[i].Calls
		s.Commands[i].Failed -= base.Commands[i].Failed
		s.Commands[i].Nanos -= base.Commands[i].Nanos
	}
}

// snapshot is a copy of the loop's counters, with those of its hubs and the gauges filled in. On the loop only.
func (l *loop) snapshot() *Stats {
	s := l.stats
	s.Renewals += l.conns.Renewals()
	for _, h := range l.hubs {
		s.Resubscriptions += h.Resubscriptions()
	}
	s.Blocked += len(l.blocked) + len(l.waits)
	if slices.ContainsFunc(l.server.pools, func(p *Pool) bool { return p.pause.state.Load() != nil }) {
		for _, c := range l.clients {
			if c.postponing() {
				s.Blocked++
			}
		}
	}
	s.FreeBuffers = l.pool.Free()
	return &s
}
