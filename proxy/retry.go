package proxy

import (
	"slices"

	"sluice/backend"
	"sluice/backend/dialect"
	"sluice/proxy/command"
	"sluice/proxy/hold"
	"sluice/proxy/keymove"
	"sluice/proxy/redispatch"
	"sluice/router"
)

// retry is a request that does not go straight to its server and back: it was answered with an error that
// proves that it was not run (MOVED, ASK, TRYAGAIN, READONLY ...), its connection was lost and it may be sent
// again, or its slot is moving and the key has to be found first (see keymigration.go). It holds the one copy of
// the request's bytes that is made apart from the send log.
//
//	idle --run--> (waiting for its turn, for a time, for a migration connection) --send--> sent --reply--> done
//	  ^                                                              |
//	  +--------------- bounced: a hold begins, after a while --------+
//
// While a client has retries it is not parsed (stallRetry), and its retries run one at a time in the order of their
// requests. So nothing that the client asked for later overtakes a retry, but for what was in flight
// already when the request bounced: see overtaken.
type retry struct {
	client *client
	sink   sink
	tag    uint32 // for sink
	seq    uint32 // of the client's request
	cmd    *command.Command
	raw    []byte   // from the loop's pool
	keys   [][]byte // views into raw
	slot   router.Slot
	// where it has keys when that are several: of one owner when it was made; slot is the one in the way
	slots []router.Slot
	state retryState
	hold  heldRequest

	next   redispatch.State
	sentTo *backend.Node // the last time, nil before the first
	sentAt int64         // loop clock
	why    string        // the last thing in the way, behind "slot 886"

	masterOnly bool // a replica was asked and is not to be believed
	silent     struct {
		node *backend.Node // has left it unanswered, nil for none
		at   int64         // loop clock
	}

	behind uint32 // how many requests behind this one need no more waiting, see awaited

	migration keyMigration
	exclusive exclusive // nil for a request that takes no more than to be sent
	script    *reload   // not nil: the server lacked the script

	confirming *confirmation // not nil: the server was asked whether it stands by what a script said, see confirm
}

type retryState uint8

const (
	retryIdle   retryState = iota // may be run
	retryQueued                   // waits for a migration connection
	retrySent                     // a server has it
	retryDone
)

// tagDirect is the tag of the request itself; others are those of keymove.Search.
const tagDirect = 0

// sink takes the reply of a request, in parts, by the tag it was sent with: the client itself, or the
// command that it was split from.
type sink interface {
	deliver(tag uint32, data []byte, first, last bool)
	deliverFailure(tag uint32, f backend.Failure)
	// beginAgain reports whether a request that was lost may be sent once more: it was not before, and nothing of
	// its reply has reached the client. What has come of the reply is forgotten.
	beginAgain(tag uint32) bool
}

// retry makes a retry of request seq, or of the part of it that tag names.
func (c *client) newRetry(to sink, tag, seq uint32, slot router.Slot, raw []byte) *retry {
	p := c.pipe.at(seq)
	d := &retry{client: c, sink: to, tag: tag, seq: seq, cmd: p.cmd, slot: slot}
	d.raw = c.loop.pool.Append(nil, raw)
	d.keys = requestKeys(d.cmd, d.raw)
	if p.slot == anySlot && !c.pool.Model.Cluster() {
		d.spread()
	}
	d.noteKeys(1)
	return d
}

// delay puts a client into the list of those whose retry waits for its time.
func (l *loop) delay(c *client) {
	if !c.delayed {
		c.delayed = true
		l.delayed = append(l.delayed, c)
	}
}

// addRetry queues a retry in the order of the client's requests and runs it if it is the only one.
func (c *client) addRetry(d *retry) {
	at := len(c.retries)
	for at > 0 && c.retries[at-1].state == retryIdle && int32(c.retries[at-1].seq-d.seq) > 0 {
		at--
	}
	c.retries = slices.Insert(c.retries, at, d)
	c.pipe.at(d.seq).flags |= retried
	c.runRetries()
}

// runRetries sends the oldest retry if its time has come.
func (c *client) runRetries() {
	if len(c.retries) == 0 {
		return
	}
	d := c.retries[0]
	if d.state != retryIdle || d.overdue() {
		return
	}
	if c.awaited(d) {
		if d.hold.active {
			c.loop.delay(c)
			c.loop.wakeAt(d.hold.deadline)
		}
		return
	}
	if d.next.After > c.loop.now {
		c.loop.delay(c)
		c.loop.wakeAt(d.next.After)
		return
	}
	d.run()
}

// run takes the next step towards the owner of the slot.
func (d *retry) run() {
	c := d.client
	if d.script.waits() || d.confirming != nil {
		return
	}
	if d.next.Addr != "" {
		d.followTo()
		return
	}
	v := c.pool.view.Load()
	if s, ok := d.sink.(*split); ok && s.redivided(v) {
		d.give(dividedAnew(d.slot))
		return
	}
	if x, ok := d.exclusive.(*execution); ok && x.parted(v) {
		x.lostWatch()
		return
	}
	o, blocked := d.blockReason(v)
	if n := d.silent.node; !blocked && n != nil && v.master(d.slot) == n && n.AnsweredAt() < d.silent.at {
		o, blocked = blockReason{cause: hold.NoMaster, slot: d.slot, node: n, since: d.silent.at}, true
	}
	if blocked {
		if x, ok := d.sink.(*crossGroup); ok && x.passOver(d) {
			return
		}
		if b := d.reader(v); b != nil {
			d.send(b)
			return
		}
		d.waitFor(v, o)
		return
	}
	if m := d.nextMove(v); m != nil {
		if text := d.tooSlow(m); text != "" {
			d.giveUp(hold.TimedOut, text)
			return
		}
		d.reach(v, m)
		return
	}
	d.sendTo(v.master(d.slot))
}

// sendTo sends the request to a node.
func (d *retry) sendTo(node *backend.Node) {
	o, blocked := d.mayBeLost(node)
	if x, ok := d.exclusive.(*execution); ok && !blocked {
		o, blocked = x.waitsFor(d.client.pool.view.Load())
	}
	if blocked {
		d.next.ToOwner()
		d.waitFor(d.client.pool.view.Load(), o)
		return
	}
	if d.exclusive == nil {
		d.send(d.client.loop.conns.Shared(node, d.client.proto, d.client.db))
		return
	}
	d.state, d.sentTo, d.sentAt = retrySent, node, d.client.loop.now
	if refusal := d.exclusive.send(node, d.next.Ask); refusal != "" {
		d.give(refusal)
	}
}

// reader is the connection to a replica that may serve the request while its master can't, nil when there is none.
func (d *retry) reader(v *view) *backend.Conn {
	c := d.client
	if c.reads == nil || v == nil || d.slots != nil || d.masterOnly || d.exclusive != nil ||
		!c.mayReadReplica(d.cmd, len(d.keys) > 1) {
		return nil
	}
	g := v.readableGroup(d.slot)
	if g == nil {
		return nil
	}
	// The request itself is nowhere now, and not in its own way.
	counted := c.pipe.at(d.seq).flags & (atReplica | countedRead)
	c.guarantees.count(bucketOf(d.slot), counted, -1)
	b := c.chooseReader(v, g, need{bucketOf(d.slot), v.settledAt(d.slot)})
	c.guarantees.count(bucketOf(d.slot), counted, 1)
	if b == nil || !b.Replica() {
		return nil
	}
	c.strayed(d.seq)
	b.CountRead()
	return b
}

// followTo sends the request where a redirect points to.
func (d *retry) followTo() {
	c := d.client
	if v := c.pool.view.Load(); v != nil { // A lock counts for whoever is redirected, too.
		if o, blocked := c.pool.blockReason(v, d.slot); blocked && o.stopsRedirects() {
			d.waitFor(v, o)
			return
		}
	}
	v := c.pool.view.Load()
	node := v.named[d.next.Addr]
	if node == nil { // The topology has changed.
		d.next.ToOwner()
		d.run()
		return
	}
	if node.Serves() {
		d.sendTo(node)
		return
	}
	d.next.ToOwner() // Ask the owner again, who may know better by then.
	d.waitFor(v, blockReason{cause: hold.NoMaster, slot: d.slot, node: node, since: node.DownSince()})
}

// send hands the request to a connection.
func (d *retry) send(b *backend.Conn) {
	l := d.client.loop
	err := error(nil)
	if d.writesAtomically() {
		w := &lossCheck{client: d.client, node: b.Node, slot: d.slot, next: d, tag: tagDirect, script: true}
		err = w.send(b, d.first(b), d.raw, []int{len(d.raw)}, d.keys[0])
	} else {
		err = b.SendBehind(d.first(b), d.raw, d, tagDirect, l.now)
	}
	if err != nil {
		d.give(sendError(b.Node, err))
		return
	}
	d.state, d.sentTo, d.sentAt = retrySent, b.Node, l.now
	l.markBackend(b) // No early flush: this may run inside a callback of b.
}

// first is what is sent directly before the request.
func (d *retry) first(b *backend.Conn) (requests [][]byte) {
	if d.script != nil {
		if load := d.script.check.loadFor(b); load != nil {
			requests = append(requests, load)
		}
	}
	if d.next.Ask {
		requests = append(requests, backend.AskingRequest)
	}
	return requests
}

// give ends the retry with an error of our own: the request was not run.
func (d *retry) give(text string) { d.giveUp(hold.Released, text) }

func (d *retry) giveUp(end hold.End, text string) {
	if d.confirming != nil {
		d.confirming.giveUp() // It may have run.
		return
	}
	c := d.client
	l := c.loop
	d.noteSlow()
	c.endHold(&d.hold, end)
	l.scratch = appendErrorLine(l.scratch[:0], text)
	line := slices.Clone(l.scratch) // deliver may use scratch.
	d.state = retryDone
	if d.exclusive != nil {
		d.exclusive.abandon()
	}
	d.sink.deliver(d.tag, line, true, true)
	d.done()
}

// drop forgets a retry that was not added.
func (d *retry) drop() {
	d.noteKeys(-1)
	d.client.loop.pool.Put(d.raw)
}

// done ends the retry and lets the next one run.
func (d *retry) done() {
	c := d.client
	d.state = retryDone
	if c.closed {
		return
	}
	c.endHold(&d.hold, hold.Released)
	d.noteKeys(-1)
	c.loop.pool.Put(d.raw)
	d.raw, d.keys = nil, nil
	if i := slices.Index(c.retries, d); i >= 0 {
		c.retries = slices.Delete(c.retries, i, i+1)
	}
	if len(c.retries) > 0 {
		c.runRetries()
		return
	}
	c.wake()
}

// Reply implements backend.Owner.
func (d *retry) Reply(tag uint32, r backend.Reply) {
	c := d.client
	if r.Conn.Kind == backend.Migration && r.Last {
		c.loop.migrationConnsFreed = true
	}
	if c.closed || d.state == retryDone {
		d.migration.Late(tag, r.Data, r.First, r.Last)
		return
	}
	if tag != tagDirect {
		d.migrationReply(tag, r)
		return
	}
	if r.First && r.Data[0] == '-' {
		if v := c.judge(d.cmd, d.slot, r.Data, r.Conn); v.Kind != dialect.Pass {
			if r.Conn.Replica() && v.Kind != dialect.Moved && v.Kind != dialect.Ask {
				unproven(r.Conn)
				d.state = retryIdle
				c.runRetries()
				return
			}
			asks := runsCode(d.cmd) && redirects(v)
			if asks && d.confirm(r) {
				return
			}
			if !asks {
				if d.obey(v, r) {
					c.runRetries()
				}
				return
			}
		}
		if d.healNoScript(r) {
			return
		}
	}
	if c.doubtful(r) {
		r.Conn.Disown()
		d.masterOnly, d.state = true, retryIdle
		c.runRetries()
		return
	}
	if p, ok := d.sink.(*publication); ok {
		p.node = r.Conn.Node // Whose receivers were counted.
	}
	d.pass(r.Data, r.First, r.Last)
}

// only is the slot that the request has keys of, or anySlot.
func (d *retry) only() router.Slot {
	if d.slots != nil {
		return anySlot
	}
	return d.slot
}

// pass gives a reply, or a part of it, to whoever asked.
func (d *retry) pass(data []byte, first, last bool) {
	c := d.client
	if first && c.resolveOvertaking(d.seq, d.only(), d.cmd, d.raw, last) {
		d.state = retryIdle
		c.retries = slices.DeleteFunc(c.retries, func(o *retry) bool { return o == d })
		c.addRetry(d) // Behind those that it has overtaken.
		return
	}
	if last {
		d.noteSlow()
		d.state = retryDone
	}
	if first && data[0] != '-' && d.cmd != nil && scriptKinds[d.cmd.ID] == scriptBody {
		d.keepScript()
	}
	d.sink.deliver(d.tag, data, first, last)
	if last {
		d.done()
	}
}

// Fail implements backend.Owner.
func (d *retry) Fail(tag uint32, f backend.Failure) {
	c := d.client
	if f.Conn.Kind == backend.Migration {
		c.loop.migrationConnsFreed = true
	}
	next, own := keymove.Action{}, true
	if tag != tagDirect {
		next, own = d.migration.Failed(tag, f.Sent, f.Err)
	}
	if c.closed || d.state == retryDone {
		return
	}
	if !own {
		d.act(next)
		return
	}
	if !f.Sent && d.hold.active && !c.loop.stopping {
		d.retryLater(f)
		return
	}
	if c.maySendAgain(d.sink, d.tag, d.seq, f) {
		d.retryLater(f)
		return
	}
	c.mayHaveOvertaken(d.seq, d.only(), d.cmd, f)
	d.noteSlow()
	d.state = retryDone
	d.sink.deliverFailure(d.tag, f)
	d.done()
}

// noteSlow is called when the request ends.
func (d *retry) noteSlow() {
	c := d.client
	if !c.slow(d.seq) {
		return
	}
	o := outcome{node: d.sentTo, request: d.raw}
	if d.state == retrySent {
		o.backend = c.loop.now - d.sentAt
	}
	if d.hold.active {
		o.held = max(0, c.loop.now-o.backend-d.hold.since)
	}
	o.tx, _ = d.exclusive.(*execution)
	if s, ok := d.sink.(*split); ok {
		s.noteSlow(o)
		return
	}
	c.noteSlow(d.seq, o)
}

var _ backend.Owner = (*retry)(nil)
