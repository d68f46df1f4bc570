package proxy

import "sluice/proxy/command"

// transaction is what stands between a client's MULTI and its EXEC. Owned by the client's event loop.
type transaction struct {
	aborted bool // a command was refused: nothing is run
}

func cmdMulti(c *client, _ request) bool {
	if c.is(modeQueueing) {
		c.replyError("ERR MULTI calls can not be nested")
		return true
	}
	c.setMode(modeQueueing, true)
	c.tx = transaction{aborted: true}
	c.replyError(unsupported("multi"))
	return true
}

func cmdExec(c *client, _ request) bool { return c.endRefused("EXEC") }

func cmdDiscard(c *client, _ request) bool { return c.endRefused("DISCARD") }

func (c *client) endRefused(name string) bool {
	switch {
	case !c.is(modeQueueing):
		c.replyError("ERR " + name + " without MULTI")
	case name == "EXEC":
		c.replyError("EXECABORT Transaction discarded because of previous errors.")
	default:
		c.replyOK()
	}
	c.setMode(modeQueueing, false)
	c.tx = transaction{}
	return true
}

// enqueue keeps a command for EXEC.
func (c *client) enqueue(request) bool {
	c.reject(errInRefused)
	return true
}

// endsQueueing reports whether a command is one of those that are run, not queued, behind MULTI.
func endsQueueing(cmd *command.Command) bool {
	switch cmd.Name {
	case "multi", "exec", "discard", "watch", "reset", "quit":
		return true
	}
	return false
}
