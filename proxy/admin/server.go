// Package admin is the HTTP side of Sluice for operators: metrics, health, what it knows as JSON, reload and
// profiles. It runs on goroutines of net/http and touches the event loops only through proxy.Server.
package admin

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"sync/atomic"
	"time"

	"sluice/discovery/migration"
	"sluice/discovery/replication"
	"sluice/proxy"
)

// Config is what a Server shows and does.
type Config struct {
	Server  *proxy.Server
	Version string
	Log     *slog.Logger
	// Hosts are the names under which it may be asked, besides addresses and localhost, until SetHosts.
	Hosts []string
	// Reload reads the configuration again; see POST /-/reload.
	Reload func() (applied, restart []string, err error)
	// Sources tells what the source of each pool's topology knows, by pool.
	Sources func() map[string]SourceStatus
	// Migrations tells what is known of migrations between the masters of each pool, by pool.
	Migrations func() map[string]migration.Status
	// Groups tells what is known of the replication of each pool's groups, by pool. Optional.
	Groups func() map[string]replication.Status
	// Events returns the newest events with an id above since, at most limit of them, oldest first. Optional.
	Events func(since uint64, limit int) []replication.Event
	// Reads counts the reads that each node has served, by pool and address. Optional.
	Reads func() map[string]map[string]uint64
	// Consul tells what pools whose topology is in Consul know of it, by pool; others are not in it. Optional.
	Consul func() map[string]ConsulStatus
	// Proxies asks Consul for the proxies of these pools, by pool, within ctx. Optional.
	Proxies func(ctx context.Context) map[string]PoolProxies
	// Accept lets the topology that Consul has for a pool replace a newer one, once. Optional; needs Consul.
	Accept func(pool string)
	// Upkeep says what servers do not have as it was set, by pool. Optional.
	Upkeep func() map[string][]string
}

// Server answers HTTP. Safe for concurrent use.
type Server struct {
	cfg   Config
	http  *http.Server
	ln    net.Listener
	hosts atomic.Pointer[[]string] // by SetHosts
}

// New returns a Server that does nothing until Serve.
func New(cfg Config, ln net.Listener) *Server {
	s := &Server{cfg: cfg, ln: ln}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.index)
	mux.HandleFunc("GET /metrics", s.metrics)
	mux.HandleFunc("GET /-/healthy", s.healthy)
	mux.HandleFunc("GET /-/ready", s.ready)
	mux.HandleFunc("POST /-/reload", s.reload)
	mux.HandleFunc("GET /api/v1/topology", s.topology)
	mux.HandleFunc("GET /api/v1/migrations", s.migrations)
	mux.HandleFunc("GET /api/v1/groups", s.groups)
	mux.HandleFunc("GET /api/v1/events", s.events)
	mux.HandleFunc("GET /api/v1/slowlog", s.slowlog)
	mux.HandleFunc("GET /api/v1/stats", s.stats)
	mux.HandleFunc("GET /api/v1/status", s.status)
	mux.HandleFunc("GET /api/v1/proxies", s.proxies)
	mux.HandleFunc("POST /api/v1/topology/accept", s.accept)
	if isLoopback(ln.Addr()) {
		addProfiles(mux)
	}
	s.SetHosts(cfg.Hosts)
	s.http = &http.Server{Handler: s.guard(mux), ReadHeaderTimeout: 5 * time.Second}
	return s
}

// Serve answers requests until Close.
func (s *Server) Serve() {
	if err := s.http.Serve(s.ln); !errors.Is(err, http.ErrServerClosed) {
		s.cfg.Log.Error("the admin server ended", "err", err)
	}
}

// Addr is where the Server listens.
func (s *Server) Addr() string { return s.ln.Addr().String() }

// Close stops answering and waits for answers under way for up to a second.
func (s *Server) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if s.http.Shutdown(ctx) != nil {
		_ = s.http.Close()
	}
}

// addProfiles offers net/http/pprof. Profiles show keys and addresses, and taking one costs CPU, so they are
// for people on the host only.
func addProfiles(mux *http.ServeMux) {
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
}

func isLoopback(addr net.Addr) bool {
	tcp, ok := addr.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}
