// Package proxy is the client side of Sluice: it accepts clients, reads their requests, routes them by slot
// and gives the replies back in order.
//
// Everything of a client and of the backend connections that serve it happens on one event loop, a
// goroutine of gnet; see loop. Functions say so when they may be called from elsewhere. The package is given
// topologies (Pool.SetTable) and does not know where they come from.
package proxy
