package proxy

import (
	"time"

	"sluice/backend"
	"sluice/proxy/pubsub"
	"sluice/router"
)

// What package pubsub is given: this is all that a hub knows of its loop and its pool. Owned by the event loop, as the
// hub is.

// hubOf is the loop's hub of a pool, made when it is needed first.
func (l *loop) hubOf(p *Pool) *pubsub.Hub {
	h := l.hubs[p]
	if h == nil {
		host := &hubHost{loop: l, pool: p}
		h = pubsub.New(pubsub.Config{
			Loop: host, Conns: l.conns, Pool: host, Model: p.Model, Family: p.Family, Registry: &p.subscribers,
			Buffers: l.pool, Log: l.server.often,
		})
		if l.hubs == nil {
			l.hubs = make(map[*Pool]*pubsub.Hub)
		}
		l.hubs[p] = h
	}
	return h
}

// tickHubs is Tick for all pools.
func (l *loop) tickHubs() (waiting bool) {
	for _, h := range l.hubs {
		waiting = h.Tick() || waiting
	}
	return waiting
}

// PubSub counts what the clients of the pool are subscribed to.
func (p *Pool) PubSub() pubsub.Counts { return p.subscribers.Counts() }

// hubHost is a loop and a pool, as their hub sees them.
type hubHost struct {
	loop *loop
	pool *Pool
}

// Now implements pubsub.Loop.
func (h *hubHost) Now() int64 { return h.loop.now }

// Flush implements pubsub.Loop.
func (h *hubHost) Flush(b *backend.Conn) { h.loop.markBackend(b) }

// Tick implements pubsub.Loop.
func (h *hubHost) Tick(b *backend.Conn) { h.loop.tickBackend(b) }

// Wake implements pubsub.Loop.
func (h *hubHost) Wake() { h.loop.server.raisePace(paceTimeouts) }

// Topology implements pubsub.Pool.
func (h *hubHost) Topology() pubsub.Topology {
	if v := h.pool.view.Load(); v != nil {
		return hubTopology{v}
	}
	return nil
}

// MaxWait implements pubsub.Pool.
func (h *hubHost) MaxWait() time.Duration { return h.pool.Settings().Hold.MaxWait }

// MaxMessage implements pubsub.Pool.
func (h *hubHost) MaxMessage() int { return h.loop.server.limits().pubSubOutput() }

// Moved implements pubsub.Pool.
func (h *hubHost) Moved(slot router.Slot, addr string) {
	h.loop.stats.Redirects[RedirectMoved]++
	h.pool.moved(slot, addr)
}

// Trouble implements pubsub.Pool.
func (h *hubHost) Trouble(addr string) { h.pool.trouble(addr) }

// hubTopology is a view, as a hub sees it.
type hubTopology struct{ *view }

// Masters implements pubsub.Topology.
func (v hubTopology) Masters() []*backend.Node { return v.masters }

// Master implements pubsub.Topology.
func (v hubTopology) Master(slot router.Slot) *backend.Node { return v.master(slot) }

// Named implements pubsub.Topology.
func (v hubTopology) Named(addr string) *backend.Node { return v.named[addr] }

var (
	_ pubsub.Loop = (*hubHost)(nil)
	_ pubsub.Pool = (*hubHost)(nil)
)
