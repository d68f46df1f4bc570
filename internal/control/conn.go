package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"sluice/proxy/resp"
)

// Options say how a Conn is opened. The zero value asks a server without a password.
type Options struct {
	User, Password string // sent with AUTH when one is set
	Name           string // what the server shows in CLIENT LIST; optional
	Limits         Limits // of each answer
	// Dial opens the connection. Default: that of net.Dialer.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// Conn is a connection that asks and waits. It belongs to one goroutine.
//
// It never sends HELLO by itself, and understands RESP3 for those who do.
type Conn struct {
	addr    string
	conn    net.Conn
	replies *Reader
}

// Dial connects to addr (host:port), over TCP, and greets the server: AUTH has to succeed, CLIENT SETNAME need not. It blocks
// until ctx ends, at the latest. A password that the server refuses is a ReplyError.
func Dial(ctx context.Context, addr string, o Options) (*Conn, error) {
	dial := o.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	nc, err := dial(ctx, "tcp", addr)
	if err != nil {
		return nil, err // It names the address and the operation itself.
	}
	c := New(nc, addr, o.Limits)
	if err := c.greet(ctx, o); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// New returns a Conn over a connection to addr. It owns nc.
func New(nc net.Conn, addr string, limits Limits) *Conn {
	return &Conn{addr: addr, conn: nc, replies: NewReader(nc, limits)}
}

// greetingLimits are for OK twice, or an error.
var greetingLimits = Limits{Bytes: 64 << 10, Elements: 1 << 10, Depth: 4}

func (c *Conn) greet(ctx context.Context, o Options) error {
	var commands [][]string
	switch {
	case o.User != "":
		commands = append(commands, []string{"AUTH", o.User, o.Password})
	case o.Password != "":
		commands = append(commands, []string{"AUTH", o.Password})
	}
	if o.Name != "" {
		commands = append(commands, []string{"CLIENT", "SETNAME", o.Name})
	}
	if len(commands) == 0 {
		return nil
	}
	c.replies.limits = greetingLimits
	replies, err := c.Pipe(ctx, commands...)
	if err != nil {
		return err
	}
	c.replies.limits = o.Limits.withDefaults()
	if err := replies[0].Err(); err != nil && commands[0][0] == "AUTH" {
		return fmt.Errorf("%s: AUTH: %w", c.addr, err)
	}
	return nil
}

// Addr is the address that was dialled.
func (c *Conn) Addr() string { return c.addr }

// RemoteAddr is the address that is connected.
func (c *Conn) RemoteAddr() net.Addr { return c.conn.RemoteAddr() }

// Do sends one command and returns its reply; see Pipe.
func (c *Conn) Do(ctx context.Context, args ...string) (Value, error) {
	replies, err := c.Pipe(ctx, args)
	if err != nil {
		return Value{}, err
	}
	return replies[0], nil
}

// Pipe sends commands together and returns their replies, which are the caller's; together they have to be within the
// limits. An error that the server answers is a reply. It blocks until ctx ends, at the latest. An error names the address, the
// command and what went wrong; after one the Conn is of no use any more.
func (c *Conn) Pipe(ctx context.Context, commands ...[]string) ([]Value, error) {
	stop := context.AfterFunc(ctx, func() { _ = c.conn.SetDeadline(time.Unix(1, 0)) })
	replies, at, err := c.exchange(commands)
	if ended := !stop(); ended {
		err = context.Cause(ctx)
		if errors.Is(err, context.DeadlineExceeded) {
			err = lateError{}
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", c.addr, title(commands[at]), err)
	}
	return replies, nil
}

// exchange returns the replies, or which command the error is about.
func (c *Conn) exchange(commands [][]string) (replies []Value, at int, err error) {
	var out []byte
	for _, args := range commands {
		out = resp.AppendCommand(out, args...)
	}
	c.replies.Refill()
	_, sent := c.conn.Write(out)
	for i := range commands {
		v, err := c.replies.Read()
		if sent != nil && err != nil {
			err = sent
		}
		if err != nil {
			return nil, i, lastWords(replies, withoutPorts(err))
		}
		replies = append(replies, v)
	}
	return replies, len(commands) - 1, nil
}

// lastWords adds to the error of a connection that has ended what the server said last, if that was an error: one that
// has maxclients, or is in protected mode, says so to whoever connects, whatever is asked, and hangs up (redis 7.0,
// src/networking.c acceptCommonHandler, clientAcceptHandler).
func lastWords(replies []Value, err error) error {
	hungUp := errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
	if !hungUp || len(replies) == 0 || replies[len(replies)-1].Kind != Error {
		return err
	}
	return fmt.Errorf("%s (then %w)", replies[len(replies)-1].Text, err)
}

// withoutPorts takes the addresses out of a network error: ours is another one each time, and such texts can't be
// grouped.
func withoutPorts(err error) error {
	if op := new(net.OpError); errors.As(err, &op) {
		return op.Err
	}
	return err
}

// lateError is a deadline that has passed.
type lateError struct{}

func (lateError) Error() string { return "no answer in time" }
func (lateError) Timeout() bool { return true }
func (lateError) Unwrap() error { return context.DeadlineExceeded }

// title is a command in an error: its name, and of those that have subcommands that. Other arguments may be secrets.
func title(args []string) string {
	switch strings.ToUpper(args[0]) {
	case "CLIENT", "CLUSTER", "CLUSTERX", "CONFIG", "DFLYCLUSTER", "INFO", "SENTINEL":
		return strings.Join(args[:min(len(args), 3)], " ")
	}
	return args[0]
}

// Release hands the connection over. It is an error when the server has sent more than it was asked for, which would be
// lost; the connection is closed then.
func (c *Conn) Release() (net.Conn, error) {
	if n := c.replies.Buffered(); n > 0 {
		c.Close()
		return nil, fmt.Errorf("%s: %d bytes came that nobody has asked for", c.addr, n)
	}
	return c.conn, nil
}

// Close ends the connection.
func (c *Conn) Close() { _ = c.conn.Close() }
