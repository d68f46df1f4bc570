package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"sluice/backend"
	"sluice/backend/dialect"
	"sluice/conf"
	"sluice/discovery"
	"sluice/discovery/consul"
	"sluice/discovery/controller/driver"
	"sluice/discovery/controller/mover"
	"sluice/internal/control"
	"sluice/proxy"
	"sluice/router"
)

func controllerCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "controller --config FILE",
		Short: "Move slots between groups, as sluice ctl move asks",
		Long: "Move slots between the groups of the pools whose topology is in Consul, as `sluice ctl move` asks.\n" +
			"Several may run: one is active, the others take over when it ends. It reads the configuration of the\n" +
			"proxies, and listens nowhere. SIGTERM or SIGINT stop it behind the command that it is at; whoever is\n" +
			"active next goes on from there.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := conf.LoadWith(file, conf.Overrides{Env: os.Environ()})
			if err != nil {
				return printProblems(cmd, err)
			}
			log, _ := newLogger(cfg.Proxy, os.Stderr)
			ctx, cancel := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, syscall.SIGINT)
			defer cancel()
			return runController(ctx, cfg, log)
		},
	}
	cmd.Flags().StringVarP(&file, "config", "c", os.Getenv("SLUICE_CONFIG"), "configuration file (or SLUICE_CONFIG)")
	if file == "" {
		_ = cmd.MarkFlagRequired("config")
	}
	return cmd
}

const (
	// sessionTTL is that of the controller's session, the least that Consul takes, unless session_ttl is less: a Consul of
	// tests takes that. Consul ends a session within twice its TTL, so another controller goes on within half a minute.
	sessionTTL = 10 * time.Second
	// lockDelay is how long nobody gets the lock after it was lost. The one who had it has stopped long before: when it
	// could not renew its session for half of the TTL.
	lockDelay = time.Second
)

// runController moves slots until ctx ends.
func runController(ctx context.Context, cfg *conf.Config, log *slog.Logger) error {
	id := newID()
	// It takes no clients. Its pools see the topology, probe the servers and find the masters as those of a proxy do.
	server := proxy.New(proxy.Config{ID: id, Version: version, Loops: 1, Log: log, Settings: proxySettings(cfg)})
	var work sync.WaitGroup
	defer work.Wait()
	defer server.Shutdown(context.Background())
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	pools := 0
	for i := range cfg.Pools {
		p := &cfg.Pools[i]
		if p.Discovery.Kind != conf.DiscoverConsul {
			continue
		}
		m, err := newMoves(cfg, p, server, id, log.With("pool", p.Name))
		if err != nil {
			return fmt.Errorf("pool %s: %w", p.Name, err)
		}
		pools++
		work.Go(func() { m.run(ctx) })
	}
	if pools == 0 {
		return fmt.Errorf(`no pool has discovery.kind = "consul": there is nothing that a controller could move`)
	}
	log.Info("sluice controller is up", "version", version, "id", id, "pools", pools)
	<-ctx.Done()
	return nil
}

// poolMoves moves the slots of one pool.
type poolMoves struct {
	pool   *proxy.Pool
	keeper *discovery.Keeper
	driver *driver.Driver
	log    *slog.Logger
}

func newMoves(cfg *conf.Config, p *conf.Pool, server *proxy.Server, id string, log *slog.Logger) (*poolMoves, error) {
	client, err := consul.NewClient(consulClientConfig(cfg))
	if err != nil {
		return nil, fmt.Errorf("consul: %w", err)
	}
	m := &poolMoves{log: log}
	settings := poolSettings(p, cfg, id)
	settings.Backend.Name = "sluice-controller:" + id
	var source *consul.Source
	m.pool = server.AddPool(proxy.PoolConfig{
		Name: p.Name, Model: modelOf(p), Family: dialect.Of(string(p.Dialect)), PoolSettings: settings,
		Trouble: func(string) { m.keeper.Refresh() },
		Observe: func(addr string, o backend.Observation) { source.Observe(addr, o) },
	})
	source = consul.New(consul.Config{
		Client: client, Root: p.Discovery.Root, Pool: p.Name, Service: p.Discovery.Service, Model: m.pool.Model,
		Flap: p.Discovery.Flap.Std(), Watch: m.pool.Watch, Ask: m.pool.AskWatched,
		Timeout: p.Backend.DialTimeout.Std(), Log: log,
	})
	m.keeper = discovery.NewKeeper(discovery.Config{
		Model: m.pool.Model, Source: source, Name: string(p.Discovery.Kind), Log: log, Apply: m.pool.SetTable,
	})
	m.driver = driver.New(driver.Config{
		Client: client, Root: p.Discovery.Root, ID: id, Model: m.pool.Model, Master: m.master, Access: m.access, Log: log,
		Mover: mover.New(string(p.Dialect)).Of,
		TTL:   min(cfg.Consul.SessionTTL.Std(), sessionTTL), LockDelay: lockDelay,
	})
	return m, nil
}

func (m *poolMoves) run(ctx context.Context) {
	var work sync.WaitGroup
	defer work.Wait()
	work.Go(func() {
		if err := m.keeper.Run(ctx); err != nil {
			m.log.Error("the source of the topology ended", "err", err)
		}
	})
	m.driver.Run(ctx)
}

// master is the master of a group, as proxies see it.
func (m *poolMoves) master(group string) string {
	t := m.pool.Table()
	if t == nil {
		return ""
	}
	for _, g := range t.Groups {
		if g.ID == router.GroupID(group) && g.Master != nil {
			return g.Master.Addr
		}
	}
	return ""
}

// access is how the servers are asked.
func (m *poolMoves) access() control.Options {
	b := &m.pool.Settings().Backend
	return control.Options{User: b.User, Password: b.Password, Name: b.Name}
}
