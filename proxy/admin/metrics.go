package admin

import (
	"maps"
	"net/http"
	"strconv"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"sluice/backend"
	"sluice/discovery/replication"
	"sluice/proxy"
	"sluice/proxy/command"
	"sluice/router"
)

// metrics renders everything at the moment it is asked for: the loops count without locks, and a scrape asks
// each loop for a copy.
func (s *Server) metrics(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	e := exposition{w: w}
	srv := s.cfg.Server
	st := srv.Stats()

	e.family("sluice_build_info", "gauge", "Constant 1, labelled with the version.")
	e.value("sluice_build_info", 1, "version", s.cfg.Version)
	e.family("sluice_uptime_seconds", "gauge", "Time since the start.")
	e.value("sluice_uptime_seconds", srv.Uptime().Seconds())
	e.family("sluice_draining", "gauge", "1 while the process drains.")
	e.value("sluice_draining", oneIf(srv.Draining()))

	e.family("sluice_client_connections", "gauge", "Connected clients.")
	e.value("sluice_client_connections", float64(srv.Clients()))
	e.counter("sluice_client_connections_total", "Clients accepted.", st.ClientsOpened)
	e.counter("sluice_accept_errors_total", "Failed accepts, such as for want of file descriptors.", srv.AcceptErrors())
	e.family("sluice_client_rejected_total", "counter", "Clients refused or closed because of a limit.")
	e.value("sluice_client_rejected_total", float64(srv.Rejected()), "reason", "max_clients")
	e.value("sluice_client_rejected_total", float64(st.Overflows[proxy.OverflowUnparsed]), "reason", "max_unparsed")
	e.value("sluice_client_rejected_total", float64(st.Overflows[proxy.OverflowOutput]), "reason", "client_output")
	e.value("sluice_client_rejected_total", float64(st.Overflows[proxy.OverflowPubSub]), "reason", "pubsub_output")
	e.counter("sluice_client_received_bytes_total", "Bytes read from clients.", st.ClientBytesIn)
	e.counter("sluice_client_sent_bytes_total", "Bytes written to clients.", st.ClientBytesOut)
	e.counter("sluice_client_auth_failures_total", "Refused passwords.", st.AuthFailures)
	e.counter("sluice_client_denied_total", "Requests that the rights of their user don't allow.", st.Denied)
	e.counter("sluice_client_protocol_errors_total", "Requests that could not be framed.", st.ProtocolErrors)

	e.counter("sluice_requests_total", "Requests answered.", st.Requests)
	e.counter("sluice_request_errors_total", "Requests answered with an error.", st.Errors)
	e.counter("sluice_unknown_commands_total", "Requests for a command that does not exist.", st.Unknown)
	e.family("sluice_requests_in_flight", "gauge", "Requests that wait for their reply.")
	e.value("sluice_requests_in_flight", float64(st.InFlight))
	e.commands(st)
	e.histogram("sluice_request_duration_seconds", "From the dispatch of a forwarded request to its turn in the reply stream.", &st.Latency)
	e.histogram("sluice_loop_turn_seconds",
		"How long an event loop was busy with a batch of events, or with a task: others waited that long.", &st.Turns)
	e.histogram("sluice_loop_wait_seconds",
		"How long a task for an event loop had to wait, as what comes from a socket does.", &st.Waits)

	e.family("sluice_redirects_total", "counter", "Redirects of cluster nodes that were followed.")
	e.value("sluice_redirects_total", float64(st.Redirects[proxy.RedirectMoved]), "kind", "moved")
	e.value("sluice_redirects_total", float64(st.Redirects[proxy.RedirectAsk]), "kind", "ask")
	e.counter("sluice_client_intake_stops_total", "Times that a client was not read for a while, because it sent faster than its requests were run.", st.IntakeStops)
	e.counter("sluice_client_yields_total", "Turns that a client with much to be parsed did not finish, because others had theirs.", st.Yields)
	e.counter("sluice_retries_total", "Requests sent again after a lost connection.", st.Retries)
	e.counter("sluice_backend_renewals_total", "Connections to servers replaced because they led to another process than the probe, or were old.", st.Renewals)
	e.counter("sluice_reads_again_total", "Reads sent again because a replica could not serve them.", st.ReadsAgain)
	e.counter("sluice_hedges_total", "Reads sent to a second node because the first took long.", st.Hedges)
	e.counter("sluice_hedges_won_total", "Reads that the second node answered first.", st.HedgesWon)
	e.counter("sluice_backend_received_bytes_total", "Bytes read from backends.", st.BackendBytesIn)
	e.counter("sluice_panics_total", "Panics that were caught.", st.Panics)
	e.family("sluice_held_reply_bytes", "gauge", "Replies that wait for older ones of their client.")
	e.value("sluice_held_reply_bytes", float64(st.HeldReplies))
	e.family("sluice_free_buffer_bytes", "gauge", "Buffers kept for reuse.")
	e.value("sluice_free_buffer_bytes", float64(st.FreeBuffers))
	replicas, _ := s.replicas()
	e.pools(srv.Pools(), replicas)
	consul := s.consulStatuses()
	now := time.Now() // Not before what is compared with it.
	e.topologyAges(srv.Pools(), s.cfg.Sources(), consul, now)
	e.consul(srv.Pools(), consul, now)
	e.holds(srv.Pools())
	e.pubSub(srv.Pools(), st)
	e.moves(&st.Moves)
	e.migrations(srv.Pools(), s.cfg.Migrations())
	statuses, reads := s.replicas()
	e.replicas(srv.Pools(), statuses, reads)
	metrics.WriteProcessMetrics(w)
}

func (e *exposition) commands(st *proxy.Stats) {
	e.family("sluice_commands_total", "counter", "Commands by name and outcome.")
	for id := range st.Commands {
		if c := &st.Commands[id]; c.Calls > 0 {
			name := command.NameOf(id)
			e.value("sluice_commands_total", float64(c.Calls-c.Failed), "cmd", name, "result", "ok")
			e.value("sluice_commands_total", float64(c.Failed), "cmd", name, "result", "error")
		}
	}
	e.family("sluice_command_duration_seconds_total", "counter", "Time spent on forwarded commands, by name.")
	for id := range st.Commands {
		if c := &st.Commands[id]; c.Nanos > 0 {
			e.value("sluice_command_duration_seconds_total", float64(c.Nanos)/1e9, "cmd", command.NameOf(id))
		}
	}
}

func (e *exposition) pools(pools []*proxy.Pool, replicas map[string]replication.Status) {
	e.family("sluice_topology_epoch", "gauge", "Number of the topology in force.")
	for _, p := range pools {
		if t := p.Table(); t != nil {
			e.value("sluice_topology_epoch", float64(t.Epoch), "pool", p.Name)
		}
	}
	e.family("sluice_topology_uncovered_slots", "gauge", "Slots that no group owns.")
	for _, p := range pools {
		if t := p.Table(); t != nil {
			e.value("sluice_topology_uncovered_slots", float64(uncovered(t)), "pool", p.Name)
		}
	}
	unfit := make(map[string]string)
	for _, status := range replicas {
		maps.Copy(unfit, unfitMasters(status))
	}
	e.backends(pools, "sluice_backend_up", "1 when the last probe was answered, the breaker is closed, and a master is one.",
		func(n *backend.Node) float64 { return oneIf(n.Answers() && unfit[n.Addr] == "") })
	e.backends(pools, "sluice_backend_connections", "Connections to a backend.",
		func(n *backend.Node) float64 { return float64(n.Conns()) })
	e.backends(pools, "sluice_backend_rtt_seconds", "Round trip of the last probe.",
		func(n *backend.Node) float64 { return n.Status().RTT.Seconds() })
}

// backends writes one gauge for every node of every pool.
func (e *exposition) backends(pools []*proxy.Pool, name, help string, value func(n *backend.Node) float64) {
	e.family(name, "gauge", help)
	for _, p := range pools {
		for _, n := range p.Nodes() {
			e.value(name, value(n), "pool", p.Name, "backend", n.Addr)
		}
	}
}

func uncovered(t *router.Table) int {
	n := 0
	for _, r := range t.Uncovered() {
		n += r.Len()
	}
	return n
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// exposition writes the text format of Prometheus.
type exposition struct{ w http.ResponseWriter }

func (e *exposition) family(name, kind, help string) {
	e.print("# HELP ", name, " ", help, "\n# TYPE ", name, " ", kind, "\n")
}

func (e *exposition) counter(name, help string, n uint64) {
	e.family(name, "counter", help)
	e.print(name, " ", strconv.FormatUint(n, 10), "\n")
}

// value writes a sample; labels are names and values in turn.
func (e *exposition) value(name string, v float64, labels ...string) {
	e.print(name)
	for i := 0; i < len(labels); i += 2 {
		open := ","
		if i == 0 {
			open = "{"
		}
		e.print(open, labels[i], "=", strconv.Quote(labels[i+1]))
	}
	if len(labels) > 0 {
		e.print("}")
	}
	e.print(" ", strconv.FormatFloat(v, 'g', -1, 64), "\n")
}

func (e *exposition) histogram(name, help string, h *proxy.Histogram) {
	e.family(name, "histogram", help)
	var sum uint64
	for i, n := range h.Buckets {
		sum += n
		bound := "+Inf"
		if i < len(proxy.LatencyBounds) {
			bound = strconv.FormatFloat(proxy.LatencyBounds[i].Seconds(), 'g', -1, 64)
		}
		e.value(name+"_bucket", float64(sum), "le", bound)
	}
	e.value(name+"_sum", float64(h.Nanos)/1e9)
	e.value(name+"_count", float64(sum))
}

func (e *exposition) print(parts ...string) {
	for _, p := range parts {
		_, _ = e.w.Write([]byte(p))
	}
}
