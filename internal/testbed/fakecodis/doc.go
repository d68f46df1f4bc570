// Package fakecodis has in-process fakes of the servers that speak the slot commands of Codis: codis-server 3.2
// and Pika in three behaviours. They are for tests that need a fault, an order or a moment that a real server
// does not produce on demand.
//
// A fake listens on 127.0.0.1, holds real data (a miniredis) and moves it to another server over the network.
// Its replies are those recorded of real servers; testdata has the recordings, and the tests of this package
// replay them. Time to live does not run: a key keeps what it was given until it is overwritten.
//
// A Pika can follow another Pika of the same process (SLAVEOF, Server.ReplicaOf); see replication. A codis-server can't:
// a real redis-server replicates as it does.
//
// What is not modelled: MULTI around slot commands, pub/sub, the messages of the restore protocol
// between two codis-servers (a key travels as plain commands, in one transaction), one Pika 3.5 key with several
// types, and HyperLogLogs, which miniredis keeps as a type of their own.
package fakecodis
