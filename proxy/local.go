package proxy

// localCommands are answered by Sluice itself, by full name. Immutable after construction.
var localCommands = map[string]localFunc{
	"ping": cmdPing, "echo": cmdEcho, "quit": cmdQuit, "reset": cmdReset, "select": cmdSelect, "time": cmdTime,
	"auth": cmdAuth, "hello": cmdHello,

	"client|setname": cmdClientSetName, "client|getname": cmdClientGetName, "client|setinfo": cmdClientSetInfo,
	"client|id": cmdClientID, "client|info": cmdClientInfo, "client|list": cmdClientList,
	"client|no-evict": cmdClientNoEvict, "client|no-touch": cmdClientNoTouch,
	"client|unblock":  cmdClientUnblock,
	"client|tracking": cmdClientTracking, "client|caching": cmdClientCaching,
	"client|trackinginfo": cmdClientTrackingInfo, "client|getredir": cmdClientGetRedir,
	"client|kill": cmdClientKill, "client|reply": cmdClientReply, "client|help": cmdHelp("client"),
	"client|pause": cmdClientPause, "client|unpause": cmdClientUnpause,

	"command": cmdCommand, "command|info": cmdCommandInfo, "command|count": cmdCommandCount,
	"command|docs": cmdCommandDocs, "command|list": cmdCommandList,
	"command|getkeys": cmdCommandGetKeys, "command|getkeysandflags": cmdCommandGetKeysAndFlags,
	"command|help": cmdHelp("command"),

	"acl|whoami": cmdACLWhoAmI, "acl|list": cmdACLList, "acl|users": cmdACLUsers, "acl|cat": cmdACLCat, "acl|dryrun": cmdACLDryRun, "acl|help": cmdACLHelp,
	"pubsub|help": cmdPubSubHelp,

	"info": cmdInfo, "role": cmdRole, "lolwut": cmdLolwut,
	"config|rewrite": cmdConfigRewrite, "config|resetstat": cmdConfigResetStat, "config|help": cmdHelp("config"),

	"monitor":     cmdMonitor,
	"slowlog|get": cmdSlowlogGet, "slowlog|len": cmdSlowlogLen, "slowlog|reset": cmdSlowlogReset, "slowlog|help": cmdHelp("slowlog"),
	"latency|latest": cmdLatencyNone, "latency|history": cmdLatencyNone, "latency|graph": cmdLatencyGraph,
	"latency|reset": cmdLatencyReset, "latency|doctor": cmdLatencyDoctor, "latency|histogram": cmdLatencyHistogram,
	"latency|help": cmdHelp("latency"),

	"readonly": asCluster(cmdClusterOK), "readwrite": asCluster(cmdClusterOK), "asking": asCluster(cmdClusterOK),
	"cluster|slots": aboutNode(clusterSlots), "cluster|shards": aboutNode(clusterShards), "cluster|nodes": aboutNode(clusterNodes),
	"cluster|info": asCluster(cmdClusterInfo), "cluster|myid": asCluster(cmdClusterMyID), "cluster|myshardid": asCluster(cmdClusterMyID),
	"cluster|keyslot": asCluster(cmdClusterKeySlot), "cluster|links": asCluster(cmdClusterLinks),
	"cluster|replicas": asCluster(cmdClusterReplicas), "cluster|slaves": asCluster(cmdClusterReplicas),
	"cluster|help": asCluster(cmdHelp("cluster")),
}

func cmdCommand(c *client, _ [][]byte) stall {
	c.answer(func(dst []byte) []byte { return c.pool.commands().AppendAll(dst, c.resp3()) })
	return stallNone
}

func cmdCommandInfo(c *client, args [][]byte) stall {
	c.answer(func(dst []byte) []byte { return c.pool.commands().AppendInfo(dst, args[2:], c.resp3()) })
	return stallNone
}

func cmdCommandCount(c *client, _ [][]byte) stall {
	c.answer(func(dst []byte) []byte { return c.pool.commands().AppendCount(dst) })
	return stallNone
}

func cmdCommandDocs(c *client, args [][]byte) stall {
	c.answer(func(dst []byte) []byte { return c.pool.commands().AppendDocs(dst, args[2:], c.resp3()) })
	return stallNone
}

func cmdCommandList(c *client, args [][]byte) stall {
	c.answer(func(dst []byte) []byte { return c.pool.commands().AppendList(dst, args[2:]) })
	return stallNone
}

func cmdCommandGetKeys(c *client, args [][]byte) stall {
	c.answer(func(dst []byte) []byte { return c.pool.commands().AppendGetKeys(dst, args[2:]) })
	return stallNone
}

func cmdCommandGetKeysAndFlags(c *client, args [][]byte) stall {
	c.answer(func(dst []byte) []byte {
		return c.pool.commands().AppendGetKeysAndFlags(dst, args[2:], c.resp3())
	})
	return stallNone
}

// databases is how many databases SELECT offers.
func (c *client) databases() int {
	if c.pool.Model.Cluster() || c.emulatesCluster() {
		return 1
	}
	return c.pool.Settings().Databases
}
