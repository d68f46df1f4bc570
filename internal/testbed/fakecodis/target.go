package fakecodis

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"time"

	"github.com/tidwall/resp"

	"sluice/internal/testbed/fake"
)

// target is a connection to the server that keys move to. Owned by who holds the lock of its user.
type target struct {
	conn   net.Conn
	rd     *resp.Reader
	unhook func() bool
}

// dialTarget connects. The connection closes with ctx.
func dialTarget(ctx context.Context, addr string, timeout time.Duration) (*target, error) {
	conn, err := (&net.Dialer{Timeout: timeout}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	t := &target{conn: conn, rd: resp.NewReader(conn)}
	t.unhook = context.AfterFunc(ctx, func() { _ = conn.Close() })
	return t, nil
}

func (t *target) close() {
	t.unhook()
	_ = t.conn.Close()
}

// send writes commands.
func (t *target) send(commands [][]string, timeout time.Duration) error {
	var wire []byte
	for _, args := range commands {
		wire = append(wire, fake.Bulks(args...)...)
	}
	if err := t.conn.SetWriteDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	_, err := t.conn.Write(wire)
	return err
}

// receive reads one reply. An error reply is a Value.
func (t *target) receive(timeout time.Duration) (resp.Value, error) {
	if err := t.conn.SetReadDeadline(time.Now().Add(timeout)); err != nil {
		return resp.Value{}, err
	}
	v, _, err := t.rd.ReadValue()
	return v, err
}

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

func isEOF(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }
