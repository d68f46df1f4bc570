package proxy

import (
	"fmt"
	"time"

	"sluice/backend"
	"sluice/proxy/command"
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
	gathering

	conns []*backend.Conn // by part; nil when it has answered
}

// pingRequest is PING in wire form. Immutable.
var pingRequest = resp.AppendCommand(nil, "PING")

func cmdWait(c *client, q request) stall {
	l := c.loop
	if q.v == nil || len(q.v.table.Groups) == 0 {
		c.replyError(errNoTopology)
		return stallNone
	}
	timeout, ok := command.Integer(q.args[len(q.args)-1])
	seq, alone := c.beginAlone(q.cmd, anySlot)
	if !alone {
		return stallDrain
	}
	c.pipe.at(seq).flags |= blocks
	w := &waiting{gathering: gathering{client: c, seq: seq}, conns: make([]*backend.Conn, len(q.v.table.Groups))}
	w.done = w.answer
	w.expect(len(w.conns))
	c.waiting = w
	if l.waits == nil {
		l.waits = make(map[*waiting]struct{})
	}
	l.waits[w] = struct{}{}
	for i, g := range q.v.table.Groups {
		node := q.v.nodes[g.Master.Index]
		b, refusal, away := l.lease(node, 2, c.db)
		if away != nil {
			refusal = unavailableBecause(node, away)
		}
		if refusal != "" {
			w.fail(refusal)
			continue
		}
		w.conns[i] = b
		if err := w.send(uint32(i), q.raw); err != nil {
			w.giveBack(uint32(i), false)
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

// send asks a server.
func (w *waiting) send(tag uint32, raw []byte) error {
	l, b := w.client.loop, w.conns[tag]
	if err := b.Send(pingRequest, nil, 0, l.now); err != nil {
		return err
	}
	return b.Send(raw, w, tag, l.now)
}

// Reply implements backend.Owner.
func (w *waiting) Reply(tag uint32, r backend.Reply) {
	if w.client.closed {
		return
	}
	if w.add(tag, r.Data); r.Last {
		w.giveBack(tag, true)
		w.whole(tag)
	}
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

// answer is called when all have answered, or will not.
func (w *waiting) answer() {
	c := w.client
	c.waiting = nil
	delete(c.loop.waits, w)
	w.conclude(leastOf)
}

// leastOf makes one reply: of each number that the servers answer the least.
func leastOf(replies [][]byte) []byte {
	var least []int64
	for i, r := range replies {
		numbers, ok := integersReply(r)
		if !ok {
			return appendErrorLine(nil, string(resp.TrimLine(r[1:])))
		}
		if i == 0 {
			least = numbers
		}
		for at := range min(len(numbers), len(least)) {
			least[at] = min(least[at], numbers[at])
		}
	}
	var reply []byte
	if len(least) != 1 {
		reply = resp.AppendArray(nil, len(least))
	}
	for _, n := range least {
		reply = resp.AppendInt(reply, n)
	}
	return reply
}

func (w *waiting) giveBack(tag uint32, clean bool) {
	b := w.conns[tag]
	w.conns[tag] = nil
	if b != nil {
		w.client.loop.conns.GiveBack(b, clean, w.client.loop.now)
	}
}

// abandon is called when the client has gone.
func (w *waiting) abandon() {
	delete(w.client.loop.waits, w)
	for i := range w.conns {
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
