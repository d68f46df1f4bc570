package testbed

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/tidwall/resp"
)

// controlTimeout bounds one command on a control connection. Servers on loopback answer in milliseconds;
// the rest is room for a loaded machine.
const controlTimeout = 30 * time.Second

// control is a connection for the commands of the tests themselves. It dials when it is first used and
// again after an error. Safe for concurrent use: one command at a time.
type control struct {
	addr     string
	password string

	mu   sync.Mutex
	conn net.Conn // nil: not connected
	rd   *resp.Reader
}

// do sends one command and reads its reply. An error reply is a Value, not an error.
func (c *control) do(ctx context.Context, args ...string) (resp.Value, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, controlTimeout)
	defer cancel()
	if c.conn == nil {
		if err := c.dial(ctx); err != nil {
			return resp.Value{}, err
		}
	}
	v, err := c.exchange(ctx, args)
	if err != nil {
		c.hangUp()
		return resp.Value{}, fmt.Errorf("%s to %s: %w", args[0], c.addr, err)
	}
	return v, nil
}

func (c *control) dial(ctx context.Context) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", c.addr)
	if err != nil {
		return err
	}
	c.conn, c.rd = conn, resp.NewReader(conn)
	if c.password == "" {
		return nil
	}
	v, err := c.exchange(ctx, []string{"AUTH", c.password})
	if err == nil {
		err = v.Error()
	}
	if err != nil {
		c.hangUp()
		return fmt.Errorf("AUTH to %s: %w", c.addr, err)
	}
	return nil
}

func (c *control) exchange(ctx context.Context, args []string) (resp.Value, error) {
	if deadline, ok := ctx.Deadline(); ok {
		if err := c.conn.SetDeadline(deadline); err != nil {
			return resp.Value{}, err
		}
	}
	values := make([]resp.Value, len(args))
	for i, arg := range args {
		values[i] = resp.StringValue(arg)
	}
	// The Writer of tidwall/resp drops write errors; the read reports them.
	if err := resp.NewWriter(c.conn).WriteArray(values); err != nil {
		return resp.Value{}, err
	}
	v, _, err := c.rd.ReadValue()
	return v, err
}

// hangUp closes the connection. c.mu is held.
func (c *control) hangUp() {
	_ = c.conn.Close()
	c.conn, c.rd = nil, nil
}

// close ends the connection; the next command dials again.
func (c *control) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil {
		c.hangUp()
	}
}
