package proxy

import (
	"net"

	"sluice/proxy/command"
	"sluice/proxy/local"
)

// localCommands are answered by Sluice itself, by full name. Immutable after construction.
var localCommands = map[string]localFunc{
	"ping": cmdPing, "quit": cmdQuit, "reset": cmdReset, "select": cmdSelect,
	"auth": cmdAuth, "hello": cmdHello,

	"client|list": cmdClientList, "client|kill": cmdClientKill, "client|unblock": cmdClientUnblock,
	"client|caching": cmdClientCaching, "client|reply": cmdClientReply,
	"client|pause": cmdClientPause, "client|unpause": cmdClientUnpause,

	"info": cmdInfo, "role": cmdRole,
	"config|resetstat": cmdConfigResetStat,

	"monitor": cmdMonitor,
}

// locally runs a command of package local.
func locally(run local.Command) localFunc {
	return func(c *client, args [][]byte) stall {
		l := c.loop
		l.scratch = run(l.scratch[:0], localClient{c}, args)
		c.reply(l.scratch)
		return stallNone
	}
}

// cmdRole says what package local does, unless there is an outage.
func cmdRole(c *client, args [][]byte) stall {
	if c.refuseInOutage() {
		return stallNone
	}
	return locally(local.Commands["role"])(c, args)
}

// localClient is a client as package local knows it.
type localClient struct{ *client }

// RESP3 implements local.Client.
func (c localClient) RESP3() bool { return c.resp3() }

// Peer implements local.Client.
func (c localClient) Peer() local.Peer { return c.peer() }

// Identity implements local.Client.
func (c localClient) Identity() *local.Identity { return &c.client.Identity }

// Describe implements local.Client.
func (c localClient) Describe() local.Description { return c.describe() }

// Wish implements local.Client.
func (c localClient) Wish(attribute, value string) (refusal string, known bool) {
	return c.wish(attribute, value)
}

// Pool implements local.Client.
func (c localClient) Pool() local.Pool { return localPool(c) }

// Proxy implements local.Client.
func (c localClient) Proxy() local.Proxy {
	s := c.loop.server
	return local.Proxy{ID: s.id, Version: s.version, Slow: &s.slow}
}

// localPool is the pool of a client as package local knows it.
type localPool struct{ *client }

// Name implements local.Pool.
func (c localPool) Name() string { return c.pool.Name }

// Commands implements local.Pool.
func (c localPool) Commands() *command.Catalogue { return c.pool.commands() }

// Users implements local.Pool.
func (c localPool) Users() []local.User {
	users := c.pool.Settings().Users
	list := make([]local.User, len(users))
	for i := range users {
		u := &users[i]
		list[i] = local.User{Name: u.Name, Passwords: len(u.Passwords), Rights: u.Rights, Rules: u.Rules}
	}
	return list
}

// EmulatesCluster implements local.Pool.
func (c localPool) EmulatesCluster() bool { return c.emulatesCluster() }

// Ready implements local.Pool.
func (c localPool) Ready() bool { return c.pool.Ready() }

// Addrs implements local.Pool.
func (c localPool) Addrs() []net.Addr { return c.pool.Addrs() }

// databases is how many databases SELECT offers.
func (c *client) databases() int {
	if c.pool.Model.Cluster() || c.emulatesCluster() {
		return 1
	}
	return c.pool.Settings().Databases
}
