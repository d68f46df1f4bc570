package dialect

// Redis is Redis and Valkey, alone or as a cluster, and with it everything that answers like them, such as
// the atomic slot migrations of Redis 8.4 and Valkey 9, during which clients see MOVED and TRYAGAIN.
var Redis = register(&Family{Name: "redis", Judge: judgeRedis, OffsetsProve: true, Unblocks: true})

// proven lists errors that Redis answers before it runs a command (redis 7.2, src/server.c processCommand,
// src/cluster.c clusterRedirectClient), and that pass by themselves. Others of that kind, such as OOM, MISCONF,
// NOREPLICAS or BUSY, may last for as long as they like and are the client's to know.
var proven = []token{
	{"-TRYAGAIN ", Migrating},
	{"-CLUSTERDOWN ", NoMaster},
	{"-LOADING ", NoMaster},
	{"-MASTERDOWN ", NoMaster},
	{"-READONLY ", NoMaster},
	{"-NOAUTH ", Denied},
}

func judgeRedis(reply []byte, host string) Verdict {
	if v, ok := redirect(reply, host); ok {
		return v
	}
	return judge(reply, proven)
}
