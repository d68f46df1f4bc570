package proxy

import (
	"math/rand/v2"
	"slices"
	"strconv"

	"sluice/backend"
	"sluice/backend/dialect"
	"sluice/proxy/command"
	"sluice/proxy/resp"
)

// A script may end with any error it likes, so what such an error says is no proof that nothing was run, and must not move
// anybody's requests: MOVED, TRYAGAIN and their like are believed of a script when the server answers the same to a command
// that is no script and has a key of it. That goes over the same connection, directly behind, and changes nothing. If the
// server answers something else, or can't be asked, the script's reply is its client's.
//
// The same goes for commands of modules, which may run code of their users.

// runsCode reports whether a command may end with any error that a client has thought of.
func runsCode(cmd *command.Command) bool {
	return cmd != nil && (isScript(cmd) || cmd.ID == command.Declared)
}

// confirmation is the question in flight.
type confirmation struct {
	d      *detour
	kind   dialect.Kind
	reply  []byte // the script's
	answer []byte
}

// confirm asks whether what an error reply to a script says is true. It returns false when that can't be asked.
func (d *detour) confirm(r backend.Reply, v dialect.Verdict) bool {
	c := d.client
	question := d.question(r.Data)
	if err := r.Conn.Send(question, &confirmation{d: d, kind: v.Kind, reply: slices.Clone(r.Data)}, 0, c.loop.now); err != nil {
		return false
	}
	d.state, d.confirming = detourIdle, true
	c.loop.markBackend(r.Conn)
	return true
}

// question is a command that is refused for the same reasons as the script, and changes nothing otherwise. HDEL of a field
// that nobody has is a write, so a replica and a Kvrocks that forbids writes refuse it; TRYAGAIN because some keys have gone
// needs all of them.
func (d *detour) question(reply []byte) []byte {
	nobody := strconv.FormatUint(rand.Uint64(), 36)
	switch {
	case len(d.keys) > 1 && string(reply[:min(len(reply), len("-TRYAGAIN "))]) == "-TRYAGAIN ":
		req := resp.AppendBulk(resp.AppendArray(nil, 1+len(d.keys)), "EXISTS")
		for _, key := range d.keys {
			req = resp.AppendBulk(req, key)
		}
		return req
	case len(d.keys) > 0:
		return resp.AppendCommand(nil, "HDEL", string(d.keys[0]), nobody)
	case d.client.pool.Model.Cluster():
		return resp.AppendCommand(nil, "PING")
	}
	return resp.AppendCommand(nil, "HDEL", nobody, nobody)
}

// Reply implements backend.Owner.
func (q *confirmation) Reply(_ uint32, r backend.Reply) {
	q.answer = append(q.answer, r.Data...)
	if !r.Last {
		return
	}
	d := q.d
	c := d.client
	if c.closed || d.state == detourDone {
		return
	}
	d.confirming = false
	if q.answer[0] == '-' {
		if v := c.judge(d.slot, q.answer, r.Conn); v.Kind == q.kind {
			if d.obey(v, backend.Reply{Conn: r.Conn, Data: q.answer, Request: d.raw, First: true, Last: true}) {
				c.runDetours()
			}
			return
		}
	}
	d.pass(q.reply, true, true)
}

// Fail implements backend.Owner.
func (q *confirmation) Fail(uint32, backend.Failure) {
	d := q.d
	if d.client.closed || d.state == detourDone {
		return
	}
	d.confirming = false
	d.pass(q.reply, true, true)
}

var _ backend.Owner = (*confirmation)(nil)
