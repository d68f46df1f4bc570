package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"sluice/conf"
)

// Where the playground listens unless the flags say otherwise.
const (
	devListen = "127.0.0.1:6380"
	devAdmin  = "127.0.0.1:6381"
)

func devCommand() *cobra.Command {
	var d playground
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a complete local playground: servers and the proxy in front of them",
		Long: "Start two groups of a master and a replica each, and Sluice in front of them.\n" +
			"The servers are redis-server processes if there is one on PATH, else an embedded in-process store.\n" +
			"Ctrl-C ends everything that was started.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			if d.consul {
				c := consulPlayground{listen: d.listen, admin: d.admin}
				return c.run(ctx, cmd.OutOrStdout())
			}
			return d.run(ctx, cmd.OutOrStdout())
		},
	}
	cmd.Flags().BoolVar(&d.embedded, "embedded", false, "use the embedded store even if there is a redis-server")
	cmd.Flags().BoolVar(&d.consul, "consul", false, "start a Consul and two sidecars that find everything there (needs redis-server and make consul)")
	cmd.Flags().StringVar(&d.listen, "listen", devListen, "address for clients; port 0 picks a free one")
	cmd.Flags().StringVar(&d.admin, "admin", devAdmin, "address of the admin HTTP server; port 0 picks a free one")
	return cmd
}

// playground is what sluice dev runs.
type playground struct {
	embedded      bool
	consul        bool
	listen, admin string
}

// stores are the servers of the playground.
type stores interface {
	// groups are the addresses of each group, the master first.
	groups() [][]string
	// describe says what was started.
	describe() string
	close() error
}

func (d *playground) run(ctx context.Context, out io.Writer) (err error) {
	for _, addr := range []string{d.listen, d.admin} { // Before anything is started: fail early and in words.
		if err := checkFree(addr); err != nil {
			return err
		}
	}
	servers, err := d.startStores(ctx, out)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, servers.close()) }()

	cfg, err := d.config(servers.groups())
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	raiseFileLimit(cfg.Proxy.MaxClients, log)
	tuneScheduler(cfg.Proxy.Loops)
	in, err := startInstance(cfg, nil, log, new(slog.LevelVar))
	if err != nil {
		return err
	}
	d.greet(out, in, servers)
	<-ctx.Done()
	fmt.Fprintln(out, "\nstopping …")
	shutdown, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	in.shutdown(shutdown)
	return nil
}

func (d *playground) startStores(ctx context.Context, out io.Writer) (stores, error) {
	if !d.embedded {
		servers, err := startRedisStores(ctx)
		if err == nil {
			return servers, nil
		}
		if !errors.Is(err, errNoRedis) {
			return nil, err
		}
		fmt.Fprintln(out, "no redis-server on PATH, using the embedded store")
	}
	return startEmbeddedStores()
}

// config is the configuration of the playground, in the form that sluice serve reads.
func (d *playground) config(groups [][]string) (*conf.Config, error) {
	cfg := conf.Default()
	cfg.Proxy.Admin = d.admin
	pool := conf.DefaultPool()
	pool.Name = "dev"
	pool.SlotModel = conf.SlotCodis
	listen, err := conf.ParseListen("tcp://" + d.listen)
	if err != nil {
		return nil, err
	}
	pool.Listen = []conf.Listen{listen}
	for i, group := range groups {
		per := pool.Slots / len(groups)
		pool.Groups = append(pool.Groups, conf.Group{
			ID: fmt.Sprint(i + 1), Master: group[0], Replicas: group[1:],
			Slots: conf.Slots{{From: uint16(i * per), To: uint16((i+1)*per - 1)}},
		})
	}
	cfg.Pools = []conf.Pool{pool}
	return &cfg, cfg.Validate()
}

func (d *playground) greet(out io.Writer, in *instance, servers stores) {
	addr := in.server.Pools()[0].Addrs()[0].String()
	host, port, _ := net.SplitHostPort(addr)
	fmt.Fprintf(out, `Sluice %s, a playground. Ctrl-C ends everything.

%s
  point a client at   %s
  admin               http://%s

Three things to try in another terminal:
  redis-cli -h %s -p %s set hello world
  redis-cli -h %s -p %s mset a 1 b 2 c 3     one command, two servers
  curl -s http://%s/api/v1/topology
`, version, servers.describe(), addr, in.adminAddr(), host, port, host, port, in.adminAddr())
}

// checkFree refuses an address that something listens on already.
func checkFree(addr string) error {
	ln, err := net.Listen("tcp", addr)
	if err == nil {
		return ln.Close()
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%s is in use by another process; choose others with --listen and --admin (port 0 picks a free one)", addr)
	}
	return err
}
