// Package local is what Sluice answers itself, without a server: COMMAND, HELP, LATENCY, LOLWUT, ROLE, SLOWLOG, ACL,
// CLIENT, CONFIG's own parameters, INFO, and the cluster of one node that a pool can be shown as.
// docs/INTROSPECTION.md says what that promises.
//
// It is cut where a request has become arguments and a reply is bytes: a Command appends its reply and does not know
// pipelines, modes and sockets. It knows who asks as a Client and a Pool, which package proxy implements in its
// local.go. What asks other loops or servers first (INFO, CLIENT LIST, CLIENT KILL, CONFIG) is collected by the proxy;
// here is what was asked for, and what answer is made of that. Commands that change the connection itself (AUTH, HELLO,
// SELECT, RESET, MONITOR, CLIENT REPLY and the like) are the proxy's.
//
// Nothing here blocks or starts a goroutine. A Command runs on the event loop of its client; everything else says who
// may call it.
package local
