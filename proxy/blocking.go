package proxy

import (
	"bytes"
	"math"
	"strconv"
	"strings"
	"time"

	"sluice/backend"
	"sluice/backend/dialect"
	"sluice/proxy/command"
	"sluice/proxy/hold"
	"sluice/proxy/resp"
)

// blocking is the exclusive request of a command that may wait at the server for data: BLPOP and its kin, XREAD and
// XREADGROUP with BLOCK. It waits on a connection of its own, as long as the client has asked for and the request
// timeout on top of that. The client is not parsed meanwhile, as Redis does not parse a blocked client.
//
//	send --> at the server --reply--------------------------------------------> the client
//	  ^         |  |  \--nil because of a recall or the end of a slice--+
//	  |         |  +-----redirected, or the server is no master now-----+
//	  |\--------|--------no connection to the server--------------------+
//	  +---------|-------wait in front of what is in the way ------------+
//	            +--connection lost--> outcome unknown (an element may have been taken), XREAD is sent again
//
// Whose time is over while its server does not serve gets nil, if hold.max_wait is not over before.
//
// A lock must not wait for it: when its slot is locked or changes hands the server is asked to let the client go
// (recallBlocked), and the command is sent again when the slot is served, with the time that is left. To servers that
// can't do that it goes in slices of a second; it loses its place in the line then.
//
// Owned by the client's event loop.
type blocking struct {
	d        *retry
	conn     *backend.Conn // while it is at a server
	args     [][]byte      // of the request
	timeout  blockTime
	until    int64 // loop clock at which the client's time is over; 0: never
	sliced   bool
	brief    bool // a turn of a cross-group command: it ends whenever the server lets go
	recalled bool // the server was asked to let go, so nil does not mean that the time is over
	freed    bool // the server was asked to let go for good
	freeing  bool // and has not answered that yet
	onFreed  func(letGo bool)

	// The hold that ended when it came to a server last, to be continued if that does not keep it.
	held      heldRequest
	tries     int
	arrivedAt int64 // loop clock
	tails     tails
}

// blockTime is the block time of a request. The zero value is that of a request which has a bad one, or none.
type blockTime struct {
	at   int // its position in the arguments
	unit time.Duration
	time time.Duration // 0: for ever
}

const (
	// sliceTime is the part of the block time that a server which can't let go is asked for.
	sliceTime = time.Second
	// leastBlock stands for no time at all, since 0 is for ever.
	leastBlock = time.Millisecond
)

func cmdBlock(c *client, q request) stall {
	k, refusal := c.slotsOf(q)
	if refusal != "" {
		c.replyError(refusal)
		return stallNone
	}
	if c.crossesGroups(q, k) {
		return c.runCrossGroup(q, k)
	}
	if k.all != nil && q.v != nil {
		if o, blocked := c.pool.blockReasonOf(q.v, k.all); blocked && o.apart && o.move == nil {
			c.replyError(c.crossSlot(q.v, argKeys(q.cmd, q.args)))
			return stallNone
		}
	}
	if k.slot == anySlot {
		k.slot = c.someSlot(q.args[1])
	}
	if !c.awaitSettled() {
		return stallDrain
	}
	return c.runExclusive(q.cmd, k, q.raw, nil, func(d *retry) exclusive {
		x := &blocking{d: d, args: splitRequest(d.raw)}
		x.timeout = blockTimeOf(q.cmd, x.args)
		x.sliced = !c.pool.Family.Unblocks
		if x.timeout.time > 0 {
			x.until = c.loop.now + int64(x.timeout.time)
		}
		if q.cmd.Name == "xread" {
			x.tails.find(x.args)
		}
		c.pipe.at(d.seq).flags |= blocks
		return x
	})
}

// blockTimeOf finds the block time of a request.
func blockTimeOf(cmd *command.Command, args [][]byte) blockTime {
	t := blockTime{at: len(args) - 1, unit: time.Second}
	switch cmd.Name {
	case "blmpop", "bzmpop":
		t.at = 1
	case "bzmove": // Here options follow.
		t.at = 4
	case "blmovem":
		t.at = 5
	case "xread", "xreadgroup":
		t.at, t.unit = blockOption(cmd, args)+1, time.Millisecond
	}
	n, ok := parseBlockTime(string(args[t.at]), t.unit)
	if !ok {
		return blockTime{} // The server says so, and does not wait.
	}
	if n > float64(math.MaxInt64/2)/float64(t.unit) {
		n = 0 // Nobody lives as long.
	}
	t.time = time.Duration(n * float64(t.unit))
	return t
}

// parseBlockTime reads a block time as Redis does (redis 7.0, src/timeout.c getTimeoutFromObjectOrReply): whole
// milliseconds, or seconds as strtold reads them. It is not ok for what Redis refuses: less than 0, and what is no
// number of milliseconds in 64 bits.
func parseBlockTime(text string, unit time.Duration) (n float64, ok bool) {
	if unit == time.Millisecond {
		ms, ok := command.Integer([]byte(text))
		return float64(ms), ok && ms >= 0
	}
	number := strings.ToLower(text)
	if strings.Contains(number, "0x") && !strings.Contains(number, "p") {
		number += "p0"
	}
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || strings.Contains(number, "_") || !(n >= 0) || n*1000 >= math.MaxInt64 {
		return 0, false
	}
	if n == 0 && strings.Trim(number, "+-0.ex") != "" && !strings.HasPrefix(strings.TrimLeft(number, "+0."), "e") {
		n = leastBlock.Seconds() // Less than a float64 knows.
	}
	return n, true
}

// blockOption is the position of the word BLOCK in an XREAD or XREADGROUP, -1 when it does not wait. Of several the
// last one counts.
func blockOption(cmd *command.Command, args [][]byte) int {
	at := -1
	for i := 1; i < len(args)-1; i++ {
		switch {
		case command.IsWord(args[i], "block"):
			at = i
			i++
		case command.IsWord(args[i], "streams"):
			return at
		case command.IsWord(args[i], "group") && cmd.Name == "xreadgroup":
			i += 2
		case command.IsWord(args[i], "count"), command.IsWord(args[i], "claim"), command.IsWord(args[i], "maxcount"), command.IsWord(args[i], "maxsize"):
			i++
		}
	}
	return at
}

func (x *blocking) send(node *backend.Node, ask bool) (refusal string) {
	c := x.d.client
	l := c.loop
	b, refusal, away := l.lease(node, c.proto, c.db)
	if b == nil {
		return x.d.notLeased(node, refusal, away)
	}
	x.conn, x.recalled, x.freed = b, false, false
	var err error
	switch {
	case x.tails.open():
		err = x.askTails(b, ask)
	case ask:
		err = b.SendAsking(x.request(), x, 0, l.now)
	default:
		err = b.Send(x.request(), x, 0, l.now)
	}
	if err != nil {
		x.release(false)
		return sendError(node, err)
	}
	if b.Up() {
		x.arrived()
	} else {
		b.OnUp = x.arrived
	}
	if l.blocked == nil {
		l.blocked = make(map[*blocking]struct{})
	}
	l.blocked[x] = struct{}{}
	l.markBackend(b)
	return ""
}

// arrived is called when the connection is up: from now on the command waits for data, and not for its server.
func (x *blocking) arrived() {
	d := x.d
	x.conn.Until = x.patience()
	x.held, x.tries, x.arrivedAt = d.hold, d.next.Tries, d.client.loop.now
	d.client.endHold(&d.hold, hold.Released)
	d.next.Tries = 0
}

// briefStay is how long a server has to keep a command before the next hold is one of its own.
const briefStay = int64(time.Second)

// continueHold makes a hold that begins the continuation of the last one if nothing has changed: a server that answers
// READONLY or LOADING at once must not have the command for ever, a thousand times a second.
func (x *blocking) continueHold() {
	d := x.d
	if x.held.active && x.held.cause == d.hold.cause && d.hold.cause != hold.Locked &&
		d.client.loop.now-x.arrivedAt < briefStay {
		d.hold.since, d.hold.deadline, d.next.Tries = x.held.since, x.held.deadline, x.tries
	}
}

// patience is the loop clock at which the server has to have answered, 0 for never.
func (x *blocking) patience() int64 {
	l, limit := x.d.client.loop, int64(x.conn.Node.Options().RequestTimeout)
	switch {
	case x.tails.open() || x.timeout == (blockTime{}):
		return l.now + limit
	case x.sliced:
		return l.now + int64(sliceTime) + limit
	case x.until == 0:
		return 0
	case x.whole():
		limit += int64(x.timeout.unit)
	}
	return max(x.until, l.now) + limit
}

// whole reports whether the server knows whole block times alone: those that get slices may, and Redis before 6 does.
func (x *blocking) whole() bool {
	major, _, _ := strings.Cut(x.conn.Node.Status().Version, ".")
	n, err := strconv.Atoi(major)
	return x.sliced || err == nil && n < 6
}

// request is what is sent: the client's bytes, or those with the time that is left.
func (x *blocking) request() []byte {
	l := x.d.client.loop
	left := x.timeout.time
	if x.until != 0 {
		left = max(time.Duration(x.until-l.now), leastBlock)
	}
	if x.sliced && (left == 0 || left > sliceTime) {
		left = sliceTime
	}
	if x.timeout == (blockTime{}) || left == x.timeout.time && !x.tails.known && !x.brief {
		return x.d.raw
	}
	l.scratch = resp.AppendArray(l.scratch[:0], len(x.args))
	for i, arg := range x.args {
		if i == x.timeout.at {
			arg = appendBlockTime(nil, left, x.timeout.unit, x.whole())
		}
		l.scratch = resp.AppendBulk(l.scratch, arg)
	}
	return l.scratch
}

// appendBlockTime writes a block time.
func appendBlockTime(dst []byte, d, unit time.Duration, whole bool) []byte {
	if unit == time.Millisecond || whole {
		return strconv.AppendInt(dst, int64((d+unit-1)/unit), 10)
	}
	return strconv.AppendFloat(dst, d.Seconds(), 'f', 3, 64)
}

// Reply implements backend.Owner.
func (x *blocking) Reply(_ uint32, r backend.Reply) {
	c := x.d.client
	if c.closed || x.conn != r.Conn {
		return
	}
	if r.First && x.goesOn(r) {
		return
	}
	if r.Last {
		x.release(true)
	}
	if r.First && r.Data[0] == '-' {
		c.pipe.at(x.d.seq).start = c.loop.now // However long it has waited for data.
	}
	x.d.Reply(tagDirect, r)
	if r.Last && c.loop.server.draining.Load() && len(c.retries) == 0 {
		c.finish()
	}
}

// goesOn sends the command once more if this reply is not the end of it.
func (x *blocking) goesOn(r backend.Reply) bool {
	d := x.d
	switch string(r.Data) {
	case "*-1\r\n", "$-1\r\n", "_\r\n":
		if x.brief {
			return false
		}
		over := x.until != 0 && d.client.loop.now >= x.until
		if !x.recalled && !x.sliced || over || x.freed || x.timeout == (blockTime{}) {
			return false
		}
		x.sendAgain()
		return true
	}
	if bytes.HasPrefix(r.Data, []byte("-UNBLOCKED force ")) { // The server is no master any more.
		x.release(true)
		if d.obey(dialect.Verdict{Kind: dialect.NoMaster}, r) {
			d.client.runRetries()
		}
		return true
	}
	if d.client.pool.Model.Cluster() && bytes.HasPrefix(r.Data, streamGone) {
		x.sendAgain()
		return true
	}
	return false
}

// sendAgain looks for the server anew: the slot may have been locked meanwhile, or have another owner.
func (x *blocking) sendAgain() {
	c := x.d.client
	x.release(true)
	x.d.state = retryIdle
	c.pipe.at(x.d.seq).start = c.loop.now // However long it has waited for data.
	c.runRetries()
}

// streamGone is what Redis up to 7.0 answers to a blocked XREADGROUP whose key goes: deleted, or with its slot to
// another node of the cluster. The command was given nothing. Sent again it finds the key, or is answered with
// NOGROUP, as a later Redis does by itself.
var streamGone = []byte("-UNBLOCKED the stream key no longer exists")

// Fail implements backend.Owner.
func (x *blocking) Fail(_ uint32, f backend.Failure) {
	c := x.d.client
	if c.closed || x.conn != f.Conn {
		return
	}
	x.release(false)
	if f.Conn.OpenedAt() == 0 && !x.recalled {
		x.d.unreached(f.Conn.Node, f.Err)
		return
	}
	c.pipe.at(x.d.seq).start = c.loop.now // However long it has waited for data.
	x.d.failed(f)
}

// timedOut answers a client whose time is over before its server could be asked: there was no data for it, as far as it
// was to know.
func (x *blocking) timedOut() bool {
	d := x.d
	if x.until == 0 || d.client.loop.now < x.until {
		return false
	}
	d.state = retryDone
	d.sink.deliver(d.tag, nullArray(d.client.resp3()), true, true)
	d.done()
	return true
}

// release ends the use of the connection.
func (x *blocking) release(clean bool) {
	l, b := x.d.client.loop, x.conn
	x.conn = nil
	delete(l.blocked, x)
	l.conns.GiveBack(b, clean, l.now)
}

// abandon frees the server: it must take nothing from a list for a client that has gone.
func (x *blocking) abandon() {
	if x.conn != nil {
		x.release(false)
	}
}

var (
	_ exclusive     = (*blocking)(nil)
	_ backend.Owner = (*blocking)(nil)
)
