package load

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A loop serves its share of the connections on one thread:
//
//	epoll_wait -> for each readable connection: read, frame, count, send again
//	           -> open loop: send what the timetable says is due
//
// A closed loop sends a batch of Depth requests, waits for all its replies and
// sends the next batch. An open loop sends each request when it is due, as long
// as fewer than Depth are open; a request that has to wait for that keeps its
// intended time.
//
// Phases:
//
//	warming --begin--> measuring --end--> draining --all answered--> over
//
// Counters start at begin and the throughput stops at end; the latency of the
// requests that were open at end still counts, or a stall there would be lost.
//
// Reads and writes go through raw system calls: the sockets never block, so the
// Go scheduler has no reason to hear of them, and at one request per read its
// bookkeeping would be a good part of the generator's cost.

// phase is where a run stands.
type phase uint8

const (
	warming phase = iota
	measuring
	draining
)

const (
	readBufferBytes = 256 << 10
	drawnOps        = 1 << 12
	timerMark       = -1 // instead of a connection's index in an epoll event
	maxWait         = 100 * time.Millisecond
	manyConns       = 1000 // are reset in the end
)

// loop is owned by the goroutine of run; no locking.
type loop struct {
	cfg   *Config
	first bool // calls the hooks
	stop  *atomic.Bool
	epoll int
	timer int
	conns []*conn
	base  time.Time // zero of the loop's clock

	build *builder
	keys  *keyStream
	ops   []op
	opAt  int

	phase      phase
	begun      int64 // start of the window
	end, limit int64
	plan       schedule
	total      uint64 // requests of this loop in the whole run, if limited
	quota      uint64 // of these, not sent yet
	planned    uint64 // open loop: requests whose time has come
	backlog    int    // open loop: of these, not sent yet
	open       int    // requests without a reply
	alive      int    // connections

	in    []byte // what was just read
	out   []byte // what is being built
	dirty []*conn
	res   *Result
}

func newLoop(cfg *Config, number int, stop *atomic.Bool) (*loop, error) {
	n, of := uint64(number), uint64(cfg.Threads)
	keys := newKeyStream(cfg.Dist, cfg.Keys, cfg.ZipfS, cfg.Seed, n, of)
	l := &loop{
		cfg: cfg, first: number == 0, stop: stop, epoll: -1, timer: -1,
		build: newBuilder(cfg, uint32(cfg.Seed)<<16|uint32(n)<<28),
		keys:  keys,
		ops:   cfg.Mix.sequence(drawnOps, newRand(cfg.Seed, n)),
		in:    make([]byte, readBufferBytes),
		total: math.MaxUint64,
		res:   newResult(cfg.Rate > 0),
	}
	if cfg.Requests > 0 {
		l.total = cfg.Requests / of
		if n < cfg.Requests%of {
			l.total++
		}
	}
	l.quota = l.total
	var err error
	if l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	return l, nil
}

// add takes over the connection fd.
func (l *loop) add(fd, number int) error {
	c := &conn{fd: fd, index: len(l.conns), number: number}
	if l.cfg.Verify {
		c.window = make([]asked, l.cfg.Depth)
	}
	l.conns = append(l.conns, c)
	l.alive++
	return l.watch(unix.EPOLL_CTL_ADD, c, unix.EPOLLIN)
}

func (l *loop) watch(ctl int, c *conn, events uint32) error {
	ev := unix.EpollEvent{Events: events, Fd: int32(c.index)}
	if err := unix.EpollCtl(l.epoll, ctl, c.fd, &ev); err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	return nil
}

// close ends what newLoop and add have opened.
func (l *loop) close() {
	for _, c := range l.conns {
		if c.dead {
			continue
		}
		if len(l.conns) > manyConns { // Else the ports of the next runs would be used up.
			_ = unix.SetsockoptLinger(c.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
		}
		unix.Close(c.fd)
	}
	for _, fd := range []int{l.timer, l.epoll} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

func (l *loop) now() int64 { return int64(time.Since(l.base)) }

func (l *loop) run() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	l.base = time.Now()
	l.begun = int64(l.cfg.Warmup)
	l.end = l.begun + int64(l.cfg.Duration)
	l.limit = int64(l.cfg.Limit)
	if l.cfg.Requests > 0 {
		l.end = l.limit
	}
	l.turnPhase(l.now()) // without a warm-up, the first requests count already
	if l.cfg.Rate > 0 {
		if err := l.startTimer(); err != nil {
			return err
		}
	} else {
		for _, c := range l.conns {
			l.sendBatch(c, l.now())
		}
	}

	events := make([]unix.EpollEvent, 512)
	for {
		now := l.now()
		if l.turnPhase(now) {
			l.giveUp(now)
			return nil
		}
		n, err := unix.EpollWait(l.epoll, events, l.wait(now))
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("epoll: %w", err)
		}
		for _, ev := range events[:max(n, 0)] {
			if ev.Fd == timerMark {
				// The kernel goes on ticking only after the expirations were read.
				_, _ = rawRead(l.timer, l.in[:8])
				continue
			}
			c := l.conns[ev.Fd]
			if ev.Events&unix.EPOLLOUT != 0 && !c.dead {
				l.flush(c)
			}
			if ev.Events&^unix.EPOLLOUT != 0 && !c.dead {
				l.readable(c)
			}
		}
		if l.cfg.Rate > 0 {
			l.sendDue(l.now())
		}
	}
}

func (l *loop) startTimer() error {
	l.plan = newSchedule(l.now(), l.cfg.Rate, l.cfg.Conns)
	var err error
	if l.timer, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC); err != nil {
		return fmt.Errorf("timer: %w", err)
	}
	tick := unix.NsecToTimespec(int64(l.plan.tick()))
	if err := unix.TimerfdSettime(l.timer, 0, &unix.ItimerSpec{Interval: tick, Value: tick}, nil); err != nil {
		return fmt.Errorf("timer: %w", err)
	}
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: timerMark}
	if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, l.timer, &ev); err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	return nil
}

// turnPhase moves the run on and tells whether it is over.
func (l *loop) turnPhase(now int64) (over bool) {
	if l.phase == warming && now >= l.begun {
		l.begun = now
		l.phase = measuring
		l.res.Requests = 0
		if l.cfg.Requests == 0 {
			l.end = now + int64(l.cfg.Duration)
		}
		if l.first && l.cfg.OnBegin != nil {
			l.cfg.OnBegin()
		}
	}
	idle := l.open == 0 && l.backlog == 0
	spent := idle && (l.quota == 0 || l.cfg.Rate > 0 && l.planned == l.total)
	if l.phase == measuring && (now >= l.end || spent || l.alive == 0 || l.stop.Load()) {
		l.res.Elapsed = time.Duration(now - l.begun)
		l.end = now
		l.phase = draining
		if l.first && l.cfg.OnEnd != nil {
			l.cfg.OnEnd()
		}
		l.limit = min(l.limit, now+int64(l.cfg.DrainLimit))
	}
	if l.phase == draining && (idle || l.stop.Load()) {
		return true
	}
	return now >= l.limit || l.alive == 0 || l.phase == warming && l.stop.Load()
}

// wait is the timeout of epoll_wait in milliseconds.
func (l *loop) wait(now int64) int {
	until := l.limit
	switch l.phase {
	case warming:
		until = l.begun
	case measuring:
		until = l.end
	case draining:
	}
	d := min(time.Duration(until-now), maxWait)
	return int((max(d, 0) + time.Millisecond - 1) / time.Millisecond)
}

// readable reads once and handles every whole reply.
func (l *loop) readable(c *conn) {
	have := copy(l.in, c.rest)
	n, errno := rawRead(c.fd, l.in[have:])
	if errno == unix.EAGAIN || errno == unix.EINTR {
		return
	}
	if errno != 0 || n == 0 {
		text := "closed by the other side"
		if errno != 0 {
			text = errno.Error()
		}
		l.lost(c, text)
		return
	}
	now := l.now()
	data := l.in[:have+n]
	replies := 0
	for len(data) > 0 {
		n, r, err := Frame(data)
		if err == nil && n > 0 && c.inFlight() == replies {
			err = errors.New("reply without a request")
		}
		if err != nil {
			l.lost(c, err.Error())
			return
		}
		if n == 0 {
			break
		}
		l.check(c, r, c.replied+uint64(replies))
		data = data[n:]
		replies++
	}
	c.rest = append(c.rest[:0], data...)
	if len(c.rest) >= len(l.in)/2 {
		l.in = make([]byte, 2*len(l.in))
	}
	if replies > 0 {
		l.answered(c, now, replies)
	}
}

// check looks at one reply; number is that of its request on the connection.
func (l *loop) check(c *conn, r Reply, number uint64) {
	switch {
	case r.Kind == '-':
		l.res.ErrorReplies++
		l.res.failed(string(r.Body))
	case r.Kind == '$' && r.Null:
		l.res.Nulls++
	}
	if c.window == nil || r.Kind == '-' {
		return
	}
	a := c.window[number%uint64(len(c.window))]
	if err := l.build.check(a.op, uint64(a.key), r); err != nil {
		l.res.Wrong++
		l.res.failed("wrong reply: " + err.Error())
	}
}

// answered counts replies that came at the instant now and sends on.
func (l *loop) answered(c *conn, now int64, replies int) {
	if l.phase != draining {
		l.res.Requests += uint64(replies)
	}
	if l.cfg.Rate > 0 {
		for k := c.replied; k < c.replied+uint64(replies); k++ {
			if at := l.plan.atConn(c.number, k); at >= l.begun && l.phase != warming {
				record(l.res.Latency, now-at, 1)
			}
		}
	} else if c.batchStart >= l.begun && l.phase != warming {
		record(l.res.Latency, now-c.batchStart, int64(replies))
	}
	c.replied += uint64(replies)
	l.open -= replies
	if l.cfg.Rate > 0 {
		l.markDirty(c)
	} else if c.inFlight() == 0 {
		l.sendBatch(c, now)
	}
}

// sendBatch starts the next round trip of a closed loop.
func (l *loop) sendBatch(c *conn, now int64) {
	if l.phase == draining {
		return
	}
	c.batchStart = now
	l.send(c, l.cfg.Depth)
}

// sendDue sends what the timetable asks for at the instant now.
func (l *loop) sendDue(now int64) {
	if l.phase != draining {
		for l.planned < l.total {
			// The loops share one timetable: this one has every request whose
			// connection it owns.
			c := l.conns[l.planned%uint64(len(l.conns))]
			at := l.plan.atConn(c.number, l.planned/uint64(len(l.conns)))
			if at > now {
				break
			}
			l.planned++
			if c.dead {
				continue
			}
			c.due++
			l.backlog++
			if at >= l.begun && l.phase != warming {
				record(l.res.Late, now-at, 1)
			}
			l.markDirty(c)
		}
	}
	for _, c := range l.dirty {
		c.dirty = false
		if n := min(c.backlog(), l.cfg.Depth-c.inFlight()); n > 0 && !c.dead {
			l.backlog -= n
			l.send(c, n)
		}
	}
	l.dirty = l.dirty[:0]
}

func (l *loop) markDirty(c *conn) {
	if !c.dirty {
		c.dirty = true
		l.dirty = append(l.dirty, c)
	}
}

// send builds and writes n requests, or as many as the run may still send.
func (l *loop) send(c *conn, n int) {
	n = int(min(uint64(n), l.quota))
	if n == 0 {
		return
	}
	l.quota -= uint64(n)
	buf := l.out[:0]
	for range n {
		o := l.ops[l.opAt&(drawnOps-1)]
		l.opAt++
		key := l.keys.key()
		buf = l.build.append(buf, o, key)
		if c.window != nil {
			c.window[c.sent%uint64(len(c.window))] = asked{op: o, key: uint32(key)}
		}
		c.sent++
	}
	l.open += n
	l.out = buf
	if len(c.pend) > 0 {
		c.pend = append(c.pend, buf...)
		return
	}
	l.write(c, buf)
}

// write hands buf to the kernel and keeps a copy of what it does not take.
func (l *loop) write(c *conn, buf []byte) {
	n, errno := rawWrite(c.fd, buf)
	if errno != 0 {
		if errno != unix.EAGAIN && errno != unix.EINTR {
			l.lost(c, errno.Error())
			return
		}
		n = 0
	}
	if n < len(buf) {
		c.pend = append(c.pend[:0], buf[n:]...)
		if err := l.watch(unix.EPOLL_CTL_MOD, c, unix.EPOLLIN|unix.EPOLLOUT); err != nil {
			l.lost(c, err.Error())
		}
	}
}

// flush goes on with what write had to keep.
func (l *loop) flush(c *conn) {
	n, errno := rawWrite(c.fd, c.pend)
	if errno == unix.EAGAIN || errno == unix.EINTR {
		return
	}
	if errno != 0 {
		l.lost(c, errno.Error())
		return
	}
	c.pend = c.pend[:copy(c.pend, c.pend[n:])]
	if len(c.pend) == 0 {
		if err := l.watch(unix.EPOLL_CTL_MOD, c, unix.EPOLLIN); err != nil {
			l.lost(c, err.Error())
		}
	}
}

// lost gives a connection up. Its open requests stay unanswered.
func (l *loop) lost(c *conn, text string) {
	l.res.Lost++
	l.res.failed("connection lost: " + text)
	l.res.Unanswered += uint64(c.inFlight())
	l.open -= c.inFlight()
	if l.cfg.Rate > 0 {
		l.res.Unanswered += uint64(c.backlog())
		l.backlog -= c.backlog()
	}
	c.dead = true
	unix.Close(c.fd)
	l.alive--
}

// giveUp counts what has no reply at the end of the run. In an open loop the time
// that such a request has waited so far is a lower bound of its latency, and
// leaving it out would hide the worst values.
func (l *loop) giveUp(now int64) {
	l.res.Unanswered += uint64(l.open + l.backlog)
	if l.cfg.Rate == 0 || l.phase == warming {
		return
	}
	for _, c := range l.conns {
		for k := c.replied; k < c.due && !c.dead; k++ {
			if at := l.plan.atConn(c.number, k); at >= l.begun {
				record(l.res.Latency, now-at, 1)
			}
		}
	}
}

func rawRead(fd int, p []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
	return int(n), errno
}

func rawWrite(fd int, p []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
	return int(n), errno
}
