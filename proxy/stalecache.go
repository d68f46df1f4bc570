package proxy

import (
	"context"

	"sluice/backend/dialect"
)

// BeginMove is told that slots are about to move between the servers at two addresses, while these slots are locked.
// A Pika keeps keys that have moved away in its cache, and shows them again, as they were, when their slot comes back
// (MOVES.md). So the cache of the target is cleared first, unless that was done already and no slot has left since.
// It returns when ctx ends at the latest.
func (p *Pool) BeginMove(ctx context.Context, from, to string) {
	if !p.Family.CachesMoved {
		return
	}
	p.mu.Lock()
	clear := !p.clearCaches[to]
	delete(p.clearCaches, from)
	p.mu.Unlock()
	if !clear {
		return
	}
	for _, n := range p.nodesAt([]string{to}) {
		reply, err := n.Ask(ctx, dialect.ClearCache)
		if err == nil {
			err = reply.Err()
		}
		if err != nil {
			p.server.log.Warn("the cache of a server that gets slots could not be cleared: keys that were there before may be read as they were then, until CLEARCACHE",
				"pool", p.Name, "node", to, "err", err)
			return
		}
		p.server.log.Info("cleared the cache of a server that gets slots, since keys that were there before stay in it", "pool", p.Name, "node", to)
		p.mu.Lock()
		if p.clearCaches == nil {
			p.clearCaches = make(map[string]bool)
		}
		p.clearCaches[to] = true
		p.mu.Unlock()
	}
}
