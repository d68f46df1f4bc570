package proxy

import "context"

// What is for all clients of a pool is done for a few of them in a task: a loop that goes through thousands at once
// keeps everybody waiting.

// clientsAtOnce is how many clients are visited in one task: describing one takes some microseconds.
const clientsAtOnce = 64

// visitClients calls f for every client of a pool, on its loop, one at a time. Others have their turn in between, so a
// client that is gone by then is left out, and so is one that comes meanwhile. It reports false when the server stops
// or ctx ends before all are visited; then a last call of f may be under way. Not to be called on a loop.
func (s *Server) visitClients(ctx context.Context, p *Pool, f func(c *client)) bool {
	var all []*client
	if !s.onEachLoop(ctx, func(l *loop) {
		for _, c := range l.clients {
			if c.pool == p {
				all = append(all, c)
			}
		}
	}) {
		return false
	}
	for len(all) > 0 {
		l := all[0].loop
		n := 1
		for n < min(clientsAtOnce, len(all)) && all[n].loop == l {
			n++
		}
		some := all[:n]
		all = all[n:]
		if !s.runOn(ctx, l, func() {
			for _, c := range some {
				if !c.closed {
					f(c)
				}
			}
		}) {
			return false
		}
	}
	return true
}

// onClients runs f for every client, soon.
func (p *Pool) onClients(f func(c *client)) { go p.server.visitClients(p.server.ctx, p, f) }

// gather runs visit on every loop, then answers with what build appends. The reply keeps its place. What is behind it
// is not parsed before that: a pipeline of these would keep all loops busy.
func (c *client) gather(visit func(l *loop), build func(dst []byte) []byte) {
	c.answerLater(func(ctx context.Context) func(dst []byte) []byte {
		c.loop.server.onEachLoop(ctx, visit)
		return build
	})
}

// answerLater runs work on no loop, and answers with what the function that it returns appends. That runs on the loop
// of the client, and is to be short; there is none when the server stops. The reply keeps its place, and what is
// behind it is not parsed before that.
func (c *client) answerLater(work func(context.Context) (build func(dst []byte) []byte)) {
	c.alone = true
	seq := c.begin(nil, anySlot)
	origin := c.loop
	go func() {
		build := work(origin.server.ctx)
		origin.execute(func() {
			if c.closed || build == nil {
				return
			}
			origin.scratch = build(origin.scratch[:0])
			c.deliver(seq, origin.scratch, true, true)
		})
	}()
}

// whenAllKnow answers with what build appends when every client of the pool has been told what is asked of it.
func (c *client) whenAllKnow(build func(dst []byte) []byte) {
	c.answerLater(func(ctx context.Context) func(dst []byte) []byte {
		if !c.loop.server.visitClients(ctx, c.pool, (*client).observe) {
			return nil
		}
		return build
	})
}

func appendOK(dst []byte) []byte { return append(dst, okReply...) }
