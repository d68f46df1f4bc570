package proxy

import (
	"context"
	"fmt"
	"slices"

	"sluice/proxy/command"
	"sluice/proxy/resp"
)

// cmdClientKill closes clients of the pool: of the old form, with an address alone, all that come from there; of
// the new one those that all options choose. One that kills itself gets its answer first, as in Redis.
func cmdClientKill(c *client, args [][]byte) stall {
	old := len(args) == 3
	f, refusal := c.parseKillFilter(args)
	if refusal != "" {
		c.replyError(refusal)
		return stallNone
	}
	if !c.pipe.empty() {
		return stallDrain
	}
	killed, self := int64(0), false
	// If it kills itself, what it has asked for behind that is not run: the answer comes alone.
	c.answerLater(func(ctx context.Context) func(dst []byte) []byte {
		if !c.loop.server.visitClients(ctx, c.pool, func(other *client) {
			switch {
			case !f.takes(other):
				return
			case other == c:
				self = true
			default:
				other.close()
			}
			killed++
		}) {
			return nil
		}
		return func(dst []byte) []byte {
			if self {
				c.finish()
			}
			switch {
			case !old:
				return resp.AppendInt(dst, killed)
			case killed == 0:
				return resp.AppendError(dst, "ERR No such client")
			}
			return append(dst, okReply...)
		}
	})
	return stallNone
}

func (c *client) parseKillFilter(args [][]byte) (f clientFilter, refusal string) {
	if len(args) == 3 {
		addr := string(args[2])
		return clientFilter{addr: &addr}, ""
	}
	f.not = c
	for i := 2; i < len(args); i += 2 {
		if i+1 == len(args) {
			return f, errSyntax
		}
		value := string(args[i+1])
		switch {
		case command.IsWord(args[i], "id"):
			id, ok := command.Integer(args[i+1])
			if !ok || id < 1 {
				return f, "ERR client-id should be greater than 0"
			}
			f.ids = []int64{id}
		case command.IsWord(args[i], "type"):
			if f.kind, refusal = clientKind(args[i+1]); refusal != "" {
				return f, refusal
			}
		case command.IsWord(args[i], "addr"):
			f.addr = &value
		case command.IsWord(args[i], "laddr"):
			f.laddr = &value
		case command.IsWord(args[i], "user"):
			if !c.pool.hasUser(value) {
				return f, fmt.Sprintf("ERR No such user '%s'", value)
			}
			f.user = &value
		case command.IsWord(args[i], "skipme") && command.IsWord(args[i+1], "yes"):
			f.not = c
		case command.IsWord(args[i], "skipme") && command.IsWord(args[i+1], "no"):
			f.not = nil
		default:
			return f, errSyntax
		}
	}
	return f, ""
}

// hasUser reports whether a client may be known by a name.
func (p *Pool) hasUser(name string) bool {
	users := p.Settings().Users
	return len(users) == 0 && name == "default" || slices.ContainsFunc(users, func(u User) bool { return u.Name == name })
}
