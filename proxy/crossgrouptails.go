package proxy

import (
	"sluice/backend"
	"sluice/proxy/resp"
)

// askTails asks where streams end that are to be read from there on. Those that are not simply served are asked
// when it is their turn.
func (x *crossGroup) askTails(v *view) {
	c := x.client
	if x.cmd.Name != "xread" || x.bad {
		return
	}
	for _, at := range x.keys {
		node := v.servingMaster(c.pool.Model.Slot(x.args[at]))
		if string(x.args[at+len(x.keys)]) != "$" || node == nil {
			continue
		}
		b := c.loop.conns.Shared(node, c.proto, c.db)
		c.loop.scratch = resp.AppendCommand(c.loop.scratch[:0], "XREVRANGE", string(x.args[at]), "+", "-", "COUNT", "1")
		if b.Send(c.loop.scratch, &crossGroupTail{x: x, at: at + len(x.keys)}, 0, c.loop.now) == nil {
			x.tails++
			c.loop.markBackend(b)
		}
	}
}

// crossGroupTail takes the last entry of a stream.
type crossGroupTail struct {
	x    *crossGroup
	at   int    // position of its "$"
	head []byte // how the answer begins
}

// Reply implements backend.Owner.
func (t *crossGroupTail) Reply(_ uint32, r backend.Reply) {
	t.head = append(t.head, r.Data[:min(len(r.Data), headSize-len(t.head))]...)
	if !r.Last {
		return
	}
	if t.head[0] != '-' {
		t.x.args[t.at] = lastEntry(t.head)
	}
	t.x.tailAnswered()
}

// Fail implements backend.Owner.
func (t *crossGroupTail) Fail(uint32, backend.Failure) { t.x.tailAnswered() }

func (x *crossGroup) tailAnswered() {
	if x.tails--; x.tails == 0 && !x.client.closed {
		x.next()
	}
}

var _ backend.Owner = (*crossGroupTail)(nil)
