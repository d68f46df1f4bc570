package proxy

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"sluice/backend"
	"sluice/proxy/command"
	"sluice/proxy/resp"
	"sluice/router"
)

// A cross-group command is one that waits for data under keys of several owners: BLPOP and its kin, XREAD and
// XREADGROUP, where the pool allows it (cross_group). No server can do that, and asking all of them at once could
// take two elements for a client that gets one. So one server at a time is asked, with the keys that it has:
//
//	tails           where streams end that are read from their end on, of all at once
//	first pass      a look that does not wait: MULTI, BLPOP, EXEC, or XREAD without BLOCK. What streams have is put together
//	more passes     each for a slice of time, which grows from pass to pass; the first that has something ends it
//
// At most one command is under way, and it is the client's own with fewer keys: an element is taken once or not at
// all, and what holds for BLPOP at one server (a lost connection is "outcome unknown") holds here. What is given
// up: an element may wait until its server's turn comes, the order of keys counts in the first pass and among the
// keys of one server, and clients do not stand in a line.
//
// A block time of a millisecond would not do for the first pass: Redis looks at block times when it wakes up, ten
// times a second.
//
// Each turn is a retry, so that slots may move and masters change meanwhile: who has which keys is found
// out before each turn, and a slot that is locked is passed over while another server can be asked.
//
// Owned by the client's event loop.
type crossGroup struct {
	client *client
	seq    uint32
	cmd    *command.Command
	args   [][]byte
	keys   []int // positions of its keys in args
	until  int64 // loop clock at which the client's time is over; 0: never
	once   bool  // it does not wait at all
	bad    bool  // its block time is none: a server says so

	left     [][]int   // of this pass: positions of the keys of each owner
	pass     int       // from 0
	current  *retry    // the turn
	turn     *blocking // the exclusive request, nil in the first pass
	tails    int       // answers still to come
	asked    []int     // positions of the keys in it
	timeout  blockTime // of the request
	gathered []byte    // what streams have, in wire form without a header
	streams  int       // how many
	reply    []byte    // of a look, as far as it has come
	ended    bool
	leaving  bool // the client has shut down its sending side: there are no more turns
}

// Slices grow from the second pass on. One server alone is asked for longestSlice at a time, too: its keys may come
// to belong to two.
const (
	firstSlice   = 10 * time.Millisecond
	longestSlice = 100 * time.Millisecond
)

// maxCrossGroupKeys bounds the keys of one: each pass goes over them on the event loop, and in a cluster asks for
// each slot.
const maxCrossGroupKeys = 1000

// crossGroupCommands are the commands that may be cross-group commands: those that take or show something of one
// key of several. Immutable after construction.
var crossGroupCommands = map[string]bool{
	"blpop": true, "brpop": true, "blmpop": true, "bzpopmin": true, "bzpopmax": true, "bzmpop": true, "xread": true, "xreadgroup": true,
}

// mayCrossGroups reports whether the pool lets a command have keys of several owners.
func (c *client) mayCrossGroups(cmd *command.Command) bool {
	return c.pool.Settings().CrossGroup && crossGroupCommands[cmd.Name]
}

// crossesGroups reports whether a request has keys of several owners and may have.
func (c *client) crossesGroups(q request, k keySlots) bool {
	if k.all == nil || q.v == nil || !c.mayCrossGroups(q.cmd) {
		return false
	}
	if c.pool.keepsToSlot() {
		return true
	}
	first := q.v.table.Owner(k.all[0])
	return slices.ContainsFunc(k.all, func(slot router.Slot) bool { return q.v.table.Owner(slot) != first })
}

// runCrossGroup begins a cross-group command.
func (c *client) runCrossGroup(q request, k keySlots) stall {
	if !c.awaitSettled() || !c.pipe.empty() {
		return stallDrain
	}
	if keys := argKeys(q.cmd, q.args); len(keys) > maxCrossGroupKeys {
		c.replyError(fmt.Sprintf("ERR '%s' may have %d keys of several groups at most, and has %d",
			q.cmd.Name, maxCrossGroupKeys, len(keys)))
		return stallNone
	}
	x := &crossGroup{client: c, cmd: q.cmd, args: splitRequest(bytes.Clone(q.raw))}
	x.keys, _ = q.cmd.AppendKeys(nil, x.args)
	x.timeout = blockTimeOf(q.cmd, x.args)
	waits := !isStreamRead(q.cmd) || blockOption(q.cmd, q.args) >= 0
	x.bad = waits && x.timeout == (blockTime{})
	x.once = !waits || x.bad
	if x.timeout.time > 0 {
		x.until = c.loop.now + int64(x.timeout.time)
	}
	c.alone = true
	x.seq = c.beginSlots(q.cmd, k)
	c.pipe.at(x.seq).flags |= blocks
	x.left = x.owners()
	if x.askTails(q.v); x.tails == 0 {
		x.next()
	}
	return stallNone
}

func isStreamRead(cmd *command.Command) bool { return cmd.Name == "xread" || cmd.Name == "xreadgroup" }

// next asks the next server, or ends the command.
func (x *crossGroup) next() {
	c := x.client
	at := slices.IndexFunc(x.left, x.served)
	if over := x.pass > 0 && x.until != 0 && c.loop.now >= x.until; x.leaving || over {
		x.end(x.result())
		return
	}
	for at < 0 && !(x.once && len(x.left) > 0) { // Whose slots are not served is passed over.
		if over := x.once || x.until != 0 && c.loop.now >= x.until; over || x.streams > 0 {
			x.end(x.result())
			return
		}
		x.pass++
		x.left = x.owners()
		if at = slices.IndexFunc(x.left, x.served); at < 0 {
			break // No one is served, so it is held.
		}
	}
	at = max(at, 0)
	x.asked = x.left[at]
	x.left = slices.Delete(x.left, at, at+1)

	if x.pass == 0 && !x.bad {
		x.look()
	} else {
		x.wait()
	}
	x.client.addRetry(x.current)
}

// leave is called when the client has shut down its sending side. Redis would drop one that waits; here the server
// is asked to let go first, since its turn may just have taken something, and the client still reads. It reports
// whether there is a turn.
func (x *crossGroup) leave() bool {
	if x.leaving = true; x.turn == nil {
		return true
	}
	if x.turn.conn == nil {
		return false
	}
	if !x.turn.recalled {
		x.turn.recalled = true
		x.turn.recall()
	}
	return true
}

// passOver ends a turn that would have to wait for its slot while another server can be asked. It reports whether
// it has.
func (x *crossGroup) passOver(d *retry) bool {
	if x.once || d != x.current || !slices.ContainsFunc(x.owners(), x.served) {
		return false
	}
	d.state = retryDone
	d.sink.deliver(d.tag, nullArray(x.client.resp3()), true, true)
	d.done()
	return true
}

// deliver implements sink: it takes the reply of a turn.
func (x *crossGroup) deliver(_ uint32, data []byte, first, last bool) {
	c := x.client
	if x.ended {
		return
	}
	looks := x.pass == 0 && !x.bad
	if looks { // It is looked at as a whole.
		if data = x.collect(data, last); data == nil {
			return
		}
		first = true
		if !isStreamRead(x.cmd) {
			data = bytes.TrimPrefix(data, []byte("*1\r\n")) // EXEC's
		}
	}
	x.keepTails()
	nothing := first && last && resp.IsNull(data)
	switch {
	case nothing && (x.turn == nil || !x.turn.freed):
		x.next()
	case nothing && x.turn.freeing: // It may have been let go, or its slice was over.
		x.turn.onFreed = func(letGo bool) {
			if c.closed {
				return
			}
			if letGo {
				x.end(x.result())
				return
			}
			x.next()
		}
	case first && bytes.HasPrefix(data, []byte("-EXECABORT ")) && looks: // It was not run. The server may not know MULTI.
		x.next()
	case first && data[0] == '-' && x.taken():
		x.end(x.result())
	case looks && isStreamRead(x.cmd) && data[0] != '-':
		x.gather(data)
	default:
		c.deliver(x.seq, data, first, last)
	}
}

// collect puts the parts of a reply together. It returns nil before it is whole, and when the client was closed.
func (x *crossGroup) collect(data []byte, last bool) []byte {
	c := x.client
	if limit := c.loop.server.limits().ClientOutput; len(x.reply)+len(x.gathered)+len(data) > limit {
		x.ended = true
		c.closeOverflowing(x.cmd.Name)
		return nil
	}
	x.reply = append(x.reply, data...)
	if !last {
		return nil
	}
	whole := x.reply
	x.reply = nil
	return whole
}

// taken reports whether a group has given entries already: they are its consumer's, and must not be lost by an
// error of another server. What is wrong there shows at the next call.
func (x *crossGroup) taken() bool { return x.streams > 0 && x.cmd.Name == "xreadgroup" }

// keepTails notes from where streams are read on that were to be read from their end: that of the first turn counts.
func (x *crossGroup) keepTails() {
	if x.turn == nil || !x.turn.tails.known {
		return
	}
	t := x.turn
	for i, at := range x.asked {
		x.args[at+len(x.keys)] = t.args[len(t.args)-len(x.asked)+i]
	}
}

// gather keeps what a server has of its streams in the first pass. Together they are one reply.
func (x *crossGroup) gather(reply []byte) {
	kind := byte('*')
	if x.client.resp3() {
		kind = '%'
	}
	n, rest, ok := resp.CutHeader(reply, kind)
	if !ok {
		x.end(reply)
		return
	}
	x.streams += n
	x.gathered = append(x.gathered, rest...)
	x.next()
}

// result is the reply when no server is asked any more.
func (x *crossGroup) result() []byte {
	resp3 := x.client.resp3()
	switch {
	case x.streams == 0:
		return nullArray(resp3)
	case resp3:
		return append(resp.AppendMap(nil, x.streams, true), x.gathered...)
	}
	return append(resp.AppendArray(nil, x.streams), x.gathered...) // Of pairs.
}

func (x *crossGroup) end(reply []byte) {
	x.ended = true
	x.client.deliver(x.seq, reply, true, true)
}

// deliverFailure implements sink.
func (x *crossGroup) deliverFailure(_ uint32, f backend.Failure) {
	switch {
	case x.ended:
	case x.taken():
		x.end(x.result())
	default:
		x.client.deliverFailure(x.seq, f)
	}
}

// again implements sink.
func (x *crossGroup) beginAgain(uint32) bool { return x.client.beginAgain(x.seq) }

var _ sink = (*crossGroup)(nil)
