package mover

import (
	"context"
	"sync"

	"sluice/backend/dialect"
)

// caches are the caches of Pikas. A Pika keeps keys that have moved away in its cache, and shows them again, as they
// were, when their slot comes back (docs/MOVES.md). So the cache of a target is cleared, unless it was cleared before
// and no slot has left the server since. Safe for concurrent use.
type caches struct {
	mu    sync.Mutex      // guards the field below it
	clean map[string]bool // by address
}

// clear makes the target of a batch forget keys of slots that it had once.
func (p *caches) clear(ctx context.Context, b *Batch) error {
	p.mu.Lock()
	clean := p.clean[b.Target]
	delete(p.clean, b.Source)
	p.mu.Unlock()
	if clean {
		return nil
	}
	c, err := b.dial(ctx, b.Target)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := ask(ctx, c, dialect.ClearCache); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.clean == nil {
		p.clean = make(map[string]bool)
	}
	p.clean[b.Target] = true
	return nil
}
