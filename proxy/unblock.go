package proxy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"sluice/backend"
	"sluice/proxy/command"
	"sluice/proxy/resp"
)

// How a blocked client is let go before its time: the server is asked to, with CLIENT UNBLOCK, and answers the blocking
// command. Whether it had data for the client at the same moment only the server knows. (CLIENT UNBLOCK is there since
// Redis 5.0.)

// recallBlocked has blocking commands of a pool come back whose slot is not simply served by the server where they
// wait. A server that can't let go is left at the end of the slice.
func (l *loop) recallBlocked(p *Pool) {
	v := p.view.Load()
	for x := range l.blocked {
		if x.d.client.pool == p && !x.recalled && !x.belongs(v) {
			x.recalled = true
			x.recall()
		}
	}
}

// belongs reports whether x waits where its slot is served: at the master, or where that has sent it.
func (x *blocking) belongs(v *view) bool {
	if x.d.next.Addr != x.conn.Node.Addr {
		for _, slot := range x.d.slots {
			if v.servingMaster(slot) != x.conn.Node {
				return false
			}
		}
		return v.servingMaster(x.d.slot) == x.conn.Node
	}
	o, blocked := x.d.client.pool.blockReason(v, x.d.slot)
	return !blocked || !o.stopsRedirects()
}

// recall asks the server to let go, without the client noticing. If the server does not know how, the wait ends
// with its connection, and what had become of the command is not known.
func (x *blocking) recall() {
	l, b := x.d.client.loop, x.conn
	patience := l.now + int64(b.Node.Options().RequestTimeout)
	if b.Until == 0 || b.Until > patience {
		b.Until = patience // A server that is silent may be no master any more.
	}
	if x.sliced {
		return
	}
	if !b.Up() { // Nothing has left, and it is held like any request then.
		l.conns.Close(b, backend.ErrClosed)
		return
	}
	l.unblock(b, "TIMEOUT", func(reply []byte, err error) {
		switch {
		case x.conn != b || !x.recalled:
		case err != nil:
			l.conns.Close(b, err)
		case reply[0] == '-':
			l.conns.Close(b, errNoUnblock)
		case string(reply) == ":0\r\n":
			x.recall() // The question was faster than the command, or the answer is on its way.
		}
	})
}

// unblock asks the server to let whoever waits on b go, with nil or with an error. done is called with the answer
// or the lack of one; not at all if unblock returns false, because it is not known how the server calls b.
func (l *loop) unblock(b *backend.Conn, how string, done func(reply []byte, err error)) bool {
	if b.ServerID == 0 {
		return false
	}
	link := l.conns.Shared(b.Node, 2, 0)
	l.scratch = resp.AppendCommand(l.scratch[:0], "CLIENT", "UNBLOCK", strconv.FormatInt(b.ServerID, 10), how)
	if link.Send(l.scratch, unblocking{b, done}, 0, l.now) != nil {
		return false
	}
	b.Unblocking++
	l.markBackend(link)
	return true
}

// unblocking is the owner of a CLIENT UNBLOCK.
type unblocking struct {
	conn *backend.Conn
	done func(reply []byte, err error)
}

func (u unblocking) Reply(_ uint32, r backend.Reply) {
	u.conn.Unblocking--
	u.done(r.Data, nil)
}

func (u unblocking) Fail(_ uint32, f backend.Failure) {
	if !f.Sent {
		u.conn.Unblocking-- // Else it may still come, and hit whoever has the connection by then: nobody gets it any more.
	}
	u.done(nil, f.Err)
}

// freeBlocked lets everybody go who waits, when the proxy stops. It is called again and again: more may come.
func (l *loop) freeBlocked() {
	answered := func([]byte, error) {}
	for x := range l.blocked {
		if x.freed = true; x.conn.Unblocking == 0 {
			l.unblock(x.conn, "TIMEOUT", answered)
		}
	}
	for w := range l.waits {
		for _, b := range w.conns {
			if b != nil && b.Unblocking == 0 {
				l.unblock(b, "TIMEOUT", answered)
			}
		}
	}
}

// cmdClientUnblock lets a blocked client of this proxy go, on whichever loop it is.
func cmdClientUnblock(c *client, args [][]byte) stall {
	how := "TIMEOUT"
	if len(args) > 4 {
		c.replyError("ERR unknown subcommand or wrong number of arguments for 'UNBLOCK'. Try CLIENT HELP.")
		return stallNone
	}
	if len(args) == 4 {
		if how = strings.ToUpper(string(args[3])); how != "TIMEOUT" && how != "ERROR" {
			c.replyError("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")
			return stallNone
		}
	}
	id, ok := command.Integer(args[2])
	if !ok {
		c.replyError(errNotInteger)
		return stallNone
	}
	u := &unblock{client: c, seq: c.begin(nil, anySlot)}
	go func() {
		c.loop.server.onEachLoop(c.loop.server.ctx, func(l *loop) { u.ask(l, uint64(id), how) })
		if !u.asked.Load() {
			u.answer([]byte(":0\r\n"))
		}
	}()
	return stallNone
}

// answeredFree is called when the server has said whether the command was let go for good where it waited on b.
func (x *blocking) answeredFree(b *backend.Conn, letGo bool) {
	x.freeing = false
	if !letGo && x.conn == b {
		x.freed = false
	}
	if f := x.onFreed; f != nil {
		x.onFreed = nil
		f(letGo)
	}
}

// unblock is a CLIENT UNBLOCK of a client. Owned by the loop of the blocked client but for asked; it answers on the
// loop of the one that asks.
type unblock struct {
	client *client
	seq    uint32
	left   int    // answers still to come
	reply  []byte // of them, one that says that it was blocked if there is any

	asked atomic.Bool
}

// ask asks the servers at which the client with an ID waits, if it is on this loop. Clients of other pools are none
// of its business, as in CLIENT LIST.
func (u *unblock) ask(l *loop, id uint64, how string) {
	c := l.clients[id]
	if c == nil || c.pool != u.client.pool {
		return
	}
	for x := range l.blocked {
		if x.d.client == c {
			b := x.conn
			x.freed = u.askServer(l, b, how, func(reply []byte) { x.answeredFree(b, string(reply) == ":1\r\n") })
			x.freeing = x.freed
		}
	}
	if c.waiting == nil {
		return
	}
	for _, b := range c.waiting.conns {
		if b != nil {
			u.askServer(l, b, how, func([]byte) {})
		}
	}
}

func (u *unblock) askServer(l *loop, b *backend.Conn, how string, answered func(reply []byte)) bool {
	asked := l.unblock(b, how, func(reply []byte, err error) {
		if err != nil {
			reply = appendErrorLine(nil, fmt.Sprintf("ERR connection to backend %s was lost: %v", b.Node.Addr, err))
		}
		answered(reply)
		if u.reply == nil || string(reply) == ":1\r\n" {
			u.reply = slices.Clone(reply)
		}
		if u.left--; u.left == 0 {
			u.answer(u.reply)
		}
	})
	if asked {
		u.left++
		u.asked.Store(true)
	}
	return asked
}

func (u *unblock) answer(reply []byte) {
	c := u.client
	c.loop.execute(func() {
		if !c.closed {
			c.deliver(u.seq, reply, true, true)
		}
	})
}

var _ backend.Owner = unblocking{}
