package backend

import (
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/panjf2000/gnet/v2"

	"sluice/internal/clock"
)

// How a Conn comes up, and what happens to requests while it does not.

// Dial is one attempt to connect a Conn. It is the context of the gnet.Conn until that is open, so that news of an
// attempt that is not the Conn's current one any more can be told and ignored:
//
//	dial --> connect, greet, enroll (a goroutine) --> Opened (OnOpen, on the loop): the Conn is up
//	                                             \-> ended (on the loop, after OnOpen): it failed, unless Opened came
//
// The two come in this order, because gnet calls OnOpen before it reports that it has taken a connection over, and it
// reports that also of a connection that it lost meanwhile. So no time-out is needed to notice a lost one.
type Dial struct {
	conn  *Conn
	began int64 // loop clock
	peer  peer  // written before the connection is enrolled
}

// Dials is what failed dials say about the next one: it has to wait, twice as long after each failure. A shared Conn
// has its own. Dedicated Conns of one loop to one node have theirs in common, so that it does not matter how many there
// are. Owned by the loop; no locking.
type Dials struct {
	failures int   // in a row
	failedAt int64 // loop clock of the last one that counted
	nextAt   int64 // loop clock of the next dial
	err      error // why the last one failed, nil when it did not
}

// Err is why the last dial failed, nil when it did not.
func (d *Dials) Err() error { return d.err }

// FailedAt is the loop clock of the last failure.
func (d *Dials) FailedAt() int64 { return d.failedAt }

// Due reports whether the pause after a failure is over. An answer to the probe ends it.
func (d *Dials) Due(n *Node, now int64) bool {
	return now >= d.nextAt || n.answeredAt.Load() > d.failedAt
}

// failed takes a failure in. Dials that were under way at the same time fail for the same reason, which counts once.
func (d *Dials) failed(err error, began, now int64, opts *Options) {
	d.err = err
	if began < d.failedAt {
		return
	}
	pause := opts.ReconnectMin << min(d.failures, 16)
	if pause > opts.ReconnectMax || pause <= 0 {
		pause = opts.ReconnectMax
	}
	d.failures++
	d.failedAt, d.nextAt = now, now+int64(pause)
}

// succeeded ends what failures have begun, but for those that came while the dial was under way.
func (d *Dials) succeeded(began int64) {
	if began >= d.failedAt {
		*d = Dials{}
	}
}

// errLostDial stands for a connection that gnet closed while it took it over, which it does not report.
var errLostDial = errors.New("the connection was lost while it was taken over")

// UnderWay is the dial that the Conn waits for, nil when there is none.
func (c *Conn) UnderWay() *Dial { return c.underway }

// dial connects in a goroutine of its own. It does nothing while another dial is under way or the Conn has a socket,
// or has to wait for the one whose place it takes.
func (c *Conn) dial() {
	if c.underway != nil || c.gc != nil || c.held() {
		return
	}
	d := &Dial{conn: c, began: clock.Now()}
	c.state, c.underway = stateDialing, d
	c.Node.dials.Go(func() {
		err := d.connectAndEnroll()
		c.home.Run(func() { d.ended(err, clock.Now()) })
	})
}

// connectAndEnroll returns when OnOpen was called, or will not be.
func (d *Dial) connectAndEnroll() error {
	c := d.conn
	nc, err := c.Node.connect(c.Node.ctx, purpose{proto: c.Proto, db: c.DB, replica: c.Replica(), data: true}, &d.peer)
	if err != nil {
		return err
	}
	if err := resetOnClose(nc); err != nil {
		_ = nc.Close()
		return err
	}
	return c.home.Enroll(c.Node.ctx, nc, d)
}

// Home is that of the Conn.
func (d *Dial) Home() Home { return d.conn.home }

// Opened is called on the loop when gnet has the connection there. It returns the Conn that is up now, or nil when
// nobody waits for this Dial any more and gc has to be closed.
func (d *Dial) Opened(gc gnet.Conn, now int64) *Conn {
	c := d.conn
	if c.underway != d {
		return nil
	}
	c.underway = nil
	c.dials.succeeded(d.began)
	c.gc, c.state, c.lastReply, c.openedAt = gc, stateUp, now, now
	c.peer, c.ServerID, c.echo.on = d.peer, d.peer.id, d.peer.echoes
	c.jitter = rand.Float64()
	c.Node.conns.Add(1)
	c.Node.counted(c, 1)
	c.Node.Report(nil)
	if c.pushes != nil {
		c.pushes.Up(c)
	}
	if c.OnUp != nil {
		c.OnUp()
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
	began := c.underway.began
	c.underway = nil
	if !errors.Is(err, ErrGreeting) && !isLocal(err) && !c.Node.answersOthers(began, err) { // None says that the node does not answer.
		c.Node.Report(err)
	} else if errors.Is(err, ErrGreeting) {
		c.Node.refused()
	}
	c.dials.failed(err, began, now, c.Node.Options())
	if c.Kind == Dedicated || errors.Is(err, ErrGreeting) || !c.Node.Available() {
		c.failAll(err)
	}
}

// FailQueued fails what waits for a connection that is not up, when the breaker has opened.
func (c *Conn) FailQueued() {
	if c.state != stateDialing || c.fifo.len() == 0 {
		return
	}
	err := c.dials.Err()
	if err == nil {
		err = fmt.Errorf("%s is unavailable", c.Node.Addr)
	}
	c.failAll(err)
}
