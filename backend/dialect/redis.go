package dialect

// Redis is Redis and Valkey, alone or as a cluster, and with it everything that answers like them, such as
// the atomic slot migrations of Redis 8.4 and Valkey 9, during which clients see MOVED and TRYAGAIN.
var Redis = register(&Family{Name: "redis", Judge: judgeRedis, OffsetsProve: true, Unblocks: true, FindKey: findKeyRedis, NeedsToken: true})

// judgeRedis looks for redirects, then for what families share: proven, in dialect.go.
func judgeRedis(reply []byte, host string) Verdict {
	if v, ok := redirect(reply, host); ok {
		return v
	}
	return judge(reply, proven)
}
