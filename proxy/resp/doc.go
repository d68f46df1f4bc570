// Package resp frames the Redis serialization protocol, versions 2 and 3, in place: it finds where a
// request or a reply ends and where its arguments lie, and leaves the bytes where they are. It does not
// decode replies into values, does no I/O and keeps no reference to what it is given. Nothing here is safe
// for concurrent use: an event loop owns its Parser, a connection its Framer.
//
// The rules are those of redis-server 7.2 (src/networking.c, processMultibulkBuffer and
// processInlineBuffer) and of the RESP3 specification (github.com/redis/redis-specifications).
package resp
