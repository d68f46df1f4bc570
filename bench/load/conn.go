package load

// asked is what a request wanted, kept until its reply has been checked.
type asked struct {
	op  op
	key uint32
}

// conn is one client connection. Owned by its loop; no locking.
type conn struct {
	fd int
	// index is the place in the loop's list, number the place in the run.
	index, number int

	rest []byte // received, not a whole reply yet
	pend []byte // built, not yet taken by the kernel

	sent, replied uint64
	due           uint64 // open loop: requests whose time has come
	batchStart    int64  // closed loop: when the open requests were sent

	window []asked // requests without a reply, by request number modulo depth; verification only

	dirty bool // in the loop's list of connections to send on
	dead  bool
}

func (c *conn) inFlight() int { return int(c.sent - c.replied) }
func (c *conn) backlog() int  { return int(c.due - c.sent) }
