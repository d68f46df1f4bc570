package backend

import (
	"context"
	"errors"
	"fmt"

	"sluice/internal/control"
)

// The limits of what a node may answer. Those of a greeting hold for connections of the data path as well.
var (
	// greetingLimits are for AUTH, SELECT and HELLO, which lists the modules.
	greetingLimits = control.Limits{Bytes: 1 << 20, Elements: 1 << 14}
	// probeLimits are for INFO: a master with ten thousand replicas, or sixteen thousand databases, has about 1 MB.
	probeLimits = control.Limits{Bytes: 4 << 20, Elements: 1 << 14}
	// clientListLimits are for CLIENT LIST, which takes 300 bytes a client.
	clientListLimits = control.Limits{Bytes: 64 << 20, Elements: 1 << 14}
)

// Control is a connection of the control side: it asks and waits. It belongs to one goroutine, and never to a loop.
type Control struct {
	node *Node
	conn *control.Conn
	peer peer
}

// OpenControl connects, to a replica that keys are to be read from with replica set. limits are for each answer. It blocks up
// to Options.DialTimeout.
func (n *Node) OpenControl(ctx context.Context, replica bool, limits control.Limits) (*Control, error) {
	c := &Control{node: n}
	nc, err := n.connect(ctx, purpose{proto: 2, replica: replica}, &c.peer)
	if err != nil {
		return nil, err
	}
	c.conn = control.New(nc, n.Addr, limits)
	return c, nil
}

// Process is the number of the process that it has reached, see Node.Probed; 0 when that is not known.
func (c *Control) Process() uint64 { return c.peer.process }

// Do sends commands together and returns their replies, which together have to be within the limits. It blocks up to
// Options.DialTimeout; after an error the Control is of no use any more.
func (c *Control) Do(ctx context.Context, commands ...[]string) ([]control.Value, error) {
	timeout := c.node.Options().DialTimeout
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	replies, err := c.conn.Pipe(ctx, commands...)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, fmt.Errorf("%s: %s: %w within %s", c.node.Addr, commands[0][0], ErrTimeout, timeout)
	}
	return replies, err
}

// Close ends the connection.
func (c *Control) Close() { c.conn.Close() }
