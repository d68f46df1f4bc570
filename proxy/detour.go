package proxy

import (
	"fmt"
	"slices"
	"time"

	"sluice/backend"
	"sluice/backend/dialect"
	"sluice/proxy/command"
	"sluice/router"
)

// detour is a request that does not go straight to its server and back: it was answered with an error that
// proves that it was not run (MOVED, ASK, TRYAGAIN, READONLY ...), its connection was lost and it may be sent
// again, or its slot is moving and the key has to be found first (see transit.go). It holds the one copy of
// the request's bytes that is made apart from the send log.
//
//	idle --run--> (waiting for its turn, for a time, for a lane) --send--> sent --reply--> done
//	  ^                                                              |
//	  +--------------- bounced: a hold begins, after a while --------+
//
// While a client has detours it is not parsed (stallDetour), and its detours run one at a time in the order of their
// requests. So nothing that the client asked for later overtakes a detour, but for what was in flight
// already when the request bounced: see overtaken.
type detour struct {
	client *client
	sink   sink
	tag    uint32 // for sink
	seq    uint32 // of the client's request
	cmd    *command.Command
	raw    []byte // from the loop's pool
	slot   router.Slot
	wide   bool // has keys of several slots, which had one owner when they were put together
	state  detourState
	hold   hold

	addr  string // follow a redirect to here; "" is the owner of slot
	ask   bool   // send ASKING first
	hops  int    // redirects followed
	tries int    // waits
	after int64  // loop clock before which it is not sent
	why   string // the last thing in the way, behind "slot 886"

	transit transit
}

type detourState uint8

const (
	detourIdle   detourState = iota // may be run
	detourQueued                    // waits for a lane
	detourSent                      // a server has it
	detourDone
)

// sink takes the reply of a request, in parts, by the tag it was sent with: the client itself, or the
// command that it was split from.
type sink interface {
	deliver(tag uint32, data []byte, first, last bool)
	deliverFailure(tag uint32, f backend.Failure)
	// again reports whether a request that was lost may be sent once more: it was not before, and nothing of
	// its reply has reached the client. What has come of the reply is forgotten.
	again(tag uint32) bool
}

const (
	// quickHops is how many redirects are followed at once; after that the nodes disagree and get a moment.
	quickHops = 3
	// maxHops bounds the redirects of one request when nothing may be held.
	maxHops = 16
	// minPause and maxPause bound the time between two tries, which doubles. With many detours about it grows
	// by crowdPause for each of them, so that they do not storm a server that has just come back.
	minPause   = int64(time.Millisecond)
	maxPause   = int64(32 * time.Millisecond)
	crowdPause = int64(50 * time.Microsecond)
)

// pause is how long a detour waits before its next try. Pauses of a crowd end together, so that the loop's
// alarm does not ring for each one.
func (l *loop) pause(tries int) int64 {
	crowd := int64(len(l.delayed)) * crowdPause
	pause := max(min(minPause<<min(tries-1, 16), maxPause), crowd)
	step := max(minPause, crowd/4)
	return (l.now+pause+step-1)/step*step - l.now
}

// detour makes a detour of request seq, or of the part of it that tag names.
func (c *client) detour(to sink, tag, seq uint32, slot router.Slot, raw []byte) *detour {
	p := c.pipe.at(seq)
	d := &detour{client: c, sink: to, tag: tag, seq: seq, cmd: p.cmd, slot: slot}
	d.wide = p.slot == anySlot && !c.pool.Model.Cluster()
	d.raw = c.loop.pool.Append(nil, raw)
	return d
}

// bounced looks at an error reply. If that proves that the request was not run, and tells what to do
// instead, bounced returns true and the client never sees it.
func (c *client) bounced(to sink, tag, seq uint32, slot router.Slot, r backend.Reply) bool {
	verdict := c.judge(r.Data, r.Conn)
	if verdict.Kind == dialect.Pass {
		return false
	}
	d := c.detour(to, tag, seq, slot, r.Request)
	if !d.obey(verdict, r) {
		return true
	}
	c.addDetour(d)
	return true
}

// judge reads an error reply. What can't be acted on is Pass: a redirect in a pool whose slots are not those of a
// cluster, and what would have to wait where nothing may be held.
func (c *client) judge(reply []byte, b *backend.Conn) dialect.Verdict {
	v := c.pool.Family.Judge(reply, b.Host())
	switch v.Kind {
	case dialect.Moved, dialect.Ask:
		if !c.pool.Model.Cluster() {
			return dialect.Verdict{}
		}
	case dialect.InTransit, dialect.NoMaster:
		if c.pool.Settings().Hold.MaxWait == 0 {
			return dialect.Verdict{}
		}
	case dialect.Pass, dialect.Denied:
	}
	return v
}

// lost looks at a failed request. If it may safely run again it is queued and lost returns true.
func (c *client) lost(to sink, tag, seq uint32, f backend.Failure) bool {
	if c.loop.stopping || !c.maySendAgain(seq, f) || c.onlyOnce(f) && !to.again(tag) {
		return false
	}
	slot, ok := c.oneOwner(c.pipe.at(seq).cmd, f.Request)
	if !ok {
		return false
	}
	c.loop.stats.Retries++
	c.addDetour(c.detour(to, tag, seq, slot, f.Request))
	return true
}

// maySendAgain reports whether a lost request may run once more: its time is not over, and no byte of it has
// left, or it only reads and the client has asked for no write behind it, which it would see.
func (c *client) maySendAgain(seq uint32, f backend.Failure) bool {
	p := c.pipe.at(seq)
	patience := f.Conn.Node.Options().RequestTimeout
	if !f.Sent {
		patience = max(patience, c.pool.Settings().Hold.MaxWait)
	}
	if f.Request == nil || c.loop.now-p.start >= int64(patience) {
		return false
	}
	reads := p.cmd != nil && p.cmd.Is(command.ReadOnly) && !c.pipe.writesAfter(seq, p.slot)
	return !f.Sent || reads
}

// onlyOnce reports whether a lost request may be sent again no more than once. What never left may be held.
func (c *client) onlyOnce(f backend.Failure) bool {
	return f.Sent || c.pool.Settings().Hold.MaxWait == 0
}

// oneOwner finds a slot to route a request by from its bytes. It reports false when the keys belong to several
// owners by now: parts of a split command have keys of several slots.
func (c *client) oneOwner(cmd *command.Command, raw []byte) (router.Slot, bool) {
	v := c.pool.view.Load()
	keys := requestKeys(cmd, raw)
	if v == nil || len(keys) == 0 {
		return 0, false
	}
	first := c.pool.Model.Slot(keys[0])
	for _, key := range keys[1:] {
		slot := c.pool.Model.Slot(key)
		if v.master(slot) != v.master(first) || slot != first && (v.table.Move(slot) != nil || v.table.Move(first) != nil) {
			return 0, false
		}
	}
	return first, true
}

// requestKeys finds the keys in the bytes of a request; they are views into raw.
func requestKeys(cmd *command.Command, raw []byte) [][]byte {
	args := splitRequest(raw)
	if cmd == nil || len(args) == 0 {
		return nil
	}
	at, err := cmd.AppendKeys(nil, args)
	if err != nil {
		return nil
	}
	keys := make([][]byte, len(at))
	for i, k := range at {
		keys[i] = args[k]
	}
	return keys
}

// addDetour queues a detour in the order of the client's requests and runs it if it is the only one.
func (c *client) addDetour(d *detour) {
	at := len(c.detours)
	for at > 0 && c.detours[at-1].state == detourIdle && int32(c.detours[at-1].seq-d.seq) > 0 {
		at--
	}
	c.detours = slices.Insert(c.detours, at, d)
	c.pipe.at(d.seq).flags |= detoured
	c.runDetours()
}

// runDetours sends the oldest detour if its time has come.
func (c *client) runDetours() {
	if c.closed || len(c.detours) == 0 {
		return
	}
	d := c.detours[0]
	if d.state != detourIdle || c.awaited(d) {
		return
	}
	if d.overdue() {
		return
	}
	if d.after > c.loop.now {
		c.loop.delayed = append(c.loop.delayed, c)
		c.loop.wakeAt(d.after)
		return
	}
	d.run()
}

// run takes the next step towards the owner of the slot.
func (d *detour) run() {
	c := d.client
	if d.addr != "" {
		d.followTo()
		return
	}
	v := c.pool.view.Load()
	if o, blocked := c.pool.obstacle(v, d.slot); blocked {
		d.waitFor(v, o)
		return
	}
	if m := v.table.Move(d.slot); m != nil {
		d.reach(v, m)
		return
	}
	if d.wide {
		if _, ok := c.oneOwner(d.cmd, d.raw); !ok {
			d.give(notHeld(d.slot, "has another owner than the other slots of the command", "they had the same when it was divided"))
			return
		}
	}
	d.send(c.loop.link(v.master(d.slot), c.proto, c.db))
}

// followTo sends the request where a redirect points to.
func (d *detour) followTo() {
	c := d.client
	node := c.pool.node(d.addr)
	if node.Available() {
		d.send(c.loop.link(node, c.proto, c.db))
		return
	}
	d.addr, d.ask = "", false // Ask the owner again, who may know better by then.
	v := c.pool.view.Load()
	d.waitFor(v, obstacle{cause: HoldNoMaster, slot: d.slot, node: node, since: node.DownSince()})
}

// send hands the request to a connection.
func (d *detour) send(b *backend.Conn) {
	l := d.client.loop
	send := b.Send
	if d.ask {
		send = b.SendAsking
	}
	if err := send(d.raw, d, tagDirect, l.now); err != nil {
		d.give(sendError(b.Node, err))
		return
	}
	d.state = detourSent
	l.markBackend(b) // No early flush: this may run inside a callback of b.
}

// obey does what a verdict about the request says. It returns false when that was to answer the client.
func (d *detour) obey(v dialect.Verdict, r backend.Reply) bool {
	c := d.client
	d.state = detourIdle
	switch v.Kind {
	case dialect.Moved, dialect.Ask:
		return d.follow(v, r)
	case dialect.InTransit, dialect.NoMaster:
		cause := HoldMoving
		if v.Kind == dialect.NoMaster {
			cause = HoldNoMaster
			c.pool.trouble()
		}
		d.addr, d.ask = "", false
		return d.wait(cause, answeredWith(r), false)
	case dialect.Denied:
		d.give(denied(r))
		return false
	case dialect.Pass:
	}
	panic("BUG: nothing to obey")
}

// follow sets where the request goes next.
func (d *detour) follow(v dialect.Verdict, r backend.Reply) bool {
	c := d.client
	d.hops++
	if v.Addr == r.Conn.Node.Addr && v.Kind == dialect.Moved {
		// A node that points to itself knows that it is not the owner, and not yet who is.
		c.pool.trouble()
		d.addr, d.ask = "", false
		return d.wait(HoldMoving, answeredWith(r), d.hops <= maxHops)
	}
	d.slot, d.addr, d.ask = v.Slot, v.Addr, v.Kind == dialect.Ask
	if d.ask {
		c.loop.stats.Redirects[RedirectAsk]++
	} else {
		c.loop.stats.Redirects[RedirectMoved]++
		c.pool.moved(v.Slot, v.Addr)
	}
	if d.hops <= quickHops {
		return true
	}
	if c.pool.Settings().Hold.MaxWait == 0 && d.hops > maxHops {
		d.give(tooManyRedirects(v.Slot, d.hops-1, v.Addr))
		return false
	}
	return d.wait(HoldMoving, fmt.Sprintf("is redirected from node to node, last to %s", v.Addr), d.hops <= maxHops)
}

// answeredWith describes an error reply, behind "slot 886".
func answeredWith(r backend.Reply) string {
	return fmt.Sprintf("is not served: backend %s answered %.120q", r.Conn.Node.Addr, trimLine(r.Data[1:]))
}

// wait holds the request for a moment; why is what is in the way. With free it waits also where nothing may
// be held. It returns false when the client was answered instead.
func (d *detour) wait(cause HoldCause, why string, free bool) bool {
	if !d.enterHold(cause, why, free) {
		return false
	}
	c := d.client
	d.tries++
	d.after = c.loop.now + c.loop.pause(d.tries)
	if d.hold.active {
		d.after = min(d.after, d.hold.deadline)
	}
	return true
}

// enterHold begins a hold of the request, or notes what is in the way now. It returns false when the client was
// answered instead.
func (d *detour) enterHold(cause HoldCause, why string, free bool) bool {
	c := d.client
	d.why = why
	if c.pool.Settings().Hold.MaxWait > 0 {
		if !d.hold.active {
			if limit := c.beginHold(&d.hold, d.slot, cause, len(d.raw)); limit != "" {
				d.give(notHeld(d.slot, why, limit))
				return false
			}
		}
		if d.hold.cause != cause {
			c.pool.holds.change(d.hold.cause, cause)
			d.hold.cause = cause
		}
	} else if !free {
		d.give(notHeld(d.slot, why, "hold.max_wait is 0"))
		return false
	}
	return true
}

// overdue gives a detour up that waits for something else than a time, when its own is over.
func (d *detour) overdue() bool {
	c := d.client
	if !d.hold.active {
		patience := 2 * int64(c.pool.Settings().Backend.RequestTimeout)
		if d.state != detourQueued || c.loop.now-c.pipe.at(d.seq).start < patience {
			return false
		}
		d.giveUp(HoldTimedOut, notHeld(d.slot, d.why, "hold.max_wait is 0"))
		return true
	}
	if c.loop.now < d.hold.deadline {
		return false
	}
	d.giveUp(HoldTimedOut, heldFor(d.slot, d.why, time.Duration(c.loop.now-d.hold.since)))
	return true
}

// waitFor is wait for an obstacle; then the detour is run again.
func (d *detour) waitFor(v *view, o obstacle) {
	c := d.client
	s := &c.pool.Settings().Hold
	since := c.loop.now
	if d.hold.active {
		since = d.hold.since
	}
	deadline := o.deadline(since, s)
	if deadline <= c.loop.now && !d.hold.active {
		d.give(o.refusal(v))
		return
	}
	if !d.wait(o.cause, o.String(), false) {
		return
	}
	d.hold.deadline = deadline
	d.after = min(d.after, deadline)
	c.runDetours()
}

// give ends the detour with an error of our own: the request was not run.
func (d *detour) give(text string) { d.giveUp(HoldReleased, text) }

func (d *detour) giveUp(end HoldEnd, text string) {
	c := d.client
	l := c.loop
	c.endHold(&d.hold, end)
	l.scratch = appendErrorLine(l.scratch[:0], text)
	line := slices.Clone(l.scratch) // deliver may use scratch.
	d.state = detourDone
	d.sink.deliver(d.tag, line, true, true)
	d.done()
}

// done ends the detour and lets the next one run.
func (d *detour) done() {
	c := d.client
	d.state = detourDone
	if c.closed {
		return
	}
	c.endHold(&d.hold, HoldReleased)
	c.loop.pool.Put(d.raw)
	d.raw = nil
	if i := slices.Index(c.detours, d); i >= 0 {
		c.detours = slices.Delete(c.detours, i, i+1)
	}
	if len(c.detours) > 0 {
		c.runDetours()
		return
	}
	c.wake()
}

// Reply implements backend.Owner.
func (d *detour) Reply(tag uint32, r backend.Reply) {
	c := d.client
	if r.Conn.Aside && r.Last {
		c.loop.lanesFreed = true
	}
	if c.closed || d.state == detourDone {
		return
	}
	if tag != tagDirect {
		d.transitReply(tag, r)
		return
	}
	if r.First && r.Data[0] == '-' {
		if v := c.judge(r.Data, r.Conn); v.Kind != dialect.Pass {
			if d.obey(v, r) {
				c.runDetours()
			}
			return
		}
	}
	d.pass(r.Data, r.First, r.Last)
}

// pass gives a reply, or a part of it, to whoever asked.
func (d *detour) pass(data []byte, first, last bool) {
	if first && d.client.overtook(d.seq, d.slot, d.cmd, d.raw, last) {
		d.state = detourIdle
		d.client.runDetours()
		return
	}
	if last {
		d.state = detourDone
	}
	d.sink.deliver(d.tag, data, first, last)
	if last {
		d.done()
	}
}

// Fail implements backend.Owner.
func (d *detour) Fail(tag uint32, f backend.Failure) {
	c := d.client
	if f.Conn.Aside {
		c.loop.lanesFreed = true
	}
	if c.closed || d.state == detourDone {
		return
	}
	if tag != tagDirect && d.transitFailed(tag, f) {
		return
	}
	if !c.loop.stopping && c.maySendAgain(d.seq, f) && (!c.onlyOnce(f) || d.sink.again(d.tag)) {
		c.loop.stats.Retries++
		d.state = detourIdle
		d.addr, d.ask = "", false
		if d.wait(HoldNoMaster, fmt.Sprintf("is not served: backend %s: %v", f.Conn.Node.Addr, f.Err), true) {
			c.runDetours()
		}
		return
	}
	d.state = detourDone
	d.sink.deliverFailure(d.tag, f)
	d.done()
}

var _ backend.Owner = (*detour)(nil)
