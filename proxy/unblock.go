package proxy

import (
	"slices"
	"strconv"
	"strings"

	"sluice/backend"
	"sluice/proxy/resp"
)

// How a blocked client is let go before its time: the server is asked to, with CLIENT UNBLOCK, and answers the blocking
// command. Whether it had data for the client at the same moment only the server knows. (CLIENT UNBLOCK is there since
// Redis 5.0.)

// recallBlocked has blocking commands of a pool come back whose slot is not simply served by the server where they wait.
// A server that can't let go is left at the end of the slice.
func (l *loop) recallBlocked(p *Pool) {
	v := p.view.Load()
	for x := range l.blocked {
		c := x.d.client
		if c.pool != p || x.recalled || v.straight(x.d.slot) == x.conn.Node || x.d.addr == x.conn.Node.Addr {
			continue
		}
		x.recalled = true
		patience := l.now + int64(x.conn.Node.Options().RequestTimeout)
		if x.conn.Until == 0 || x.conn.Until > patience {
			x.conn.Until = patience // A server that is silent may be no master any more.
		}
		if !x.sliced {
			x.letGo("TIMEOUT", recall{x, x.conn})
		}
	}
}

// letGo asks the server to end the wait, with nil or with an error.
func (x *blocking) letGo(how string, owner backend.Owner) bool {
	l := x.d.client.loop
	if x.conn.ServerID == 0 {
		return false
	}
	b := l.link(x.conn.Node, 2, 0)
	l.scratch = resp.AppendCommand(l.scratch[:0], "CLIENT", "UNBLOCK", strconv.FormatInt(x.conn.ServerID, 10), how)
	if b.Send(l.scratch, owner, 0, l.now) != nil {
		return false
	}
	l.markBackend(b)
	return true
}

// recall takes the answer to a CLIENT UNBLOCK of our own. If the server does not know it, the wait ends with its
// connection, and what had become of the command is not known.
type recall struct {
	x    *blocking
	conn *backend.Conn
}

func (r recall) Reply(_ uint32, reply backend.Reply) {
	if reply.Data[0] == '-' {
		r.end(errNoUnblock)
	}
}

func (r recall) Fail(_ uint32, f backend.Failure) { r.end(f.Err) }

func (r recall) end(err error) {
	if r.x.conn == r.conn && !r.conn.Closed() {
		r.x.d.client.loop.closeBackend(r.conn, err)
	}
}

// cmdClientUnblock lets a blocked client of this proxy go, on whichever loop it is.
func cmdClientUnblock(c *client, args [][]byte) bool {
	how := "TIMEOUT"
	if len(args) > 4 {
		c.replyError(errSyntax)
		return true
	}
	if len(args) == 4 {
		if how = strings.ToUpper(string(args[3])); how != "TIMEOUT" && how != "ERROR" {
			c.replyError("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")
			return true
		}
	}
	id, ok := parseInteger(args[2])
	if !ok {
		c.replyError(errNotInteger)
		return true
	}
	u := &unblock{client: c, seq: c.begin(nil, anySlot)}
	go func() {
		asked := false
		c.loop.server.onEachLoop(c.loop.server.ctx, func(l *loop) {
			other := l.clients[uint64(id)]
			for x := range l.blocked {
				asked = asked || x.d.client == other && x.letGo(how, u)
			}
		})
		if !asked {
			u.answer([]byte(":0\r\n"))
		}
	}()
	return true
}

// unblock is a CLIENT UNBLOCK on its way. It is the owner of the request on the loop of the blocked client, and answers
// on that of the one that asks.
type unblock struct {
	client *client
	seq    uint32
}

func (u *unblock) Reply(_ uint32, r backend.Reply) { u.answer(slices.Clone(r.Data)) }

func (u *unblock) Fail(_ uint32, f backend.Failure) {
	u.answer(appendErrorLine(nil, failureText(nil, f)))
}

func (u *unblock) answer(reply []byte) {
	c := u.client
	c.loop.execute(func() {
		if !c.closed {
			c.deliver(u.seq, reply, true, true)
		}
	})
}

var (
	_ backend.Owner = recall{}
	_ backend.Owner = (*unblock)(nil)
)
