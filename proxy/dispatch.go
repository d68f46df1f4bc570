package proxy

import (
	"bytes"
	"errors"
	"strings"

	"sluice/proxy/command"
	"sluice/proxy/resp"
)

// dispatch takes one request, or says why it has to wait; it is parsed again when that is over. args and raw are
// valid during the call.
func (c *client) dispatch(v *view, args [][]byte, raw []byte) stall {
	cmd := command.Lookup(args[0])
	if cmd == nil {
		if cmd = c.pool.commands().Declared.Find(args[0]); cmd == nil {
			return c.dispatchUnknown(v, args, len(raw))
		}
	}
	if cmd.KeyAt > 0 && cmd.ArityOK(len(args)) && c.mode == 0 && plans[cmd.ID].kind == planForward {
		return c.forward(v, cmd, c.pool.Model.Slot(args[cmd.KeyAt]), raw, false)
	}
	return c.dispatchOther(request{v, cmd, args, raw})
}

// dispatchUnknown takes a request of size bytes with a name that is no command. It waits while the servers
// may still say that it is one.
func (c *client) dispatchUnknown(v *view, args [][]byte, size int) stall {
	if o, blocked := c.awaitsCommands(); blocked && !c.is(modeUnauthenticated) {
		return c.holdBack(v, o, size)
	}
	c.rejectUnknown(args)
	c.endSkip()
	return stallNone
}

func (c *client) rejectUnknown(args [][]byte) {
	l := c.loop
	l.stats.Unknown++
	if isHTTP(args[0]) {
		l.server.often.Warn("closing a client that speaks HTTP", "client", c.id, "addr", c.addr)
		c.close()
		return
	}
	c.reject(unknownCommand(args))
}

// reject answers a request that is not run at all with an error. A transaction that it was meant for can't be run
// either.
func (c *client) reject(text string) {
	if c.is(modeQueueing) {
		c.tx.aborted = true
	}
	c.replyError(text)
}

// rejectCommand is reject for a command that is known. A rejected EXEC ends its transaction, and says so even if
// there is none.
func (c *client) rejectCommand(cmd *command.Command, text string) {
	if cmd.Name != "exec" {
		c.reject(text)
		return
	}
	c.endQueueing()
	c.unwatch()
	if !strings.HasPrefix(text, "EXECABORT ") { // A wrong number of arguments has its text from the table.
		text = "EXECABORT Transaction discarded because of: " + strings.TrimPrefix(text, "ERR ")
	}
	c.replyError(text)
}

// unknownCommand is the answer to a name that Redis does not know. Commands that move slots are named as such.
func unknownCommand(args [][]byte) string {
	name := strings.ToLower(string(args[0][:min(len(args[0]), 64)]))
	if command.Internal(name) {
		return notAllowed(strings.Map(printable, name))
	}
	return command.ErrUnknownCommand(args[0], args[1:])
}

// printable keeps what may stand in an error line.
func printable(r rune) rune {
	if r < ' ' || r > '~' || r == '\'' {
		return '?'
	}
	return r
}

// isHTTP recognises a request of a browser, as Redis does: a page that a user visits could otherwise make
// the browser send commands to a server on the user's own machine.
func isHTTP(name []byte) bool {
	return bytes.EqualFold(name, []byte("post")) || bytes.EqualFold(name, []byte("host:"))
}

// dispatchOther takes what is not a plain command with one key of a client without modes.
func (c *client) dispatchOther(q request) stall {
	wait := c.check(q)
	if wait == stallNone {
		c.endSkip()
	}
	return wait
}

// check looks for what is in the way of a request and runs it. The checks come in the order of Redis (redis 7.0,
// src/server.c processCommand).
func (c *client) check(q request) stall {
	if len(q.cmd.Subcommands) > 0 && len(q.args) > 1 {
		sub := q.cmd.Sub(q.args[1])
		if sub == nil {
			c.reject(command.ErrUnknownSubcommand(q.cmd, q.args[1]))
			return stallNone
		}
		q.cmd = sub
	}
	if !q.cmd.ArityOK(len(q.args)) {
		c.rejectCommand(q.cmd, command.ErrArity(q.cmd))
		return stallNone
	}
	if c.is(modeUnauthenticated) && !q.cmd.Is(command.NoAuth) {
		c.rejectCommand(q.cmd, errNoAuth)
		return stallNone
	}
	if c.is(modeUncached) && q.cmd.Name != "multi" {
		c.setMode(modeUncached, false)
	}
	if c.is(modeRestricted) {
		if denial := c.rights.Check(q.cmd, q.args); denial.Denied() {
			c.loop.stats.Denied++
			c.rejectCommand(q.cmd, denial.Text())
			return stallNone
		}
	}
	if c.is(modeSubscribed) && !allowedWhileSubscribed(q.cmd) {
		c.rejectCommand(q.cmd, whileSubscribed(q.cmd))
		return stallNone
	}
	if c.monitor != nil && refusedToMonitors(q.cmd) {
		c.rejectCommand(q.cmd, errMonitors)
		return stallNone
	}
	if c.is(modePaused) && c.postponed(q) {
		return stallPaused
	}
	if c.is(modeObserved) {
		return c.runObserved(q)
	}
	return c.runOrQueue(q)
}

// runOrQueue runs a request, or keeps it for EXEC.
func (c *client) runOrQueue(q request) stall {
	c.last, c.lastTail = q.cmd, c.pipe.tail
	wait := stallNone
	if c.is(modeQueueing) && !endsQueueing(q.cmd) {
		c.enqueue(q)
	} else {
		wait = c.run(q)
	}
	c.lastTail = c.pipe.tail
	return wait
}

// run does with a request what its plan says.
func (c *client) run(q request) stall {
	p := &plans[q.cmd.ID]
	switch p.kind {
	case planForward:
		return c.forwardKeys(q)
	case planSplit:
		return c.dispatchSplit(q.v, q.cmd, p.split, q.args, q.raw)
	case planLocal:
		return c.dispatchLocal(q.cmd, p.local, q.args)
	case planSession:
		return c.runSession(q, p.session)
	case planFanOut:
		return c.dispatchFanOut(q, p.fan)
	case planPublish:
		return c.publish(q)
	case planRefuse:
		c.reject(p.refusal)
	}
	return stallNone
}

// runSession runs a command of the session. One that got a place in the pipeline of its own is counted when it
// leaves that.
func (c *client) runSession(q request, run sessionFunc) stall {
	next := c.pipe.tail
	wait := run(c, q)
	if wait == stallNone && (c.pipe.tail == next || c.pipe.at(next).cmd == nil) {
		c.loop.stats.Commands[q.cmd.ID].Calls++
	}
	return wait
}

// dispatchLocal runs a command that Sluice answers itself. One that has to wait is counted when it is run.
func (c *client) dispatchLocal(cmd *command.Command, run localFunc, args [][]byte) stall {
	wait := run(c, args)
	if wait == stallNone {
		c.loop.stats.Commands[cmd.ID].Calls++
	}
	return wait
}

// forwardKeys sends a command with any number of keys to the server that has them all.
func (c *client) forwardKeys(q request) stall {
	if (q.cmd.Name == "xread" || q.cmd.Name == "xreadgroup") && blockOption(q.cmd, q.args) > 0 {
		return cmdBlock(c, q)
	}
	k, refusal := c.slotsOf(q)
	if refusal != "" {
		c.replyError(refusal)
		return stallNone
	}
	if isScript(q.cmd) {
		return c.forwardScript(q, k)
	}
	if c.crossesGroups(q, k) {
		return c.runCrossGroup(q, k)
	}
	if q.v != nil && k.slot != anySlot && usesOtherDB(q) {
		for _, slot := range k.list() {
			if m := q.v.table.Move(slot); m != nil {
				return c.holdBack(q.v, inOtherDBs(m), len(q.raw))
			}
		}
	}
	if len(q.cmd.Keys) == 0 {
		return c.forwardKeyless(q)
	}
	if k.slot == anySlot {
		k.slot = c.someSlot(q.args[min(1, len(q.args)-1)])
	}
	return c.forwardTo(q, k)
}

// slotsOf finds the slots of a request's keys, or says why they can't be together. anySlot stands for no key at all, or
// for arguments in which the keys can't be found: any server will say what is wrong with them, in its own words.
func (c *client) slotsOf(q request) (k keySlots, refusal string) {
	l := c.loop
	keys, err := q.cmd.AppendKeys(l.keys[:0], q.args)
	l.keys = keys[:0]
	if errors.Is(err, command.ErrKeyArguments) && q.cmd.ID == command.Declared {
		return keySlots{}, errDeclaredKeys // The server may read its arguments in another way, and find keys.
	}
	if err != nil || len(keys) == 0 {
		return keySlots{slot: anySlot}, ""
	}
	k = keySlots{slot: c.pool.Model.Slot(q.args[keys[0]]), many: len(keys) > 1}
	for _, at := range keys[1:] {
		slot := c.pool.Model.Slot(q.args[at])
		switch {
		case k.all == nil && slot == k.slot:
			continue
		case k.all == nil && c.pool.keepsToSlot() && !c.mayCrossGroups(q.cmd):
			return keySlots{}, errCrossSlot
		case k.all == nil:
			k.all = append(l.slots[:0], k.slot)
		}
		k.all = addSlot(k.all, slot)
	}
	if k.all != nil {
		l.slots = k.all[:0]
	}
	return k, ""
}

// splitRequest finds the arguments of a complete request. For paths that are not hot: it allocates.
func splitRequest(raw []byte) [][]byte {
	p := resp.Parser{Limits: resp.Limits{MaxArgs: len(raw), MaxBulk: len(raw)}}
	if n, err := p.Parse(raw, &resp.Partial{}, true); n == 0 || err != nil {
		return nil
	}
	return p.Args
}
