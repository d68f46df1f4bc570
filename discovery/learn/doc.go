// Package learn asks servers for commands that the table does not have, those of modules as a rule, so that nobody
// has to declare them, and for those of the table that they lack.
//
// A server that has told its commands once is asked again when it was away, when another process answers at its
// address, and every minute, since a module can be loaded at any time. What it has told stays known while it is
// away.
package learn
