// Package command knows what Redis and Valkey state about their commands: name,
// arity, flags, access categories, routing tips and where the keys are. It
// finds the keys of one invocation, answers the COMMAND family from the table
// and words the refusals a server gives before it runs a command.
//
// It does not decide where a command goes, whether a client may run it, or
// what a reply means; it opens no socket and starts no goroutine. Everything
// in it is built once at start and immutable afterwards, so any event loop
// calls any function at any time without locking.
//
// The facts are condensed into redis-7.2.json, redis-8.12.json and
// valkey-9.1.json; README.md has where they come from, under which licences, and
// how to renew them.
package command

//go:generate go run ./gen
