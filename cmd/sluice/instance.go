package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"sync"
	"time"

	"sluice/backend"
	"sluice/backend/dialect"
	"sluice/conf"
	"sluice/discovery"
	"sluice/discovery/cluster"
	"sluice/discovery/codis"
	"sluice/discovery/learn"
	moves "sluice/discovery/migration"
	"sluice/discovery/replication"
	"sluice/discovery/static"
	"sluice/discovery/upkeep"
	"sluice/proxy"
	"sluice/proxy/admin"
	"sluice/proxy/hold"
	"sluice/router"
)

// instance is a running Sluice: the server, a source of topology per pool and the admin HTTP server, wired
// as a configuration says. mu guards the fields below it.
type instance struct {
	log     *slog.Logger
	level   *slog.LevelVar
	load    func() (*conf.Config, error) // reads the configuration again
	server  *proxy.Server
	admin   *admin.Server
	journal *replication.Journal
	sources []*source
	stop    context.CancelFunc
	work    sync.WaitGroup

	end     chan struct{} // closed when the dashboard of a pool asks for the end
	endOnce sync.Once

	started *conf.Config // what needs a restart stays as it is here

	mu  sync.Mutex
	cfg *conf.Config // in force
}

// source keeps one pool's topology up to date.
type source struct {
	pool     *proxy.Pool
	keeper   *discovery.Keeper
	static   *static.Source  // or
	cluster  *cluster.Source // or
	codis    *codis.Source   // or
	consul   *inConsul       // as the configuration says
	watcher  *moves.Watcher
	replicas *replication.Watcher
	learner  *learn.Learner
	upkeep   *upkeep.Upkeep
	amiss    chan struct{} // something is wrong with a server; capacity 1
}

// startInstance runs cfg. load is for reloads.
func startInstance(cfg *conf.Config, load func() (*conf.Config, error), log *slog.Logger, level *slog.LevelVar) (*instance, error) {
	in, err := newInstance(cfg, load, log, level)
	if err != nil {
		return nil, err
	}
	if err := in.start(); err != nil {
		return nil, err
	}
	return in, nil
}

// newInstance wires what cfg says. Nothing runs yet, but the addresses for operators are taken.
func newInstance(cfg *conf.Config, load func() (*conf.Config, error), log *slog.Logger, level *slog.LevelVar) (*instance, error) {
	in := &instance{log: log, level: level, load: load, started: cfg, cfg: cfg, end: make(chan struct{}), journal: replication.NewJournal(0)}
	id := newID()
	in.server = proxy.New(proxy.Config{
		ID: id, Version: version, Loops: cfg.Proxy.Loops, Log: log, Level: level, AffordableClients: affordableClients(),
		Settings: proxySettings(cfg),
	})
	if err := in.openAdmin(cfg.Proxy.Admin); err != nil {
		return nil, err
	}
	if err := in.addPools(cfg, id); err != nil {
		in.closeAdmin()
		return nil, err
	}
	return in, nil
}

// start runs everything. On an error nothing is left running.
func (in *instance) start() error {
	ctx, cancel := context.WithCancel(context.Background())
	in.stop = cancel
	for i, s := range in.sources {
		in.work.Go(func() {
			if err := s.keeper.Run(ctx); err != nil {
				in.log.Error("the source of the topology ended", "pool", s.pool.Name, "err", err)
			}
		})
		if s.consul != nil {
			in.work.Go(func() { s.consul.member.Run(ctx) })
		}
		in.work.Go(func() { s.watcher.Run(ctx) })
		in.work.Go(func() { s.replicas.Run(ctx) })
		in.work.Go(func() { s.learner.Run(ctx) })
		in.work.Go(func() { s.upkeep.Run(ctx) })
		in.work.Go(func() { in.watchPassword(ctx, i) })
		in.work.Go(func() { in.watchDialects(ctx, i) })
	}
	in.awaitTopology(ctx)
	if err := in.server.Start(); err != nil {
		in.shutdown(context.Background())
		return err
	}
	if in.admin != nil {
		in.work.Go(in.admin.Serve)
	}
	return nil
}

// topologyWait is how long the listeners stay closed while a pool has no topology. After that clients are
// let in and told that there is none.
const topologyWait = 2 * time.Second

func (in *instance) awaitTopology(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, topologyWait)
	defer cancel()
	check := time.NewTicker(5 * time.Millisecond)
	defer check.Stop()
	for _, s := range in.sources {
		for s.pool.Table() == nil {
			select {
			case <-check.C:
			case <-ctx.Done():
				st := s.keeper.Status()
				if st.LastError == nil {
					st.LastError = errors.New("the source has not answered yet")
				}
				in.log.Warn("no topology yet, going on without", "pool", s.pool.Name, "source", st.Source, "err", st.LastError)
				return
			}
		}
	}
}

// addPools adds the pools.
func (in *instance) addPools(cfg *conf.Config, id string) error {
	codisAPIs, err := listenForDashboards(cfg)
	if err != nil {
		return err
	}
	for i := range cfg.Pools {
		if err := in.addPool(&cfg.Pools[i], cfg, id, codisAPIs[i]); err != nil {
			closeAll(codisAPIs)
			return fmt.Errorf("pool %s: %w", cfg.Pools[i].Name, err)
		}
	}
	return nil
}

// addPool adds a pool and its source of topology. codisAPI is where its dashboard reaches it, nil for other sources.
func (in *instance) addPool(p *conf.Pool, cfg *conf.Config, id string, codisAPI net.Listener) error {
	s := &source{amiss: make(chan struct{}, 1)}
	model := router.ClusterModel()
	if p.SlotModel == conf.SlotCodis {
		model = router.CodisModel(p.Slots)
	}
	settings := poolSettings(p, cfg, id)
	s.pool = in.server.AddPool(proxy.PoolConfig{
		Name:         p.Name,
		Model:        model,
		Family:       dialect.Of(string(p.Dialect)),
		Listen:       listens(p.Listen),
		PoolSettings: settings,
		Moved: func(slot router.Slot, addr string) {
			s.keeper.Moved(slot, addr)
			s.watcher.Look()
		},
		Leaving: func(string) { s.watcher.Look() },
		Trouble: func(addr string) { s.trouble(addr) },
		Observe: func(addr string, o backend.Observation) { s.observe(addr, o) },
	})
	var src discovery.Source
	switch p.Discovery.Kind {
	case conf.DiscoverCluster:
		s.cluster = cluster.New(clusterConfig(p, settings.Backend.Name, in.log))
		src = s.cluster
	case conf.DiscoverCodis:
		s.codis = codis.New(in.codisConfig(p, s.pool, cfg), codisAPI)
		src = s.codis
	case conf.DiscoverConsul:
		c, err := in.newConsul(p, cfg, s.pool, id)
		if err != nil {
			return err
		}
		s.consul, src = c, c.source
	case conf.DiscoverStatic:
		s.static = static.New(groupSpecs(p.Groups))
		src = s.static
	}
	s.watcher = in.newWatcher(p, s)
	s.replicas = in.newReplicaWatcher(p, s, id)
	s.learner = in.newLearner(p, s.pool)
	s.upkeep = in.newUpkeep(s.pool)
	s.keeper = discovery.NewKeeper(discovery.Config{
		Model: model, Source: src, Name: string(p.Discovery.Kind), Log: in.log.With("pool", p.Name), Reachable: reachable(p.Dialect, s.pool),
		Apply: func(t *router.Table) {
			s.pool.SetTable(t)
			s.replicas.SetTable(t)
			s.watcher.Look()
			s.upkeep.Kick()
		},
	})
	in.sources = append(in.sources, s)
	return nil
}

// closeAdmin gives the address of an admin server back that was not started.
func (in *instance) closeAdmin() {
	if in.admin != nil {
		in.admin.Close()
	}
}

// openAdmin takes the address of the admin server, so that it is known to be free before anything is started.
func (in *instance) openAdmin(addr string) error {
	if addr == "" {
		return nil
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("admin: %w", err)
	}
	in.admin = admin.New(admin.Config{
		Server: in.server, Version: version, Log: in.log, Reload: in.reload, Hosts: adminHosts(in.started), Sources: in.statuses, Migrations: in.migrations,
		Groups: in.groupStatuses, Events: in.journal.Since, Reads: in.nodeReads,
		Consul: in.consulStatuses, Proxies: in.consulProxies, Accept: in.acceptTopology, Upkeep: in.upkeepProblems,
	}, ln)
	return nil
}

// adminAddr is where the admin server listens, "" when it does not.
func (in *instance) adminAddr() string {
	if in.admin == nil {
		return ""
	}
	return in.admin.Addr()
}

// statuses tells what the sources of topology know, by pool.
func (in *instance) statuses() map[string]admin.SourceStatus {
	all := make(map[string]admin.SourceStatus, len(in.sources))
	for _, s := range in.sources {
		st := s.keeper.Status()
		out := admin.SourceStatus{Kind: st.Source, Epoch: st.Epoch, LastChange: st.LastChange, Overrides: st.Overrides}
		if st.LastError != nil {
			out.LastError = st.LastError.Error()
		}
		all[s.pool.Name] = out
	}
	return all
}

// shutdown drains the clients and stops everything.
func (in *instance) shutdown(ctx context.Context) {
	in.inConsuls(func(_ *source, c *inConsul) { c.member.Drain(ctx) })
	left := in.server.Shutdown(ctx)
	if left > 0 {
		in.log.Warn("requests were cut off at the end of drain_timeout", "requests", left)
	}
	in.inConsuls(func(s *source, c *inConsul) {
		if err := c.leave(ctx, left > 0); err != nil {
			in.log.Warn("Consul was not told that this proxy leaves; its members key stays", "pool", s.pool.Name, "err", err)
		}
	})
	in.stop()
	in.closeAdmin()
	in.work.Wait()
}

// inConsuls calls f for every pool that is in Consul, all at once, and waits for them.
func (in *instance) inConsuls(f func(s *source, c *inConsul)) {
	var work sync.WaitGroup
	for _, s := range in.sources {
		if s.consul != nil {
			work.Go(func() { f(s, s.consul) })
		}
	}
	work.Wait()
}

// observe gives what the probe of a node has found to all who live on it.
func (s *source) observe(addr string, o backend.Observation) {
	s.replicas.Observe(addr, o)
	if s.consul != nil {
		s.consul.source.Observe(addr, o)
	}
}

// trouble is told that something went wrong with a node: what it is now, and what the topology says, is asked at once.
func (s *source) trouble(addr string) {
	s.keeper.Refresh()
	s.replicas.Kick(addr)
	select {
	case s.amiss <- struct{}{}:
	default:
	}
}

func clusterConfig(p *conf.Pool, name string, log *slog.Logger) cluster.Config {
	return cluster.Config{
		Seeds: p.Discovery.Seeds, Interval: p.Discovery.Refresh.Std(),
		Username: p.Auth.BackendUser, Password: p.Auth.BackendPassword.Reveal(),
		ClientName: name, Timeout: p.Backend.DialTimeout.Std(), Log: log,
	}
}

// clientNamePrefix starts the name of every connection to a backend; the proxy's id follows.
const clientNamePrefix = "sluice:"

func proxySettings(cfg *conf.Config) proxy.Settings {
	l := cfg.Proxy.Limits
	return proxy.Settings{
		MaxClients: min(cfg.Proxy.MaxClients, affordableClients()),
		Drain:      cfg.Proxy.DrainTimeout.Std(),
		Limits: proxy.Limits{
			MaxPipeline: l.MaxPipeline, MaxUnparsed: inMemory(l.MaxUnparsed), MaxBulk: inMemory(l.MaxBulk),
			MaxArgs: l.MaxArgs, ClientOutput: inMemory(l.ClientOutput), PubSubOutput: inMemory(l.PubSubOutput),
		},
		SlowlogSlowerThan: cfg.Proxy.SlowlogSlowerThan.Std(), SlowlogMaxLen: cfg.Proxy.SlowlogMaxLen,
	}
}

// inMemory is a size of what is kept in memory; more than there can be of it is no limit.
func inMemory(b conf.Bytes) int { return int(min(b, math.MaxInt)) }

func poolSettings(p *conf.Pool, cfg *conf.Config, id string) proxy.PoolSettings {
	b := p.Backend
	s := proxy.PoolSettings{
		Databases: p.Databases,
		Backend: backend.Options{
			User: p.Auth.BackendUser, Password: p.Auth.BackendPassword.Reveal(), Name: clientNamePrefix + id,
			DialTimeout: b.DialTimeout.Std(), RequestTimeout: b.RequestTimeout.Std(),
			KeepAlive: b.TCPKeepalive.Std(), UserTimeout: b.TCPUserTimeout.Std(),
			ReconnectMin: b.ReconnectMin.Std(), ReconnectMax: b.ReconnectMax.Std(), ProbeInterval: probeInterval(p),
			Cluster:         p.SlotModel == conf.SlotCluster,
			BreakerFailures: b.BreakerFailures, BreakerOpen: b.BreakerOpen.Std(),
			MaxQueued: inMemory(cfg.Proxy.Limits.BackendOutput), MaxDedicated: b.MaxDedicated,
			MaxConnectionAge: b.MaxConnectionAge.Std(),
		},
		Hold: hold.Settings{
			MaxWait: p.Hold.MaxWait.Std(), MaxMoveWait: p.Hold.MaxMoveWait.Std(), DryRun: p.Hold.DryRun,
			MaxRequests: p.Hold.MaxRequests, MaxBytes: inMemory(p.Hold.MaxBytes),
			SlotRequests: p.Hold.SlotRequests, SlotBytes: inMemory(p.Hold.SlotBytes),
			ClientRequests: p.Hold.ClientRequests, ClientBytes: inMemory(p.Hold.ClientBytes),
		},
		MoveParallel: b.MoveParallel,
		Reads:        poolReads(p),

		ClusterEmulation: p.ClusterEmulation, MultiKey: multiKeys[p.MultiKey],
		Commands: declaredCommands(p), LearnCommands: p.LearnCommands,
		ServerConfig: serverConfig(p), Ping: pingAnswer(p), CrossGroup: p.CrossGroup,
	}
	for i := range p.Auth.Users {
		s.Users = append(s.Users, proxyUser(p, &p.Auth.Users[i]))
	}
	return s
}

func listens(list []conf.Listen) []proxy.Listen {
	out := make([]proxy.Listen, len(list))
	for i, l := range list {
		out[i] = proxy.Listen{Network: l.Network, Address: l.Address, Mode: l.Mode}
	}
	return out
}

func groupSpecs(groups []conf.Group) []router.GroupSpec {
	specs := make([]router.GroupSpec, len(groups))
	for i, g := range groups {
		specs[i] = router.GroupSpec{ID: router.GroupID(g.ID), Master: g.Master, Replicas: g.Replicas, Zones: zonesOf(&g)}
		for _, r := range g.Slots {
			specs[i].Slots = append(specs[i].Slots, router.Range{From: router.Slot(r.From), To: router.Slot(r.To)})
		}
	}
	return specs
}

// newID is 40 hex digits, like a run id of Redis.
func newID() string {
	var b [20]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// multiKeys are the values of multi_key.
var multiKeys = map[conf.MultiKey]proxy.MultiKey{conf.MultiKeyGroup: proxy.MultiKeyGroup, conf.MultiKeySlot: proxy.MultiKeySlot}
