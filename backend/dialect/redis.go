// Package dialect knows what the error replies of a store family mean and what they prove. One file per
// family; this version has one, Redis and Valkey, alone or as a cluster.
package dialect

import (
	"bytes"
	"net"
	"strconv"

	"sluice/router"
)

// Kind says what to do about an error reply.
type Kind uint8

const (
	// Pass leaves the reply to the client.
	Pass Kind = iota
	// Moved proves that the command was not run; the slot belongs to another node from now on.
	Moved
	// Ask proves that the command was not run; another node takes this one command.
	Ask
)

// Verdict is the meaning of an error reply.
type Verdict struct {
	Kind Kind
	Slot router.Slot
	Addr string // host:port to go to
}

// Redis reads an error reply of a Redis or Valkey server: "-MOVED 3999 127.0.0.1:6381\r\n" and the same
// with ASK (Redis cluster specification, "MOVED Redirection"). An empty host means the host that was asked,
// asked. It allocates only for redirects.
func Redis(reply []byte, asked string) Verdict {
	line := bytes.TrimRight(reply, "\r\n")
	var kind Kind
	switch {
	case bytes.HasPrefix(line, []byte("-MOVED ")):
		kind, line = Moved, line[len("-MOVED "):]
	case bytes.HasPrefix(line, []byte("-ASK ")):
		kind, line = Ask, line[len("-ASK "):]
	default:
		return Verdict{}
	}
	number, addr, ok := bytes.Cut(line, []byte{' '})
	slot, err := strconv.ParseUint(string(number), 10, 16)
	colon := bytes.LastIndexByte(addr, ':')
	if !ok || err != nil || slot >= router.ClusterSlots || colon < 0 {
		return Verdict{}
	}
	host, port := string(addr[:colon]), string(addr[colon+1:])
	if host == "" || host == "?" {
		host = asked
	}
	return Verdict{Kind: kind, Slot: router.Slot(slot), Addr: net.JoinHostPort(trimBrackets(host), port)}
}

// trimBrackets makes "[::1]" and "::1" the same host: servers print IPv6 addresses without brackets.
func trimBrackets(host string) string {
	if len(host) > 2 && host[0] == '[' && host[len(host)-1] == ']' {
		return host[1 : len(host)-1]
	}
	return host
}
