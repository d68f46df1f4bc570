package consul

import (
	"context"
	"time"
)

// The lease is how long a proxy may believe that its session lives. Consul ends a session at the earliest one TTL after it
// has begun to work on the last renew (measured: two TTLs), and that was not before the renew was sent. So the proxy counts
// from the moment BEFORE the request, and knows of its end before anybody else may act on it.
//
// The clock is the later of the monotonic and the wall clock: the first does not run while a machine is suspended, the
// second may be set back. A wall clock that is set forward costs a lease until the next renew, which is the safe side. A
// virtual machine that is paused and does not learn of it is not covered; neither is a session that Consul ends early,
// because somebody has destroyed it or deregistered its node, until the next renew finds out.

// lease is plain arithmetic; its owner guards it.
type lease struct {
	ttl  time.Duration
	from time.Time // before the last successful renew was sent; zero: none
}

// left is how much of it remains, 0 when it has ended.
func (l lease) left(now time.Time) time.Duration {
	if l.from.IsZero() {
		return 0
	}
	return leaseAfter(l.ttl, now.Sub(l.from), now.Round(0).Sub(l.from.Round(0)))
}

// leaseAfter is what remains of ttl when the two clocks have passed so much.
func leaseAfter(ttl, monotonic, wall time.Duration) time.Duration {
	return max(ttl-max(monotonic, wall), 0)
}

// lookAgain bounds the wait for the end of the lease: timers don't run while the machine is suspended.
const lookAgain = time.Second

// watchLease says when the lease is lost and regained, and fences if it is to. It runs apart from all requests.
func (m *Member) watchLease(ctx context.Context) {
	sure, fenced, had := true, false, false // Who begins without a lease is told so.
	for ctx.Err() == nil && !m.left() {
		left, now := m.Lease()
		if now != sure {
			m.logLease(now, had)
			sure = now
		}
		had = had || now
		if m.cfg.OnLoss == OnLossFence && fenced == now {
			fenced = m.turnFence(ctx, !now)
		}
		wait := lookAgain
		if now {
			wait = min(wait, left)
		}
		m.wait(ctx, wait, m.leaseNews)
	}
}

func (m *Member) logLease(sure, had bool) {
	switch {
	case sure:
		m.cfg.Log.Info("the lease is sure", "proxy", m.cfg.ID)
	case had:
		m.mu.Lock()
		m.counts.LeaseLosses++
		m.mu.Unlock()
		m.cfg.Log.Warn("the lease is lost: no part in new moves", "proxy", m.cfg.ID, "on_loss", m.cfg.OnLoss)
	}
}

// turnFence turns the fence on, or off if the topology is fresh, and returns how it is then.
func (m *Member) turnFence(ctx context.Context, on bool) bool {
	if !on && m.cfg.Fresh != nil {
		if err := m.fresh(ctx); err != nil {
			m.cfg.Log.Warn("stays fenced: the topology is not known to be fresh", "proxy", m.cfg.ID, "err", err)
			return true
		}
		if _, sure := m.Lease(); !sure {
			return true
		}
	}
	m.mu.Lock()
	m.fenced = on
	if on {
		m.counts.Fences++
	}
	m.mu.Unlock()
	if m.cfg.Fence != nil {
		m.cfg.Fence(on)
	}
	return on
}

func (m *Member) fresh(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, m.cfg.TTL)
	defer cancel()
	return m.cfg.Fresh(ctx)
}
