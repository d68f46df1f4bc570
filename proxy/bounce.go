package proxy

import (
	"errors"
	"fmt"
	"time"

	"sluice/backend"
	"sluice/backend/dialect"
	"sluice/proxy/command"
	"sluice/proxy/hold"
	"sluice/proxy/redispatch"
	"sluice/proxy/resp"
	"sluice/router"
)

// What is made of a request that came back without having been run, or was lost: a retry, or an error.

// retryRejected looks at an error reply. If that proves that the request was not run, and tells what to do
// instead, it returns true and the client never sees it.
func (c *client) retryRejected(to sink, tag, seq uint32, slot router.Slot, r backend.Reply) bool {
	cmd := c.pipe.at(seq).cmd
	verdict := c.judge(cmd, slot, r.Data, r.Conn)
	if verdict.Kind == dialect.Pass {
		return c.healNoScript(to, tag, seq, slot, r)
	}
	if r.Conn.Replica() && verdict.Kind != dialect.Moved && verdict.Kind != dialect.Ask {
		unproven(r.Conn)
		c.loop.number++ // What was found about it in this turn is void.
		c.askMaster(to, tag, seq, slot, r.Request)
		return true
	}
	if r.Conn.Replica() {
		c.strayed(seq) // Whoever answers in its place may see more.
	}
	d := c.newRetry(to, tag, seq, slot, r.Request)
	if runsCode(cmd) && redirects(verdict) {
		if !d.confirm(r) {
			d.drop()
			return false
		}
		c.addRetry(d)
		return true
	}
	if !d.obey(verdict, r) {
		return true
	}
	c.addRetry(d)
	return true
}

// askMaster sends a read again that a replica could not serve: to the master, or wherever its slot is by now.
func (c *client) askMaster(to sink, tag, seq uint32, slot router.Slot, raw []byte) {
	c.loop.stats.ReadsAgain++
	c.strayed(seq)
	c.addRetry(c.newRetry(to, tag, seq, slot, raw))
}

// strayed notes that a read is not answered by the replica that it was sent to.
func (c *client) strayed(seq uint32) {
	if p := c.pipe.at(seq); c.guarantees != nil && p.slot != anySlot {
		c.guarantees.strayed(bucketOf(p.slot))
	} else if c.guarantees != nil {
		c.guarantees.strayed(allBuckets)
	}
}

// judge reads an error reply to a request on slot. What can't be acted on is Pass: a redirect of another slot, or
// in a pool whose slots are not those of a cluster, and what would have to wait where nothing may be held.
func (c *client) judge(cmd *command.Command, slot router.Slot, reply []byte, b *backend.Conn) dialect.Verdict {
	v := c.pool.Family.Judge(reply, b.Host())
	switch v.Kind {
	case dialect.Moved, dialect.Ask:
		if !c.pool.Model.Cluster() || v.Slot != slot {
			return dialect.Verdict{}
		}
	case dialect.Migrating, dialect.NoMaster:
		if c.pool.Settings().Hold.MaxWait == 0 && !b.Replica() || runsCode(cmd) && !dialect.Exact(reply) {
			return dialect.Verdict{}
		}
	case dialect.Pass, dialect.Denied:
	}
	return v
}

// retryLost looks at a failed request that was sent because of slot. If it may safely run again it is queued and
// retryLost returns true.
func (c *client) retryLost(to sink, tag, seq uint32, slot router.Slot, f backend.Failure) bool {
	if !c.maySendAgain(to, tag, seq, f) {
		return false
	}
	if keys := requestKeys(c.pipe.at(seq).cmd, f.Request); len(keys) > 0 {
		slot = c.pool.Model.Slot(keys[0])
	}
	c.loop.stats.Retries++
	c.strayed(seq)
	d := c.newRetry(to, tag, seq, slot, f.Request)
	if errors.Is(f.Err, backend.ErrTimeout) && f.Sent {
		d.silent.node, d.silent.at = f.Conn.Node, c.loop.now
	}
	c.addRetry(d)
	return true
}

// loss is what is known of a request that was lost.
func (c *client) loss(seq uint32, f backend.Failure) redispatch.Loss {
	p := c.pipe.at(seq)
	return redispatch.Loss{
		Sent: f.Sent, TimedOut: errors.Is(f.Err, backend.ErrTimeout), Kept: f.Request != nil,
		// Behind a read at a replica there is no write of its keys, see sessionGuarantees.
		Reads:     p.cmd != nil && p.cmd.Is(command.ReadOnly) && (f.Conn.Replica() || !c.pipe.writesAfter(seq, p.slot)),
		Paused:    f.Conn.Node.Paused(),
		Elsewhere: func() bool { return c.knowsBetter(f.Conn, p.slot) },
		Waited:    time.Duration(c.loop.now - p.start),
		Timeout:   f.Conn.Node.Options().RequestTimeout,
		MaxWait:   c.pool.Settings().Hold.MaxWait,
	}
}

// maySendAgain reports whether a lost request is sent once more, to the sink that takes its reply by tag.
func (c *client) maySendAgain(to sink, tag, seq uint32, f backend.Failure) bool {
	if c.loop.stopping {
		return false
	}
	l := c.loss(seq, f)
	return l.MayGoAgain() && (!l.Once() || to.beginAgain(tag))
}

// knowsBetter reports whether a read that a node has not answered in time had better be asked elsewhere, or later: the
// node is more than slow, or another one may serve it.
func (c *client) knowsBetter(b *backend.Conn, slot router.Slot) bool {
	v := c.pool.view.Load()
	switch {
	case b.Replica() || !b.Node.Available() || b.Node.Status().Err != "":
		return true
	case v == nil || slot == anySlot:
		return false
	case v.master(slot) != b.Node:
		return true
	}
	g := v.readableGroup(slot)
	return c.reads != nil && g != nil && c.chooseReader(v, g, need{bucketOf(slot), v.settledAt(slot)}) != nil
}

// requestKeys finds the keys in the bytes of a request; they are views into raw.
func requestKeys(cmd *command.Command, raw []byte) [][]byte {
	args := splitRequest(raw)
	if cmd == nil || len(args) == 0 {
		return nil
	}
	return argKeys(cmd, args)
}

// lookGap is the least time between two looks at a name whose server refuses what is asked of it.
const lookGap = int64(250 * time.Millisecond)

// obey does what a verdict about the request says. It returns false when that was to answer the client.
func (d *retry) obey(v dialect.Verdict, r backend.Reply) bool {
	c := d.client
	d.state = retryIdle
	switch v.Kind {
	case dialect.Moved, dialect.Ask:
		return d.follow(v, r)
	case dialect.Migrating, dialect.NoMaster:
		cause := hold.Moving
		if v.Kind == dialect.NoMaster {
			cause = hold.NoMaster
			c.pool.trouble(r.Conn.Node.Addr)
			r.Conn.Node.LookAgain(lookGap)
		}
		d.next.ToOwner()
		return d.wait(cause, answeredWith(r), false)
	case dialect.Denied:
		d.give(denied(r))
		return false
	case dialect.Pass:
	}
	panic("BUG: nothing to obey")
}

// follow does what a redirect says. It returns false when the client was answered instead.
func (d *retry) follow(v dialect.Verdict, r backend.Reply) bool {
	c, from := d.client, r.Conn.Node.Addr
	redirect := redispatch.Redirect{
		Ask: v.Kind == dialect.Ask, From: from, To: v.Addr, Named: c.pool.view.Load().names(v.Addr),
		Words: answeredWith(r),
	}
	step := d.next.Redirected(redirect, c.pool.Settings().Hold.MaxWait > 0)
	switch {
	case redirect.Ask:
		c.loop.stats.Redirects[RedirectAsk]++
	case v.Addr != from:
		c.loop.stats.Redirects[RedirectMoved]++
		c.pool.moved(v.Slot, v.Addr)
	}
	if step.Doubt {
		c.pool.trouble(from)
	}
	switch step.Do {
	case redispatch.GiveUp:
		d.give(tooManyRedirects(v.Slot, d.next.Hops-1, v.Addr))
		return false
	case redispatch.Hold:
		return d.wait(hold.Moving, step.Why, step.Free)
	case redispatch.Send:
	}
	return true
}

// answeredWith describes an error reply, behind "slot 886".
func answeredWith(r backend.Reply) string {
	return fmt.Sprintf("is not served: backend %s answered %.120q", r.Conn.Node.Addr, resp.TrimLine(r.Data[1:]))
}
