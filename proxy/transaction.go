package proxy

import (
	"time"

	"sluice/proxy/command"
)

// Transactions are not supported yet. A client that pipelines MULTI ... EXEC would have the commands between
// them run one by one, so they are refused too, up to EXEC, DISCARD or RESET. A client that waits for the
// reply of MULTI never sends those; for it the refusals end by themselves, see forgive.

// refusalTime is far longer than the pieces of a pipelined transaction are apart on one host, and short
// enough for a connection pool that hands the connection to its next user.
const refusalTime = int64(100 * time.Millisecond)

func cmdMulti(c *client, _ [][]byte) bool {
	if c.refusedUntil != 0 {
		c.replyError("ERR MULTI calls can not be nested")
		return true
	}
	c.refusedUntil = c.loop.now + refusalTime
	c.replyError(unsupported("multi"))
	return true
}

func cmdExec(c *client, _ [][]byte) bool { return c.endRefused("EXEC") }

func cmdDiscard(c *client, _ [][]byte) bool { return c.endRefused("DISCARD") }

func (c *client) endRefused(name string) bool {
	switch {
	case c.refusedUntil == 0:
		c.replyError("ERR " + name + " without MULTI")
	case name == "EXEC":
		c.replyError("EXECABORT Transaction discarded because of previous errors.")
	default:
		c.replyOK()
	}
	c.refusedUntil = 0
	return true
}

// forgive ends the refusals if their time is over. It is asked when bytes arrive and nothing of the client waits
// any more, so what was sent behind MULTI is refused however long it has waited here.
func (c *client) forgive() {
	if c.refusedUntil != 0 && c.loop.now >= c.refusedUntil && len(c.in) == 0 && c.pipe.empty() {
		c.refusedUntil = 0
	}
}

// endsTransaction reports whether a command is one of those that are run, not queued, behind MULTI.
func endsTransaction(cmd *command.Command) bool {
	switch cmd.Name {
	case "multi", "exec", "discard", "reset", "quit":
		return true
	}
	return false
}
