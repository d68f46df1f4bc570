package main

import (
	"sluice/conf"
	"sluice/discovery/learn"
	"sluice/proxy"
)

// newLearner makes what asks the masters of a pool for commands that Redis does not have.
func (in *instance) newLearner(p *conf.Pool, pool *proxy.Pool) *learn.Learner {
	l := learn.New(learn.Config{
		Servers: func() []learn.Server { return mastersOf(pool) },
		Publish: pool.SetLearned,
		Log:     in.log.With("pool", pool.Name),
	})
	l.Enable(p.LearnCommands)
	if p.LearnCommands {
		pool.AwaitLearned()
	}
	return l
}

// pingAnswer is what PING answers while no master serves.
func pingAnswer(p *conf.Pool) proxy.PingAnswer {
	if p.Ping == conf.PingProxy {
		return proxy.PingProxy
	}
	return proxy.PingServers
}

// serverConfig is what CONFIG does with parameters of the servers of a pool.
func serverConfig(p *conf.Pool) proxy.ServerConfig {
	switch p.ServerConfig {
	case conf.ServerConfigGet:
		return proxy.ServerConfigGet
	case conf.ServerConfigOff:
		return proxy.ServerConfigOff
	case conf.ServerConfigSet:
	}
	return proxy.ServerConfigSet
}

// mastersOf lists the masters of a pool that has a topology.
func mastersOf(pool *proxy.Pool) []learn.Server {
	table := pool.Table()
	if table == nil {
		return nil
	}
	var list []learn.Server
	for _, g := range table.Groups {
		n := pool.Node(g.Master.Addr)
		if n == nil {
			continue
		}
		st := n.Status()
		list = append(list, learn.Server{Addr: n.Addr, Up: st.Err == "" && st.Role != "", Process: n.Probed(), Ask: n.Ask})
	}
	return list
}
