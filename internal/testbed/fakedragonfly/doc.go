// Package fakedragonfly has an in-process fake of a DragonflyDB in cluster mode "yes". It is for tests that need a
// moment of a slot migration, or a fault in one, that a real server does not produce on demand.
//
// A fake listens on 127.0.0.1 on a client port and an admin port, holds real data (a miniredis) and moves it to
// another fake over the network when its configuration says so:
//
//	           DFLYCLUSTER CONFIG with a migration
//	                          |
//	.----------------------> CONNECTING <----- error: text is kept, again after RetryPause ---.
//	| not configured there    | INIT, FLOW                                                     |
//	'-------------------------+                                                                |
//	                          v                                                                |
//	                         SYNC: slot after slot is sent; what is written meanwhile is       |
//	                          |    sent again --------------------------------------- error ---+
//	                          v                                                                |
//	                         SYNC, finalising: every client of the client port is paused,      |
//	                          |    the rest is sent, ACK (no answer: run on, again) -- error --'
//	                          v
//	                         FINISHED: MOVED to the target, though the configuration says otherwise
//
// What transactions and scripts write to a slot in SYNC is lost, as it is with the real one; plain commands are not.
//
// Its replies are those recorded of Dragonfly 1.36; testdata has them, and the tests of this package replay them.
//
// What is not modelled: what a hung replica does to its master, REPLTAKEOVER but for TakenOver, pub/sub,
// blocking commands that are interrupted by a finalisation, the messages between two Dragonflies (a key travels as
// plain commands), and the 29 s in which a target that came back during a finalisation is deaf.
package fakedragonfly
