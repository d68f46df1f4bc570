package backend

import (
	"fmt"
	"net"
)

// A connection that is given up while requests on it are not answered has to be reset, not closed: after a plain close the
// kernel goes on sending what the server has not acknowledged, for minutes, and the server would run a write long after its
// client was told that the outcome is unknown, and behind a later one that was acknowledged. A reset forgets what was not
// sent. So data connections are made such that any end of them is a reset, also that of this process, and one on which
// nothing is owed is closed in the ordinary way.
//
// What has reached the server's socket before can still be run, see halfopen.go.

// resetOnClose makes the end of a connection a reset (SO_LINGER with 0 s, tcp(7), socket(7)).
func resetOnClose(nc net.Conn) error {
	tcp, ok := nc.(*net.TCPConn)
	if !ok {
		return nil
	}
	if err := tcp.SetLinger(0); err != nil {
		return fmt.Errorf("dial %s: %w", nc.RemoteAddr(), err)
	}
	return nil
}

// part is called before the socket of a Conn is closed because of err.
func (c *Conn) part(err error) {
	if c.fifo.len() == 0 {
		_ = c.gc.SetLinger(-1) // Nothing is owed. If it fails the connection is reset, which does no harm.
		return
	}
	c.Node.addHalfOpen(c, err)
}
