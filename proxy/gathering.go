package proxy

// gathering is the replies of several servers to one request, of which one is made when all are here. On which
// connections it was sent, and whether a part that fails is sent again, is the business of who gathers: a split; or a
// PUBSUB or a WAIT, which any error ends (whole, fail).
//
// What has come is counted in client.held. A client that is closed is told nothing, and what it had is forgotten with
// it. Owned by the client's event loop.
type gathering struct {
	client  *client
	seq     uint32
	replies [][]byte // so far, by part
	left    int      // parts that have no outcome
	failed  []byte   // the first error
	done    func()   // called by whole and fail when all parts have their outcome, to conclude
}

// expect says how many parts there are.
func (g *gathering) expect(parts int) { g.replies, g.left = make([][]byte, parts), parts }

// add takes what a server has answered, or the next part of that.
func (g *gathering) add(at uint32, data []byte) {
	c := g.client
	g.replies[at] = append(g.replies[at], data...)
	if c.keep(len(data)); c.held > c.loop.server.limits().ClientOutput {
		c.mark() // flush closes it.
	}
}

// drop forgets what a server has answered.
func (g *gathering) drop(at uint32) {
	g.client.keep(-len(g.replies[at]))
	g.replies[at] = nil
}

// whole ends a part whose reply is all there.
func (g *gathering) whole(at uint32) {
	if g.failed == nil && g.replies[at][0] == '-' {
		g.failed = g.replies[at]
	}
	g.ended()
}

// fail ends a part that will not be answered.
func (g *gathering) fail(text string) {
	if g.failed == nil {
		g.failed = appendErrorLine(nil, text)
	}
	g.ended()
}

func (g *gathering) ended() {
	if g.outcome() {
		g.done()
	}
}

// conclude answers the client, with the first error or with what merge makes of the replies.
func (g *gathering) conclude(merge func(replies [][]byte) []byte) {
	reply := g.failed
	if reply == nil {
		reply = merge(g.replies)
	}
	g.client.deliver(g.seq, reply, true, true)
}

// outcome counts a part that has one. It reports whether all have: then the request is to be answered.
func (g *gathering) outcome() (all bool) {
	if g.left--; g.left > 0 {
		return false
	}
	for _, r := range g.replies {
		g.client.keep(-len(r))
	}
	return true
}
