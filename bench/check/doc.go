// Package check drives a RESP address with many clients and judges every reply,
// while somebody else moves, locks and fails what lies behind that address.
//
// Three kinds of keys are used. An own key belongs to one connection, so that the
// set of values it may have is known at every moment: order within the
// connection, at-most-once and lost writes are checked exactly, reply by reply,
// and again when the run has ended. A shared key is written by many clients; its
// history is kept and searched for a linearization with porcupine at the end.
//
// Reads may be judged by less than that, for servers behind the address that lag:
// see Consistency. An observed key is written by one client and read by the others.
// Of own and observed keys it is known how long a version had been out of date when
// it was read (track.go).
//
// Sessions (Config.Sessions) do what takes more than one command and one reply:
// transactions, WATCH, scripts, blocking pops, streams and their groups. Pairs of
// keys that are only written together are one register, whose history is searched
// as that of a shared key; queue.go and stream.go have models of their own.
//
// A request that was answered `-ERR outcome unknown…`, or lost its connection,
// may take effect at any time after it was sent, once, or never. A request that
// was answered with any other error must not take effect at all.
//
// It does not know how the address works inside: no slots, no redirects, no
// topology, other than through the functions in Config. It speaks RESP2 and only
// to this machine. Every run is bounded in time, requests and memory.
//
// Start, Mark, Wait and Stop are called on any goroutine. Start starts one
// goroutine per client; Stop waits for all of them.
package check
