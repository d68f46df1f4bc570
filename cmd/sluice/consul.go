package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/consul/api"

	"sluice/conf"
	"sluice/discovery/consul"
	"sluice/proxy"
	"sluice/proxy/admin"
)

// inConsul is what a pool has in Consul, and what the process is there for it.
type inConsul struct {
	client *api.Client
	root   string
	source *consul.Source
	member *consul.Member
}

// newConsul connects a pool with Consul. Nothing is asked before the source and the member run.
func (in *instance) newConsul(p *conf.Pool, cfg *conf.Config, pool *proxy.Pool, id string) (*inConsul, error) {
	client, err := consul.NewClient(consulClientConfig(cfg))
	if err != nil {
		return nil, fmt.Errorf("consul: %w", err)
	}
	c := &inConsul{client: client, root: p.Discovery.Root}
	log := in.log.With("pool", p.Name)
	c.member = consul.NewMember(consul.MemberConfig{
		Client: client, Root: c.root, ID: id, Name: cfg.Consul.ServiceName, Pool: p.Name, Version: version,
		Addr: listensAt(p), Admin: in.adminAddr(), Zone: p.Reads.Zone,
		TTL: cfg.Consul.SessionTTL.Std(), CheckTTL: cfg.Consul.CheckTTL.Std(), DeregisterAfter: cfg.Consul.DeregisterAfter.Std(),
		Healthy: in.server.Responsive, Ready: pool.Ready, Unregistered: !cfg.Consul.Register,
		OnLoss: string(cfg.Consul.OnLoss), Fence: pool.Fence, Log: log,
		Fresh: func(ctx context.Context) error { return c.source.Fresh(ctx) },
		Back:  func() { c.source.Retry() },
	})
	c.source = consul.New(consul.Config{
		Client: client, Root: c.root, Pool: p.Name, Service: p.Discovery.Service, Model: pool.Model,
		StateFile: cfg.Beside(p.Discovery.StateFile), MaxStateAge: p.Discovery.MaxStateAge.Std(),
		RequireConsul: p.Discovery.RequireConsul, Flap: p.Discovery.Flap.Std(),
		Watch: pool.Watch, Ask: pool.AskWatched, Timeout: p.Backend.DialTimeout.Std(),
		Joined: c.member.Join, AwaitAnswered: pool.AwaitAnswered, Applied: c.member.Applied,
		MayMove: func() bool {
			_, sure := c.member.Lease()
			return sure
		},
		Log: log,
	})
	return c, nil
}

// listensAt is where clients connect to a pool, for those who look it up.
func listensAt(p *conf.Pool) string {
	for _, l := range p.Listen {
		if l.Network == "tcp" {
			return l.Address
		}
	}
	return ""
}

// leaveTime bounds what is told to Consul at the end.
const leaveTime = 5 * time.Second

// leave takes the process out of Consul, after its clients have gone. If requests were cut off, they may still run at a
// server that is frozen now: then the proxy stays a member, and whoever moves slots has to look.
func (c *inConsul) leave(ctx context.Context, cutOff bool) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTime)
	defer cancel()
	if cutOff {
		return errors.Join(errors.New("requests were cut off, their outcome is not known"), c.member.LeaveService(ctx))
	}
	return c.member.Leave(ctx)
}

// consulStatuses tells what pools know of Consul, by pool.
func (in *instance) consulStatuses() map[string]admin.ConsulStatus {
	all := make(map[string]admin.ConsulStatus)
	for _, s := range in.sources {
		if s.consul != nil {
			all[s.pool.Name] = consulStatus(s.consul.root, s.consul.source.Status(), s.consul.member.Status(), in.started.Consul.Register)
		}
	}
	return all
}

// consulProxies asks Consul for the proxies of the pools, by pool.
func (in *instance) consulProxies(ctx context.Context) map[string]admin.PoolProxies {
	all := make(map[string]admin.PoolProxies)
	for _, s := range in.sources {
		if s.consul != nil {
			all[s.pool.Name] = listProxies(ctx, s.consul.client.KV(), s.consul.root, s.consul.member.Status().ID)
		}
	}
	return all
}

// acceptTopology lets what Consul has for a pool replace a newer topology, once.
func (in *instance) acceptTopology(pool string) {
	for _, s := range in.sources {
		if s.consul != nil && s.pool.Name == pool {
			s.consul.source.Accept()
		}
	}
}
