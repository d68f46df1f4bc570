package check

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

// client is one connection with its own keys. Owned by its goroutine until that
// has ended, then by Stop; no locking.
type client struct {
	id   int
	cfg  *Config
	run  *Run
	line *timeline
	rng  *rand.Rand
	wire wire

	groups   [][]*register
	groupOf  map[*register]int
	values   []*register
	counters []*counter
	hashes   []*hash
	lists    []*list
	texts    []*list
	putAway  []*list // lists and texts no longer used

	own, others readMeter
	staleOwn    uint64
	floors      []floor       // of reads of observed keys
	session     int           // counts connections
	repliedAt   time.Duration // of the reply under judgement
	mixes       [2]Mix        // the reads and the writes of the mix

	sharedVersion int
	requests      uint64
	meter         meter
	batch         []*request
}

func newClient(id int, r *Run) *client {
	return &client{
		id: id, cfg: &r.cfg, run: r, rng: rand.New(rand.NewPCG(r.cfg.Seed, uint64(id)+1)), wire: wire{addr: r.cfg.Addr},
		mixes: [2]Mix{r.cfg.Mix.only(false), r.cfg.Mix.only(true)},
	}
}

// begin is called when the keys are there and the clock runs.
func (c *client) begin(line *timeline) {
	c.line, c.meter.line = line, line
	c.groupOf = make(map[*register]int, len(c.values))
	for i, group := range c.groups {
		for _, r := range group {
			c.groupOf[r] = i
		}
	}
}

// load sends batches until ctx ends or all requests are sent.
func (c *client) load(ctx context.Context) {
	// The replies under way when the load ends have EndLimit to come.
	unhook := context.AfterFunc(ctx, func() { c.wire.deadline(time.Now().Add(c.cfg.EndLimit)) })
	defer unhook()
	pace := newPace(c.cfg, c.id)
	defer pace.stop()
	defer func() { c.meter.stalled(c.line.now(), int(c.line.phase.Load())) }() // A loss may be the last it saw.
	for sent := 0; c.cfg.Requests == 0 || sent < c.cfg.Requests; {
		if !pace.wait(ctx) || !c.connect(ctx) {
			return
		}
		n := c.cfg.Pipeline
		if c.cfg.Requests > 0 {
			n = min(n, c.cfg.Requests-sent)
		}
		c.round(ctx, n)
		sent += n
	}
}

// draw makes the next request.
func (c *client) draw() *request {
	var o op
	if c.cfg.WriteShare < 0 {
		o = c.cfg.Mix.draw(c.rng)
	} else {
		writes := 0
		if c.rng.Float64() < c.cfg.WriteShare {
			writes = 1
		}
		o = c.mixes[writes].draw(c.rng)
	}
	if c.cfg.ObservedPercent > 0 && c.rng.IntN(100) < c.cfg.ObservedPercent {
		if q := c.observedRequest(o); q != nil {
			return q
		}
	}
	shared := o.sharable() && c.rng.IntN(100) < c.cfg.SharedPercent
	return c.request(o, shared)
}

// round sends n requests and takes their replies.
func (c *client) round(ctx context.Context, n int) {
	c.batch = c.batch[:0]
	for range n {
		c.batch = append(c.batch, c.draw())
	}
	c.wire.deadline(time.Now().Add(c.cfg.ReplyTimeout))
	if ctx.Err() != nil { // The hook of load may have run before.
		c.wire.deadline(time.Now().Add(c.cfg.EndLimit))
	}
	phase := int(c.line.phase.Load())
	now := c.line.now()
	for _, q := range c.batch {
		q.call = now
		c.wire.add(q.args...)
	}
	c.meter.sent(now)
	c.requests += uint64(n)
	if err := c.wire.flush(); err != nil {
		c.lost(c.batch, err)
		return
	}
	for i, q := range c.batch {
		n, r, err := c.wire.read()
		if err != nil {
			c.lost(c.batch[i:], err)
			return
		}
		c.repliedAt = c.meter.replied(now, phase, q.watched)
		c.settle(q, r)
		c.wire.consume(n)
	}
	c.meter.idle()
}

// lost gives the connection up; the requests without a reply may have run.
func (c *client) lost(open []*request, err error) {
	c.wire.hangUp()
	c.meter.stalled(c.line.now(), int(c.line.phase.Load()))
	text := fmt.Sprintf("connection lost: %v", err)
	if isTimeout(err) {
		text = fmt.Sprintf("no reply within %s", c.cfg.ReplyTimeout)
	}
	c.fail(text, open[0].key)
	for _, q := range open {
		c.run.journal.outcomeUnknown()
		c.maybe(q)
	}
}

// connect dials when there is no connection, for at most ReplyTimeout.
func (c *client) connect(ctx context.Context) bool {
	if c.wire.connected() {
		return ctx.Err() == nil
	}
	until := time.Now().Add(c.cfg.ReplyTimeout)
	for {
		err := c.wire.dial(ctx)
		if err == nil {
			c.session++
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		if time.Now().After(until) {
			c.fail(fmt.Sprintf("connect: %v", err), "")
			return false
		}
		rest(ctx, redialEvery)
	}
}

// redialEvery is the pace of dialling an address that refuses: a peer that is
// back is found soon, one that is away costs little.
const redialEvery = 20 * time.Millisecond

func (c *client) fail(text, key string) {
	at, phase := c.run.moment()
	c.run.journal.fail(text, at, phase, key)
}

func (c *client) find(v verdict, key string) {
	if v.text == "" {
		return
	}
	at, phase := c.run.moment()
	c.run.journal.find(v, at, phase, key)
}
