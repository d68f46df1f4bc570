package rawio

import (
	"bytes"
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

// conn is what gnet makes of a connection.
type conn struct {
	fd       int
	buffered int
	kept     []byte
	err      error
}

func (c *conn) Fd() int               { return c.fd }
func (c *conn) OutboundBuffered() int { return c.buffered + len(c.kept) }

func (c *conn) Write(p []byte) (int, error) {
	c.kept = append(c.kept, p...)
	return len(p), c.err
}

func pair(t *testing.T) (a, b int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = unix.Close(fds[0]), unix.Close(fds[1]) })
	return fds[0], fds[1]
}

func TestWriteKeepsTheRest(t *testing.T) {
	a, b := pair(t)
	c := &conn{fd: a}
	var sent, got []byte
	buf := make([]byte, 1<<16)
	for i := 0; len(c.kept) == 0; i++ { // Until the socket is full.
		piece := bytes.Repeat([]byte{byte('a' + i%26)}, 30_000)
		sent = append(sent, piece...)
		if n, err := Write(c, piece); n != len(piece) || err != nil {
			t.Fatalf("wrote %d of %d bytes: %v", n, len(piece), err)
		}
	}
	sent = append(sent, "behind"...)
	if n, err := Write(c, []byte("behind")); n != 6 || err != nil {
		t.Fatal(n, err)
	}
	for {
		n, errno := Read(b, buf)
		if errno == unix.EAGAIN {
			break
		}
		if errno != 0 || n <= 0 {
			t.Fatal(n, errno)
		}
		got = append(got, buf[:n]...)
	}
	if len(got) == 0 || !bytes.Equal(append(got, c.kept...), sent) {
		t.Errorf("%d bytes read and %d kept are not the %d written, in order", len(got), len(c.kept), len(sent))
	}
	if n, errno := Read(b, nil); n != 0 || errno != 0 {
		t.Error("read nothing:", n, errno)
	}
	_ = unix.Shutdown(a, unix.SHUT_WR)
	if n, errno := Read(b, buf); n != 0 || errno != 0 {
		t.Errorf("at the end: %d, %v", n, errno)
	}
}

func TestWriteLeavesTroubleToTheConn(t *testing.T) {
	f := func(name string, c *conn, want error) {
		t.Helper()
		if _, err := Write(c, []byte("x")); !errors.Is(err, want) || string(c.kept) != "x" {
			t.Errorf("%s: %v, kept %q, want %v", name, err, c.kept, want)
		}
	}
	a, _ := pair(t)
	f("no descriptor", &conn{fd: -1}, nil)
	f("bytes wait", &conn{fd: a, buffered: 1}, nil)
	_ = unix.Shutdown(a, unix.SHUT_WR)
	f("nobody reads", &conn{fd: a, err: unix.EPIPE}, unix.EPIPE)
	if n, errno := Read(-1, make([]byte, 1)); n >= 0 || errno != unix.EBADF {
		t.Errorf("no descriptor: %d, %v", n, errno)
	}
}
