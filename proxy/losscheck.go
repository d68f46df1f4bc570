package proxy

import (
	"fmt"
	"slices"

	"sluice/backend"
	"sluice/backend/dialect"
	"sluice/proxy/command"
	"sluice/proxy/resp"
	"sluice/router"
)

// A Dragonfly that has begun to migrate a slot never tells the target what transactions and scripts write to it: they
// are answered, and their writes are gone with the hand-over (measured with 1.36; plain commands are not concerned). So
// such a request is kept away from slots that are known to leave (retry.mayBeLost), and is not believed before the
// same node has said, behind it in the same batch, that the slot was not on its way:
//
//	MULTI .. EXEC, or EVAL              the reply is kept back
//	DFLYCLUSTER SLOT-MIGRATION-STATUS   a migration under way: it may have begun before
//	EXISTS key                          MOVED: it may have ended since, and its entry may be gone again
//
// The order matters: whenever a migration covers the request, the first question still finds it under way, or the
// second finds that it is over. What began behind the request has it in its snapshot; that can't be told apart, and
// is `outcome unknown` too.
//
// Who owns a slot is looked at when a command is queued, and not at EXEC: a transaction that only reads may read what
// the old owner has left. EXISTS behind it tells, and it is sent to the new one.
//
// lossCheck owns the batch and hands everything but the questions to next.
type lossCheck struct {
	client *client
	node   *backend.Node
	slot   router.Slot
	next   backend.Owner
	tag    uint32 // of the first request, for next
	script bool   // the request is a script: an error does not say that it has not written
	reads  bool   // the request is a transaction that only reads: it can't be lost, and may be run again

	last    uint32 // the number of the request whose reply is kept back
	reply   []byte
	request []byte // that of the reply, for a client that keeps no copy
	status  []byte
	owner   []byte // the answer to EXISTS
	done    bool
}

// sendLossChecked is sendTo for a script that may write.
func (c *client) sendLossChecked(node *backend.Node, cmd *command.Command, slot router.Slot, raw []byte) {
	l := c.loop
	seq := c.begin(cmd, slot)
	keys := requestKeys(cmd, raw)
	if c.pipe.len() == 1 && len(keys) > 0 && c.pool.isLeaving(node, slot) {
		c.addRetry(c.newRetry(c, seq, seq, slot, raw))
		return
	}
	b := l.conns.Shared(node, c.proto, c.db)
	var err error
	if len(keys) == 0 { // No key is open to it.
		err = b.Send(raw, c, seq, l.now)
	} else {
		w := &lossCheck{client: c, node: node, slot: slot, next: c, tag: seq, script: true, request: slices.Clone(raw)}
		err = w.send(b, nil, raw, []int{len(raw)}, keys[0])
	}
	if err != nil {
		c.deliverError(seq, sendError(node, err))
		return
	}
	l.sent(b)
}

// send queues a batch of requests, the last of which has key, and the questions behind them.
func (w *lossCheck) send(b *backend.Conn, first [][]byte, batch []byte, sizes []int, key []byte) error {
	w.last = uint32(len(sizes) - 1)
	exists := resp.AppendCommand(nil, "EXISTS", string(key))
	batch = slices.Concat(batch, dialect.MigrationQuestion, exists)
	sizes = append(slices.Clip(sizes), len(dialect.MigrationQuestion), len(exists))
	return b.SendAll(first, batch, sizes, w, 0, w.client.loop.now)
}

// Reply implements backend.Owner.
func (w *lossCheck) Reply(tag uint32, r backend.Reply) {
	c := w.client
	switch {
	case w.done || c.closed:
	case tag < w.last:
		w.next.Reply(w.tag+tag, r)
	case tag == w.last:
		w.reply = append(w.reply, r.Data...)
		if c.keep(len(r.Data)); c.held > c.loop.server.limits().ClientOutput {
			c.mark() // flush closes it.
		}
	case tag == w.last+1:
		w.status = append(w.status, r.Data...)
	default:
		if w.owner = append(w.owner, r.Data...); r.Last {
			w.conclude(r.Conn)
		}
	}
}

// conclude passes the reply on, or says that what it stands for may be lost.
func (w *lossCheck) conclude(b *backend.Conn) {
	w.finish()
	if w.reads {
		if w.moved(b) {
			w.reply = w.owner // What it was queued on may be a copy that is left behind.
		}
	} else if text := w.lost(b); text != "" {
		w.reply = appendErrorLine(nil, text)
	}
	w.next.Reply(w.tag+w.last, backend.Reply{Conn: b, Data: w.reply, Request: w.request, First: true, Last: true})
}

// lost says why what the request has written may be lost, "" when it is not.
func (w *lossCheck) lost(b *backend.Conn) string {
	c := w.client
	l, leaves := Leaving{Source: w.node.Addr}, false
	switch {
	case w.status[0] == '-':
		l, leaves = c.pool.leaves(w.node, w.slot) // Whoever else was asked.
	default:
		if l.Target, l.Ranges, leaves = dialect.Leaves(w.status, w.slot); leaves {
			c.pool.noteLeaving(l, c.loop.now)
		}
	}
	switch {
	case w.notRun(b):
		return ""
	case w.moved(b):
		return fmt.Sprintf("ERR outcome unknown: slot %d left backend %s while the command was run, and what it wrote may be lost", w.slot, w.node.Addr)
	case leaves:
		return fmt.Sprintf("ERR outcome unknown: slot %d %s; the command was run when that began or before", w.slot, l)
	}
	return ""
}

// moved reports whether the node has redirected the second question.
func (w *lossCheck) moved(b *backend.Conn) bool {
	return w.client.pool.Family.Judge(w.owner, b.Host()).Kind == dialect.Moved
}

// notRun reports whether the reply says that nothing was written.
func (w *lossCheck) notRun(b *backend.Conn) bool {
	switch w.reply[0] {
	case '-':
		return !w.script || dialect.NoScript(w.reply) || w.client.pool.Family.Judge(w.reply, b.Host()).Kind != dialect.Pass
	case '_':
		return !w.script
	}
	return !w.script && (string(w.reply) == "$-1\r\n" || string(w.reply) == "*-1\r\n") // A watched key has changed.
}

// finish ends the check: replies that still come are nobody's.
func (w *lossCheck) finish() {
	w.done = true
	w.client.keep(-len(w.reply))
}

// Fail implements backend.Owner. When a question is not answered nobody knows what has become of the request.
func (w *lossCheck) Fail(tag uint32, f backend.Failure) {
	if w.done || w.client.closed {
		return
	}
	if tag < w.last {
		w.next.Fail(w.tag+tag, f)
		return
	}
	w.finish()
	f.Cut = false
	if tag > w.last {
		f.Sent, f.Request = true, w.request
	}
	w.next.Fail(w.tag+w.last, f)
}

var _ backend.Owner = (*lossCheck)(nil)
