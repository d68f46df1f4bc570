package proxy

import (
	"bytes"

	"sluice/backend"
	"sluice/proxy/command"
	"sluice/proxy/script"
)

// A script is kept when a server has run or loaded it without an error, and not before: what no server takes would be
// loaded, in vain, for everybody who asks for it by its SHA-1.

// newScript is an EVAL in flight whose script is not kept yet.
type newScript struct {
	seq uint32
	id  script.ID
}

// bringsScript notes that request seq brings a script.
func (c *client) bringsScript(seq uint32, id script.ID) {
	at := 0
	for _, s := range c.newScripts { // Those that are answered are done with.
		if int32(s.seq-c.pipe.head) >= 0 {
			c.newScripts[at] = s
			at++
		}
	}
	c.newScripts = append(c.newScripts[:at], newScript{seq, id})
}

// noteAccepted is told the beginning of the reply to request seq, which may have brought a script.
func (c *client) noteAccepted(seq uint32, r backend.Reply) {
	for _, s := range c.newScripts {
		if s.seq == seq && r.Data[0] != '-' {
			c.keepScript(s.id, r.Request)
		}
	}
}

// keepScript keeps the script of an EVAL, given in wire form.
func (c *client) keepScript(id script.ID, raw []byte) {
	if args := splitRequest(raw); len(args) > 1 {
		c.loop.keepScript(c.pool, id, args[1])
	}
}

// keepScript keeps the script that a request that is retried has brought.
func (d *retry) keepScript() {
	if args := splitRequest(d.raw); len(args) > 1 && len(args[1]) <= script.MaxScript {
		d.client.loop.keepScript(d.client.pool, script.IDOf(args[1]), args[1])
	}
}

// keepScripts keeps the scripts that the commands of a transaction brought, given in wire form with their sizes, if all
// have succeeded.
func (c *client) keepScripts(raw []byte, sizes []int, reply backend.Reply) {
	if !reply.First || !reply.Last || reply.Data[0] != '*' || bytes.Contains(reply.Data, []byte("\n-")) {
		return
	}
	for _, size := range sizes {
		args := splitRequest(raw[:size])
		raw = raw[size:]
		if len(args) < 2 {
			continue
		}
		cmd, body := command.Resolve(args), args[len(args)-1]
		switch {
		case cmd == nil:
			continue
		case scriptKinds[cmd.ID] == scriptBody:
			body = args[1]
		case cmd.Name != "script|load":
			continue
		}
		if len(body) <= script.MaxScript {
			c.loop.keepScript(c.pool, script.IDOf(body), body)
		}
	}
}
