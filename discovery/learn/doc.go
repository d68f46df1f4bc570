// Package learn asks servers for commands that Redis does not have, those of modules as a rule, so that nobody has to
// declare them.
//
// A server that has told its commands once is asked again when it was away and every minute, since a module can be loaded
// at any time. What it has told stays known while it is away.
package learn
