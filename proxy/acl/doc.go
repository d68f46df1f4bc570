// Package acl judges what a user may do: which commands, on which keys, with
// which channels. The rules are written and mean what they do in the ACLs of
// Redis 7; errors are in the words of Redis 7.0.
//
// It is pure: no I/O, no state but the compiled rules, which are immutable and safe
// for concurrent use.
package acl
