package admin

import (
	"net/http"
	"time"

	"sluice/proxy/local"
)

// SlowLog is the answer of GET /api/v1/slowlog, newest first. Ids begin anew when the process does.
type SlowLog struct {
	Requests []SlowRequest `json:"requests"`
}

// SlowRequest is a request that took at least slowlog-log-slower-than. What is in neither of the parts of its time went
// into redirects, looking for keys of a moving slot, and being sent again.
type SlowRequest struct {
	ID            int64     `json:"id"`
	Time          time.Time `json:"time"` // when it was answered
	TotalMicros   int64     `json:"total_us"`
	HeldMicros    int64     `json:"held_us"`    // waiting for its slot or master
	BackendMicros int64     `json:"backend_us"` // from its last way to a server to the reply
	Backend       string    `json:"backend"`    // that server; of a command that was divided, the slowest
	Pool          string    `json:"pool"`
	Client        string    `json:"client"`
	Name          string    `json:"name,omitempty"`
	Args          []string  `json:"args"`                   // cut as Redis cuts them
	SlowestPart   []string  `json:"slowest_part,omitempty"` // of a command that was divided: what Backend was asked
}

const (
	defaultSlow = 100
	maxSlow     = 10000
)

func (s *Server) slowlog(w http.ResponseWriter, r *http.Request) {
	limit, err := numberIn(r.URL.Query(), "limit", defaultSlow, 1, maxSlow)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	out := SlowLog{Requests: []SlowRequest{}}
	for _, q := range s.cfg.Server.Slowlog(int(limit)) {
		out.Requests = append(out.Requests, slowRequest(q))
	}
	writeJSON(w, out)
}

func slowRequest(q *local.SlowRequest) SlowRequest {
	return SlowRequest{
		ID: q.ID, Time: q.Time, TotalMicros: q.Total.Microseconds(), HeldMicros: q.Held.Microseconds(),
		BackendMicros: q.Backend.Microseconds(), Backend: q.Node, Pool: q.Pool, Client: q.Client, Name: q.Name,
		Args: append([]string{}, q.Args...), SlowestPart: q.Part,
	}
}
