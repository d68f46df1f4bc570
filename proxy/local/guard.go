package local

import (
	"fmt"
	"strings"
)

// guarded are parameters that a client must not set, because the pool behind Sluice would not be what it was.
// docs/INTROSPECTION.md has the list. A name that ends with "*" stands for all that begin so.
var guarded = []struct {
	why   string
	names []string
}{
	{"it says who may connect to the servers, and Sluice has to", []string{
		"requirepass", "masterauth", "masteruser", "primary*", "aclfile", "acl-*", "protected-mode", "bind*", "port",
		"unixsocket*", "tls*", "admin-*", "userpass", "userblacklist", "namespace*", "enable-*", "rename-command",
	}},
	{"it is about replication and roles, by which Sluice finds masters and proves replicas", []string{
		"replicaof", "slaveof", "replica-*", "slave-*", "repl-*", "cluster*", "slotmigrate*", "write-binlog",
	}},
	{"it says where each server keeps its files, or what it loads", []string{
		"dir", "dbfilename", "appendfilename", "appenddirname", "logfile", "pidfile", "syslog-*", "loadmodule", "include",
		"backup-dir", "db-path", "dump-path", "log-path", "db-sync-path",
	}},
	{"servers would end connections that clients of Sluice share", []string{"client-query-buffer-limit", "maxmemory-clients"}},
}

// guardOf says why a parameter is not set through Sluice, "" if it is. name is in lower case.
func guardOf(name string) string {
	name = strings.ReplaceAll(name, "_", "-") // Dragonfly has these.
	for _, g := range guarded {
		for _, n := range g.names {
			prefix, all := strings.CutSuffix(n, "*")
			if name == n || all && strings.HasPrefix(name, prefix) {
				return g.why
			}
		}
	}
	if IsSecret(name) {
		return guarded[0].why
	}
	return ""
}

// IsSecret reports whether the value of a parameter may be a password, which nobody is shown. name is in lower case.
func IsSecret(name string) bool {
	return strings.Contains(name, "pass") || strings.Contains(name, "auth") && name != "tls-auth-clients" ||
		strings.HasPrefix(name, "namespace")
}

// longestParameter bounds the value of a parameter, since it is kept.
const longestParameter = 64 << 10

// Guarded says why servers are not asked to take a parameter through Sluice, "" when they may be.
func Guarded(name string, value []byte) (refusal string) {
	if why := guardOf(strings.ToLower(name)); why != "" {
		return SetFailed(name, "not allowed through Sluice: "+why+"; set it at each server")
	}
	if len(value) > longestParameter {
		return SetFailed(name, fmt.Sprintf("not allowed through Sluice: a value of more than %d bytes", longestParameter))
	}
	return ""
}
