// Package replication watches the nodes of a pool's groups: it turns what their probes find into evidence, lets
// router/lag judge it, and tells the nodes by what they may be read. Where the source of the topology does not see a
// failover itself, it also finds the new master.
//
//	probe of each node --Observe--> Watcher: lag.Group per group --SetProof--> node, read by the event loops
//	                                   |-- transitions --> Journal
//	                                   |-- suspects --> comparison with the master, a goroutine each, one at a time
//	                                   '-- Successor --> Config.Adopt
//
// Observe runs on the goroutine of the probe that calls it; everything is guarded by one mutex, which is never held
// while a node is asked. The event loops see atomics only.
package replication
