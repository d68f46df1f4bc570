package proxy

import (
	"context"
	"net"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/panjf2000/gnet/v2"
	"golang.org/x/sys/unix"

	"sluice/backend"
	"sluice/internal/clock"
	"sluice/internal/rawio"
)

// A turn of a loop is a batch of events: what clients and servers have sent since the last one. Requests and replies
// are gathered in out buffers while the batch is worked through, and are written once, in flush.
//
// gnet tells neither how many events a batch has nor when it ends, and lets the Go scheduler take the loop's processor
// (P) away while it waits. So while there is traffic the loop waits and reads by itself (poll), inside of the last
// callback that gnet has made:
//
//	gnet waits --ready--> OnTraffic --> poll: wait --ready--> read all, flush
//	  ^                                  |  ^                       |
//	  |                                  |  +-----------------------+
//	  +-- a task, an end, an error, room to write; no traffic for longPoll
//
// Sockets are level-triggered: gnet finds all that poll has left. Only gnet opens and closes connections, keeps what
// the kernel does not take of a write, and runs tasks: what other goroutines give to the loop (execute). poll returns
// to it while one is queued. gnet gives tasks to itself too, which nobody counts; they wait for a tick at most.
//
// poll waits in a raw system call. The Go scheduler does not know of it, so the loop keeps its processor. When gnet
// waits, the goroutine first goes into the global queue, which wakes another thread to look for work, and after a while
// the processor is given to others and has to be found again: a third of the CPU time and most of the tail at some
// thousand requests a second (docs/DECISIONS.md). Signals interrupt a raw call, so the collector can
// stop the loop as fast as any goroutine. The price is a processor that nobody else gets, for at most longPoll: a
// process needs one more (keepProcessor), and a loop without traffic waits in gnet.
type turn struct {
	number uint64 // counts turns
	begun  bool   // the clock was read
	queued bool   // flush is a task of the loop

	tasks atomic.Int32 // that gnet was given and has not run
	keeps bool         // may keep its processor while it waits
	peers []any        // by descriptor: the *client or *backend.Conn of each connection of gnet that poll reads
	in    []byte       // what poll has just read
}

const (
	// longPoll is how long a loop without traffic keeps its processor: longer than the time between two requests at
	// some hundred a second.
	longPoll = 20 * time.Millisecond
	// pollSlice is how long one system call waits. A signal that comes right before it is lost, and whoever has sent
	// it sends it again.
	pollSlice = 5 * time.Millisecond
)

// kept is the number of loops of the process that may keep their processors.
var kept atomic.Int32

// keepProcessor lets the loop keep its processor while it waits, if one more is left for everybody else.
func (l *loop) keepProcessor() {
	if l.keeps = int(kept.Add(1)) < runtime.GOMAXPROCS(0); !l.keeps {
		kept.Add(-1)
	}
}

// leaveProcessor ends what keepProcessor began. To be called when the engine has stopped.
func (l *loop) leaveProcessor() {
	if l.keeps {
		l.keeps = false
		kept.Add(-1)
	}
}

// begin is called before what a connection has brought is worked through.
func (l *loop) begin() {
	if !l.begun {
		l.begun = true
		l.lookAtClock()
	}
	l.server.raisePace(paceTimeouts)
}

// lookAtClock is for everything that is no part of a turn.
func (l *loop) lookAtClock() {
	l.now = clock.Now()
	l.number++ // What was chosen by an older clock is chosen again.
}

// end is called after gnet has brought an event and it was worked through, unless the connection is to be closed.
func (l *loop) end() {
	if l.poller.Valid() {
		l.poll()
	}
	l.begun = false
	l.schedule()
}

// poll does turns as long as there is traffic. To be called at the end of a callback of gnet, not by a task: gnet is
// not woken for the next task before it has done with the last one.
//
// A connection that has ended is gnet's to close, and before anything is written: what would be sent on it finds
// another way as long as nobody believes that it left.
func (l *loop) poll() {
	wait, since := time.Duration(0), int64(0) // What gnet has brought may not be all that is ready.
	for l.tasks.Load() == 0 && !l.stopping {
		ready, others := l.poller.Poll(wait)
		for _, ev := range ready {
			if !l.read(int(ev.Fd)) {
				others = true
			}
		}
		if others {
			return
		}
		if l.begun {
			l.flush()
			since = 0
		}
		if !l.keeps && len(ready) == 0 {
			return // gnet waits.
		}
		if l.keeps {
			wait = pollSlice
		}
		switch {
		case len(ready) > 0:
		case since == 0:
			since = clock.Now()
		case clock.Now()-since > int64(longPoll-pollSlice):
			return
		}
	}
}

// read takes in what a connection has brought. It reports false when there is something that gnet has to see.
func (l *loop) read(fd int) bool {
	if fd >= len(l.peers) || l.peers[fd] == nil {
		return false // It was closed a moment ago, or is new to gnet.
	}
	n, errno := rawio.Read(fd, l.in)
	switch {
	case errno == unix.EAGAIN || errno == unix.EINTR:
		return true
	case n <= 0:
		return false
	}
	var conn gnet.Conn
	action := gnet.None
	peer := l.peers[fd]
	switch peer := peer.(type) {
	case *client:
		conn = peer.conn
		action = l.clientTraffic(peer, l.in[:n])
	case *backend.Conn:
		conn = peer.GnetConn()
		action = l.serverTraffic(peer, l.in[:n])
	}
	if action == gnet.Close && l.peers[fd] == peer { // Else it is closed already.
		_ = l.el.Close(conn)
	}
	return true
}

// connOpened notes whose connection gnet has opened, connClosed that it is about to close it.
func (l *loop) connOpened(conn gnet.Conn, peer any) {
	fd := conn.Fd()
	if fd >= len(l.peers) {
		l.peers = append(l.peers, make([]any, fd+1-len(l.peers))...)
	}
	l.peers[fd] = peer
}

func (l *loop) connClosed(conn gnet.Conn) {
	if fd := conn.Fd(); fd < len(l.peers) {
		l.peers[fd] = nil
	}
}

// schedule makes flush run as a task. It costs a write to gnet's eventfd and a batch of its own.
func (l *loop) schedule() {
	if l.queued || !l.hasWork() {
		return
	}
	l.queued = true
	l.tasks.Add(1)
	if err := l.el.Execute(context.Background(), l.flushTask); err != nil {
		l.queued = false // The engine stops.
		l.tasks.Add(-1)
	}
}

// hasWork reports whether there is something to do at the end of a turn.
func (l *loop) hasWork() bool {
	return len(l.ready)+len(l.dirtyBackends)+len(l.dirtyClients)+len(l.lost) > 0 || l.migrationConnsFreed
}

// flush resumes clients that can go on and writes what was gathered: backends first, since their answers take longest.
func (l *loop) flush() {
	defer l.recovered("flush")
	for l.hasWork() {
		if l.migrationConnsFreed {
			l.runMigrationQueues()
		}
		for i := 0; i < len(l.ready); i++ { // A client that resumes may add others.
			l.ready[i].resume()
		}
		clear(l.ready)
		l.ready = l.ready[:0]
		for i := 0; i < len(l.dirtyBackends); i++ {
			b := l.dirtyBackends[i]
			b.Dirty = false
			b.Flush()
		}
		clear(l.dirtyBackends)
		l.dirtyBackends = l.dirtyBackends[:0]
		for i := 0; i < len(l.dirtyClients); i++ {
			l.dirtyClients[i].flush()
		}
		clear(l.dirtyClients)
		l.dirtyClients = l.dirtyClients[:0]
		l.closeLost()
	}
	if l.begun {
		l.begun = false
		l.stats.Turns.add(clock.Now() - l.now)
	}
}

// Run implements backend.Home.
func (l *loop) Run(f func()) { l.execute(f) }

// HangUp implements backend.Home.
func (l *loop) HangUp(gc gnet.Conn) { _ = l.el.Close(gc) }

// execute runs f on the loop, from any goroutine. It reports false when the engine has stopped.
func (l *loop) execute(f func()) bool {
	l.tasks.Add(1)
	posted := clock.Now()
	err := l.el.Execute(context.Background(), gnet.RunnableFunc(func(context.Context) error {
		l.tasks.Add(-1)
		l.guard("task", func() {
			l.begun = false
			l.lookAtClock()
			l.stats.Waits.add(l.now - posted)
			f()
			l.stats.Turns.add(clock.Now() - l.now)
			l.schedule()
		})
		return nil
	}))
	if err != nil {
		l.tasks.Add(-1)
	}
	return err == nil
}

// Enroll implements backend.Home. gnet takes a connection over by a task.
func (l *loop) Enroll(ctx context.Context, nc net.Conn, peer any) error {
	l.tasks.Add(1)
	defer l.tasks.Add(-1)
	enrolled, err := l.el.Enroll(gnet.NewContext(ctx, peer), nc)
	if err != nil {
		_ = nc.Close()
		return err
	}
	select {
	case r := <-enrolled:
		return r.Err
	case <-ctx.Done():
		return ctx.Err()
	}
}
