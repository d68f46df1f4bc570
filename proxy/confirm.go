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

// A script may end with any error it likes, so what such an error says is no proof that nothing was run, and must not
// move anybody's requests: MOVED and ASK are believed of a script when the server redirects a command that is no script
// and has a key of it, HDEL of a field that nobody has. That goes over the same connection, directly behind, and
// changes nothing. If the server answers something else, or can't be asked, the script's reply is its client's.
//
// The same goes for commands of modules, which may run code of their users.
//
// TRYAGAIN, LOADING and their like are believed in the very words of a server: a script that says them is run again,
// and harms nobody but its client. So is one that makes a redirect true by deleting its own key in a slot that moves.

// runsCode reports whether a command may end with any error that a client has thought of.
func runsCode(cmd *command.Command) bool {
	return cmd != nil && (isScript(cmd) || cmd.ID == command.Declared)
}

// redirects reports whether a verdict sends a request to another node.
func redirects(v dialect.Verdict) bool { return v.Kind == dialect.Moved || v.Kind == dialect.Ask }

// confirmation is the question in flight.
type confirmation struct {
	d      *retry
	reply  []byte // the script's
	answer []byte
}

// confirm asks whether the redirect that a script was answered with is true. It returns false when that can't be asked.
func (d *retry) confirm(r backend.Reply) bool {
	c := d.client
	if len(d.keys) == 0 {
		return false // Nothing redirects it.
	}
	var first [][]byte
	if d.next.Ask {
		first = [][]byte{backend.AskingRequest}
	}
	nobody := strconv.FormatUint(rand.Uint64(), 36)
	question := resp.AppendCommand(nil, "HDEL", string(d.keys[0]), nobody)
	q := &confirmation{d: d, reply: slices.Clone(r.Data)}
	if err := r.Conn.SendBehind(first, question, q, 0, c.loop.now); err != nil {
		return false
	}
	d.state, d.confirming = retryIdle, q
	c.loop.markBackend(r.Conn)
	return true
}

// Reply implements backend.Owner.
func (q *confirmation) Reply(_ uint32, r backend.Reply) {
	q.answer = append(q.answer, r.Data...)
	if !r.Last {
		return
	}
	d := q.d
	c := d.client
	if c.closed || d.state == retryDone || d.confirming != q {
		return
	}
	d.confirming = nil
	if q.answer[0] == '-' {
		// The slot may have got on meanwhile: what the server says now counts.
		if v := c.judge(d.cmd, d.slot, q.answer, r.Conn); redirects(v) || v.Kind == dialect.Migrating {
			if d.obey(v, backend.Reply{Conn: r.Conn, Data: q.answer, Request: d.raw, First: true, Last: true}) {
				c.runRetries()
			}
			return
		}
	}
	d.pass(q.reply, true, true)
}

// Fail implements backend.Owner.
func (q *confirmation) Fail(uint32, backend.Failure) {
	d := q.d
	if d.client.closed || d.state == retryDone || d.confirming != q {
		return
	}
	q.giveUp()
}

// giveUp passes on what the script has said: nothing else is known, and it may have run.
func (q *confirmation) giveUp() {
	q.d.confirming = nil
	q.d.pass(q.reply, true, true)
}

var _ backend.Owner = (*confirmation)(nil)
