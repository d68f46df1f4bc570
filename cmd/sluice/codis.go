package main

import (
	"fmt"
	"net"
	"time"

	"sluice/conf"
	"sluice/discovery/codis"
	"sluice/proxy"
	"sluice/proxy/command"
)

// listenForDashboards takes the addresses on which pools are reached by codis-dashboard, by pool; nil for the others.
func listenForDashboards(cfg *conf.Config) ([]net.Listener, error) {
	listeners := make([]net.Listener, len(cfg.Pools))
	for i := range cfg.Pools {
		p := &cfg.Pools[i]
		if p.Discovery.Kind != conf.DiscoverCodis {
			continue
		}
		ln, err := net.Listen("tcp", p.Discovery.Admin)
		if err != nil {
			closeAll(listeners)
			return nil, fmt.Errorf("pool %s: discovery.admin: %w", p.Name, err)
		}
		listeners[i] = ln
	}
	return listeners, nil
}

func closeAll(listeners []net.Listener) {
	for _, ln := range listeners {
		if ln != nil {
			_ = ln.Close()
		}
	}
}

// codisConfig connects a pool with the API that its dashboard sees.
func (in *instance) codisConfig(p *conf.Pool, pool *proxy.Pool, cfg *conf.Config) codis.Config {
	return codis.Config{
		Product: p.Discovery.Product, Auth: p.Discovery.ProductAuth.Reveal(), ProxyAddr: advertised(p), Slots: p.Slots,
		Version: version, Counters: in.codisCounters, AwaitAnswered: pool.AwaitAnswered, AwaitBackground: pool.AwaitBackground, BeginMove: pool.BeginMove,
		StateFile: cfg.Beside(p.Discovery.StateFile), MaxStateAge: p.Discovery.MaxStateAge.Std(), Log: in.log,
		Shutdown: func() { in.endOnce.Do(func() { close(in.end) }) },
	}
}

// advertised is where clients find the pool, as the dashboard shows it: a listener on every address is shown with the
// host by which the dashboard reaches us.
func advertised(p *conf.Pool) string {
	adminHost, _, _ := net.SplitHostPort(p.Discovery.Admin)
	for _, l := range p.Listen {
		host, port, err := net.SplitHostPort(l.Address)
		if l.Network != "tcp" || err != nil {
			continue
		}
		if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
			host = adminHost
		}
		return net.JoinHostPort(host, port)
	}
	return ""
}

// codisCounters are the counters of the process: the loops do not count by pool.
func (in *instance) codisCounters() codis.Counters {
	st := in.server.Stats()
	c := codis.Counters{Requests: st.Requests, Errors: st.Errors, Clients: st.ClientsOpened, Alive: in.server.Clients()}
	for id := range st.Commands {
		if n := &st.Commands[id]; n.Calls > 0 {
			c.Commands = append(c.Commands, codis.CommandCounters{
				Name: command.At(id).Name, Calls: n.Calls, Failed: n.Failed, Time: time.Duration(n.Nanos),
			})
		}
	}
	return c
}
