// Package migration knows what moves between the masters of a pool, for people: how far each migration is, what went
// wrong with it, and what that means. It asks both sides and decides nothing: no request is routed by what it says.
// Two things come of it for the data path: a node that takes part in a migration and goes silent is paused rather
// than dead, and Config.Patience is told so; and Config.Leaving is told which slots leave which node, since
// transactions and scripts of a Dragonfly have to wait for that.
//
// Watcher.Run has a goroutine of its own and one more per node while it is being asked; Status and Look may be called
// from anywhere. The parsers are pure functions of one reply, in one file per family.
package migration
