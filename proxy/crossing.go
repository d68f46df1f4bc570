package proxy

import (
	"bytes"
	"slices"
	"strconv"
	"time"

	"sluice/backend"
	"sluice/proxy/command"
	"sluice/proxy/resp"
	"sluice/router"
)

// A crossing is a command that waits for data under keys of several owners: BLPOP and its kin, XREAD and XREADGROUP, where the pool
// allows it (cross_group). No server can do that, and asking all of them at once could take two elements for a client that gets one.
// So one server at a time is asked, with the keys that it has:
//
//	first pass      each with the least time to wait; what streams have is put together
//	more passes     each for a slice of time, which grows from pass to pass; the first that has something ends it
//
// At most one command is under way, and it is the client's own with fewer keys: an element is taken once or not at all, and what holds
// for BLPOP at one server (a lost connection is "outcome unknown") holds here. What is given up: an element may wait until its server's
// turn comes, the order of keys counts in the first pass and among the keys of one server, and clients do not stand in a line.
//
// Each turn is a detour with a blocking errand, so that slots may move and masters change meanwhile: who has which keys is found
// out before each turn, and a slot that is locked is passed over while another server can be asked.
//
// Owned by the client's event loop.
type crossing struct {
	client *client
	seq    uint32
	cmd    *command.Command
	args   [][]byte
	keys   []int // positions of its keys in args
	until  int64 // loop clock at which the client's time is over; 0: never
	once   bool  // it does not wait at all

	left     [][]int   // of this pass: positions of the keys of each owner
	pass     int       // from 0
	turn     *blocking // under way
	asked    []int     // positions of the keys in it
	timeout  blockTime // of the request
	gathered []byte    // what streams have, in wire form without a header
	streams  int       // how many
	reply    []byte    // of a turn, while streams are gathered
	ended    bool
	leaving  bool // the client has shut down its sending side: there are no more turns
}

// Slices grow from the second pass on. One server alone is asked for longestSlice at a time, too: its keys may come to belong to two.
const (
	firstSlice   = 10 * time.Millisecond
	longestSlice = 100 * time.Millisecond
)

// crossable are the commands that may be crossings: those that take or show something of one key of several. Immutable after construction.
var crossable = map[string]bool{
	"blpop": true, "brpop": true, "blmpop": true, "bzpopmin": true, "bzpopmax": true, "bzmpop": true, "xread": true, "xreadgroup": true,
}

// mayCross reports whether the pool lets a command have keys of several owners.
func (c *client) mayCross(cmd *command.Command) bool {
	return c.pool.Settings().CrossGroup && crossable[cmd.Name]
}

// crosses reports whether a request has keys of several owners and may have.
func (c *client) crosses(q request, k keySlots) bool {
	if k.all == nil || q.v == nil || !c.mayCross(q.cmd) {
		return false
	}
	if c.pool.keepsToSlot() {
		return true
	}
	first := q.v.table.Owner(k.all[0])
	return slices.ContainsFunc(k.all, func(slot router.Slot) bool { return q.v.table.Owner(slot) != first })
}

// cross begins a crossing. It returns false when the request has to wait.
func (c *client) cross(q request, k keySlots) bool {
	if !c.settled() || !c.pipe.empty() {
		return false
	}
	x := &crossing{client: c, cmd: q.cmd, args: splitRequest(bytes.Clone(q.raw))}
	x.keys, _ = q.cmd.AppendKeys(nil, x.args)
	x.timeout = blockTimeOf(q.cmd, x.args)
	x.once = isStreamRead(q.cmd) && blockOption(q.cmd, q.args) < 0
	if x.timeout == (blockTime{}) && !x.once { // The server says what is wrong with it.
		x.once = true
	}
	if x.timeout.time > 0 {
		x.until = c.loop.now + int64(x.timeout.time)
	}
	c.alone = true
	x.seq = c.beginSlots(q.cmd, k)
	c.pipe.at(x.seq).flags |= blocks
	x.left = x.owners()
	x.next()
	return true
}

func isStreamRead(cmd *command.Command) bool { return cmd.Name == "xread" || cmd.Name == "xreadgroup" }

// owners divides the keys by who has them, in the order of the first of each.
func (x *crossing) owners() (parts [][]int) {
	c := x.client
	v := c.pool.view.Load()
	slot := func(at int) router.Slot { return c.pool.Model.Slot(x.args[at]) }
	for _, at := range x.keys {
		i := slices.IndexFunc(parts, func(part []int) bool {
			if v == nil || c.pool.keepsToSlot() {
				return slot(part[0]) == slot(at)
			}
			return v.table.Owner(slot(part[0])) == v.table.Owner(slot(at))
		})
		if i < 0 {
			parts = append(parts, nil)
			i = len(parts) - 1
		}
		parts[i] = append(parts[i], at)
	}
	return parts
}

// next asks the next server, or ends the crossing.
func (x *crossing) next() {
	c := x.client
	at := slices.IndexFunc(x.left, x.served)
	if x.leaving {
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

	raw, timeAt := x.request(x.asked)
	d := c.detour(x, 0, x.seq, c.pool.Model.Slot(x.args[x.asked[0]]), raw)
	x.turn = &blocking{d: d, args: splitRequest(d.raw), brief: true, sliced: !x.once && !c.pool.Family.Unblocks}
	if !x.once {
		slice := x.slice()
		x.turn.timeout = blockTime{at: timeAt, unit: x.timeout.unit, time: slice}
		x.turn.until = c.loop.now + int64(slice)
	}
	if x.cmd.Name == "xread" {
		x.turn.tails.find(x.turn.args)
	}
	d.errand = x.turn
	c.addDetour(d)
}

// leave is called when the client has shut down its sending side. Redis would drop one that waits; here the server is asked
// to let go first, since its turn may just have taken something, and the client still reads. It reports whether there is a turn.
func (x *crossing) leave() bool {
	if x.turn == nil || x.turn.conn == nil {
		return false
	}
	x.leaving = true
	if !x.turn.recalled {
		x.turn.recalled = true
		x.turn.recall()
	}
	return true
}

// served reports whether all slots of some keys are served now.
func (x *crossing) served(keys []int) bool {
	v := x.client.pool.view.Load()
	return !slices.ContainsFunc(keys, func(at int) bool {
		_, blocked := x.client.pool.obstacle(v, x.client.pool.Model.Slot(x.args[at]))
		return blocked
	})
}

// passOver ends a turn that would have to wait for its slot while another server can be asked. It reports whether it has.
func (x *crossing) passOver(d *detour) bool {
	if x.once || d.errand != x.turn || !slices.ContainsFunc(x.owners(), x.served) {
		return false
	}
	d.state = detourDone
	d.sink.deliver(d.tag, nullArray(x.client.resp3()), true, true)
	d.done()
	return true
}

// slice is how long the server may wait whose turn it is.
func (x *crossing) slice() time.Duration {
	slice := leastBlock
	if x.pass > 0 {
		slice = min(firstSlice<<min(x.pass-1, 8), longestSlice)
	}
	if x.until != 0 {
		slice = min(slice, time.Duration(x.until-x.client.loop.now))
	}
	return max(slice, leastBlock)
}

// request is the client's request with some of its keys, and where the time to wait is in it.
func (x *crossing) request(keys []int) (raw []byte, timeAt int) {
	first, last := x.keys[0], x.keys[len(x.keys)-1]
	head, tail := x.args[:first], x.args[last+1:]
	if isStreamRead(x.cmd) { // Behind the keys come as many IDs.
		tail = nil
		for _, at := range keys {
			tail = append(tail, x.args[at+len(x.keys)])
		}
	}
	timeAt = x.timeout.at
	switch x.cmd.Name {
	case "blmpop", "bzmpop":
		head = slices.Clone(head)
		head[2] = strconv.AppendInt(nil, int64(len(keys)), 10)
	case "xread", "xreadgroup":
	default:
		timeAt = first + len(keys)
	}
	raw = resp.AppendArray(nil, len(head)+len(keys)+len(tail))
	for _, part := range [][][]byte{head, keysAt(x.args, keys), tail} {
		for _, arg := range part {
			raw = resp.AppendBulk(raw, arg)
		}
	}
	return raw, timeAt
}

// deliver implements sink: it takes the reply of a turn.
func (x *crossing) deliver(_ uint32, data []byte, first, last bool) {
	c := x.client
	if x.ended {
		return
	}
	nothing := first && last && (string(data) == "*-1\r\n" || string(data) == "_\r\n" || string(data) == "$-1\r\n")
	x.keepTails()
	switch {
	case nothing && !x.turn.freed:
		x.next()
	case nothing && x.turn.freeing: // It may have been let go, or its slice was over.
		x.turn.onFreed = func(letGo bool) {
			if c.closed {
				return
			}
			if letGo {
				x.end(nullArray(c.resp3()))
				return
			}
			x.next()
		}
	case first && data[0] == '-' && x.taken():
		x.end(x.result())
	case first && data[0] == '-', x.pass > 0 || !isStreamRead(x.cmd):
		c.deliver(x.seq, data, first, last)
	default:
		x.gather(data, last)
	}
}

// taken reports whether a group has given entries already: they are its consumer's, and must not be lost by an error of another server. What
// is wrong there shows at the next call.
func (x *crossing) taken() bool { return x.streams > 0 && x.cmd.Name == "xreadgroup" }

// keepTails notes from where streams are read on that were to be read from their end: that of the first turn counts.
func (x *crossing) keepTails() {
	if x.turn == nil || !x.turn.tails.known {
		return
	}
	t := x.turn
	for i, at := range x.asked {
		x.args[at+len(x.keys)] = t.args[len(t.args)-len(x.asked)+i]
	}
}

// gather takes what a server has of its streams in the first pass. Together they are one reply.
func (x *crossing) gather(data []byte, last bool) {
	c := x.client
	if limit := c.loop.server.limits().ClientOutput; len(x.reply)+len(x.gathered)+len(data) > limit {
		// At one server the client would be closed as well.
		c.loop.server.log.Warn("client does not read its replies, closing it", "client", c.id, "addr", c.addr, "cmd", x.cmd.Name, "limit_bytes", limit)
		c.close()
		return
	}
	x.reply = append(x.reply, data...)
	if !last {
		return
	}
	kind := byte('*')
	if c.resp3() {
		kind = '%'
	}
	n, rest, ok := cutHeader(x.reply, kind)
	if !ok {
		x.end(x.reply)
		return
	}
	x.streams += n
	x.gathered = append(x.gathered, rest...)
	x.reply = x.reply[:0]
	x.next()
}

// result is the reply when no server is asked any more.
func (x *crossing) result() []byte {
	resp3 := x.client.resp3()
	switch {
	case x.streams == 0:
		return nullArray(resp3)
	case resp3:
		return append(resp.AppendMap(nil, x.streams, true), x.gathered...)
	}
	return append(resp.AppendArray(nil, x.streams), x.gathered...) // Of pairs.
}

func (x *crossing) end(reply []byte) {
	x.ended = true
	x.client.deliver(x.seq, reply, true, true)
}

// deliverFailure implements sink.
func (x *crossing) deliverFailure(_ uint32, f backend.Failure) {
	switch {
	case x.ended:
	case x.taken():
		x.end(x.result())
	default:
		x.client.deliverFailure(x.seq, f)
	}
}

// again implements sink.
func (x *crossing) again(uint32) bool { return x.client.again(x.seq) }

var _ sink = (*crossing)(nil)
