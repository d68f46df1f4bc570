package proxy

import (
	"fmt"
	"slices"
	"time"

	"github.com/panjf2000/gnet/v2"

	"sluice/backend"
	"sluice/internal/rawio"
	"sluice/proxy/command"
	"sluice/proxy/hold"
	"sluice/proxy/pubsub"
	"sluice/proxy/resp"
)

// client is one client connection. Owned by the event loop that it was given when it was accepted; no
// locking.
//
// Its bytes are parsed in the read buffer; what can't be dispatched yet is kept in in. Nothing is parsed
// while stall says why not, so bytes wait there in order, and beyond maxIntake in the socket.
//
// What a plain request touches stands together in front: with thousands of connections each line of it is read from
// memory.
type client struct {
	loop     *loop
	pool     *Pool
	conn     gnet.Conn     // nil before it is opened and after it is closed
	served   *served       // what becomes of its requests
	settings *PoolSettings // those that its rights and the rules for its reads are from
	view     *view         // topology under which the requests in flight were routed
	heardAt  int64         // loop clock of the last bytes received
	stall    stall
	marks

	pipe pipeline
	input
	out        []byte             // replies of this turn
	held       int                // bytes of replies that wait for older ones
	retries    []*retry           // oldest first
	half       *halfClosed        // not nil: it has shut down its sending side
	guarantees *sessionGuarantees // nil until the client may read from replicas
	pushes     []byte             // messages that came in the middle of a reply
	hold       heldRequest        // of the next request
	session

	id uint64
	unfinished
	subscriptions pubsub.Subscriptions
	monitor       *monitor // nil unless it monitors
	holding       hold.Use // what the hold of the client and those of its retries take up
	closeBy       int64    // loop clock at which one that closes and does not read, or has gone, is closed all the same

	last     *command.Command // that did not take the short way through dispatch
	lastTail uint32           // pipe.tail behind it
}

// marks say where a client stands, and how far it is.
type marks struct {
	dirty    bool // stands in loop.dirtyClients
	queued   bool // stands in loop.ready
	unread   bool // its bytes are left in its socket, see limitIntake
	alone    bool // the request in flight runs alone, see beginAlone
	delayed  bool // stands in loop.delayed
	wide     bool // stands in loop.wide
	closing  bool // takes no more requests; closed once everything is answered and written
	sending  bool // is being written to
	lost     bool // stands in loop.lost, or was closed: nothing is written to it any more
	closed   bool // has ended: what still comes for it is dropped
	wasKnown bool // it has authenticated, or did not have to, once
}

// input is what a client has sent and nobody has dispatched yet.
type input struct {
	in      []byte // in[:inOff] is done with
	inOff   int
	partial resp.Partial // how much of the request at in[inOff:] was checked
}

// unfinished is what is known of requests in flight, or of what they have begun, beside their places in the pipeline.
type unfinished struct {
	tx          transaction    // while modeQueueing is on
	watch       *watch         // nil while no key is watched
	waiting     *waiting       // a WAIT
	newScripts  []newScript    // EVALs, by seq
	doubts      []doubt        // writes that timed out and may still be run
	retriedKeys map[string]int // how many retries have a key
	splits      []*split
	waits       []wait // how long requests were held before
}

// stall says why a client is not parsed. It is what dispatch and all behind it return, too: why the request at hand has
// to wait, or stallNone when it is sent, answered, or under way.
type stall uint8

const (
	stallNone   stall = iota
	stallDepth        // Limits.MaxPipeline requests are in flight
	stallDrain        // the next request must wait until nothing is in flight
	stallRetry        // requests are being retried
	stallHold         // the next request is held
	stallTurn         // others have their turn first
	stallOutput       // too many bytes wait to be read by the client
	stallPaused       // the clients of its pool are paused
	stallAlone        // a request that runs alone is in flight
)

// lingerTime is how long a client that is to be closed may take to read what it was sent.
const lingerTime = int64(10 * time.Second)

// bigReply is the size from which a reply is written at once instead of being gathered.
const bigReply = 16 << 10

// opened is called when the connection is on the loop.
func (c *client) opened(conn gnet.Conn) {
	c.conn = conn
	c.loop.clients[c.id] = c
	c.served = c.loop.servedOf(c.pool)
	c.loop.stats.ClientsOpened++
	c.heardAt = c.loop.now
	c.settings = c.pool.Settings()
	c.session = newSession(c.pool, c.addr, c.laddr) // A reload since it was accepted did not find it here.
	c.setReads()
	c.observe()
}

// traffic takes what one read brought.
func (c *client) traffic(buf []byte) {
	l := c.loop
	l.stats.ClientBytesIn += uint64(len(buf))
	c.heardAt = l.now
	if c.closing {
		return // What comes after QUIT or a protocol error is not looked at.
	}
	if len(c.in) == 0 && c.stall == stallNone {
		buf = buf[c.process(buf):]
		if len(buf) == 0 || c.closing {
			return
		}
	}
	c.compact()
	c.in = l.pool.Append(c.in, buf)
	if c.stall == stallNone && len(c.in) > len(buf) {
		c.resume()
	}
	c.growHold()
	c.limitIntake()
	if limit := c.inputLimit(); len(c.in)-c.inOff > limit && !c.closing {
		l.stats.Overflows[OverflowUnparsed]++
		c.fatal(fmt.Sprintf("ERR Protocol error: more than %d bytes are waiting to be processed", limit))
	}
}

// compact moves the rest of in to its front once half of it is done with.
func (c *client) compact() {
	if c.inOff == 0 || c.inOff < len(c.in)/2 {
		return
	}
	n := copy(c.in, c.in[c.inOff:])
	c.in, c.inOff = c.in[:n], 0
}

// resume goes on parsing what the client holds.
func (c *client) resume() {
	c.queued = false
	if c.closing {
		return
	}
	c.stall = stallNone
	// After a panic nobody knows which requests have run, so nothing of the client is parsed again.
	if !c.loop.guard("resumed client", func() { c.inOff += c.process(c.in[c.inOff:]) }) {
		c.close()
	}
	if c.inOff == len(c.in) || c.closing {
		c.loop.pool.Put(c.in)
		c.in, c.inOff = nil, 0
	}
	c.growHold()
	c.limitIntake()
	if c.half != nil {
		c.mark() // It may be over.
	}
}

// process dispatches the requests in buf and returns how many bytes they took. It stops at an incomplete
// request, at one that has to wait (then stall is set), when others must have their turn or the client must read
// first (then too), and when the client is to be closed.
func (c *client) process(buf []byte) int {
	if c.settings != c.pool.Settings() {
		c.renew()
	}
	l := c.loop
	v := c.pool.view.Load()
	settings := l.server.settings.Load()
	limits := &settings.Limits
	l.slowFrom = settings.slowFrom()
	l.parser.Limits = resp.Limits{MaxArgs: limits.MaxArgs, MaxBulk: limits.MaxBulk}
	off, turn := 0, turnUse{}
	for off < len(buf) && !c.closing {
		switch {
		case turn.giveWay(c, off):
			return off
		case len(c.retries) > 0:
			c.stall = stallRetry
			return off
		case c.alone:
			c.stall = stallAlone
			return off
		case c.pipe.full(limits.MaxPipeline):
			c.stall = stallDepth
			return off
		}
		n, err := l.parser.Parse(buf[off:], &c.partial, !c.is(modeUnauthenticated))
		if err != nil {
			l.stats.ProtocolErrors++
			c.fatal("ERR " + err.Error())
			return len(buf)
		}
		if n == 0 {
			return off
		}
		if len(l.parser.Args) > 0 {
			if c.stall = c.dispatch(v, l.parser.Args, l.parser.Raw); c.stall != stallNone {
				return off
			}
		}
		if c.hold.active {
			c.noteWait()
			c.endHold(&c.hold, hold.Released)
		}
		off += n
	}
	return off
}

// wake makes a stalled client go on when what it waits for has come.
func (c *client) wake() {
	switch c.stall {
	case stallNone, stallHold, stallTurn, stallOutput, stallPaused: // These end in another way.
		return
	case stallDepth, stallDrain, stallRetry, stallAlone:
	}
	if c.queued {
		return
	}
	if c.stall == stallDepth && !c.pipe.roomy(c.loop.server.limits().MaxPipeline) {
		return
	}
	if (c.stall == stallDrain || c.alone) && !c.pipe.empty() || len(c.retries) > 0 {
		return
	}
	c.queued = true
	c.loop.ready = append(c.loop.ready, c)
}

// mark puts the client into the list of those to write to.
func (c *client) mark() {
	if !c.dirty && !c.closed {
		c.dirty = true
		c.loop.dirtyClients = append(c.loop.dirtyClients, c)
	}
}

// write adds data to what the client will be sent. When that can't be sent the client is closed, but not before the end
// of the turn: whoever writes goes on with it.
func (c *client) write(data []byte) {
	if c.lost {
		return
	}
	if len(data) >= bigReply {
		c.handOut()
		c.send(data)
		c.mark()
		return
	}
	if len(c.out)+len(data) > earlyFlush {
		c.handOut()
	}
	c.out = c.loop.pool.Append(c.out, data)
	c.mark()
}

// handOut hands the gathered replies to gnet.
func (c *client) handOut() {
	if len(c.out) == 0 {
		return
	}
	out := c.out
	c.out = nil
	c.send(out)
	c.loop.pool.Put(out)
}

// send writes to the connection.
func (c *client) send(data []byte) {
	if c.lost {
		return
	}
	c.loop.stats.ClientBytesOut += uint64(len(data))
	c.sending = true
	_, err := rawio.Write(c.conn, data)
	c.sending = false
	if err != nil {
		c.close()
		return
	}
	if waiting := c.conn.OutboundBuffered(); waiting > 0 {
		c.tooSlow(waiting + c.held)
	}
}

// flush writes what was gathered, closes a client that is done and one that does not read.
func (c *client) flush() {
	c.dirty = false
	c.handOut()
	if c.lost {
		return
	}
	if waiting := c.conn.OutboundBuffered() + c.held; waiting > 0 && c.tooSlow(waiting) {
		return
	}
	if c.half != nil {
		c.endHalfClosed()
		return
	}
	done := c.pipe.empty() && c.conn.OutboundBuffered() == 0
	if c.closing && (done || c.loop.now > c.closeBy && c.pipe.empty()) {
		c.close()
	}
}

// tooSlow closes a client for which more bytes wait than it may leave unread.
func (c *client) tooSlow(waiting int) bool {
	limits := c.loop.server.limits()
	limit, overflow := c.outputLimit(), OverflowOutput
	if c.subscriptions.Any() {
		limit, overflow = min(limit, limits.pubSubOutput()), OverflowPubSub
	}
	if waiting <= limit {
		return false
	}
	c.loop.stats.Overflows[overflow]++
	c.loop.server.often.Warn("client does not read its replies, closing it",
		"client", c.id, "addr", c.addr, "subscribed", c.subscriptions.Any(),
		"waiting_bytes", waiting, "limit_bytes", limit)
	c.close()
	return true
}

// fatal answers an error and closes the client behind it.
func (c *client) fatal(text string) {
	c.replyError(text)
	c.finish()
}

// finish closes the client once everything that was asked is answered and written.
func (c *client) finish() {
	c.closing, c.closeBy = true, c.loop.now+lingerTime
	c.leaveTopics()
	c.endHold(&c.hold, hold.ClientGone)
	c.loop.pool.Put(c.in)
	c.in, c.inOff = nil, 0
	c.limitIntake() // The kernel resets a connection that is closed with bytes unread, and its last replies are lost.
	c.loop.closing = append(c.loop.closing, c)
	c.loop.server.raisePace(paceSoon)
	c.mark()
}

// close gives the client up: it is closed at the end of the turn, and nothing is parsed or written for it any more.
// Whoever is at work on it finds all that it has until then.
func (c *client) close() {
	if c.lost || c.conn == nil {
		return
	}
	c.lost, c.closing = true, true
	c.loop.lost = append(c.loop.lost, c)
}

// closeLost closes the clients that were given up.
func (l *loop) closeLost() {
	for len(l.lost) > 0 {
		last := len(l.lost) - 1
		c := l.lost[last]
		l.lost = slices.Delete(l.lost, last, last+1)
		if c.closed {
			continue // Its end was heard of meanwhile.
		}
		if c.half == nil {
			_ = l.el.Close(c.conn) // Calls onClose, unless a write that failed has closed it.
		}
		c.onClose(nil)
	}
}

// onClose is called when the connection is gone: by gnet, also in the middle of a write that fails. Replies that still
// come are dropped by their owner.
func (c *client) onClose(ended error) {
	if c.sending {
		return // send gives the client up.
	}
	if c.closed || c.half == nil && !c.lost && c.outlive(ended) {
		return
	}
	if c.half != nil {
		c.half.close()
	}
	l := c.loop
	c.closed, c.lost, c.closing, c.stall = true, true, true, stallNone
	for seq := c.pipe.head; seq != c.pipe.tail; seq++ {
		c.pipe.at(seq).release(l.pool)
	}
	l.stats.InFlight -= c.pipe.len()
	l.stats.HeldReplies -= c.held
	c.held = 0
	c.leaveTopics()
	c.endHold(&c.hold, hold.ClientGone)
	for _, d := range c.retries {
		c.endHold(&d.hold, hold.ClientGone)
		if d.exclusive != nil {
			d.exclusive.abandon()
		}
	}
	if c.waiting != nil {
		c.waiting.abandon()
	}
	c.endQueueing()
	c.unwatch()
	c.endMonitor()
	l.pool.Put(c.in)
	l.pool.Put(c.out)
	l.pool.Put(c.pushes)
	c.pushes = nil
	c.pipe, c.in, c.out, c.retries, c.retriedKeys, c.splits, c.conn, c.view =
		pipeline{}, nil, nil, nil, nil, nil, nil, nil
	c.doubts, c.newScripts = nil, nil
	delete(l.clients, c.id)
	l.stats.ClientsClosed++
	l.server.clientGone()
}

// reply answers the request at hand, in its turn. data is copied.
func (c *client) reply(data []byte) {
	if into := c.loop.capture; into != nil {
		*into = append(*into, data...)
		return
	}
	if c.is(modeMuted) {
		c.dropReply(data)
		return
	}
	if c.pipe.empty() {
		c.loop.stats.Requests++
		c.served.requests++
		if data[0] == '-' {
			c.loop.stats.Errors++
			c.served.failure(data)
		}
		c.write(data)
		return
	}
	c.deliver(c.push(nil, anySlot), data, true, true)
}

// replyError answers an error; text has no leading '-'.
func (c *client) replyError(text string) {
	l := c.loop
	l.scratch = resp.AppendError(l.scratch[:0], text)
	c.reply(l.scratch)
}

var _ backend.Owner = (*client)(nil)
