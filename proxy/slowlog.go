package proxy

import (
	"fmt"
	"math"
	"slices"
	"time"

	"sluice/backend"
	"sluice/proxy/command"
	"sluice/proxy/local"
)

// Slowlog lists at most n slow requests, newest first.
func (s *Server) Slowlog(n int) []*local.SlowRequest { return s.slow.Newest("", n) }

// slowFrom is the time from which a request is slow, more than any time when the log is off.
func (s *Settings) slowFrom() int64 {
	if s.SlowlogSlowerThan < 0 || s.SlowlogMaxLen <= 0 {
		return math.MaxInt64
	}
	return int64(s.SlowlogSlowerThan)
}

// wait is how long a request in flight was held before it was dispatched.
type wait struct {
	seq  uint32
	time int64
}

// noteWait notes the hold of the request that was just dispatched, which was the next one of its client.
func (c *client) noteWait() {
	if !c.pipe.empty() {
		c.waits = append(c.waits, wait{c.pipe.tail - 1, c.loop.now - c.hold.since})
	}
}

// takeWait tells how long the request seq was held before it was dispatched, and forgets that and what is older.
func (c *client) takeWait(seq uint32) (time int64) {
	c.waits = slices.DeleteFunc(c.waits, func(w wait) bool {
		if w.seq == seq {
			time = w.time
		}
		return w.seq == seq || int32(w.seq-c.pipe.head) < 0
	})
	return time
}

// slow reports whether a request that is answered now has to be looked at by noteSlow.
func (c *client) slow(seq uint32) bool {
	return c.loop.now-c.pipe.at(seq).start >= c.loop.slowFrom || len(c.waits) > 0
}

// outcome is how the last request to a server ended that belongs to a client's request.
type outcome struct {
	node    *backend.Node // nil when it was sent to none
	request []byte        // as it was sent; the whole of the client's unless of is set
	of      *split
	tx      *execution
	held    int64 // inside holds of a retry
	backend int64
}

// answeredBy is the outcome of a request that went straight to a server.
func (c *client) answeredBy(seq uint32, b *backend.Conn, request []byte) outcome {
	return outcome{node: b.Node, request: request, backend: c.loop.now - c.pipe.at(seq).start}
}

// noteSlow enters a request into the slow log if it belongs there. Redis does not count the time in which a command
// waits for data, so what blocks is left out; so is what may hold a password. Of a transaction, which Redis enters
// command by command, nobody here knows which of its commands took the time: it is one entry.
func (c *client) noteSlow(seq uint32, o outcome) {
	p := c.pipe.at(seq)
	before := c.takeWait(seq)
	total := c.loop.now - p.start + before
	skipped := p.cmd == nil || p.flags&blocks != 0 || p.cmd.Is(command.SkipSlowlog) && o.tx == nil || local.HasSecrets(p.cmd)
	if total < c.loop.slowFrom || skipped {
		return
	}
	if !c.loop.admitSlow() {
		return
	}
	r := &local.SlowRequest{
		Time: time.Now(), Total: time.Duration(total), Held: time.Duration(before + o.held), Backend: time.Duration(o.backend),
		Pool: c.pool.Name, Client: c.addr, Name: c.Name, Args: local.CutArgs(o.request),
	}
	if o.node != nil {
		r.Node = o.node.Addr
	}
	if o.tx != nil {
		r.Args = o.tx.slowArgs()
	}
	if o.of != nil {
		r.Args, r.Part = local.CutArgs(o.of.head), r.Args
	}
	s := c.loop.server
	s.slow.Add(r, s.settings.Load().SlowlogMaxLen)
}

// slowPerSecond is how many requests a loop enters into the slow log at most. When everything is slow, noting it
// all would make it slower still.
const slowPerSecond = 1000

func (l *loop) admitSlow() bool {
	if l.now-l.slowSince >= int64(time.Second) {
		l.slowSince, l.slowNoted = l.now, 0
	}
	l.slowNoted++
	return l.slowNoted <= slowPerSecond
}

// slowHead is how much of a command that is divided is kept for the slow log.
const slowHead = 4 << 10

// slowArgs are the words of all commands from MULTI to EXEC, as many as are shown of one.
func (x *execution) slowArgs() (args []string) {
	rest := x.d.raw
	for i, size := range x.sizes {
		args = append(args, local.CutArgs(rest[:size])...)
		rest = rest[size:]
		if more := len(x.sizes) - i - 1; len(args) >= local.SlowArgs && more > 0 {
			return append(args[:local.SlowArgs-1], fmt.Sprintf("... (a transaction of %d commands)", len(x.sizes)-2))
		}
	}
	return args
}
