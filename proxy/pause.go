package proxy

import (
	"bytes"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"sluice/proxy/command"
)

// CLIENT PAUSE stops the clients of a pool at their next request, all of them or those that would write, until the
// time is over or CLIENT UNPAUSE comes. A client that is paused is not parsed (stallPaused); what it sends waits as
// it does when it sends too fast. Servers are told nothing: a paused server would leave requests of other proxies
// without an answer, and look dead.
//
// The clients of a pool in this process are paused. Those of other proxies of the pool are not, and what was sent
// before goes on. Since modePaused is a mode, it costs nothing while nobody is paused.

// pause is that of a pool.
type pause struct {
	state atomic.Pointer[pauseState] // nil while nobody is paused

	mu    sync.Mutex // guards changes of state, and the field below it
	timer *time.Timer
}

// pauseState is a pause. Immutable.
type pauseState struct {
	until time.Time
	all   bool // also what does not write
}

// begin pauses, or adds to the pause that there is: it never becomes shorter or less, as in Redis. ended is called,
// on a goroutine of its own, when the time is over.
func (p *pause) begin(next pauseState, ended func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := p.state.Load(); now != nil {
		next.all = next.all || now.all
		if now.until.After(next.until) {
			next.until = now.until
		}
	}
	p.state.Store(&next)
	wait := time.Until(next.until)
	if p.timer != nil {
		p.timer.Stop()
	}
	p.timer = time.AfterFunc(wait, func() {
		if p.state.CompareAndSwap(&next, nil) { // Else there is another one, or none.
			ended()
		}
	})
}

func (p *pause) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state.Store(nil)
	if p.timer != nil {
		p.timer.Stop()
	}
}

// Paused is how long the clients of the pool stay paused, 0 when they are not, and whether only those that write are.
func (p *Pool) Paused() (left time.Duration, writesOnly bool) {
	s := p.pause.state.Load()
	if s == nil {
		return 0, false
	}
	return max(time.Until(s.until), time.Millisecond), !s.all
}

// longestPause keeps times from becoming too large to be added.
const longestPause = math.MaxInt64 / 4 / int64(time.Millisecond)

func cmdClientPause(c *client, args [][]byte) stall {
	all := true
	switch {
	case len(args) > 4:
		c.replyError(fmt.Sprintf(
			"ERR unknown subcommand or wrong number of arguments for '%.128s'. Try CLIENT HELP.", args[1]))
		return stallNone
	case len(args) == 4 && bytes.EqualFold(args[3], []byte("write")):
		all = false
	case len(args) == 4 && !bytes.EqualFold(args[3], []byte("all")):
		c.replyError("ERR CLIENT PAUSE mode must be WRITE or ALL")
		return stallNone
	}
	millis, ok := command.Integer(args[2])
	switch {
	case !ok:
		c.replyError("ERR timeout is not an integer or out of range")
		return stallNone
	case millis < 0:
		c.replyError("ERR timeout is negative")
		return stallNone
	}
	wait := time.Duration(min(millis, longestPause)) * time.Millisecond
	c.loop.server.often.Warn("CLIENT PAUSE: clients of the pool wait",
		"pool", c.pool.Name, "client", c.id, "addr", c.addr, "user", c.user, "for", wait, "writes_only", !all)
	pool := c.pool
	pool.pause.begin(pauseState{until: time.Now().Add(wait), all: all}, func() { pool.onClients((*client).observe) })
	c.whenAllKnow(appendOK)
	return stallNone
}

func cmdClientUnpause(c *client, _ [][]byte) stall {
	c.pool.pause.end()
	c.whenAllKnow(appendOK)
	return stallNone
}

// postponed reports whether a request has to wait for the end of a pause. What begins or ends one has not.
func (c *client) postponed(q request) bool {
	s := c.pool.pause.state.Load()
	if s == nil || q.cmd.Name == "client|pause" || q.cmd.Name == "client|unpause" {
		return false
	}
	if !s.all && !c.mayReplicate(q) && !(q.cmd.Name == "exec" && c.queuedMayReplicate()) {
		return false
	}
	return true
}

// mayReplicate reports whether a request may do what goes to replicas: those are held by a pause of writes. Of
// scripts, as in Redis, those are let through that declare that they write nothing; what a function has declared
// only its server knows.
func (c *client) mayReplicate(q request) bool {
	if q.cmd.Flags&(command.Write|command.MayReplicate) == 0 {
		return false
	}
	switch scriptKinds[q.cmd.ID] {
	case scriptBody:
		return !declaresNoWrites(q.args[1])
	case scriptSHA:
		return !declaresNoWrites(c.pool.scriptBody(q.args[1]))
	case scriptName, noScript:
	}
	return true
}

// queuedMayReplicate is mayReplicate for what is queued. It looks at each command, and is asked while there is a
// pause only.
func (c *client) queuedMayReplicate() bool {
	queue := c.tx.queue
	for _, size := range c.tx.sizes {
		q := request{args: splitRequest(queue[:size])}
		queue = queue[size:]
		if q.cmd = c.pool.commands().Resolve(q.args); q.cmd == nil || c.mayReplicate(q) {
			return true
		}
	}
	return false
}

// postponing reports whether the client stands in front of a request because it is paused.
func (c *client) postponing() bool { return c.stall == stallPaused && !c.queued }

// unpause lets a client look at its next request again. It looks for itself whether that may run.
func (c *client) unpause() {
	c.setMode(modePaused, c.pool.pause.state.Load() != nil)
	if c.stall != stallPaused || c.queued {
		return
	}
	c.queued = true
	c.loop.ready = append(c.loop.ready, c)
}
