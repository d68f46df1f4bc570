package main

import (
	"context"

	"sluice/backend"
	"sluice/discovery/upkeep"
	"sluice/internal/control"
	"sluice/proxy"
	"sluice/router"
)

// newUpkeep makes what gives masters of a pool the parameters and functions that clients have given all of them.
func (in *instance) newUpkeep(pool *proxy.Pool) *upkeep.Upkeep {
	return upkeep.New(upkeep.Config{
		Servers: func() []upkeep.Server { return mastersToKeep(pool) },
		Parameters: func() (list []upkeep.Parameter, version uint64) {
			set, version := pool.Parameters()
			for _, p := range set {
				list = append(list, upkeep.Parameter(p))
			}
			return list, version
		},
		Adopt:     pool.AdoptParameter,
		Functions: pool.FunctionChanges,
		Log:       in.log.With("pool", pool.Name),
	})
}

// mastersToKeep lists the masters of a pool that has a topology.
func mastersToKeep(pool *proxy.Pool) []upkeep.Server {
	table := pool.Table()
	if table == nil {
		return nil
	}
	owns := make(map[*router.Group]bool)
	for slot := range table.Model.Slots() {
		owns[table.Owner(router.Slot(slot))] = true
	}
	var list []upkeep.Server
	for _, g := range table.Groups {
		if n := pool.Node(g.Master.Addr); n != nil {
			st := n.Status()
			list = append(list, upkeep.Server{
				Addr: n.Addr, Up: st.Err == "" && st.Role == "master", Slots: owns[g], Process: n.Probed(), Ask: askOnce(n),
			})
		}
	}
	return list
}

// askOnce asks on a connection of its own.
func askOnce(n *backend.Node) func(ctx context.Context, commands ...[]string) ([]control.Value, uint64, error) {
	return func(ctx context.Context, commands ...[]string) ([]control.Value, uint64, error) {
		c, err := n.OpenControl(ctx, false, control.Limits{})
		if err != nil {
			return nil, 0, err
		}
		defer c.Close()
		replies, err := c.Do(ctx, commands...)
		return replies, c.Process(), err
	}
}

// upkeepProblems says what servers do not have as it was set, by pool.
func (in *instance) upkeepProblems() map[string][]string {
	all := make(map[string][]string, len(in.sources))
	for _, s := range in.sources {
		all[s.pool.Name] = s.upkeep.Problems()
	}
	return all
}
