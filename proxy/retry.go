package proxy

import (
	"slices"
	"time"

	"sluice/backend"
	"sluice/backend/dialect"
	"sluice/proxy/command"
	"sluice/router"
)

// retry is a request on its second way: it was redirected (MOVED, ASK), or its connection was lost and it
// is known not to have run, or it only reads. It holds the one copy of the request's bytes that is made
// apart from the send log.
//
// While a client has retries it is not parsed (stallRetry), and its retries run one at a time in the order
// of their requests, so a later command of the client can't overtake a bounced one.
type retry struct {
	client *client
	sink   sink
	tag    uint32 // for sink
	seq    uint32 // of the client's request
	cmd    *command.Command
	raw    []byte // from the loop's pool
	start  int64  // loop clock when the client's request was dispatched

	slot  router.Slot
	addr  string // where to go; "" is the owner of slot
	ask   bool   // send ASKING first
	hops  int
	after int64 // loop clock before which it is not sent
}

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
	// maxHops bounds how often one request is redirected. Redis' own cluster clients give up after 5 to 16.
	maxHops = 16
	// quickHops is how many redirects are followed at once; after that the nodes disagree and get a moment.
	quickHops = 3
	hopDelay  = int64(20 * time.Millisecond)
)

// bounced looks at an error reply. If it is a redirect the request is queued to follow it and bounced
// returns true; the client never sees it.
func (c *client) bounced(to sink, tag, seq uint32, r backend.Reply) bool {
	verdict := dialect.Redis(r.Data, r.Conn.Host())
	if verdict.Kind == dialect.Pass || !c.pool.Model.Cluster() {
		return false
	}
	p := c.pipe.at(seq)
	again := &retry{client: c, sink: to, tag: tag, seq: seq, cmd: p.cmd, start: p.start}
	again.follow(verdict)
	again.raw = c.loop.pool.Append(nil, r.Request)
	c.addRetry(again)
	return true
}

// lost looks at a failed request. If it may safely run again, once, it is queued and lost returns true.
func (c *client) lost(to sink, tag, seq uint32, f backend.Failure) bool {
	p := c.pipe.at(seq)
	if c.loop.stopping || !c.maySendAgain(seq, f) || !to.again(tag) {
		return false
	}
	slot, ok := c.oneOwner(p.cmd, f.Request)
	if !ok {
		return false
	}
	c.loop.stats.Retries++
	again := &retry{client: c, sink: to, tag: tag, seq: seq, cmd: p.cmd, start: p.start, slot: slot}
	again.raw = c.loop.pool.Append(nil, f.Request)
	c.addRetry(again)
	return true
}

// maySendAgain reports whether a lost request may run once more: its time is not over, and no byte of it has
// left, or it only reads and the client has asked for no write behind it, which it would see.
func (c *client) maySendAgain(seq uint32, f backend.Failure) bool {
	p := c.pipe.at(seq)
	if f.Request == nil || c.loop.now-p.start >= int64(f.Conn.Node.Options().RequestTimeout) {
		return false
	}
	reads := p.cmd != nil && p.cmd.Is(command.ReadOnly) && !c.pipe.writesAfter(seq, p.slot)
	return !f.Sent || reads
}

// oneOwner finds a slot to route a request by from its bytes. It reports false when the keys belong to several
// owners by now: parts of a split command have keys of several slots.
func (c *client) oneOwner(cmd *command.Command, raw []byte) (router.Slot, bool) {
	v := c.pool.view.Load()
	args := splitRequest(raw)
	if v == nil || cmd == nil || len(args) == 0 {
		return 0, false
	}
	keys, err := cmd.AppendKeys(nil, args)
	if err != nil || len(keys) == 0 {
		return 0, false
	}
	first := c.pool.Model.Slot(args[keys[0]])
	for _, k := range keys[1:] {
		if v.master(c.pool.Model.Slot(args[k])) != v.master(first) {
			return 0, false
		}
	}
	return first, true
}

// addRetry queues a retry in the order of the client's requests and starts it if it is the only one.
func (c *client) addRetry(r *retry) {
	if len(c.retries) > 0 && c.retries[0] == r {
		panic("BUG: a retry was queued twice")
	}
	at := len(c.retries)
	for at > 1 && int32(c.retries[at-1].seq-r.seq) > 0 { // The first one may be on its way.
		at--
	}
	c.retries = slices.Insert(c.retries, at, r)
	if len(c.retries) == 1 {
		c.runRetries()
	}
}

// runRetries sends the oldest retry if its time has come.
func (c *client) runRetries() {
	if c.closed || len(c.retries) == 0 {
		return
	}
	r := c.retries[0]
	if r.after > c.loop.now {
		c.loop.delayed = append(c.loop.delayed, c)
		c.loop.server.rouse(paceSoon)
		return
	}
	if c.loop.now-r.start >= int64(c.pool.Settings().Backend.RequestTimeout) {
		r.give(errRetryLate)
		return
	}
	r.send()
}

// done ends the oldest retry and goes on with the next.
func (r *retry) done() {
	c := r.client
	c.loop.pool.Put(r.raw)
	r.raw = nil
	if c.closed || len(c.retries) == 0 {
		return
	}
	c.retries = slices.Delete(c.retries, 0, 1)
	if len(c.retries) > 0 {
		c.runRetries()
		return
	}
	c.wake()
}

func (r *retry) send() {
	c := r.client
	l := c.loop
	node, refusal := r.target()
	if node == nil {
		r.give(refusal)
		return
	}
	b := l.link(node, c.proto, c.db)
	send := b.Send
	if r.ask {
		send = b.SendAsking
	}
	if err := send(r.raw, r, 0, r.start); err != nil {
		r.give(sendError(node, err))
		return
	}
	l.markBackend(b) // No early flush: this may run inside a callback of b.
}

// target is the node to send to, or the error to answer.
func (r *retry) target() (*backend.Node, string) {
	c := r.client
	if r.addr == "" {
		return c.nodeFor(c.pool.view.Load(), r.slot)
	}
	node := c.pool.node(r.addr)
	if !node.Available() {
		return nil, unavailable(node)
	}
	return node, ""
}

// give ends the retry with an error of our own.
func (r *retry) give(text string) {
	l := r.client.loop
	l.scratch = appendErrorLine(l.scratch[:0], text)
	r.sink.deliver(r.tag, l.scratch, true, true)
	r.done()
}

// Reply implements backend.Owner.
func (r *retry) Reply(_ uint32, reply backend.Reply) {
	c := r.client
	if c.closed {
		return
	}
	if reply.First && reply.Data[0] == '-' && r.redirected(reply) {
		return
	}
	r.sink.deliver(r.tag, reply.Data, reply.First, reply.Last)
	if reply.Last {
		r.done()
	}
}

// redirected follows one more redirect with the same request.
func (r *retry) redirected(reply backend.Reply) bool {
	c := r.client
	verdict := dialect.Redis(reply.Data, reply.Conn.Host())
	if verdict.Kind == dialect.Pass || !c.pool.Model.Cluster() {
		return false
	}
	timeout := int64(reply.Conn.Node.Options().RequestTimeout)
	if r.hops >= maxHops || c.loop.now-r.start >= timeout {
		r.give(tooManyRedirects(verdict.Slot, r.hops, verdict.Addr))
		return true
	}
	r.follow(verdict)
	c.runRetries()
	return true
}

// follow sets where the request goes next.
func (r *retry) follow(v dialect.Verdict) {
	c := r.client
	r.hops++
	r.slot, r.addr, r.ask = v.Slot, v.Addr, v.Kind == dialect.Ask
	if r.ask {
		c.loop.stats.Redirects[RedirectAsk]++
	} else {
		c.loop.stats.Redirects[RedirectMoved]++
		c.pool.moved(v.Slot, v.Addr)
	}
	if r.hops > quickHops {
		r.after = c.loop.now + hopDelay
	}
}

// Fail implements backend.Owner.
func (r *retry) Fail(_ uint32, f backend.Failure) {
	c := r.client
	if c.closed {
		return
	}
	if c.maySendAgain(r.seq, f) && r.sink.again(r.tag) {
		c.loop.stats.Retries++
		c.runRetries()
		return
	}
	r.sink.deliverFailure(r.tag, f)
	r.done()
}

var _ backend.Owner = (*retry)(nil)
