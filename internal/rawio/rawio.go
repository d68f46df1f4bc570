// Package rawio reads and writes sockets that never block, without a word to the Go scheduler. Its bookkeeping costs as
// much as a tenth of a small request, and it takes the processor of a goroutine that it finds in a system call at the
// wrong moment.
package rawio

// Conn is a connection of gnet, as far as it is used.
type Conn interface {
	// Fd is the descriptor, or -1 for one that is not written directly.
	Fd() int
	// OutboundBuffered is the number of bytes that wait to be written.
	OutboundBuffered() int
	// Write writes what the kernel takes, and keeps the rest. An error has ended the connection.
	Write(p []byte) (int, error)
}

// Write does what c.Write does. Everything but a plain success is left to c.
func Write(c Conn, p []byte) (int, error) {
	fd := c.Fd()
	if fd < 0 || len(p) == 0 || c.OutboundBuffered() > 0 {
		return c.Write(p)
	}
	n := max(write(fd, p), 0)
	if n == len(p) {
		return n, nil
	}
	m, err := c.Write(p[n:])
	return n + m, err
}
