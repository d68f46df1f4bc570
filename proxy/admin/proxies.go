package admin

import (
	"context"
	"net/http"
	"time"
)

// ProxyList is the answer of GET /api/v1/proxies: the proxies that share a topology in Consul.
type ProxyList struct {
	Pools []PoolProxies `json:"pools"`
}

// PoolProxies are the proxies of a pool whose topology is in Consul, as Consul has them, by id.
type PoolProxies struct {
	Name    string  `json:"name"`
	Self    string  `json:"self"`            // the id of the one that answers
	Epoch   uint64  `json:"epoch"`           // of the topology in Consul
	Barrier bool    `json:"barrier"`         // it waits for an acknowledgement by each of them
	Error   string  `json:"error,omitempty"` // why they are not known
	Proxies []Proxy `json:"proxies"`
}

// Proxy is a member of a pool.
type Proxy struct {
	ID      string    `json:"id"`
	Addr    string    `json:"addr"`  // where clients connect
	Admin   string    `json:"admin"` // host:port of its admin server; "" when it has none
	Version string    `json:"version"`
	Host    string    `json:"host"`
	PID     int       `json:"pid"`
	Started time.Time `json:"started,omitzero"`
	State   string    `json:"state"`   // "joining", "serving", "draining"; "gone" without a lease
	Acked   uint64    `json:"acked"`   // the last epoch with a barrier that it has acknowledged; 0 when none
	TookMS  int64     `json:"took_ms"` // how long that took it
	Lease   string    `json:"lease"`   // "held"; "lost": it may still run, cut off from Consul
	Session string    `json:"session"` // that holds its keys; "" without a lease
	Seen    uint64    `json:"seen"`    // the epoch at which it was first or last written down
	Member  bool      `json:"member"`  // moves wait for it
}

// proxiesTimeout bounds the questions to Consul, so that ctl gets an answer and not a timeout of its own.
const proxiesTimeout = 3 * time.Second

func (s *Server) proxies(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	out := ProxyList{Pools: []PoolProxies{}}
	if s.cfg.Proxies == nil {
		writeJSON(w, out)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), proxiesTimeout)
	defer cancel()
	known := s.cfg.Proxies(ctx)
	for _, p := range s.cfg.Server.Pools() {
		list, ok := known[p.Name]
		if !ok || q.Has("pool") && p.Name != q.Get("pool") {
			continue
		}
		list.Name = p.Name
		list.Proxies = append([]Proxy{}, list.Proxies...)
		out.Pools = append(out.Pools, list)
	}
	writeJSON(w, out)
}
