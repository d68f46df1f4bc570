package proxy

import (
	"errors"
	"fmt"

	"sluice/backend"
	"sluice/proxy/command"
	"sluice/proxy/keymove"
	"sluice/router"
)

// push adds a request to the pipeline and pop takes the oldest away; keep adds to the bytes of replies that wait in
// it. The sums over all clients of the loop are kept as well: nobody has time to look at each.
func (c *client) push(cmd *command.Command, slot router.Slot) uint32 {
	c.loop.stats.InFlight++
	seq := c.pipe.push(cmd, slot, c.loop.now)
	if len(c.pipe.ring) > idleRing && !c.wide {
		c.wide = true
		c.loop.wide = append(c.loop.wide, c)
	}
	return seq
}

func (c *client) pop() {
	c.loop.stats.InFlight--
	c.pipe.head++
}

func (c *client) keep(n int) {
	if !c.closed { // Then all that it had is counted off.
		c.loop.stats.HeldReplies += n
		c.held += n
	}
}

// begin gives a request its place in the pipeline.
func (c *client) begin(cmd *command.Command, slot router.Slot) uint32 {
	seq := c.push(cmd, slot)
	if c.is(modeMuted) {
		c.pipe.at(seq).flags |= muted
	}
	if c.guarantees != nil && slot != anySlot && !cmd.Is(command.ReadOnly) {
		c.pipe.at(seq).flags |= countedWrite | observers[cmd.ID]
		c.guarantees.writes[slot%buckets]++
	}
	return seq
}

// beginAlone is begin for a request that nothing of its client may overtake, or be overtaken by: it begins when nothing
// else is in flight, and what is behind it is not looked at before it is answered. It returns false when the
// request has to wait.
func (c *client) beginAlone(cmd *command.Command, slot router.Slot) (seq uint32, ok bool) {
	if !c.pipe.empty() {
		return 0, false
	}
	c.alone = true
	return c.begin(cmd, slot), true
}

// takeView makes v the topology that the client is routed by, if nothing that was routed by another one is in flight.
// It reports whether a command on slot may be routed by v now: while requests are in flight that were routed by an
// older topology, one on a slot that has changed hands since has to wait for them: they may be about to bounce to the
// new owner, and would be overtaken.
func (c *client) takeView(v *view, slot router.Slot) bool {
	if c.view == nil || c.view == v || c.pipe.empty() {
		c.view = v
		return true
	}
	return v == nil || c.view.table.SameOwner(v.table, slot)
}

// forward sends a request as it is to a node that has slot. many says that it may have several keys. It returns
// false when the request has to wait.
func (c *client) forward(v *view, cmd *command.Command, slot router.Slot, raw []byte, many bool) stall {
	if !c.takeView(v, slot) {
		return stallDrain
	}
	if c.reads != nil && v != nil {
		return c.forwardByPolicy(v, cmd, slot, raw, many)
	}
	return c.forwardToMaster(v, cmd, slot, raw)
}

// forwardToMaster sends a request as it is to the master of slot.
func (c *client) forwardToMaster(v *view, cmd *command.Command, slot router.Slot, raw []byte) stall {
	node := v.servingMaster(slot)
	if node == nil {
		return c.forwardUnsettled(v, cmd, slot, raw)
	}
	c.sendTo(node, cmd, slot, raw)
	return stallNone
}

// sendTo sends a request as it is to a node.
func (c *client) sendTo(node *backend.Node, cmd *command.Command, slot router.Slot, raw []byte) {
	if c.pool.Family.LosesAtomics && mayWriteByScript(cmd) {
		c.sendLossChecked(node, cmd, slot, raw)
		return
	}
	l := c.loop
	b := l.conns.Shared(node, c.proto, c.db)
	seq := c.begin(cmd, slot)
	if err := b.Send(raw, c, seq, l.now); err != nil {
		c.deliverError(seq, sendError(node, err))
		return
	}
	l.sent(b)
}

// forwardUnsettled takes a request on a slot that is not simply served by its master.
func (c *client) forwardUnsettled(v *view, cmd *command.Command, slot router.Slot, raw []byte) stall {
	if o, blocked := c.pool.blockReason(v, slot); blocked {
		return c.holdBack(v, o, len(raw))
	}
	m := v.table.Move(slot)
	if m != nil && usesOtherDB(request{cmd: cmd, args: splitRequest(raw)}) {
		return c.holdBack(v, inOtherDBs(m), len(raw))
	}
	if m == nil || len(c.loop.arrivedKeys.Missing(nil, keymove.In{Move: m, DB: c.db}, requestKeys(cmd, raw))) == 0 {
		c.sendTo(v.master(slot), cmd, slot, raw)
		return stallNone
	}
	seq := c.begin(cmd, slot)
	c.addRetry(c.newRetry(c, seq, seq, slot, raw))
	return stallNone
}

// sent notes that b has something to flush, and flushes it at once when that is much.
func (l *loop) sent(b *backend.Conn) {
	l.markBackend(b)
	if b.Up() && b.Unsent() >= earlyFlush {
		b.Flush()
	}
}

// Reply implements backend.Owner for requests that were forwarded as they are.
func (c *client) Reply(seq uint32, r backend.Reply) {
	if c.closed {
		return
	}
	if r.First && r.Data[0] == '-' && c.retryRejected(c, seq, seq, c.pipe.at(seq).slot, r) {
		return
	}
	if c.doubtful(r) {
		r.Conn.Disown()
		c.askMaster(c, seq, seq, c.pipe.at(seq).slot, r.Request)
		return
	}
	if r.First && len(c.newScripts) > 0 {
		c.noteAccepted(seq, r)
	}
	if r.First && len(c.retries) > 0 {
		if p := c.pipe.at(seq); c.resolveOvertaking(seq, p.slot, p.cmd, r.Request, r.Last) {
			c.addRetry(c.newRetry(c, seq, seq, p.slot, r.Request))
			return
		}
	}
	if r.Last && c.slow(seq) {
		c.noteSlow(seq, c.answeredBy(seq, r.Conn, r.Request))
	}
	c.deliver(seq, r.Data, r.First, r.Last)
	if r.Last && len(c.retries) > 0 {
		c.runRetries() // One may have waited for this answer.
	}
}

// Fail implements backend.Owner.
func (c *client) Fail(seq uint32, f backend.Failure) {
	if c.closed {
		return
	}
	if c.retryLost(c, seq, seq, c.pipe.at(seq).slot, f) {
		return
	}
	if p := c.pipe.at(seq); len(c.retries) > 0 {
		c.mayHaveOvertaken(seq, p.slot, p.cmd, f)
	}
	if c.slow(seq) {
		c.noteSlow(seq, c.answeredBy(seq, f.Conn, f.Request))
	}
	c.deliverFailure(seq, f)
	c.runRetries()
}

// again implements sink.
func (c *client) beginAgain(seq uint32) bool {
	p := c.pipe.at(seq)
	if p.flags&(passedPart|sentTwice) != 0 {
		return false
	}
	p.flags |= sentTwice
	c.keep(-p.release(c.loop.pool))
	return true
}

// deliverFailure answers the request that will get no reply from the backend.
func (c *client) deliverFailure(seq uint32, f backend.Failure) {
	p := c.pipe.at(seq)
	if p.flags&passedPart != 0 {
		// A part of the reply is with the client already. Only the end of the connection can tell it that
		// the rest won't come.
		c.loop.server.often.Warn("closing a client in the middle of a reply", "client", c.id, "addr", c.addr,
			"err", f.Err)
		c.close()
		return
	}
	c.noteDoubt(p.cmd, f)
	c.keep(-p.release(c.loop.pool))
	c.deliverError(seq, failureText(p.cmd, f))
}

// deliver takes the reply of request seq, or the next part of it.
func (c *client) deliver(seq uint32, data []byte, first, last bool) {
	p := c.pipe.at(seq)
	if first && data[0] == '-' {
		p.flags |= failed
		c.served.failure(data)
	}
	if last {
		p.flags |= answered
		if p.flags&(atReplica|countedWrite|countedRead|blocks) != 0 {
			c.noteAnswered(seq, p)
			if p.flags&atReplica != 0 && c.reads != nil && c.reads.Hedge {
				c.loop.hedging.observe(c.loop.now - p.start)
			}
		}
	}
	if p.flags&muted != 0 {
		if last && seq == c.pipe.head {
			c.advance(p)
		}
		return
	}
	if seq != c.pipe.head || !last && p.flags&passedPart == 0 && len(p.stored())+len(data) < streamFrom {
		c.keep(p.store(data, c.loop.pool))
		if c.held > c.loop.server.limits().ClientOutput {
			c.mark() // flush closes it.
		}
		return
	}
	c.pass(p)
	c.write(data)
	if !last {
		p.flags |= passedPart
		return
	}
	c.advance(p)
}

// noteAnswered notes the end of a request that is counted in client.guarantees, or that has waited at a master for
// data.
func (c *client) noteAnswered(seq uint32, p *pending) {
	if c.guarantees == nil {
		return
	}
	if p.flags&blocks != 0 {
		c.guarantees.tookOver()
	}
	switch {
	case p.flags&(atReplica|countedWrite|countedRead) == 0:
	case p.flags&multiSlot != 0:
		c.guarantees.answeredMulti(seq, p.flags)
	default:
		c.guarantees.answeredOne(p.slot%buckets, p.flags)
	}
}

// streamFrom is the size from which a reply is passed on before its end has come. A smaller one is kept
// until it is whole, so that a connection lost in its middle costs at most an error or a retry, and not the
// client's connection.
const streamFrom = 64 << 10

// pass writes what is stored of the oldest request's reply.
func (c *client) pass(p *pending) {
	data := p.stored()
	if len(data) == 0 {
		return
	}
	c.write(data)
	p.flags |= passedPart
	c.keep(-p.release(c.loop.pool))
}

// deliverError answers request seq with an error; text has no leading '-'.
func (c *client) deliverError(seq uint32, text string) {
	l := c.loop
	l.scratch = appendErrorLine(l.scratch[:0], text)
	c.deliver(seq, l.scratch, true, true)
}

// advance counts the oldest request, p, as done and writes the replies that waited for it.
func (c *client) advance(p *pending) {
	l := c.loop
	l.stats.record(p, l.now)
	c.served.requests++
	if c.pushes != nil {
		c.flushPushes()
	}
	for c.pop(); !c.pipe.empty(); c.pop() {
		p = c.pipe.at(c.pipe.head)
		whole := p.flags&answered != 0
		if whole || len(p.stored()) >= streamFrom {
			c.pass(p)
		}
		if !whole {
			c.wake()
			return
		}
		l.stats.record(p, l.now)
		c.served.requests++
	}
	c.alone = false
	c.view = nil // An idle client must not keep an old topology.
	c.wake()
}

// failureText is the error for a request that gets no reply.
func failureText(cmd *command.Command, f backend.Failure) string {
	node := f.Conn.Node
	switch {
	case !f.Sent:
		return unavailableBecause(node, f.Err)
	case cmd != nil && cmd.Is(command.ReadOnly) && errors.Is(f.Err, backend.ErrTimeout):
		return fmt.Sprintf("ERR timeout: backend %s did not answer within %s", node.Addr, node.Options().RequestTimeout)
	case cmd != nil && cmd.Is(command.ReadOnly):
		return fmt.Sprintf("ERR connection to backend %s was lost: %v", node.Addr, f.Err)
	case errors.Is(f.Err, backend.ErrTimeout):
		return fmt.Sprintf("ERR outcome unknown: backend %s did not answer within %s, the command may have run",
			node.Addr, node.Options().RequestTimeout)
	}
	return fmt.Sprintf("ERR outcome unknown: connection to backend %s was lost, the command may have run: %v", node.Addr, f.Err)
}
