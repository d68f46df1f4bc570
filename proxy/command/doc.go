// Package command knows what Redis 7.2 states about its own commands: name,
// arity, flags, access categories, routing tips and where the keys are. It
// finds the keys of one invocation, answers the COMMAND family from the table
// and words the refusals a server gives before it runs a command.
//
// It does not decide where a command goes, whether a client may run it, or
// what a reply means; it opens no socket and starts no goroutine. Everything
// in it is built once at start and immutable afterwards, so any event loop
// calls any function at any time without locking.
//
// The facts come from redis/redis, branch 7.2, commit ae6a2aa95cd0 (src/commands,
// BSD-3-Clause, text in LICENSE.redis), condensed into redis-7.2.json; see
// README.md for how to renew them.
package command

//go:generate go run ./gen
