package dialect

// Kvrocks answers TRYAGAIN to writes in the last phase of a slot's migration and MOVED afterwards (Kvrocks
// 2.x, src/cluster/cluster.cc): the words of Redis.
var Kvrocks = register(&Family{Name: "kvrocks", Judge: judgeRedis, OffsetsProve: true})
