package dialect

// Dragonfly redirects with MOVED alone, which wins over its CLUSTER SLOTS until the next configuration is
// pushed to it. It knows neither ASK nor TRYAGAIN; when it hands slots over it pauses every client instead,
// without a word (Dragonfly 1.36, cluster mode "yes").
var Dragonfly = register(&Family{
	Name: "dragonfly", Judge: judgeDragonfly, RelinkUnproven: true, KeepsMoved: true, LosesAtomics: true,
})

// notConfigured is the answer of a node that was restarted: its configuration is not kept.
var notConfigured = []token{{"-ERR Cluster is not yet configured", NoMaster}}

func judgeDragonfly(reply []byte, host string) Verdict {
	if v := judge(reply, notConfigured); v.Kind != Pass {
		return v
	}
	return judgeRedis(reply, host)
}
