// Package fakekvrocks has an in-process fake of a Kvrocks cluster, as far as a proxy sees it while slots migrate:
// the source serves; in the last phase it answers TRYAGAIN to writes and goes on with reads; then it answers MOVED,
// and the target serves, though the topology is the old one until CLUSTERX SETSLOT. With Options.HoldWrites it is a
// stand-in for the atomic slot migration of Valkey 9 and Redis 8.4: in the last phase all writes of the node wait
// without a word, and the topology changes with the hand-over.
//
// Keys go to the target inside of the process. There are no replicas, no namespaces and no versions of the topology
// that are refused.
package fakekvrocks
