package admin

import (
	"net/http"
	"time"

	"sluice/discovery/migration"
	"sluice/proxy"
)

type migrationsJSON struct {
	Pools []PoolMigrations `json:"pools"`
}

// PoolMigrations is what moves in a pool: what its nodes report, and what its topology says.
type PoolMigrations struct {
	Name       string                `json:"name"`
	Checked    time.Time             `json:"checked,omitzero"` // when the nodes were asked last
	Migrations []migration.Migration `json:"migrations"`
	Silent     map[string]string     `json:"silent,omitempty"`  // nodes that did not answer, with why
	Unfit      map[string]string     `json:"unfit,omitempty"`   // nodes that have no slots to serve, with why
	Dispute    string                `json:"dispute,omitempty"` // which nodes have different configurations
	LossyKeys  map[string]uint64     `json:"lossy_keys,omitempty"`
	Moves      []moveJSON            `json:"moves"` // slots that are locked or moving for this proxy
}

func (s *Server) migrations(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	out := migrationsJSON{Pools: []PoolMigrations{}}
	statuses := s.cfg.Migrations()
	for _, p := range s.cfg.Server.Pools() {
		if q.Has("pool") && p.Name != q.Get("pool") {
			continue
		}
		st := statuses[p.Name]
		pool := PoolMigrations{
			Name: p.Name, Checked: st.Checked, Silent: st.Silent, Unfit: st.Unfit, Dispute: st.Dispute, LossyKeys: st.Lossy,
			Migrations: append([]migration.Migration{}, st.Migrations...), Moves: []moveJSON{},
		}
		if t := p.Table(); t != nil {
			pool.Moves = append(pool.Moves, describeMoves(p, t)...)
		}
		out.Pools = append(out.Pools, pool)
	}
	writeJSON(w, out)
}

// migrations writes how many there are in each state, and how far those are that are under way.
func (e *exposition) migrations(pools []*proxy.Pool, statuses map[string]migration.Status) {
	e.family("sluice_migrations", "gauge", "Migrations that the nodes report, and the last ones that are over, by state.")
	for _, p := range pools {
		states := make(map[migration.State]int)
		for _, m := range statuses[p.Name].Migrations {
			states[m.State]++
		}
		for _, state := range migration.States {
			e.value("sluice_migrations", float64(states[state]), "pool", p.Name, "state", string(state))
		}
	}
	e.family("sluice_migration_progress_ratio", "gauge", "Keys at the target of a migration under way, as a share of those at its source.")
	for _, p := range pools {
		written := make(map[[2]string]bool)
		for _, m := range statuses[p.Name].Migrations {
			pair := [2]string{m.Source, m.Target}
			if m.Progress == nil || !m.Ended.IsZero() || written[pair] {
				continue
			}
			written[pair] = true
			e.value("sluice_migration_progress_ratio", *m.Progress, "pool", p.Name, "source", m.Source, "target", m.Target)
		}
	}
	e.family("sluice_move_lossy_keys_total", "counter", "Keys in samples of slots that began to move that the move changes or can't take, by type.")
	for _, p := range pools {
		for _, kind := range []string{"zset", "stream"} {
			e.value("sluice_move_lossy_keys_total", float64(statuses[p.Name].Lossy[kind]), "pool", p.Name, "type", kind)
		}
	}
}
