package backend

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"sluice/proxy/resp"
)

// Control is a connection of the control side: it asks and waits. It belongs to one goroutine, and never to a loop.
type Control struct {
	node    *Node
	conn    net.Conn
	replies replyReader
}

// OpenControl connects, to a replica that keys are to be read from with replica set. It blocks up to Options.DialTimeout.
func (n *Node) OpenControl(ctx context.Context, replica bool) (*Control, error) {
	conn, err := n.connect(ctx, purpose{proto: 2, replica: replica}, nil)
	if err != nil {
		return nil, err
	}
	return &Control{node: n, conn: conn, replies: replyReader{conn: conn}}, nil
}

// Do sends commands together and returns their replies, as they came. It blocks up to Options.DialTimeout; after an error
// the Control is of no use any more.
func (c *Control) Do(ctx context.Context, commands ...[]string) ([][]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, c.node.Options().DialTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = c.conn.SetDeadline(time.Unix(1, 0)) })
	replies, err := c.exchange(commands)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return nil, fmt.Errorf("%s: %w within %s", commands[0][0], ErrTimeout, c.node.Options().DialTimeout)
	}
	return replies, err
}

func (c *Control) exchange(commands [][]string) ([][]byte, error) {
	var out []byte
	for _, args := range commands {
		out = resp.AppendCommand(out, args...)
	}
	if _, err := c.conn.Write(out); err != nil {
		return nil, fmt.Errorf("%s: %w", commands[0][0], err)
	}
	replies := make([][]byte, 0, len(commands))
	for _, args := range commands {
		reply, err := c.replies.next()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", args[0], err)
		}
		replies = append(replies, reply)
	}
	return replies, nil
}

// Close ends the connection.
func (c *Control) Close() { _ = c.conn.Close() }

// replyReader reads one reply after the other.
type replyReader struct {
	conn net.Conn
	buf  []byte
}

// next returns a whole reply, which is the caller's.
func (r *replyReader) next() ([]byte, error) {
	var (
		framer resp.Framer
		reply  []byte
		chunk  [4096]byte
	)
	for {
		n, done, err := framer.Next(r.buf)
		if err != nil {
			return nil, err
		}
		reply = append(reply, r.buf[:n]...)
		r.buf = r.buf[n:]
		if done {
			return reply, nil
		}
		n, err = r.conn.Read(chunk[:])
		if err != nil {
			return nil, err
		}
		r.buf = append(r.buf, chunk[:n]...)
	}
}
