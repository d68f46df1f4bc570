package proxy

import (
	"fmt"
	"slices"

	"sluice/proxy/command"
	"sluice/proxy/resp"
	"sluice/router"
)

// transaction is what stands between a client's MULTI and its EXEC. Sluice keeps the commands and sends them
// together with EXEC: so a transaction waits in front of a lock and never in its middle, a redirect in its middle
// costs nothing but another try, and nobody else's command gets between them on a shared connection. Dragonfly
// looks at the owner of a slot when a command is queued and not at EXEC, which is one more reason to be quick.
//
// What a server would say when it queues a command shows at EXEC only, but for what Sluice knows by itself: whether the
// command exists, its number of arguments, the rights of the user, and that all keys have one owner.
//
// Owned by the client's event loop.
type transaction struct {
	queue         []byte // the commands in wire form, from the loop's pool
	sizes         []int  // of each command
	keys          [][]byte
	shas          [][]byte      // of the scripts that are called by it
	slots         []router.Slot // of the keys, in order
	writes        bool          // some command may write to a key
	aborted       bool          // a command was refused: nothing is run
	bringsScripts bool          // some command is an EVAL
	why           string        // EXEC says so, "" where the client knows
	apart         *apart        // nil when the server runs all of it as it is
}

// maxQueued is the number of commands that the tags of an execution have room for, and MULTI, EXEC and a SELECT
// (apart.last).
const maxQueued = tagTryMulti - 3

var _ [tagTryMulti - maxQueued - 3]struct{} // One more would take the tag of the question for MULTI.

const (
	errNested      = "ERR MULTI calls can not be nested"
	errNoMulti     = "ERR Command not allowed inside a transaction"
	errExecAborted = "EXECABORT Transaction discarded because of previous errors."
)

var (
	queuedReply  = []byte("+QUEUED\r\n")
	multiRequest = []byte("*1\r\n$5\r\nMULTI\r\n")
	execRequest  = []byte("*1\r\n$4\r\nEXEC\r\n")
)

func cmdMulti(c *client, _ request) stall {
	if c.is(modeQueueing) {
		c.replyError(errNested)
		return stallNone
	}
	c.setMode(modeQueueing, true)
	if c.is(modeUncached) {
		c.setMode(modeUncached, false)
		c.tx.aborted, c.tx.why = true, errNoCaching
	}
	c.replyOK()
	return stallNone
}

func cmdDiscard(c *client, _ request) stall {
	if !c.is(modeQueueing) {
		c.replyError("ERR DISCARD without MULTI")
		return stallNone
	}
	c.endQueueing()
	c.unwatch()
	c.replyOK()
	return stallNone
}

// endQueueing forgets what was queued.
func (c *client) endQueueing() {
	c.setMode(modeQueueing, false)
	c.loop.pool.Put(c.tx.queue)
	c.tx = transaction{}
}

// endsQueueing reports whether a command is one of those that are run, not queued, behind MULTI.
func endsQueueing(cmd *command.Command) bool {
	switch cmd.Name {
	case "multi", "exec", "discard", "watch", "reset", "quit":
		return true
	}
	return false
}

// enqueue keeps a command for EXEC.
func (c *client) enqueue(q request) {
	k, refusal := c.mayQueue(q)
	if refusal != "" {
		c.reject(refusal)
		return
	}
	tx := &c.tx
	if tx.aborted {
		c.reply(queuedReply) // It will not be run.
		return
	}
	if len(tx.sizes) == maxQueued {
		c.reject(fmt.Sprintf("ERR a transaction has at most %d commands", maxQueued))
		return
	}
	if limit := c.loop.server.limits().MaxUnparsed; len(tx.queue)+tx.apart.size()+len(q.raw) > limit {
		c.reject(fmt.Sprintf("ERR the transaction is larger than max_unparsed, %d bytes", limit))
		return
	}
	if k.slot != anySlot {
		for _, slot := range k.list() {
			tx.slots = addSlot(tx.slots, slot)
		}
	}
	tx.writes = tx.writes || k.slot != anySlot && !q.cmd.Is(command.ReadOnly)
	raw := c.queueApart(q)
	tx.queue = c.loop.pool.Append(tx.queue, raw)
	tx.sizes = append(tx.sizes, len(raw))
	keys, _ := q.cmd.AppendKeys(c.loop.keys[:0], q.args)
	for _, k := range keys {
		tx.keys = append(tx.keys, slices.Clone(q.args[k]))
	}
	switch scriptKinds[q.cmd.ID] {
	case scriptBody:
		tx.bringsScripts = true
	case scriptSHA:
		tx.shas = append(tx.shas, slices.Clone(q.args[1]))
	case scriptName, noScript:
	}
	c.reply(queuedReply)
}

// mayQueue finds the slots of a command's keys, or says why it can't be part of the transaction.
func (c *client) mayQueue(q request) (k keySlots, refusal string) {
	p := &plans[q.cmd.ID]
	refusal, isApart := c.mayQueueApart(q)
	switch {
	case isApart && !q.cmd.Is(command.NoMulti):
		return keySlots{slot: anySlot}, refusal
	case q.cmd.Is(command.NoMulti):
		return k, errNoMulti
	case p.kind == planRefuse:
		return k, p.refusal
	case p.kind != planForward && p.kind != planSplit && !runsInTransaction[q.cmd.Name]:
		return k, fmt.Sprintf("ERR '%s' is not supported between MULTI and EXEC through Sluice", q.cmd.Name)
	}
	if len(q.cmd.Keys) == 0 && q.cmd.Masters == command.AllMasters && q.v != nil && len(q.v.shares) > 1 {
		return k, fmt.Sprintf("ERR '%s' goes to all masters and can't be part of a transaction", q.cmd.Name)
	}
	if q.cmd.Masters == command.OnlyMaster {
		if refusal = c.notOnly(q); refusal != "" {
			return k, refusal
		}
	}
	k, refusal = c.slotsOf(q)
	if q.cmd.Name == "spublish" {
		k.slot = c.pool.Model.Slot(q.args[1]) // Nobody listens anywhere but at its owner.
	}
	if refusal != "" || k.slot == anySlot {
		return k, refusal
	}
	return k, c.goesWith(q, k)
}

// goesWith says why the keys of a command can't be together with those that the client watches and those of its
// transaction, "" when they can. While slots move that shows at EXEC.
func (c *client) goesWith(q request, k keySlots) (refusal string) {
	slots, others := k.all, [][]byte(nil)
	switch {
	case c.watch != nil:
		slots, others = c.watch.slots, [][]byte{c.watch.key}
	case len(c.tx.slots) > 0:
		slots, others = c.tx.slots, c.tx.keys[:min(1, len(c.tx.keys))] // They are all together.
	case k.all == nil:
		return ""
	}
	first := slots[0]
	for _, slot := range k.list() {
		switch v := q.v; {
		case slot == first:
		case c.pool.keepsToSlot():
			return errCrossSlot
		case v != nil && v.table.Owner(slot) != v.table.Owner(first) && v.table.Move(slot) == nil && v.table.Move(first) == nil:
			return c.crossSlot(v, slices.Concat(others, argKeys(q.cmd, q.args)))
		}
	}
	return ""
}

// runsInTransaction are commands that a server runs inside a transaction as Sluice would outside of one; those that
// block don't block there. Immutable after construction.
var runsInTransaction = map[string]bool{
	"ping": true, "echo": true, "time": true, "publish": true, "spublish": true, "unwatch": true, "wait": true,
	"blpop": true, "brpop": true, "brpoplpush": true, "blmove": true, "blmpop": true,
	"bzpopmin": true, "bzpopmax": true, "bzmpop": true, "xread": true, "xreadgroup": true,
	"blmovem": true, "bzmove": true,
}

func cmdExec(c *client, q request) stall {
	tx := &c.tx
	switch {
	case !c.is(modeQueueing):
		c.replyError("ERR EXEC without MULTI")
		return stallNone
	case tx.aborted:
		text := errExecAborted
		if tx.why != "" {
			text = "EXECABORT Transaction discarded because of: " + tx.why
		}
		c.endQueueing()
		c.unwatch()
		c.replyError(text)
		return stallNone
	case len(tx.sizes) == 0 && c.watch == nil:
		c.endQueueing()
		c.reply([]byte("*0\r\n"))
		return stallNone
	case !c.pipe.empty() || c.watch != nil && !c.awaitSettled():
		return stallDrain
	}
	slots := tx.slots
	if c.watch != nil {
		for _, slot := range c.watch.slots {
			slots = addSlot(slots, slot)
		}
	}
	if len(slots) == 0 {
		slots = []router.Slot{c.someSlot(nil)}
	}
	batch, sizes := c.batch()
	keys, shas, brings, writes, apart := tx.keys, tx.shas, tx.bringsScripts, tx.writes, tx.apart
	c.endQueueing()
	c.runExclusive(q.cmd, keySlotsOf(slots), batch, keys, func(d *retry) exclusive {
		return &execution{d: d, watch: c.watch, sizes: sizes, shas: shas, bringsScripts: brings, writes: writes, apart: apart}
	})
	c.loop.pool.Put(batch)
	return stallNone
}

// batch is what is sent for a transaction, from the loop's pool: MULTI, the commands, EXEC.
func (c *client) batch() (batch []byte, sizes []int) {
	pool, tx := c.loop.pool, &c.tx
	add := func(req []byte) {
		batch = pool.Append(batch, req)
		sizes = append(sizes, len(req))
	}
	add(multiRequest)
	batch = pool.Append(batch, tx.queue)
	sizes = append(sizes, tx.sizes...)
	if last := tx.apart.last(c.db); last != nil {
		add(last)
	}
	add(execRequest)
	return batch, sizes
}

// nullArray is the answer of an EXEC that was not run because a watched key may have changed, and of a wait that is
// over.
func nullArray(resp3 bool) []byte {
	if resp3 {
		return resp.AppendNull(nil, true)
	}
	return []byte("*-1\r\n")
}
