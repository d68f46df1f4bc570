package proxy

import (
	"slices"
	"time"

	"sluice/internal/clock"
)

// No client makes the others wait for longer than a moment, however much it has sent at once, and none fills memory
// with replies that it does not read:
//
//   - a client is parsed for parseTime; then it stands at the end of the queue (stallTurn), behind whatever else has
//     happened meanwhile;
//   - it is not parsed while maxOutputMark bytes wait for it (stallOutput); gnet does not tell when they are gone, so the loop
//     looks again and again, less and less often while nothing changes;
//   - bytes that wait for it are counted where they are added, and beyond Limits.ClientOutput it is closed;
//   - one that has to authenticate first gets a few KiB of either kind, and is closed beyond that.
const (
	// parseTime is how long a client is parsed before others have their turn.
	parseTime = int64(500 * time.Microsecond)
	// parseCheck is the number of requests between two looks at the clock, and parseSpan of bytes.
	parseCheck = 32
	parseSpan  = 16 << 10
	// maxOutputMark is how many bytes may wait for a client that goes on asking, at most.
	maxOutputMark = 1 << 20
	// unauthenticatedInput and unauthenticatedOutput are what a client may make Sluice keep before it has
	// authenticated. A password may have 16 KiB (proxy/resp).
	unauthenticatedInput  = 32 << 10
	unauthenticatedOutput = 16 << 10
	// minDrainPause and maxDrainPause bound the time between two looks at clients that have to read first.
	minDrainPause = int64(time.Millisecond)
	maxDrainPause = int64(50 * time.Millisecond)
)

// turnUse is how much of its turn a client has used.
type turnUse struct {
	requests int
	at       int   // bytes parsed at the last look
	since    int64 // loop clock at the first look
}

// giveWay is asked before each request is parsed. If it is true the client is stalled, and goes on by itself.
func (u *turnUse) giveWay(c *client, parsed int) bool {
	if u.requests++; u.requests%parseCheck != 1 && parsed-u.at < parseSpan {
		return false
	}
	u.at = parsed
	if c.waitingOutput() > c.outputMark() {
		c.stall = stallOutput
		c.loop.awaitDrain(c)
		return true
	}
	switch now := clock.Now(); {
	case u.requests == 1:
		return false
	case u.since == 0:
		u.since = now
		return false
	case now-u.since < parseTime:
		return false
	}
	c.stall = stallTurn
	c.loop.stats.Yields++
	c.loop.patient = append(c.loop.patient, c)
	c.loop.wakeAt(c.loop.now)
	return true
}

// waitingOutput is the number of bytes that wait to be read by the client, or for replies before them.
func (c *client) waitingOutput() int { return c.conn.OutboundBuffered() + len(c.out) + c.held }

// outputMark is how many bytes may wait for a client that goes on asking.
func (c *client) outputMark() int { return min(maxOutputMark, c.outputLimit()/2) }

// neverAuthenticated reports whether the client has never authenticated, though it has to. After RESET it may have
// output from before.
func (c *client) neverAuthenticated() bool { return c.is(modeUnauthenticated) && !c.wasKnown }

// outputLimit is how many bytes may wait for a client before it is closed.
func (c *client) outputLimit() int {
	if c.neverAuthenticated() {
		return unauthenticatedOutput
	}
	return c.loop.server.limits().ClientOutput
}

// inputLimit is how many bytes of a client may wait to be parsed before it is closed.
func (c *client) inputLimit() int {
	if c.neverAuthenticated() {
		return unauthenticatedInput
	}
	return c.loop.server.limits().MaxUnparsed
}

// awaitDrain makes a client go on when it has read.
func (l *loop) awaitDrain(c *client) {
	l.full = append(l.full, c)
	l.drainPause = minDrainPause
	l.wakeAt(l.now + l.drainPause)
}

// nextTurn lets one client go on that gave way to others, and puts those that have read behind the rest.
func (l *loop) nextTurn() {
	l.lookAtFull()
	for len(l.patient) > 0 {
		c := l.patient[0]
		l.patient = slices.Delete(l.patient, 0, 1)
		if c.closing || c.queued {
			continue
		}
		c.queued = true
		l.ready = append(l.ready, c)
		break
	}
	if len(l.patient) > 0 {
		l.wakeAt(l.now)
	}
}

// lookAtFull finds those who have read.
func (l *loop) lookAtFull() {
	if len(l.full) == 0 {
		return
	}
	before := len(l.full)
	l.full = slices.DeleteFunc(l.full, func(c *client) bool {
		if !c.closing && c.waitingOutput() > c.outputMark()/2 {
			return false
		}
		c.stall = stallTurn
		l.patient = append(l.patient, c)
		return true
	})
	if l.drainPause = min(2*l.drainPause, maxDrainPause); len(l.full) < before {
		l.drainPause = minDrainPause
	}
	if len(l.full) > 0 {
		l.wakeAt(l.now + l.drainPause)
	}
}
