package admin

import (
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"

	"sluice/discovery/replication"
)

const (
	defaultEvents = 100
	// MaxEvents is how many events one answer has at most.
	MaxEvents = 10000
)

// EventList is the answer of GET /api/v1/events, oldest first. Ids begin anew when the process does.
type EventList struct {
	Events []replication.Event `json:"events"`
}

func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	since, err := numberIn(q, "since", 0, 0, math.MaxUint64)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	limit, err := numberIn(q, "limit", defaultEvents, 1, MaxEvents)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	out := EventList{Events: []replication.Event{}}
	if s.cfg.Events != nil {
		out.Events = append(out.Events, s.cfg.Events(since, int(limit))...)
	}
	writeJSON(w, out)
}

// numberIn reads a parameter of the query; without it, it is otherwise.
func numberIn(q url.Values, name string, otherwise, lowest, highest uint64) (uint64, error) {
	if !q.Has(name) {
		return otherwise, nil
	}
	n, err := strconv.ParseUint(q.Get(name), 10, 64)
	if err != nil || n < lowest || n > highest {
		return 0, fmt.Errorf("%s: %q is not a whole number from %d to %d", name, q.Get(name), lowest, highest)
	}
	return n, nil
}
