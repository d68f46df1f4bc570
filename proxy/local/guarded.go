package local

import (
	"fmt"
	"slices"
	"strings"
	"sync"
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
	{"servers would end connections that clients of Sluice share", []string{
		"client-query-buffer-limit", "maxmemory-clients",
	}},
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

// Parameter is a parameter of the servers, as a client has set it.
type Parameter struct{ Name, Value string }

// Kept are the parameters that clients have set at all masters, the one that was set last at the end. Safe for
// concurrent use: loops come here for each CONFIG SET.
type Kept struct {
	mu      sync.Mutex // guards the fields below it
	list    []Parameter
	version uint64 // grows when list may have to be brought to servers
}

// Set notes pairs of names and values that all masters have taken.
func (p *Kept) Set(pairs [][]byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := 0; i < len(pairs); i += 2 {
		name := strings.ToLower(string(pairs[i]))
		p.list = slices.DeleteFunc(slices.Clone(p.list), func(o Parameter) bool { return o.Name == name })
		p.list = append(p.list, Parameter{name, string(pairs[i+1])})
	}
	p.version++
}

// Doubt notes that some masters may have another value than the one that is kept.
func (p *Kept) Doubt() {
	p.mu.Lock()
	p.version++
	p.mu.Unlock()
}

// List is all of them, not to be changed. The version is another one whenever they have to be compared with the
// servers.
func (p *Kept) List() (list []Parameter, version uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.list, p.version
}

// Adopt takes over what somebody else has set at the masters. It does nothing when clients have set something since
// version.
func (p *Kept) Adopt(name, value string, version uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.IndexFunc(p.list, func(o Parameter) bool { return o.Name == name })
	if i < 0 || p.version != version {
		return
	}
	p.list = slices.Clone(p.list)
	p.list[i].Value = value
}
