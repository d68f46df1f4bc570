package backend

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"

	"sluice/internal/clock"
	"sluice/router/lag"
)

// Node is one server as every loop of the process sees it. Safe for concurrent use.
//
// The breaker is fed by events, not by requests: a dial that failed (see answersOthers) or succeeded, a tick in which
// requests timed out, a lost connection, a probe. Its verdict is published in an atomic, the only thing the hot path
// reads. While it is open requests fail at once; the probe closes it again.
type Node struct {
	ID   int    // dense, unique in the process
	Addr string // host:port

	trouble func(addr string)
	observe func(Observation)
	move    func()
	opts    atomic.Pointer[Options]
	ctx     context.Context // ends when the Node is retired
	retire  context.CancelFunc
	dials   sync.WaitGroup
	breaker atomic.Pointer[breaker]

	halfOpens  halfOpens
	dedicated  dedicatedCount
	maxClients atomic.Int32  // of the server, 0 while unknown; asked only where Options.MaxDedicated is 0
	conns      atomic.Int32  // connections that are up, over all loops
	users      atomic.Int32  // Conns that are not closed, over all loops
	unwanted   atomic.Int64  // clock.Now since when no topology names the node, 0 while one does
	reads      atomic.Uint64 // reads that were sent to it by choice, see Conn.CountRead

	reached
	health
	probing
}

// reached is which process the node's address leads to.
type reached struct {
	processes processes
	probed    atomic.Uint64 // see Probed; written with processes.mu held, as is settled
	settled   atomic.Uint64 // see Process
	lookedAt  atomic.Int64  // clock.Now of the last LookAgain that did something
	lookAgain atomic.Bool   // the probe shall dial anew
	named     atomic.Uint64 // connections that were given a name
}

// health is what requests and probes have shown of the node.
type health struct {
	failing    atomic.Bool  // an event since the last success was a failure
	downSince  atomic.Int64 // clock.Now since when the breaker has not been closed, 0 while it is
	answeredAt atomic.Int64 // clock.Now of the last good probe
	patient    atomic.Bool  // silence says nothing: the server may be paused
	paused     atomic.Bool  // and so it is: it was silent, and has not answered since
	status     atomic.Pointer[Status]
	latency    atomic.Int64              // nanoseconds, smoothed
	proof      atomic.Pointer[lag.Proof] // nil while the node may not be read as a replica
}

// probing is what others want of the probe.
type probing struct {
	kicked    chan struct{} // capacity 1: that a probe is wanted
	kickedAt  atomic.Int64  // loop clock of the last KickSpaced that did something
	watched   atomic.Int64  // nanoseconds, see SetWatch
	heartbeat atomic.Pointer[Heartbeat]
}

// Status is what the probe knows of a node. Immutable.
type Status struct {
	RESP3   Support
	Version string        // redis_version or the like; "" while unknown
	Role    string        // "master", "replica" or "" while unknown
	RTT     time.Duration // of the last PING
	Err     string        // last failure; "" when the last probe was answered
	Since   time.Time     // when Err last changed between failure and success
}

// Support says whether a server has a feature.
type Support uint8

// What is known of a feature.
const (
	SupportUnknown Support = iota
	Supported
	Unsupported
)

// NewNode returns a Node for the server at addr. Run probes it; Retire ends Run and all dials.
func NewNode(id int, addr string, opts *Options) *Node {
	n := &Node{ID: id, Addr: addr, probing: probing{kicked: make(chan struct{}, 1)}}
	n.opts.Store(opts)
	n.status.Store(&Status{Since: time.Now()})
	n.ctx, n.retire = context.WithCancel(context.Background())
	n.breaker.Store(n.newBreaker(opts.BreakerOpen))
	return n
}

// breaker publishes its verdict beside the library's state, which costs a mutex to read.
type breaker struct {
	*gobreaker.TwoStepCircuitBreaker[struct{}]
	open atomic.Bool // not closed; written with the library's mutex held, read by the loops
}

// newBreaker returns a closed breaker. How long one stays open is fixed when it is made.
func (n *Node) newBreaker(open time.Duration) *breaker {
	b := new(breaker)
	b.TwoStepCircuitBreaker = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		Name:    n.Addr,
		Timeout: open,
		ReadyToTrip: func(c gobreaker.Counts) bool {
			return int(c.ConsecutiveFailures) >= n.Options().BreakerFailures
		},
		OnStateChange: func(_ string, _, to gobreaker.State) {
			open := to != gobreaker.StateClosed
			if !open {
				n.downSince.Store(0)
			} else {
				n.downSince.CompareAndSwap(0, clock.Now())
			}
			b.open.Store(open)
		},
	})
	return b
}

// OnFailure makes the Node call f for each failure that is reported to it, from any goroutine; f must not
// block. It must be called before the Node is used.
func (n *Node) OnFailure(f func(addr string)) { n.trouble = f }

// OnProbe makes the Node call f with the outcome of every probe, from its own goroutine. It must be called before the
// Node is used.
func (n *Node) OnProbe(f func(Observation)) { n.observe = f }

// OnMove makes the Node call f when its address leads to another process than before, from the goroutine of the
// probe; f must not block. It must be called before the Node is used.
func (n *Node) OnMove(f func()) { n.move = f }

// SetHeartbeat makes probes write or read heartbeats; nil makes them stop.
func (n *Node) SetHeartbeat(h *Heartbeat) { n.heartbeat.Store(h) }

// SetProof says by what the node may be read as a replica; nil: it may not.
func (n *Node) SetProof(p *lag.Proof) { n.proof.Store(p) }

// Proof is what SetProof said last.
func (n *Node) Proof() *lag.Proof { return n.proof.Load() }

// Reads is how many reads were sent to the node rather than to another one of its group, see Conn.CountRead.
func (n *Node) Reads() uint64 { return n.reads.Load() }

// AnsweredAt is the loop clock of the last probe that was answered.
func (n *Node) AnsweredAt() int64 { return n.answeredAt.Load() }

// Latency is what a probe of the node takes, smoothed; 0 while that is not known.
func (n *Node) Latency() time.Duration { return time.Duration(n.latency.Load()) }

// Options are those in force.
func (n *Node) Options() *Options { return n.opts.Load() }

// SetOptions changes the options of everything that starts from now on.
func (n *Node) SetOptions(opts *Options) {
	old := n.opts.Swap(opts)
	if old.BreakerOpen != opts.BreakerOpen {
		n.closeBreaker()
	}
}

// Available reports whether requests should be sent to the node: its breaker is closed.
func (n *Node) Available() bool { return !n.breaker.Load().open.Load() }

// Paused reports whether a node for which silence is no sign of death is silent.
func (n *Node) Paused() bool { return n.paused.Load() }

// Serves reports whether requests should be sent to the node now: it is available, and not paused.
func (n *Node) Serves() bool { return n.Available() && !n.paused.Load() }

// DownSince is the loop clock at which the node became unavailable, 0 while it is available.
func (n *Node) DownSince() int64 { return n.downSince.Load() }

// SetWanted says whether a topology names the node. Loops close their idle connections to nodes that are not
// wanted.
func (n *Node) SetWanted(wanted bool) {
	if !wanted {
		n.unwanted.CompareAndSwap(0, clock.Now())
		return
	}
	if since := n.unwanted.Swap(0); since != 0 && clock.Now()-since >= int64(forgetAfter) {
		n.closeBreaker()
	}
}

// forgetAfter is how long a node has to be unwanted for what was wrong with it before not to count any more: as long as
// it takes for one that nobody watches to be retired, and made anew.
const forgetAfter = 2 * time.Second

// closeBreaker replaces the breaker by one that is closed.
func (n *Node) closeBreaker() {
	n.breaker.Store(n.newBreaker(n.Options().BreakerOpen))
	n.downSince.Store(0)
}

// Wanted reports what SetWanted said last.
func (n *Node) Wanted() bool { return n.unwanted.Load() == 0 }

// Unused reports whether the node has been unwanted for at least d and nothing uses it any more.
func (n *Node) Unused(d time.Duration) bool {
	since := n.unwanted.Load()
	return since != 0 && clock.Now()-since >= int64(d) && n.users.Load() == 0
}

// Answers reports whether requests should be sent to the node and its last probe was answered.
func (n *Node) Answers() bool {
	st := n.Status()
	return n.Available() && st.Err == "" && st.RTT > 0
}

// Conns is the number of data connections that are up.
func (n *Node) Conns() int { return int(n.conns.Load()) }

// Status is what is known of the node now.
func (n *Node) Status() *Status { return n.status.Load() }

// SetPatient says whether silence is no sign of death: a server that hands slots over may stop answering everybody,
// for 30 s at worst (Dragonfly), and lives. While it is set timeouts do not count for the breaker, but make the node
// Paused until something answers, and connections are left open for as long as a pause may last. Requests time out as
// ever, and a connection that is refused or lost counts as ever.
func (n *Node) SetPatient(patient bool) {
	n.patient.Store(patient)
	if !patient {
		n.paused.Store(false)
	}
}

// maxPause is how long a paused server may be silent: Dragonfly's finalisation takes 30 s, and whoever asks first
// afterwards has his answer then.
const maxPause = 40 * time.Second

// hungAfter is Options.HungAfter, or as long as a pause may last.
func (n *Node) hungAfter() time.Duration {
	if n.patient.Load() {
		return max(n.Options().HungAfter(), maxPause)
	}
	return n.Options().HungAfter()
}

// refused tells that the node was reached, and takes no connection.
func (n *Node) refused() {
	if n.trouble != nil {
		n.trouble(n.Addr)
	}
}

// Report feeds the breaker with the outcome of an event; nil is a success.
func (n *Node) Report(err error) {
	if n.isPause(err) {
		n.paused.Store(true)
		n.failing.Store(true) // So that the next answer is reported.
		return
	}
	n.paused.Store(false)
	if err != nil && n.trouble != nil {
		n.trouble(n.Addr)
	}
	n.feed(err)
}

// feed is Report without a word to anybody.
func (n *Node) feed(err error) {
	n.failing.Store(err != nil)
	done, denied := n.breaker.Load().Allow()
	if denied != nil {
		return // Open, or half open with a probe under way.
	}
	done(err)
}

// isPause reports whether err is to be expected of a server that is paused.
func (n *Node) isPause(err error) bool { return err != nil && n.patient.Load() && isSilence(err) }

// answersOthers reports whether a dial that failed says nothing about the node: another connection is up, and the probe
// was answered when it last asked, or, where the dial met silence, since that began. A server without room for one more
// client must not be taken from all those that it serves.
func (n *Node) answersOthers(began int64, err error) bool {
	if n.conns.Load() == 0 || n.Status().Err != "" {
		return false
	}
	answered := n.answeredAt.Load()
	return answered > began || answered != 0 && !isSilence(err)
}

// isSilence reports whether err says that nothing came, rather than that something went wrong.
func isSilence(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.Is(err, ErrTimeout) || errors.As(err, &timeout) && timeout.Timeout()
}

// succeeded reports a success if the last event was a failure. Cheap enough to be called for every read.
func (n *Node) succeeded() {
	if n.failing.Load() {
		n.Report(nil)
	}
}

// Retire ends dials and probes and waits for them. Connections are the loops' business.
func (n *Node) Retire() {
	n.retire()
	n.dials.Wait()
}

// setStatus publishes s, keeping Since while the verdict stays.
func (n *Node) setStatus(s Status) {
	old := n.status.Load()
	s.Since = old.Since
	if (old.Err == "") != (s.Err == "") {
		s.Since = time.Now()
	}
	n.status.Store(&s)
}

// String names the node in errors and logs.
func (n *Node) String() string { return fmt.Sprintf("backend %s", n.Addr) }
