package main

import (
	"time"

	"sluice/backend/dialect"
	"sluice/conf"
	"sluice/discovery/replication"
	"sluice/proxy"
	"sluice/router"
)

// newReplicaWatcher watches the replicas of a pool. Only a source that is told its topology needs to be told of a new
// master; the others see a failover themselves, and are asked to look.
func (in *instance) newReplicaWatcher(p *conf.Pool, s *source, id string) *replication.Watcher {
	cfg := replication.Config{
		Pool: p.Name, Family: dialect.Of(string(p.Dialect)), Node: s.pool.Node, ID: id,
		Rules: replicaRules(p), Journal: in.journal, Log: in.log.With("pool", p.Name),
		Trouble: func() { s.keeper.Refresh() },
	}
	switch p.Discovery.Kind {
	case conf.DiscoverStatic:
		cfg.Adopt = func(group router.GroupID, addr string) { s.keeper.Adopt(group, addr) }
		if p.Discovery.Follow {
			cfg.Invite = func(group router.GroupID, addr string) { s.keeper.Invite(group, addr) }
		}
	case conf.DiscoverConsul:
		cfg.Adopt = s.consul.source.SetMaster
	case conf.DiscoverCodis:
		if p.Discovery.Replicas == conf.ReplicasEvidence {
			cfg.Invite, cfg.InviteReplicas = func(group router.GroupID, addr string) { s.keeper.Invite(group, addr) }, true
		}
	case conf.DiscoverCluster:
	}
	return replication.New(cfg)
}

// replicaRules are what a replica has to be like to be read by anybody: the limits are those of the most patient.
func replicaRules(p *conf.Pool) replication.Rules {
	r := replication.Rules{
		Enabled: readsReplicas(p), Interval: p.Backend.ProbeInterval.Std(),
		MaxLag: p.Reads.MaxLag.Std(), MaxBehind: int64(p.Reads.MaxLagBytes), Heartbeat: p.Reads.Heartbeat, AcceptExpiryLoss: p.Reads.AcceptExpiryLoss,
		KeepOrphans: p.Reads.OnMasterLoss == conf.LossLastProven,
	}
	if r.Enabled {
		r.Interval = p.Reads.ProbeInterval.Std()
	}
	for i := range p.Auth.Users {
		u := p.Reads.For(&p.Auth.Users[i])
		r.MaxLag = max(r.MaxLag, u.MaxLag.Std())
		if u.MaxLagBytes == 0 || r.MaxBehind == 0 {
			r.MaxBehind = 0
		} else {
			r.MaxBehind = max(r.MaxBehind, int64(u.MaxLagBytes))
		}
	}
	return r
}

// readsReplicas reports whether any client of a pool may read from replicas.
func readsReplicas(p *conf.Pool) bool {
	if p.Reads.Policy != conf.ReadMaster {
		return true
	}
	for i := range p.Auth.Users {
		if p.Reads.For(&p.Auth.Users[i]).Policy != conf.ReadMaster {
			return true
		}
	}
	return false
}

// poolReads are the rules for the reads of a pool.
func poolReads(p *conf.Pool) proxy.PoolReads {
	reads := proxy.PoolReads{ReadRules: readRules(p.Reads), Zone: p.Reads.Zone}
	if len(p.Reads.Weights) > 0 {
		reads.Weights = make(map[string]int, len(p.Reads.Weights))
		for _, w := range p.Reads.Weights {
			reads.Weights[w.Address] = w.Share
		}
	}
	return reads
}

func readRules(r conf.Reads) proxy.ReadRules {
	policy, _ := proxy.ParseReadPolicy(string(r.Policy))
	consistency, _ := proxy.ParseConsistency(string(r.Consistency))
	return proxy.ReadRules{
		Policy: policy, Consistency: consistency, MaxLag: r.MaxLag.Std(), MaxBehind: int64(r.MaxLagBytes),
		Hedge: r.Hedge,
	}
}

// userReads are the rules for the reads of a user, nil when they are those of the pool.
func userReads(p *conf.Pool, u *conf.User) *proxy.ReadRules {
	if u.ReadPolicy == "" && u.ReadConsistency == "" && u.ReadMaxLag == nil && u.ReadMaxLagBytes == nil {
		return nil
	}
	rules := readRules(p.Reads.For(u))
	return &rules
}

// zonesOf are the zones of a group's nodes.
func zonesOf(g *conf.Group) map[string]string {
	if len(g.Zones) == 0 {
		return nil
	}
	zones := make(map[string]string, len(g.Zones))
	for _, z := range g.Zones {
		zones[z.Address] = z.Zone
	}
	return zones
}

// groupStatuses tells what is known of the groups, by pool.
func (in *instance) groupStatuses() map[string]replication.Status {
	all := make(map[string]replication.Status, len(in.sources))
	for _, s := range in.sources {
		all[s.pool.Name] = s.replicas.Status()
	}
	return all
}

// nodeReads tells how many reads each node was sent by choice, by pool and address.
func (in *instance) nodeReads() map[string]map[string]uint64 {
	all := make(map[string]map[string]uint64, len(in.sources))
	for _, s := range in.sources {
		reads := make(map[string]uint64)
		for _, n := range s.pool.Nodes() {
			reads[n.Addr] = n.Reads()
		}
		all[s.pool.Name] = reads
	}
	return all
}

// probeInterval is the time between two probes of a node.
func probeInterval(p *conf.Pool) time.Duration { return replicaRules(p).Interval }
