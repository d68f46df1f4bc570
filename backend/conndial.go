package backend

import (
	"errors"
	"fmt"

	"github.com/panjf2000/gnet/v2"

	"sluice/internal/clock"
)

// How a Conn comes up, and what happens to requests while it does not.

// dial connects in a goroutine of its own, which ends in Opened or dialFailed on the loop.
func (c *Conn) dial() {
	c.state, c.dialAt, c.dialedAt = stateDialing, 0, clock.Now()
	c.Node.dials.Go(func() {
		err := c.connectAndEnroll()
		if err == nil {
			return
		}
		c.home.Run(func() { c.dialFailed(err, clock.Now()) })
	})
}

func (c *Conn) connectAndEnroll() error {
	nc, err := c.Node.connect(c.Node.ctx, purpose{proto: c.Proto, db: c.DB, replica: c.Replica})
	if err != nil {
		return err
	}
	enrolled, err := c.loop.Enroll(gnet.NewContext(c.Node.ctx, c), nc)
	if err != nil {
		_ = nc.Close()
		return err
	}
	select {
	case r := <-enrolled:
		return r.Err
	case <-c.Node.ctx.Done():
		return c.Node.ctx.Err()
	}
}

func (c *Conn) dialFailed(err error, now int64) {
	if c.state != stateDialing {
		return
	}
	c.failedAt = now
	if !errors.Is(err, ErrGreeting) && !isLocal(err) { // Neither says that the node does not answer.
		c.Node.Report(err)
	}
	c.dialErr = err
	opts := c.Node.Options()
	backoff := opts.ReconnectMin << min(c.dials, 16)
	if backoff > opts.ReconnectMax || backoff <= 0 {
		backoff = opts.ReconnectMax
	}
	c.dials++
	c.dialAt = now + int64(backoff)
	if errors.Is(err, ErrGreeting) || !c.Node.Available() {
		c.failAll(err)
	}
}

// FailQueued fails what waits for a connection that is not up, when the breaker has opened.
func (c *Conn) FailQueued() {
	if c.state != stateDialing || c.fifo.len() == 0 {
		return
	}
	err := c.dialErr
	if err == nil {
		err = fmt.Errorf("%s is unavailable", c.Node.Addr)
	}
	c.failAll(err)
}
