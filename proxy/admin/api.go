package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"sluice/proxy"
	"sluice/proxy/command"
	"sluice/router"
)

// SourceStatus is what the source of a pool's topology knows.
type SourceStatus struct {
	Kind       string    `json:"kind"`
	Epoch      uint64    `json:"epoch"`
	LastChange time.Time `json:"last_change,omitzero"`
	LastError  string    `json:"last_error,omitempty"`
	Overrides  int       `json:"slots_by_moved"` // slots whose owner a MOVED taught, against the source
}

type topologyJSON struct {
	Pools []poolJSON `json:"pools"`
}

type poolJSON struct {
	Name      string       `json:"name"`
	SlotModel string       `json:"slot_model"`
	Slots     int          `json:"slots"`
	Listen    []string     `json:"listen"`
	Source    SourceStatus `json:"source"`
	Epoch     uint64       `json:"epoch"`
	Uncovered string       `json:"uncovered_slots"`
	Groups    []groupJSON  `json:"groups"`
	Moves     []moveJSON   `json:"moves"` // slots that are locked or moving
}

type moveJSON struct {
	Slots  string `json:"slots"`
	Phase  string `json:"phase"`
	From   string `json:"from,omitempty"`
	To     string `json:"to,omitempty"`
	Method string `json:"method"`
	Held   int    `json:"held"` // requests that wait for these slots
}

type groupJSON struct {
	ID       string     `json:"id"`
	Slots    string     `json:"slots"`
	Master   nodeJSON   `json:"master"`
	Replicas []nodeJSON `json:"replicas"`
}

type nodeJSON struct {
	Addr      string    `json:"addr"`
	Available bool      `json:"available"` // the breaker is closed
	Version   string    `json:"version,omitempty"`
	Role      string    `json:"role,omitempty"` // what the server itself says
	RTTMicros int64     `json:"rtt_us"`
	Conns     int       `json:"connections"`
	Error     string    `json:"error,omitempty"`
	Since     time.Time `json:"since"`
}

func (s *Server) topology(w http.ResponseWriter, _ *http.Request) {
	out := topologyJSON{Pools: []poolJSON{}}
	sources := s.cfg.Sources()
	for _, p := range s.cfg.Server.Pools() {
		out.Pools = append(out.Pools, describePool(p, sources[p.Name]))
	}
	writeJSON(w, out)
}

func describePool(p *proxy.Pool, source SourceStatus) poolJSON {
	out := poolJSON{
		Name: p.Name, SlotModel: p.Model.String(), Slots: p.Model.Slots(), Source: source,
		Listen: []string{}, Groups: []groupJSON{}, Moves: []moveJSON{},
	}
	for _, addr := range p.Addrs() {
		out.Listen = append(out.Listen, addr.Network()+"://"+addr.String())
	}
	t := p.Table()
	if t == nil {
		return out
	}
	nodes := make(map[string]nodeJSON)
	for _, n := range p.Nodes() {
		st := n.Status()
		nodes[n.Addr] = nodeJSON{
			Addr: n.Addr, Available: n.Available(), Version: st.Version, Role: st.Role,
			RTTMicros: st.RTT.Microseconds(), Conns: n.Conns(), Error: st.Err, Since: st.Since,
		}
	}
	out.Epoch, out.Uncovered = t.Epoch, router.FormatRanges(t.Uncovered())
	for _, g := range t.Groups {
		group := groupJSON{
			ID: string(g.ID), Slots: router.FormatRanges(t.Ranges(g)), Master: nodes[g.Master.Addr], Replicas: []nodeJSON{},
		}
		for _, r := range g.Replicas {
			group.Replicas = append(group.Replicas, nodes[r.Addr])
		}
		out.Groups = append(out.Groups, group)
	}
	out.Moves = append(out.Moves, describeMoves(p, t)...)
	return out
}

// describeMoves lists the moves, slots with the same move together.
func describeMoves(p *proxy.Pool, t *router.Table) []moveJSON {
	held := make(map[router.Slot]int)
	for _, h := range p.HeldSlots() {
		held[h.Slot] = h.Requests
	}
	var (
		list  []moveJSON
		slots [][]router.Range
		index = make(map[moveJSON]int)
	)
	for _, m := range t.Moves() {
		j := moveJSON{Phase: m.Phase.String(), Method: m.Method.String()}
		if m.From != nil {
			j.From = m.From.Addr
		}
		if m.To != nil {
			j.To = m.To.Addr
		}
		i, ok := index[j]
		if !ok {
			i = len(list)
			index[j] = i
			list, slots = append(list, j), append(slots, nil)
		}
		slots[i] = append(slots[i], router.Range{From: m.Slot, To: m.Slot})
		list[i].Held += held[m.Slot]
	}
	for i := range list {
		list[i].Slots = router.FormatRanges(joinRanges(slots[i]))
	}
	return list
}

// joinRanges joins single slots in ascending order that follow each other.
func joinRanges(single []router.Range) []router.Range {
	var out []router.Range
	for _, r := range single {
		if n := len(out); n > 0 && out[n-1].To+1 == r.From {
			out[n-1].To = r.To
			continue
		}
		out = append(out, r)
	}
	return out
}

type statsJSON struct {
	Version        string                 `json:"version"`
	UptimeSeconds  float64                `json:"uptime_seconds"`
	Draining       bool                   `json:"draining"`
	Clients        int                    `json:"clients"`
	Rejected       uint64                 `json:"clients_rejected"`
	AcceptErrors   uint64                 `json:"accept_errors"`
	Requests       uint64                 `json:"requests"`
	Errors         uint64                 `json:"error_replies"`
	InFlight       int                    `json:"requests_in_flight"`
	Moved          uint64                 `json:"moved_followed"`
	Ask            uint64                 `json:"ask_followed"`
	Retries        uint64                 `json:"retries"`
	ProtocolErrors uint64                 `json:"protocol_errors"`
	Panics         uint64                 `json:"panics"`
	Commands       map[string]commandJSON `json:"commands"`
}

type commandJSON struct {
	Calls      uint64  `json:"calls"`
	Failed     uint64  `json:"failed"`
	MicrosEach float64 `json:"us_per_call"`
}

func (s *Server) stats(w http.ResponseWriter, _ *http.Request) {
	srv := s.cfg.Server
	st := srv.Stats()
	out := statsJSON{
		Version: s.cfg.Version, UptimeSeconds: srv.Uptime().Seconds(), Draining: srv.Draining(),
		Clients: srv.Clients(), Rejected: srv.Rejected(), AcceptErrors: srv.AcceptErrors(),
		Requests: st.Requests, Errors: st.Errors, InFlight: st.InFlight,
		Moved: st.Redirects[proxy.RedirectMoved], Ask: st.Redirects[proxy.RedirectAsk], Retries: st.Retries,
		ProtocolErrors: st.ProtocolErrors, Panics: st.Panics, Commands: make(map[string]commandJSON),
	}
	for id := range st.Commands {
		if c := &st.Commands[id]; c.Calls > 0 {
			out.Commands[command.NameOf(id)] = commandJSON{
				Calls: c.Calls, Failed: c.Failed, MicrosEach: float64(c.Nanos) / 1000 / float64(c.Calls),
			}
		}
	}
	writeJSON(w, out)
}

// healthy says that the process and its loops answer.
func (s *Server) healthy(w http.ResponseWriter, _ *http.Request) {
	if !s.cfg.Server.Responsive() {
		http.Error(w, "an event loop does not answer", http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}

// ready says whether clients should be sent here: not draining, and every pool has a master that serves.
func (s *Server) ready(w http.ResponseWriter, _ *http.Request) {
	var why []string
	if s.cfg.Server.Draining() {
		why = append(why, "draining")
	}
	replicas, _ := s.replicas()
	for _, p := range s.cfg.Server.Pools() {
		var out PoolStatus
		j := judge{where: "pool " + p.Name + ": "}
		switch t := p.Table(); {
		case !p.Ready() || t == nil:
			why = append(why, "pool "+p.Name+": no master answers")
		default:
			if j.groups(&out, p, t, replicas[p.Name]); out.GroupsServing == 0 {
				why = append(why, j.problems...)
			}
		}
	}
	if len(why) > 0 {
		http.Error(w, "not ready: "+strings.Join(why, "; "), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ready")
}

type reloadJSON struct {
	Applied []string `json:"applied"`
	Restart []string `json:"needs_restart"`
	Errors  []string `json:"errors,omitempty"`
}

func (s *Server) reload(w http.ResponseWriter, _ *http.Request) {
	applied, restart, err := s.cfg.Reload()
	out := reloadJSON{Applied: nonNil(applied), Restart: nonNil(restart)}
	if err != nil {
		out.Errors = strings.Split(err.Error(), "\n")
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnprocessableEntity)
	}
	writeJSON(w, out)
}

func nonNil(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	_ = enc.Encode(v)
}

// index lists what there is, for people who look with a browser.
func (s *Server) index(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	fmt.Fprintf(w, `<!doctype html><html lang="en"><title>Sluice</title>
<style>body{font:16px/1.6 system-ui,sans-serif;max-width:40em;margin:3em auto;padding:0 1em;color-scheme:light dark}code{font-size:.95em}</style>
<h1>Sluice</h1><p>%s</p><ul>
<li><a href="/-/ready">/-/ready</a>: are clients welcome, and if not, why
<li><a href="/-/healthy">/-/healthy</a>: does the process answer
<li><a href="/api/v1/status">/api/v1/status</a>: is it well, and if not, what and where
<li><a href="/api/v1/topology">/api/v1/topology</a>: pools, groups, nodes and what is known of them
<li><a href="/api/v1/migrations">/api/v1/migrations</a>: slots that move, how far they are and what is wrong
<li><a href="/api/v1/groups">/api/v1/groups</a>: the lag of each replica, and who serves the reads
<li><a href="/api/v1/events">/api/v1/events</a>: what happened to replicas and masters
<li><a href="/api/v1/proxies">/api/v1/proxies</a>: the proxies that share a topology in Consul
<li><a href="/api/v1/stats">/api/v1/stats</a>: counters
<li><a href="/metrics">/metrics</a>: the same for Prometheus
<li><code>POST /-/reload</code>: read the configuration again
<li><code>POST /api/v1/topology/accept?pool=NAME</code>: apply the older topology that Consul has
</ul></html>
`, s.cfg.Version)
}
