// Package load sends Redis requests to one local address and measures the
// answers.
//
// It is built to be cheap, because on a small machine it shares the cores with
// the proxy and the servers it measures: one thread serves all connections
// through its own epoll set, requests are built by patching digits into ready
// templates, replies are framed and counted but not decoded, and nothing is
// allocated once the connections are up.
//
// It does not reconnect, does not speak RESP3, does not follow redirects and
// never talks to another host: a target that is not on the loopback interface
// is refused. Every run has a time limit.
//
// Run is called on any goroutine and returns when all loops have ended.
package load
