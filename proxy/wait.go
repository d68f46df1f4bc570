package proxy

import (
	"fmt"
	"time"

	"sluice/backend"
	"sluice/proxy/resp"
)

// waiting is a WAIT or WAITAOF: it asks every master how many of its replicas have what was written up to now, and
// answers the least, which is what their response policy says. A server counts what the connection has written that
// asks; Sluice's own connection for it has written nothing, but the server takes the offset at which it ran that
// connection's last command for it (redis 7.0, src/server.c processCommand), which a PING in front of WAIT makes
// the present one. The client's own writes are answered by then, since WAIT runs alone.
//
// Owned by the client's event loop.
type waiting struct {
	client *client
	seq    uint32
	asked  []askedServer
	left   int
	least  []int64 // of each number that the servers answer; nil before the first
	failed string  // the first error
}

// askedServer is one of the servers that a WAIT asks.
type askedServer struct {
	conn  *backend.Conn // nil when it has answered
	reply []byte        // so far
}

// pingRequest is PING in wire form. Immutable.
var pingRequest = resp.AppendCommand(nil, "PING")

func cmdWait(c *client, q request) stall {
	l := c.loop
	if q.v == nil || len(q.v.table.Groups) == 0 {
		c.replyError(errNoTopology)
		return stallNone
	}
	timeout, ok := parseInteger(q.args[len(q.args)-1])
	seq, alone := c.beginAlone(q.cmd, anySlot)
	if !alone {
		return stallDrain
	}
	c.pipe.at(seq).flags |= blocks
	w := &waiting{client: c, seq: seq, left: len(q.v.table.Groups)}
	c.waiting = w
	if l.waits == nil {
		l.waits = make(map[*waiting]struct{})
	}
	l.waits[w] = struct{}{}
	for _, g := range q.v.table.Groups {
		node := q.v.nodes[g.Master.Index]
		b, refusal, away := l.lease(node, 2, c.db)
		if away != nil {
			refusal = unavailableBecause(node, away)
		}
		if refusal != "" {
			w.fail(refusal)
			continue
		}
		w.asked = append(w.asked, askedServer{conn: b})
		if err := w.send(b, q.raw); err != nil {
			w.giveBack(uint32(len(w.asked)-1), false)
			w.fail(sendError(node, err))
			continue
		}
		if b.Until = 0; !ok || timeout > 0 {
			b.Until = l.now + max(timeout, 0)*int64(time.Millisecond) + int64(node.Options().RequestTimeout)
		}
		l.markBackend(b)
	}
	return stallNone
}

// send asks a server, on the connection that is the last of asked.
func (w *waiting) send(b *backend.Conn, raw []byte) error {
	l := w.client.loop
	if err := b.Send(pingRequest, nil, 0, l.now); err != nil {
		return err
	}
	return b.Send(raw, w, uint32(len(w.asked)-1), l.now)
}

// Reply implements backend.Owner.
func (w *waiting) Reply(tag uint32, r backend.Reply) {
	if w.client.closed {
		return
	}
	a := &w.asked[tag]
	a.reply = append(a.reply, r.Data...)
	if !r.Last {
		return
	}
	w.giveBack(tag, true)
	numbers, ok := integersReply(a.reply)
	switch {
	case !ok:
		w.fail(string(resp.TrimLine(a.reply[1:])))
		return
	case w.least == nil:
		w.least = numbers
	}
	for i := range min(len(numbers), len(w.least)) {
		w.least[i] = min(w.least[i], numbers[i])
	}
	w.one()
}

// Fail implements backend.Owner.
func (w *waiting) Fail(tag uint32, f backend.Failure) {
	if w.client.closed {
		return
	}
	w.giveBack(tag, false)
	if f.Conn.OpenedAt() == 0 {
		w.fail(unavailableBecause(f.Conn.Node, f.Err))
		return
	}
	w.fail(fmt.Sprintf("ERR connection to backend %s was lost: %v", f.Conn.Node.Addr, f.Err))
}

func (w *waiting) fail(text string) {
	if w.failed == "" {
		w.failed = text
	}
	w.one()
}

// one counts a server that has answered, or will not.
func (w *waiting) one() {
	if w.left--; w.left > 0 {
		return
	}
	c := w.client
	c.waiting = nil
	delete(c.loop.waits, w)
	if w.failed != "" {
		c.deliverError(w.seq, w.failed)
		return
	}
	var reply []byte
	if len(w.least) != 1 {
		reply = resp.AppendArray(nil, len(w.least))
	}
	for _, n := range w.least {
		reply = resp.AppendInt(reply, n)
	}
	c.deliver(w.seq, reply, true, true)
}

func (w *waiting) giveBack(tag uint32, clean bool) {
	b := w.asked[tag].conn
	w.asked[tag].conn = nil
	if b != nil {
		w.client.loop.conns.GiveBack(b, clean, w.client.loop.now)
	}
}

// abandon is called when the client has gone.
func (w *waiting) abandon() {
	delete(w.client.loop.waits, w)
	for i := range w.asked {
		w.giveBack(uint32(i), false)
	}
}

// integersReply reads ":1\r\n", or an array of such.
func integersReply(reply []byte) ([]int64, bool) {
	if n, ok := resp.Integer(reply); ok {
		return []int64{n}, true
	}
	_, rest, ok := resp.CutHeader(reply, '*')
	if !ok {
		return nil, false
	}
	var numbers []int64
	for len(rest) > 0 {
		var f resp.Framer
		n, done, err := f.Next(rest)
		number, ok := resp.Integer(rest[:n])
		if !done || err != nil || !ok {
			return nil, false
		}
		numbers, rest = append(numbers, number), rest[n:]
	}
	return numbers, true
}
