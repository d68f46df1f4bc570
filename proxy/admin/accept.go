package admin

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// Accepted is the answer of POST /api/v1/topology/accept.
type Accepted struct {
	Pool   string `json:"pool"`
	Epoch  uint64 `json:"epoch"`  // in force before
	Alarm  string `json:"alarm"`  // why the topology in Consul was refused
	Result string `json:"result"` // what happens now
}

// AlarmCatalog is the other kind of alarm that accepting ends: all nodes have gone from the catalog, and are not let go.
const AlarmCatalog = "catalog_empty"

// acceptable is what there is to accept; "" is nothing.
func (st *ConsulStatus) acceptable() string {
	var texts []string
	for _, a := range st.Alarms {
		if a.Kind == AlarmRegressed || a.Kind == AlarmCatalog {
			texts = append(texts, a.Text)
		}
	}
	return strings.Join(texts, "; ")
}

// accept lets a topology in that was refused because it is older than the one in force, or another one of the same
// number, or a catalog that is empty. It is for people who know why: after a snapshot of Consul was restored. There has to be something to accept, so
// that nothing is let in tomorrow that was meant today.
func (s *Server) accept(w http.ResponseWriter, r *http.Request) {
	statuses := s.consulStatuses()
	pool := r.URL.Query().Get("pool")
	if pool == "" && len(statuses) == 1 {
		pool = slices.Collect(maps.Keys(statuses))[0]
	}
	st, ok := statuses[pool]
	switch {
	case s.cfg.Accept == nil || len(statuses) == 0:
		http.Error(w, "no pool has its topology in Consul, so there is nothing to accept", http.StatusConflict)
	case pool == "":
		names := strings.Join(slices.Sorted(maps.Keys(statuses)), ", ")
		http.Error(w, "pool: name one of "+names, http.StatusBadRequest)
	case !ok:
		http.Error(w, fmt.Sprintf("pool: there is no pool %q with its topology in Consul", pool), http.StatusBadRequest)
	case st.acceptable() == "":
		http.Error(w, fmt.Sprintf("there is nothing to accept: pool %s has epoch %d in force, and refuses none for being older, nor an empty catalog", pool, st.Epoch), http.StatusConflict)
	default:
		s.cfg.Log.Warn("the topology in Consul is accepted by hand", "pool", pool, "epoch", st.Epoch, "alarm", st.acceptable())
		s.cfg.Accept(pool)
		writeJSON(w, Accepted{Pool: pool, Epoch: st.Epoch, Alarm: st.acceptable(), Result: "what Consul has is applied, if it is valid"})
	}
}
