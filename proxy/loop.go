package proxy

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"

	"github.com/panjf2000/gnet/v2"

	"sluice/backend"
	"sluice/internal/bufpool"
	"sluice/internal/clock"
	"sluice/internal/epoll"
	"sluice/proxy/keymove"
	"sluice/proxy/pubsub"
	"sluice/proxy/redispatch"
	"sluice/proxy/resp"
	"sluice/proxy/script"
	"sluice/router"
)

// loop is everything that one event loop owns: its clients, its own connection to every node, its buffers
// and counters. All of it is touched on the loop's goroutine only, so nothing here is locked.
//
// It works in turns, see turn.
type loop struct {
	turn
	due
	upstream
	scratchpad
	slowNotes

	server *Server
	id     int
	el     gnet.EventLoop
	poller epoll.Instance // what el waits with
	pool   *bufpool.Pool
	parser resp.Parser

	now      int64 // loop clock, read once per turn
	clients  map[uint64]*client
	served   map[*Pool]*served
	late     bool // the last tick came too late
	stopping bool // nothing is sent again any more

	hedging     hedging
	turnReaders []turnReader // by router.Group.Index; each says of which view
	rng         *rand.Rand

	arrivedKeys keymove.Arrived
	scripts     map[*Pool]*script.Seen
	checks      map[checkKey]*scriptCheck // in flight

	alarm     *time.Timer // runs onAlarm
	alarmAt   int64       // loop clock, 0 when it is not set
	flushTask gnet.Runnable
	wants     atomic.Int32 // the pace that the last tick asked for; read by the ticker
	stats     Stats
}

// due is who has something coming at the end of the turn, or later. Each says of itself that it stands there.
type due struct {
	dirtyBackends []*backend.Conn // have bytes to send
	dirtyClients  []*client       // have bytes to send, or wait to be closed
	ready         []*client       // can go on parsing what they hold
	delayed       []*client       // have a retry that waits for its time
	held          []*client       // wait in front of a request, see hold
	doubters      []*client       // wait for what is in doubt
	patient       []*client       // go on when others had their turn, see fairness.go
	full          []*client       // go on when they have read, see fairness.go
	drainPause    int64           // time between two looks at full
	wide          []*client       // have had many requests in flight, see pipeline.shrink
	closing       []*client       // are closed once their replies are written
	lost          []*client       // are closed at the end of the turn
	monitors      []*monitor      // have lines that wait for what is read slowly
}

// upstream is what the loop has at servers: its connections, and who waits for one or on one.
type upstream struct {
	conns           *backend.ConnSet
	hubs            map[*Pool]*pubsub.Hub
	migrationQueues map[*backend.Node]*migrationQueue

	migrationConnsFreed bool                    // a migration connection was answered
	blocked             map[*blocking]struct{}  // at a server
	waits               map[*waiting]struct{}   // WAITs in flight
	roundAsked          map[*backend.Node]int64 // loop clock at which a round was asked for
}

// scratchpad is room for what is done with before the turn goes on.
type scratchpad struct {
	keys    []int         // positions of keys
	slots   []router.Slot // slots of keys
	scratch []byte        // requests and replies being made
	capture *[]byte       // where the answer of a command of a transaction goes, nil otherwise
}

// slowNotes bound what goes into the slow log.
type slowNotes struct {
	slowFrom  int64 // time from which a request goes into the slow log
	slowSince int64 // loop clock of the second in which slowNoted requests went into the slow log
	slowNoted int
}

// Memory that a loop keeps for reuse.
const (
	maxFree    = 4 << 20  // free buffers
	maxScratch = 64 << 10 // requests and replies being made
)

// earlyFlush is how many bytes a connection gathers before it is written in the middle of a turn: enough to
// make the write(2) cheap per byte, little enough to stay in the cache.
const earlyFlush = 32 << 10

func newLoop(s *Server, id int, el gnet.EventLoop) *loop {
	l := &loop{
		server:  s,
		id:      id,
		el:      el,
		pool:    bufpool.New(maxFree),
		now:     clock.Now(),
		clients: make(map[uint64]*client),
		turn:    turn{in: make([]byte, readBuffer)},
		rng:     rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())),
	}
	l.conns = backend.NewConnSet(l, l.pool)
	l.flushTask = gnet.RunnableFunc(func(context.Context) error {
		l.tasks.Add(-1)
		l.queued = false
		l.flush()
		return nil
	})
	return l
}

// guard keeps a panic in f from ending the process. What f left half done is picked up again: everything
// that may have bytes to send is flushed. It reports whether f ended well.
func (l *loop) guard(what string, f func()) (ok bool) {
	defer l.recovered(what)
	f()
	return true
}

// recovered is deferred by everything that must not end the process.
func (l *loop) recovered(what string) {
	if r := recover(); r != nil {
		l.panicked(what, r)
		l.recoverLists()
	}
}

// abandon ends a connection in which a panic happened.
func (l *loop) abandon(b *backend.Conn) {
	if l.guard("closing a backend after a panic", func() { b.Close(errPanic) }) {
		return
	}
	for !l.guard("abandoned backend", func() { b.Abandon(errPanic) }) { // Each call forgets one owner at least.
	}
}

func (l *loop) panicked(what string, r any) {
	l.stats.Panics++
	l.server.log.Error("panic on an event loop", "in", what, "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
}

// recoverLists rebuilds the lists that flush works on.
func (l *loop) recoverLists() {
	l.dirtyBackends, l.dirtyClients, l.ready, l.held, l.delayed, l.patient, l.full = nil, nil, nil, nil, nil, nil, nil
	for b := range l.conns.All() {
		b.Dirty = false
		l.markBackend(b)
	}
	for _, c := range l.clients {
		c.dirty, c.queued = false, false
		c.mark()
		c.wake()
		l.rewatch(c)
	}
	l.schedule()
}

// rewatch makes sure that what a client waits for is looked at.
func (l *loop) rewatch(c *client) {
	c.hold.listed, c.delayed = false, false
	if c.stall == stallTurn || c.stall == stallOutput {
		c.stall = stallTurn
		l.patient = append(l.patient, c)
	}
	if c.hold.active {
		c.hold.listed = true
		l.held = append(l.held, c)
	}
	if len(c.retries) > 0 {
		l.delay(c)
	}
	l.wakeAt(l.now + redispatch.MinPause)
}

func (l *loop) markBackend(b *backend.Conn) {
	if !b.Dirty {
		b.Dirty = true
		l.dirtyBackends = append(l.dirtyBackends, b)
	}
}

// backendTraffic takes bytes from a server.
func (l *loop) backendTraffic(b *backend.Conn, buf []byte) error {
	l.stats.BackendBytesIn += uint64(len(buf))
	if err := b.Receive(buf, l.now); err != nil {
		return fmt.Errorf("backend %s broke the protocol: %w", b.Node.Addr, err)
	}
	if b.Unsent() > 0 {
		l.markBackend(b) // It has drained its socket.
	}
	if b.Retiring() {
		l.conns.Retire(b)
	}
	return nil
}

// tick does what depends on time and notes what there is to wait for.
func (l *loop) tick() {
	wants := paceRest
	for b := range l.conns.All() {
		if b.Kind != backend.Subscription && l.tickBackend(b) { // Of those a hub knows more: tickHubs.
			wants = paceTimeouts
		}
	}
	l.conns.Sweep(l.now)
	if l.tickMigrationQueues() {
		wants = paceTimeouts
	}
	if l.tickHubs() {
		wants = paceTimeouts
	}
	l.closing = slices.DeleteFunc(l.closing, func(c *client) bool {
		c.mark() // It may have drained its socket.
		return c.closed
	})
	if l.tickDoubters() {
		wants = paceTimeouts
	}
	if len(l.closing) > 0 {
		wants = paceSoon
	}
	if l.drainMonitors() {
		wants = paceSoon
	}
	l.wants.Store(int32(wants))
	l.server.raisePace(wants)
}

// tickBackend does what depends on time for a connection, and reports whether that is needed soon again.
func (l *loop) tickBackend(b *backend.Conn) (busy bool) {
	busy = l.conns.Tick(b, l.now)
	if !b.Closed() && b.Unsent() > 0 {
		l.markBackend(b)
	}
	return busy
}

// trim gives memory back that a burst took. It runs every trimInterval.
func (l *loop) trim() {
	l.sampleService()
	l.pool.Trim()
	if cap(l.scratch) > maxScratch {
		l.scratch = nil
	}
	l.parser.Trim()
	l.wide = slices.DeleteFunc(l.wide, func(c *client) bool {
		c.wide = !c.pipe.shrink()
		return !c.wide
	})
	for b := range l.conns.All() {
		if b.Kind != backend.Migration || !l.movesKeys(b.Node) {
			l.conns.Trim(b, l.now)
		}
	}
	for _, h := range l.hubs {
		h.Trim()
	}
	maps.DeleteFunc(l.roundAsked, func(n *backend.Node, _ int64) bool { return !l.moving(n) })
}
