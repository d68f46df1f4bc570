package dialect

import (
	"bytes"
	"slices"
)

// Kvrocks answers TRYAGAIN to writes in the last phase of a slot's migration and MOVED afterwards (Kvrocks
// 2.x, src/cluster/cluster.cc): the words of Redis, up to 2.6 with ERR in front.
var Kvrocks = register(&Family{Name: "kvrocks", Judge: judgeKvrocks, OffsetsProve: true})

// kvrocksWords are those that Kvrocks up to 2.6 puts behind ERR.
var kvrocksWords = [][]byte{
	[]byte("MOVED "), []byte("TRYAGAIN "), []byte("CLUSTERDOWN "), []byte("LOADING "), []byte("MASTERDOWN "), []byte("READONLY "), []byte("NOAUTH "),
}

func judgeKvrocks(reply []byte, host string) Verdict {
	if text, old := bytes.CutPrefix(reply, []byte("-ERR ")); old &&
		slices.ContainsFunc(kvrocksWords, func(word []byte) bool { return bytes.HasPrefix(text, word) }) {
		return judgeRedis(slices.Concat([]byte("-"), text), host)
	}
	return judgeRedis(reply, host)
}
