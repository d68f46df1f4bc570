package backend

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/panjf2000/gnet/v2"

	"sluice/internal/bufpool"
	"sluice/internal/clock"
	"sluice/proxy/resp"
)

// Owner gets the outcome of a request that it sent: either one or more calls of Reply, the last with
// r.Last set, or one call of Fail. Calls come on the loop of the Conn. An Owner may Send on any Conn of the
// loop from inside a call, and close it, after which the slices that it was given are not valid any more.
type Owner interface {
	Reply(tag uint32, r Reply)
	Fail(tag uint32, f Failure)
}

// Reply is a reply or, when it is longer than what one read brought, a part of it.
type Reply struct {
	Conn    *Conn
	Data    []byte // whole lines at the start of a reply; valid during the call
	Request []byte // the request's bytes, at the first part and at the last; valid during the call
	First   bool
	Last    bool
}

// Failure says why a request will get no reply.
type Failure struct {
	Conn    *Conn
	Err     error
	Sent    bool   // false proves that no byte of the request left
	Cut     bool   // parts of the reply were delivered already
	Request []byte // the request's bytes, valid during the call; nil after a panic
}

// ErrTimeout is the Failure.Err of a request that was not answered within Options.RequestTimeout.
var ErrTimeout = errors.New("no reply in time")

// ErrQueueFull is returned by Send when Options.MaxQueued bytes wait on the connection.
var ErrQueueFull = errors.New("too many bytes queued")

// State of a Conn:
//
//	new --dial--> dialing --OnOpen--> up --close, error--> closed
//	                 ^  |
//	          timer  |  | dial failed: what is queued waits for the next dial,
//	                 +--+ until its own timeout or until the breaker opens
//
// A dedicated Conn dials once: when that has failed, what is queued fails, and its owner knows when to try again
// (Dials). While a dial is under way Conn.underway is that Dial, and no other begins; see Dial for how late news of an
// older one is told from it. A Conn has one socket in its life: a closed Conn is never used again; the loop makes a new
// one.
type connState uint8

const (
	stateNew connState = iota
	stateDialing
	stateUp
	stateClosed
)

// Conn is one pipelined connection to a node, in one protocol version and one database. A ConnSet makes it. Owned by
// the event loop; no locking.
type Conn struct {
	Node  *Node
	Proto int // RESP version
	DB    int
	Kind  Kind // from before it is dialled

	Use
	membership

	home  Home
	gc    gnet.Conn // nil unless up
	state connState
	log   sendLog
	fifo  fifo
	replies

	pushes PushHandler // not nil on a Subscription
	reads  uint64      // counted and not published yet
	dials  *Dials      // its own, or those of all that are dedicated
	standing
	echo echoCheck
}

// Kind is what a Conn is for.
type Kind uint8

// The kinds of connections.
const (
	Shared       Kind = iota // requests of all clients of the loop
	ReplicaReads             // reads that were sent to a replica on purpose, and nothing else
	Kill                     // what ends a script
	Dedicated                // one client at a time, see dedicatedconns.go
	Migration                // what moves keys away from the node
	Subscription             // channels, see PushHandler
)

// shared reports whether it is for all clients of a loop.
func (k Kind) shared() bool { return k <= Kill }

// aside reports whether it is for commands that may take long without that saying anything about the node: they have
// twice the time, and what takes longer is not held against the node.
func (k Kind) aside() bool { return k == Kill || k == Migration }

// Use is what the loop that has a Conn uses it for.
type Use struct {
	// Dirty is the loop's mark that the Conn stands in its list of connections to flush.
	Dirty bool
	// Patience, if it is not 0, is how long what it is asked may take, in place of Options.RequestTimeout.
	Patience time.Duration
	// Until is how long what a Dedicated Conn is asked may take, on the loop's clock; for ever when that is 0. A Conn
	// that takes longer is given up.
	Until int64
	// OnUp, if it is not nil, is called when the Conn comes up.
	OnUp func()
	// ServerID is what the node calls the Conn, see CLIENT ID; 0 while that is not known.
	ServerID int64
	// Unblocking is how many CLIENT UNBLOCK of ServerID are under way, which would hit whoever used the Conn next.
	Unblocking int
	// Transacts says that the node has shown on this Conn that it knows MULTI.
	Transacts bool
}

// membership is what the set of a Conn notes of it.
type membership struct {
	set       *ConnSet // nil for one that a test made
	retiring  bool     // another Conn takes its place as soon as nothing is in flight, see ConnSet.Retire
	freeSince int64    // loop clock since when no client has a Dedicated one, 0 while one does
}

// replies is how far a Conn is with what it receives.
type replies struct {
	framer resp.Framer
	tail   []byte // start of a reply line that the last read cut
	inPart bool   // a part of the oldest request's reply was delivered
	inPush bool   // a part of a frame was given to pushes

	expired      int   // oldest entries whose owners were told ErrTimeout
	expiredBytes int   // their size in the send log
	lastReply    int64 // loop clock of the last bytes received
}

// standing is what is known of a Conn's connection, and of what becomes of it.
type standing struct {
	openedAt  int64 // loop clock at which it came up
	peer      peer  // what the greeting has shown
	underway  *Dial // nil unless a dial is under way
	behind    *Conn // the one whose place it takes, nil once that is closed
	patience  int64 // how long it may be a stray, if more than usual
	jitter    float64
	buffered  int   // bytes that gnet had not written at the last tick
	drainedAt int64 // loop clock of the last tick that found them fewer
}

// Home is the owner of the loop that a Conn lives on.
type Home interface {
	// Run runs f on the loop, from any goroutine. It does nothing when the engine has stopped.
	Run(f func())
	// Enroll gives nc to the loop, with peer as the context of its gnet.Conn. It returns when OnOpen was called, or
	// will not be, or ctx ends; nc is not the caller's any more. Not to be called on the loop.
	Enroll(ctx context.Context, nc net.Conn, peer any) error
	// HangUp closes the connection of a Conn. Called on the loop.
	HangUp(gc gnet.Conn)
}

// newConn returns a Conn on the loop of home that is not dialled yet; the first Send dials.
func newConn(node *Node, proto, db int, pool *bufpool.Pool, home Home) *Conn {
	node.users.Add(1)
	return &Conn{Node: node, Proto: proto, DB: db, home: home, log: sendLog{pool: pool}, dials: new(Dials)}
}

// dedicate makes a Conn that was not used yet belong to one client at a time. There may be many of them; those of one
// loop to one node share their dials.
func (c *Conn) dedicate(dials *Dials) { c.Kind, c.log.small, c.dials = Dedicated, true, dials }

// Replica reports whether the Conn carries reads that were sent to a replica on purpose.
func (c *Conn) Replica() bool { return c.Kind == ReplicaReads }

// Home is what newConn was given: gnet's callbacks find the owner of the loop through it.
func (c *Conn) Home() Home { return c.home }

// Closed reports whether the Conn is of no use any more.
func (c *Conn) Closed() bool { return c.state == stateClosed }

// Retiring reports whether another Conn takes its place, see ConnSet.Retire. A read may have been what it waited for.
func (c *Conn) Retiring() bool { return c.retiring }

// idle reports whether nobody uses the Conn now.
func (c *Conn) idle() bool {
	if c.Kind == Dedicated {
		return c.freeSince != 0
	}
	return !c.Waiting()
}

// Up reports whether the Conn is connected.
func (c *Conn) Up() bool { return c.state == stateUp }

// Connect dials if that was not done yet, or again if it has failed and the time for the next try has come.
func (c *Conn) Connect() {
	again := c.state == stateDialing && c.underway == nil && clock.Now() >= c.dials.nextAt
	if c.state == stateNew || again {
		c.dial()
	}
}

// OpenedAt is the loop clock at which the Conn came up, 0 for one that never did.
func (c *Conn) OpenedAt() int64 { return c.openedAt }

// InFlight is the number of requests that wait for a reply, but for the Conn's own.
func (c *Conn) InFlight() int { return c.fifo.len() - c.expired - (c.echo.waiting - c.echo.late) }

// Queued is the number of request bytes that wait for a reply, sent or not.
func (c *Conn) Queued() int { return int(c.log.end - c.log.consumed) }

// Position is a point in what was queued on the Conn, for Answered.
func (c *Conn) Position() uint64 { return c.log.end }

// Answered reports whether everything queued before a Position was answered, or can't be any more.
func (c *Conn) Answered(position uint64) bool {
	reached := c.log.consumed
	if c.Replica() {
		reached += uint64(c.expiredBytes) // Whoever asked was told, and nobody waits for what a read may still answer.
	}
	return c.state == stateClosed || reached >= position
}

// Waiting reports whether requests wait on the Conn, so that it needs Tick.
func (c *Conn) Waiting() bool { return c.fifo.len() > 0 }

// Unsent is the number of request bytes that wait to be written.
func (c *Conn) Unsent() int { return int(c.log.end - c.log.sent) }

// Receive takes bytes that the server sent and hands the replies to their owners. After an error the
// caller must close the connection.
func (c *Conn) Receive(buf []byte, now int64) error {
	c.lastReply = now
	c.Node.succeeded()
	if len(c.tail) > 0 {
		c.tail = append(c.tail, buf...)
		buf = c.tail
	}
	for len(buf) > 0 {
		if c.pushes != nil && !c.inPart && !c.inPush && !kindShown(buf) {
			break
		}
		n, done, err := c.framer.Next(buf)
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
		if err := c.deliver(buf[:n], done); err != nil {
			return err
		}
		if c.state != stateUp { // An owner's Send closed it.
			return nil
		}
		buf = buf[n:]
	}
	if cap(c.tail) > chunkSize && len(buf) < chunkSize/2 {
		c.tail = nil
	}
	c.tail = append(c.tail[:0], buf...)
	return nil
}

// deliver gives data, all or part of the oldest request's reply, to its owner.
func (c *Conn) deliver(data []byte, last bool) error {
	if c.framer.Push() {
		return nil // Nothing that Sluice sends on a shared connection asks for pushes.
	}
	if c.toFeed(data) {
		first := !c.inPush
		c.inPush = !last
		c.pushes.OnPush(c, data, first, last)
		return nil
	}
	if c.fifo.len() == 0 {
		return errors.New("reply without a request")
	}
	e := *c.fifo.at(0)
	if c.log.consumed+uint64(e.size) > c.log.sent {
		return errors.New("reply before its request was sent")
	}
	if c.echo.waiting > 0 && e.owner != &c.echo && last && !c.inPart && c.echo.isNumber(data) {
		return errShifted // It answers another request.
	}
	r := Reply{Conn: c, Data: data, First: !c.inPart, Last: last}
	if r.First || r.Last {
		r.Request = c.log.oldest(e.size)
	}
	c.inPart = !last
	if last {
		c.fifo.at(0).owner = nil // Whatever happens in Reply, this owner is done.
	}
	if e.owner != nil {
		e.owner.Reply(e.tag, r)
	}
	if last && c.state == stateUp {
		c.popOldest(e)
	}
	if c.echo.shifted {
		return errShifted
	}
	return nil
}

func (c *Conn) popOldest(e entry) {
	c.log.pop(e.size)
	c.fifo.pop()
	if c.expired > 0 {
		c.expired--
		c.expiredBytes -= e.size
	}
}

// Disown drops what is still to come of the reply at hand, of which the owner was given a part.
func (c *Conn) Disown() { c.fifo.at(0).owner = nil }

// TakeOver makes another owner that of a request that waits for its reply, and returns the request's bytes, valid until
// the next call of the Conn; nil when it is not here any more.
func (c *Conn) TakeOver(owner Owner, tag uint32, by Owner, byTag uint32) []byte {
	skip := 0
	for i := range c.fifo.len() {
		e := c.fifo.at(i)
		if e.owner == owner && e.tag == tag {
			e.owner, e.tag = by, byTag
			return c.log.at(skip, e.size)
		}
		skip += e.size
	}
	return nil
}

// CountRead counts a read that was sent to the node rather than to another one of its group.
func (c *Conn) CountRead() { c.reads++ }

// Close gives the Conn up and fails what waits on it. The caller closes the gnet connection, as ConnSet.Close does,
// which resets it if something was not answered, see resetOnClose.
func (c *Conn) Close(err error) {
	c.leave(err)
	c.failAll(err)
	c.tail, c.gc, c.fifo = nil, nil, fifo{}
}

// GnetConn is the connection to close, nil unless the Conn is up.
func (c *Conn) GnetConn() gnet.Conn { return c.gc }

// failAll tells every owner, oldest first, that its request gets no reply.
func (c *Conn) failAll(err error) {
	for n := c.fifo.len(); n > 0 && c.fifo.len() > 0; n-- { // An owner may queue another request on a Conn that is dialling.
		c.failOldest(err)
	}
	c.log.idle()
}

func (c *Conn) publishReads() {
	c.Node.reads.Add(c.reads)
	c.reads = 0
}

// leave ends the life of the Conn as far as the node counts it.
func (c *Conn) leave(err error) {
	if c.state == stateClosed {
		return
	}
	c.publishReads()
	up := c.state == stateUp
	if up {
		c.Node.conns.Add(-1)
		c.Node.counted(c, -1)
		c.part(err)
	}
	if c.set != nil {
		c.set.left(c)
	}
	c.Node.users.Add(-1)
	c.state, c.underway = stateClosed, nil
	if up && c.pushes != nil {
		c.pushes.Down(c, err)
	}
}

// Abandon is Close for a Conn in which a panic happened: it trusts nothing but the list of owners. An owner
// may panic in it too; then it has to be called again, and goes on behind that owner. Whether a request was
// sent is not known any more, so none may be sent again.
func (c *Conn) Abandon(err error) {
	c.leave(err)
	c.expired, c.expiredBytes, c.tail, c.gc, c.log = 0, 0, nil, nil, sendLog{pool: c.log.pool, small: c.log.small}
	for c.fifo.len() > 0 {
		e := *c.fifo.at(0)
		c.fifo.pop()
		cut := c.inPart
		c.inPart = false
		if e.owner != nil {
			e.owner.Fail(e.tag, Failure{Conn: c, Err: err, Sent: true, Cut: cut})
		}
	}
}

func (c *Conn) failOldest(err error) {
	e, at := *c.fifo.at(0), c.log.consumed
	f := Failure{
		Conn:    c,
		Err:     err,
		Sent:    c.log.consumed < c.log.sent,
		Cut:     c.inPart,
		Request: c.log.oldest(e.size),
	}
	c.inPart = false
	c.fifo.at(0).owner = nil
	defer func() { // Also when the owner panics: nobody is asked twice.
		if c.fifo.len() > 0 && c.log.consumed == at { // The owner may have closed the Conn, which forgets all entries.
			c.popOldest(e)
		}
	}()
	if e.owner != nil {
		e.owner.Fail(e.tag, f)
	}
}

// Host is the host part of the node's address, which stands for an empty host in a redirect.
func (c *Conn) Host() string {
	host, _, err := net.SplitHostPort(c.Node.Addr)
	if err != nil {
		return c.Node.Addr
	}
	return host
}
