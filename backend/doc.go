// Package backend talks to the servers behind the proxy: dialling and greeting, pipelined connections,
// the circuit breaker and the health probe of a node.
//
// A Node is shared by all event loops; its state is published in atomics. A Conn belongs to the one loop
// that made it: every method and every call of an Owner happens there, so nothing in it is locked. The
// package knows no clients, slots or commands; what a reply means is the Owner's business, and what an
// error reply proves lies in backend/dialect.
package backend
