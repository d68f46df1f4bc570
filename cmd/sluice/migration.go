package main

import (
	"slices"
	"time"

	"sluice/backend"
	"sluice/conf"
	moves "sluice/discovery/migration"
	"sluice/proxy"
)

// newWatcher watches the migrations between the masters of a pool.
func (in *instance) newWatcher(p *conf.Pool, s *source) *moves.Watcher {
	pool := s.pool
	busy, idle := watchRhythm(p)
	return moves.NewWatcher(moves.Config{
		Busy: busy, Idle: idle, Involved: func(addrs []string) { s.replicas.SetMoving(addrs) },
		Family: string(p.Dialect), Table: pool.Table, Access: watcherAccess(p, pool.Settings().Backend.Name),
		Log: in.log.With("pool", p.Name),
		Stalled: func(addr string) bool {
			n := nodeAt(pool, addr)
			return n != nil && n.Paused()
		},
		Leaving: func(list []moves.Leaving, answered func(addr string) bool, began time.Time) {
			leaving := make([]proxy.Leaving, len(list))
			for i, l := range list {
				leaving[i] = proxy.Leaving(l)
			}
			pool.SetLeaving(leaving, answered, time.Since(began))
		},
		Patience: func(addr string, patient bool) {
			if n := nodeAt(pool, addr); n != nil {
				n.SetPatient(patient)
			}
		},
	})
}

// watchRhythm is how often migrations are looked for; 0 is the usual rhythm. Replicas of a group with slots on the move must
// not be read. Those of a Dragonfly may take less than a second, and lose what transactions and scripts write.
func watchRhythm(p *conf.Pool) (busy, idle time.Duration) {
	if p.Dialect == conf.DialectDragonfly {
		return 100 * time.Millisecond, time.Second
	}
	if readsReplicas(p) {
		return 250 * time.Millisecond, time.Second
	}
	return 0, 0
}

func watcherAccess(p *conf.Pool, name string) moves.Access {
	return moves.Access{
		Username: p.Auth.BackendUser, Password: p.Auth.BackendPassword.Reveal(), ClientName: name,
		AdminPort: p.Discovery.AdminPort, Timeout: p.Backend.DialTimeout.Std(),
	}
}

// reachable is nil for families whose nodes learn of a move by themselves, so that a MOVED need not be believed for
// longer than that takes.
func reachable(d conf.Dialect, pool *proxy.Pool) func(addr string) bool {
	if d != conf.DialectDragonfly && d != conf.DialectKvrocks {
		return nil
	}
	return func(addr string) bool {
		n := nodeAt(pool, addr)
		return n != nil && n.Available()
	}
}

func nodeAt(pool *proxy.Pool, addr string) *backend.Node {
	nodes := pool.Nodes()
	i := slices.IndexFunc(nodes, func(n *backend.Node) bool { return n.Addr == addr })
	if i < 0 {
		return nil
	}
	return nodes[i]
}

// migrations tells what is known of migrations, by pool.
func (in *instance) migrations() map[string]moves.Status {
	all := make(map[string]moves.Status, len(in.sources))
	for _, s := range in.sources {
		all[s.pool.Name] = s.watcher.Status()
	}
	return all
}
