package proxy

import (
	"errors"
	"io"
	"slices"
	"time"

	"github.com/panjf2000/gnet/v2"
	"golang.org/x/sys/unix"
)

// A client that shuts down its sending side has sent all that it wants, and goes on reading, as
// `printf 'SET k v\r\n' | nc -N` does. Redis runs what came before the end, answers it, and closes then. gnet closes a
// connection at the end of what it reads, so the replies go out on a duplicate of its descriptor.
//
// Whether the client has only shut down its sending side, or has gone, shows when a reply is written: the kernel of one
// that has gone answers with a reset. Then nothing more of it is run, or a write of it could come behind one that the
// same application has made since, on its next connection. One that is sent no reply is given unheardTime for what has
// not been sent to a server.
//
//	open --end of what is read--> half closed --all run and answered-----> closed
//	                                   \------reset, or its time is over--/
//
// unheardTime is how long a client that is half closed may have requests sent to servers since the last reply to it.
const unheardTime = int64(time.Second)

// halfClosed is the connection of such a client. Owned by the event loop.
type halfClosed struct {
	gnet.Conn // nil: what is not below is not used
	fd        int
	rest      []byte // what the kernel has not taken yet
	err       error  // of a write: nobody reads any more
	wrote     bool   // the kernel has taken something since the client was looked at
}

// newHalfClosed duplicates the descriptor of a connection that gnet is about to close.
func newHalfClosed(conn gnet.Conn) (*halfClosed, error) {
	fd, err := unix.FcntlInt(uintptr(conn.Fd()), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return &halfClosed{fd: fd}, nil
}

// Write never blocks, and keeps what the kernel does not take.
func (h *halfClosed) Write(p []byte) (int, error) {
	h.rest = append(h.rest, p...)
	h.drain()
	return len(p), h.err
}

func (h *halfClosed) drain() {
	for len(h.rest) > 0 && h.err == nil {
		n, err := unix.Write(h.fd, h.rest)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			return
		case err != nil:
			h.err, h.rest = err, nil
		default:
			h.rest, h.wrote = h.rest[n:], true
		}
	}
	if len(h.rest) == 0 {
		h.rest = nil
	}
}

// OutboundBuffered is how many bytes wait to be taken by the kernel.
func (h *halfClosed) OutboundBuffered() int {
	h.drain()
	return len(h.rest)
}

// Fd is none for others: what is written has to be noted.
func (*halfClosed) Fd() int { return -1 }

func (h *halfClosed) close() { _ = unix.Close(h.fd) }

// outlive keeps a client whose connection has ended if it may still be answered, and reports whether it does.
func (c *client) outlive(ended error) bool {
	owed := c.stall != stallNone || !c.pipe.empty() || len(c.out) > 0
	if !errors.Is(ended, io.EOF) || !owed || hungUp(c.conn.Fd()) || c.loop.stopping || c.waitsForOthers() || c.conn.OutboundBuffered() > 0 {
		return false // Of bytes that gnet keeps nobody knows how many it can still write.
	}
	if x := c.crossGroup(); x != nil && !x.leave() {
		return false
	}
	h, err := newHalfClosed(c.conn)
	if err != nil {
		return false
	}
	c.half, c.conn, c.closeBy = h, h, c.loop.now+unheardTime
	c.loop.closing = append(c.loop.closing, c)
	c.loop.server.raisePace(paceSoon)
	c.mark()
	return true
}

// hungUp reports whether a socket is more than half closed: a reset shows at once, though gnet calls it an end, too,
// while the client is not read.
func hungUp(fd int) bool {
	fds := []unix.PollFd{{Fd: int32(fd)}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0 && fds[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0
}

// endHalfClosed ends a client that is half closed and has nothing to wait for. It is called when the client is flushed.
func (c *client) endHalfClosed() {
	l := c.loop
	waits := c.conn.OutboundBuffered() > 0 || !c.pipe.empty()
	if c.half.wrote {
		c.half.wrote, c.closeBy = false, max(c.closeBy, l.now+unheardTime)
	}
	switch {
	case c.half.err != nil, c.waitsForOthers():
	case c.stall == stallNone && !waits, c.stall == stallHold && !waits:
	case l.now > c.closeBy && (c.stall != stallNone || len(c.retries) > 0):
	case l.now > c.closeBy+lingerTime:
	default:
		return
	}
	c.close()
}

// crossGroup is the command that the client waits for with keys of several owners, nil when it does not.
func (c *client) crossGroup() *crossGroup {
	if len(c.retries) == 0 {
		return nil
	}
	x, _ := c.retries[0].sink.(*crossGroup)
	return x
}

// waitsForOthers reports whether the client waits for what may never come: data, messages, acknowledgements.
func (c *client) waitsForOthers() bool {
	blocks := func(d *retry) bool {
		x, ok := d.exclusive.(*blocking)
		return ok && !x.brief
	}
	return c.waiting != nil || c.subscriptions.Waits() || c.monitor != nil || c.subscriptions.Any() ||
		slices.ContainsFunc(c.retries, blocks)
}
