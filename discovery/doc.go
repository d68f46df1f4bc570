// Package discovery turns what a source of topology sees into the Tables that the event loops route by. A
// Source publishes Snapshots, a Keeper judges them and builds Tables; the kinds of source live in the
// packages below this one. It does not route, and it knows no connection of the data path: whoever owns the
// pool gives the Keeper a function that takes the next Table.
//
// Keeper.Run and the Source it runs have goroutines of their own; Moved and Refresh are called from event
// loops.
package discovery
