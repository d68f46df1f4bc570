package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"

	"sluice/conf"
	"sluice/discovery/consul"
	"sluice/internal/testbed"
	"sluice/router"
)

// devSidecars is the number of sidecars of the playground with Consul.
const devSidecars = 2

// consulPlayground is what sluice dev --consul runs: a Consul, groups of real servers that are services of it, sidecars
// that find everything there, and a controller. Each sidecar is an instance of its own in this process.
type consulPlayground struct {
	listen, admin string // of the first sidecar; the next ones have the next ports

	consul   *testbed.ConsulServer
	servers  stores
	sidecars []*instance

	controller sync.WaitGroup
	stop       context.CancelFunc // of the controller
}

func (d *consulPlayground) run(ctx context.Context, out io.Writer) (err error) {
	defer func() { err = errors.Join(err, d.close()) }()
	if d.servers, err = startRedisStores(ctx); err != nil {
		return err
	}
	if d.consul, err = testbed.StartConsul(ctx, testbed.ConsulOptions{InMemory: true}); err != nil {
		return err
	}
	client, err := consul.NewClient(consul.ClientConfig{Address: d.consul.Addr()})
	if err != nil {
		return err
	}
	if err := d.publish(ctx, client); err != nil {
		return err
	}
	for i := range devSidecars {
		if err := d.startSidecar(i); err != nil {
			return err
		}
	}
	if err := d.startController(ctx); err != nil {
		return err
	}
	d.greet(out)
	<-ctx.Done()
	fmt.Fprintln(out, "\nstopping …")
	return nil
}

// publish makes the servers services and divides the slots among the groups.
func (d *consulPlayground) publish(ctx context.Context, client *api.Client) error {
	doc := &consul.Document{
		Format: consul.FormatOf(router.CodisModel(router.CodisSlots)), Epoch: consul.Epoch{Change: "playground"},
	}
	groups := d.servers.groups()
	for i, group := range groups {
		id := strconv.Itoa(i + 1)
		for _, addr := range group {
			host, port, _ := net.SplitHostPort(addr)
			n, _ := strconv.Atoi(port)
			err := client.Agent().ServiceRegister(&api.AgentServiceRegistration{
				ID: "redis-" + port, Name: "redis", Address: host, Port: n, Meta: map[string]string{"pool": "dev", "group": id},
				Check: &api.AgentServiceCheck{TCP: addr, Interval: "1s", Timeout: "1s", Status: api.HealthPassing},
			})
			if err != nil {
				return err
			}
		}
		per := router.CodisSlots / len(groups)
		doc.Groups = append(doc.Groups, consul.Group{ID: id})
		doc.Slots = append(doc.Slots, consul.SlotRange{
			Slots: fmt.Sprintf("%d-%d", i*per, (i+1)*per-1), Group: id, State: consul.Stable,
		})
	}
	return consul.WriteDocument(ctx, client.KV(), conf.ConsulRoot("dev"), 0, doc)
}

func (d *consulPlayground) startSidecar(i int) error {
	admin, err := nextPort(d.admin, i)
	if err != nil {
		return err
	}
	addr, err := nextPort(d.listen, i)
	if err != nil {
		return err
	}
	cfg, err := d.config(admin, addr)
	if err != nil {
		return err
	}
	in, err := startInstance(cfg, nil, d.log(), new(slog.LevelVar))
	if err != nil {
		return err
	}
	d.sidecars = append(d.sidecars, in)
	return nil
}

// config is that of a process of the playground.
func (d *consulPlayground) config(admin, addr string) (*conf.Config, error) {
	listen, err := conf.ParseListen("tcp://" + addr)
	if err != nil {
		return nil, err
	}
	cfg := conf.Default()
	cfg.Consul.Address, cfg.Proxy.Admin = d.consul.Addr(), admin
	pool := conf.DefaultPool()
	pool.Name, pool.SlotModel, pool.Listen = "dev", conf.SlotCodis, []conf.Listen{listen}
	pool.Discovery.Kind, pool.Discovery.Root = conf.DiscoverConsul, conf.ConsulRoot("dev")
	pool.Reads.Policy, pool.Reads.Consistency = conf.ReadPreferReplica, conf.ConsistencyReadYourWrites
	cfg.Pools = []conf.Pool{pool}
	return &cfg, cfg.Validate()
}

func (*consulPlayground) log() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// startController runs a controller, which listens nowhere.
func (d *consulPlayground) startController(ctx context.Context) error {
	cfg, err := d.config("", "127.0.0.1:0")
	if err != nil {
		return err
	}
	ctx, d.stop = context.WithCancel(ctx)
	d.controller.Go(func() {
		if err := runController(ctx, cfg, d.log()); err != nil {
			d.log().Error("the controller ended", "err", err)
		}
	})
	return nil
}

// nextPort adds to the port of an address; 0 becomes a free one, since a service needs to know its own.
func nextPort(addr string, add int) (string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", err
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return "", fmt.Errorf("address %q: the port is no number", addr)
	}
	if n > 0 {
		next := net.JoinHostPort(host, strconv.Itoa(n+10*add))
		return next, checkFree(next)
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return "", err
	}
	return ln.Addr().String(), ln.Close()
}

func (d *consulPlayground) greet(out io.Writer) {
	fmt.Fprintf(out, "Sluice %s, a playground with Consul. Ctrl-C ends everything.\n\n%s", version, d.servers.describe())
	fmt.Fprintf(out, "  Consul              %s (pid %d)\n", d.consul.URL(), d.consul.PID())
	for i, in := range d.sidecars {
		fmt.Fprintf(out, "  sidecar %d           clients %s, admin http://%s\n", i+1, in.server.Pools()[0].Addrs()[0], in.adminAddr())
	}
	first, last := d.sidecars[0], d.sidecars[len(d.sidecars)-1]
	_, a, _ := net.SplitHostPort(first.server.Pools()[0].Addrs()[0].String())
	_, b, _ := net.SplitHostPort(last.server.Pools()[0].Addrs()[0].String())
	fmt.Fprintf(out, `
Some things to try in another terminal:
  redis-cli -p %s set hello world; redis-cli -p %s get hello     written through one, read through the other
  bin/sluice ctl status --admin %s
  bin/sluice ctl proxies --admin %s
  export CONSUL_HTTP_ADDR=%s; consul kv get -recurse sluice/dev/
  bin/sluice ctl move --pool dev --slots 0-511 --to 2 --yes      half of the slots; the controller moves them
  bin/sluice ctl moves --pool dev --watch                        how far it is
  bin/sluice ctl rebalance --pool dev                            even shares for all groups, after showing the plan
`, a, b, first.adminAddr(), first.adminAddr(), d.consul.Addr())
}

func (d *consulPlayground) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if d.stop != nil {
		d.stop()
		d.controller.Wait()
	}
	for _, in := range d.sidecars {
		in.shutdown(ctx)
	}

	var errs []error
	if d.consul != nil {
		errs = append(errs, d.consul.Close())
	}
	if d.servers != nil {
		errs = append(errs, d.servers.close())
	}
	return errors.Join(errs...)
}
