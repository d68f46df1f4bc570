package proxy

import (
	"errors"
	"slices"

	"sluice/backend"
	"sluice/proxy/command"
)

// A write that timed out is in doubt: its client was told that the outcome is unknown, and it may still be run,
// when the server gets to it. On its own connection whatever the client asks next is run behind it. So a client
// waits before it goes over to other connections (another RESP version or database, one of its own for WATCH or a
// blocking command) until the write is answered or its connection is given up, after backend.Options.HungAfter at
// the latest.
type doubt struct {
	conn *backend.Conn
	upTo uint64 // position on it
}

// noteDoubt is told of a request that gets no reply.
func (c *client) noteDoubt(cmd *command.Command, f backend.Failure) {
	if !f.Sent || !errors.Is(f.Err, backend.ErrTimeout) || cmd != nil && cmd.Is(command.ReadOnly) {
		return
	}
	c.doubts = slices.DeleteFunc(c.doubts, func(d doubt) bool { return d.conn == f.Conn || d.conn.Answered(d.upTo) })
	c.doubts = append(c.doubts, doubt{f.Conn, f.Conn.Position()})
}

// awaitSettled reports whether nothing of the client is in doubt. If something is, the loop looks again, and wakes it.
func (c *client) awaitSettled() bool {
	if len(c.doubts) == 0 {
		return true
	}
	c.doubts = slices.DeleteFunc(c.doubts, func(d doubt) bool { return d.conn.Answered(d.upTo) })
	if len(c.doubts) == 0 {
		return true
	}
	if !slices.Contains(c.loop.doubters, c) {
		c.loop.doubters = append(c.loop.doubters, c)
		c.loop.server.raisePace(paceTimeouts)
	}
	return false
}

// tickDoubters wakes clients that have waited for what was in doubt. It reports whether others still wait.
func (l *loop) tickDoubters() bool {
	l.doubters = slices.DeleteFunc(l.doubters, func(c *client) bool {
		if slices.ContainsFunc(c.doubts, func(d doubt) bool { return !d.conn.Answered(d.upTo) }) {
			return false
		}
		c.wake()
		return true
	})
	return len(l.doubters) > 0
}
