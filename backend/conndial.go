package backend

import (
	"errors"
	"fmt"

	"github.com/panjf2000/gnet/v2"

	"sluice/internal/clock"
)

// How a Conn comes up, and what happens to requests while it does not.

// Dial is one attempt to connect a Conn. It is the context of the gnet.Conn until that is open, so that news of an attempt
// that is not the Conn's current one any more can be told and ignored:
//
//	dial --> connect, greet, enroll (a goroutine) --> Opened (OnOpen, on the loop): the Conn is up
//	                                             \-> ended (on the loop, after OnOpen): it failed, unless Opened came
//
// The two come in this order, because gnet calls OnOpen before it reports that it has taken a connection over, and it
// reports that also of a connection that it lost meanwhile. So no time-out is needed to notice a lost one.
type Dial struct {
	conn *Conn
	peer peer // written before the connection is enrolled
}

// errLostDial stands for a connection that gnet closed while it took it over, which it does not report.
var errLostDial = errors.New("the connection was lost while it was taken over")

// UnderWay is the dial that the Conn waits for, nil when there is none.
func (c *Conn) UnderWay() *Dial { return c.underway }

// dial connects in a goroutine of its own. It does nothing while another dial is under way or the Conn has a socket.
func (c *Conn) dial() {
	if c.underway != nil || c.gc != nil {
		return
	}
	d := &Dial{conn: c}
	c.state, c.underway, c.dialAt = stateDialing, d, 0
	c.Node.dials.Go(func() {
		err := d.connectAndEnroll()
		c.home.Run(func() { d.ended(err, clock.Now()) })
	})
}

// connectAndEnroll returns when OnOpen was called, or will not be.
func (d *Dial) connectAndEnroll() error {
	c := d.conn
	nc, err := c.Node.connect(c.Node.ctx, purpose{proto: c.Proto, db: c.DB, replica: c.Replica}, &d.peer)
	if err != nil {
		return err
	}
	if err := resetOnClose(nc); err != nil {
		_ = nc.Close()
		return err
	}
	enrolled, err := c.loop.Enroll(gnet.NewContext(c.Node.ctx, d), nc)
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

// Home is that of the Conn.
func (d *Dial) Home() Home { return d.conn.home }

// Opened is called on the loop when gnet has the connection there. It returns the Conn that is up now, or nil when nobody
// waits for this Dial any more and gc has to be closed.
func (d *Dial) Opened(gc gnet.Conn, now int64) *Conn {
	c := d.conn
	if c.underway != d {
		return nil
	}
	c.underway, c.dialAt = nil, 0
	c.gc, c.state, c.dials, c.dialErr, c.lastReply, c.openedAt = gc, stateUp, 0, nil, now, now
	c.peer, c.ServerID, c.echo.on = d.peer, d.peer.id, d.peer.echoes
	c.Node.conns.Add(1)
	c.Node.Report(nil)
	if c.Feed != nil {
		c.Feed.Up(c)
	}
	return c
}

// ended is called on the loop when the dial is over. An outcome that is too late changes nothing.
func (d *Dial) ended(err error, now int64) {
	c := d.conn
	if c.underway != d {
		return
	}
	if err == nil {
		err = errLostDial
	}
	c.dialFailed(err, now)
}

func (c *Conn) dialFailed(err error, now int64) {
	c.underway, c.failedAt = nil, now
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
