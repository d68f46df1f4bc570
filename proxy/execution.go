package proxy

import (
	"fmt"
	"slices"

	"sluice/backend"
	"sluice/backend/dialect"
	"sluice/proxy/hold"
	"sluice/proxy/resp"
	"sluice/router"
)

// execution is the exclusive request of EXEC: it sends the transaction as one batch and makes one answer of the
// replies.
//
// Without WATCH the batch goes over the shared connection: nothing gets between its commands there, and it ends with
// EXEC whatever happens. With WATCH it goes over the connection that watches. If that is lost, or is one to a node that
// the slot does not belong to any more, the keys may have changed unseen, and EXEC is answered as if they had.
//
// A server that did not know MULTI, or does not allow it, would run the commands one by one. So the first
// transaction on a connection begins with MULTI and DISCARD alone. ASKING goes in front of MULTI: the mark that it
// leaves holds up to EXEC (redis 7.0, src/networking.c resetClient).
type execution struct {
	d             *retry
	watch         *watch   // nil without WATCH
	sizes         []int    // of the requests in d.raw
	shas          [][]byte // of the scripts that it calls
	bringsScripts bool     // it has EVALs
	writes        bool     // some command of it may write to a key
	apart         *apart   // what the server does not run as it is
	attempt       uint32   // answers to older attempts mean nothing
	refused       []byte   // the first error at queueing, or at the question for MULTI
	loose         bool     // a command was run outside of the transaction
}

// Tags are the attempt and the number of the request in the batch, or one of these.
const (
	execTagBits = 20 // more commands than fit into max_unparsed
	execTagMask = 1<<execTagBits - 1

	tagTryMulti   = execTagMask - 1
	tagTryDiscard = execTagMask

	attemptMask = 1<<(32-execTagBits) - 1
)

var discardRequest = []byte("*1\r\n$7\r\nDISCARD\r\n")

func (x *execution) send(node *backend.Node, ask bool) (refusal string) {
	c := x.d.client
	x.nextAttempt()
	x.refused = nil
	x.apart.release(c)
	if refusal = x.apart.refusal(c.pool.view.Load()); refusal != "" {
		return refusal
	}
	b := c.loop.conns.Shared(node, c.proto, c.db)
	if x.watch != nil {
		if b = x.watch.holds(node); b == nil {
			x.lostWatch()
			return ""
		}
	}
	if !b.Transacts {
		return x.try(b)
	}
	return x.sendBatch(b, ask)
}

// sendBatch sends the transaction. In front of it go the scripts that it calls by their SHA-1, as far as they are
// known: when the server says that it lacks one it is too late to load it.
func (x *execution) sendBatch(b *backend.Conn, ask bool) (refusal string) {
	c := x.d.client
	first := c.loadRequests(x.shas)
	if ask {
		first = append(first, backend.AskingRequest)
	}
	tag := x.attempt << execTagBits
	if c.pool.Family.LosesAtomics && len(x.d.keys) > 0 {
		w := &lossCheck{client: c, node: b.Node, slot: x.d.slot, next: x, tag: tag, reads: !x.writes}
		return x.queued(b, w.send(b, first, x.d.raw, x.sizes, x.d.keys[0]))
	}
	return x.queued(b, b.SendAll(first, x.d.raw, x.sizes, x, tag, c.loop.now))
}

// waitsFor is what a transaction waits for beside its keys, if there is anything.
func (x *execution) waitsFor(v *view) (o blockReason, blocked bool) {
	return x.apart.waitsFor(v, append(slices.Clone(x.d.slots), x.d.slot))
}

// nextAttempt makes answers to the last one mean nothing.
func (x *execution) nextAttempt() { x.attempt = (x.attempt + 1) & attemptMask }

// try asks whether the server knows MULTI.
func (x *execution) try(b *backend.Conn) (refusal string) {
	l := x.d.client.loop
	try := append(slices.Clone(multiRequest), discardRequest...)
	err := b.SendAll(nil, try, []int{len(multiRequest), len(discardRequest)}, x, x.attempt<<execTagBits|tagTryMulti, l.now)
	return x.queued(b, err)
}

// queued does what follows when something was queued on b, or was not.
func (x *execution) queued(b *backend.Conn, err error) (refusal string) {
	if err != nil {
		return sendError(b.Node, err)
	}
	l := x.d.client.loop
	if b.Kind == backend.Dedicated {
		b.Until = l.now + int64(b.Node.Options().RequestTimeout)
	}
	l.markBackend(b)
	return ""
}

// Reply implements backend.Owner.
func (x *execution) Reply(tag uint32, r backend.Reply) {
	c := x.d.client
	if c.closed || tag>>execTagBits != x.attempt {
		return
	}
	at := int(tag & execTagMask)
	if at == tagTryMulti || at == tagTryDiscard {
		x.tried(at, r)
		return
	}
	if at < len(x.sizes)-1 {
		x.atQueueing(at, r)
		return
	}
	if x.loose {
		x.unwatch(false)
		x.d.give(fmt.Sprintf("ERR outcome unknown: backend %s has run commands of the transaction alone, it answered MULTI with: %s",
			r.Conn.Node.Addr, resp.TrimLine(x.refused[1:])))
		return
	}
	if r.First && r.Data[0] == '-' {
		x.notRun(r)
		return
	}
	if x.bringsScripts {
		c.keepScripts(x.d.raw, x.sizes, r)
	}
	if r.Last {
		x.unwatch(true)
	}
	if x.apart != nil {
		x.takeApart(r)
		return
	}
	x.d.Reply(tagDirect, r)
}

// takeApart takes a reply of EXEC of which Sluice makes another one. It is kept until it is whole.
func (x *execution) takeApart(r backend.Reply) {
	c := x.d.client
	if limit := c.loop.server.limits().ClientOutput; len(x.apart.reply)+len(r.Data) > limit {
		x.apart.release(c)
		c.closeOverflowing("exec")
		return
	}
	if whole := x.apart.take(c, r); whole != nil {
		r.Data, r.First = whole, true
		x.d.Reply(tagDirect, r)
	}
}

// atQueueing takes the answers to MULTI and to the commands. A server that has taken MULTI up to now may
// refuse it once, while its rules change, and then runs the commands as they come.
func (x *execution) atQueueing(at int, r backend.Reply) {
	switch {
	case !r.First:
	case r.Data[0] != '-':
		x.loose = x.loose || at > 0 && string(r.Data) != string(queuedReply)
	case x.refused == nil:
		x.refused = slices.Clone(r.Data)
		r.Conn.Transacts = r.Conn.Transacts && at > 0
	}
}

// tried takes the answers to MULTI and DISCARD alone.
func (x *execution) tried(at int, r backend.Reply) {
	if r.First && r.Data[0] != '+' && x.refused == nil {
		x.refused = slices.Clone(r.Data)
	}
	if at != tagTryDiscard || !r.Last {
		return
	}
	if x.refused != nil {
		x.notRun(r)
		return
	}
	if x.watch != nil && r.Conn.Kind == backend.Dedicated {
		x.lostWatch() // DISCARD has ended it. This is not reached: WATCH asks first.
		return
	}
	r.Conn.Transacts = true
	x.d.state = retryIdle // The slot may have been locked meanwhile, or have another owner.
	x.d.client.runRetries()
}

// notRun is called when the transaction was answered with an error as a whole.
func (x *execution) notRun(r backend.Reply) {
	c := x.d.client
	cause := x.refused
	if cause == nil {
		cause = r.Data
	}
	if c.judge(x.d.cmd, x.d.slot, cause, r.Conn).Kind == dialect.Pass {
		x.unwatch(r.Conn.Transacts)
		text := resp.TrimLine(r.Data[1:])
		if x.refused != nil {
			text = fmt.Appendf(nil, "EXECABORT Transaction discarded because of: %s", resp.TrimLine(x.refused[1:]))
		}
		x.d.giveUp(hold.Released, string(text))
		return
	}
	if x.watch != nil {
		x.lostWatch()
		return
	}
	x.d.Reply(tagDirect, backend.Reply{Conn: r.Conn, Data: cause, Request: x.d.raw, First: true, Last: true})
}

// Fail implements backend.Owner. All requests of the batch fail together; what counts is whether EXEC may have been
// run.
func (x *execution) Fail(tag uint32, f backend.Failure) {
	c := x.d.client
	if c.closed || tag>>execTagBits != x.attempt {
		return
	}
	switch at := int(tag & execTagMask); {
	case at == tagTryDiscard:
		f.Sent = false
	case at != len(x.sizes)-1:
		return
	}
	x.nextAttempt()
	if x.watch != nil && !f.Sent {
		x.lostWatch()
		return
	}
	x.unwatch(false)
	x.d.failed(f)
}

// parted reports whether the watched keys are in several slots, and not all of these belong to the server that
// watches them.
func (x *execution) parted(v *view) bool {
	if x.watch == nil || len(x.watch.slots) < 2 || v == nil {
		return false
	}
	return slices.ContainsFunc(x.watch.slots, func(slot router.Slot) bool {
		return x.watch.conn == nil || v.master(slot) != x.watch.conn.Node
	})
}

// lostWatch answers that a watched key may have changed.
func (x *execution) lostWatch() {
	d := x.d
	x.unwatch(false)
	reply := nullArray(d.client.resp3())
	d.sink.deliver(d.tag, reply, true, true)
	d.done()
}

// unwatch ends the WATCH of the transaction. clean says that the server has ended it, too.
func (x *execution) unwatch(clean bool) {
	c := x.d.client
	if w := x.watch; w != nil && c.watch == w {
		c.endWatch(clean)
	}
}

// abandon ends the WATCH, too, as any EXEC does, whatever it answers.
func (x *execution) abandon() {
	x.nextAttempt()
	x.apart.release(x.d.client)
	if c := x.d.client; x.watch != nil && c.watch == x.watch {
		c.unwatch()
	}
}

var (
	_ exclusive     = (*execution)(nil)
	_ backend.Owner = (*execution)(nil)
)
