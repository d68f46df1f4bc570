package proxy

import "sluice/proxy/command"

// Transactions are not supported yet. A client that does not look at the reply of MULTI would have the
// commands behind it run one by one, so everything up to EXEC or DISCARD is refused too.

func cmdMulti(c *client, _ [][]byte) bool {
	if c.inRefused {
		c.replyError("ERR MULTI calls can not be nested")
		return true
	}
	c.inRefused = true
	c.replyError(unsupported("multi"))
	return true
}

func cmdExec(c *client, _ [][]byte) bool { return c.endRefused("EXEC") }

func cmdDiscard(c *client, _ [][]byte) bool { return c.endRefused("DISCARD") }

func (c *client) endRefused(name string) bool {
	switch {
	case !c.inRefused:
		c.replyError("ERR " + name + " without MULTI")
	case name == "EXEC":
		c.replyError("EXECABORT Transaction discarded because of previous errors.")
	default:
		c.replyOK()
	}
	c.inRefused = false
	return true
}

// endsTransaction reports whether a command is one of those that are run, not queued, behind MULTI.
func endsTransaction(cmd *command.Command) bool {
	switch cmd.Name {
	case "multi", "exec", "discard", "reset", "quit":
		return true
	}
	return false
}
