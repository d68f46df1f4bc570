// Package cluster is the source of topology that asks the nodes of a cluster: Redis, Valkey, Kvrocks or
// Dragonfly. It starts from seeds, learns the other nodes, and makes one view of what they say. It carries no
// command of a client, follows no redirection and does not test whether a node is well: it repeats what
// the majority of the cluster believes.
//
// Run has a goroutine of its own and one more per node while it is being asked; Refresh and SetConfig may be
// called from anywhere.
package cluster
