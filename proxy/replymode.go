package proxy

import (
	"sluice/proxy/command"
	"sluice/proxy/local"
)

// replyMode is what a client has said with CLIENT REPLY. Owned by the client's event loop.
type replyMode struct {
	off      bool // no replies at all
	skipping bool // none to the request at hand
	skipNext bool // none to the next one
}

// cmdClientReply switches the replies of what comes behind it; requests in flight keep theirs.
func cmdClientReply(c *client, args [][]byte) stall {
	switch r := &c.replies; {
	case command.IsWord(args[2], "on"):
		*r = replyMode{}
		c.setMode(modeMuted, false)
		c.replyOK()
	case command.IsWord(args[2], "off"):
		r.off = true
		c.setMode(modeMuted, true)
	case command.IsWord(args[2], "skip"):
		r.skipNext = !r.off
	default:
		c.replyError(local.ErrSyntax)
	}
	return stallNone
}

// endSkip is called when a request was taken: what CLIENT REPLY SKIP said counts for one.
func (c *client) endSkip() {
	r := &c.replies
	if r.skipping || r.skipNext {
		r.skipping, r.skipNext = r.skipNext, false
		c.setMode(modeMuted, r.off || r.skipping)
	}
}

// dropReply counts a reply that its client does not want.
func (c *client) dropReply(data []byte) {
	c.loop.stats.Requests++
	if data[0] == '-' {
		c.loop.stats.Errors++
	}
}
