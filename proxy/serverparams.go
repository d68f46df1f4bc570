package proxy

import (
	"fmt"
	"slices"
	"strings"
	"sync"
)

// Which parameters of the servers a client may set through Sluice, and what it has set: those are given to masters
// that come later, too (discovery/upkeep).

// ServerConfig says what CONFIG does with parameters that belong to the servers.
type ServerConfig uint8

// The values of ServerConfig.
const (
	ServerConfigSet ServerConfig = iota // CONFIG GET asks the masters, CONFIG SET sets at all of them
	ServerConfigGet                     // they are shown, and not set
	ServerConfigOff                     // the servers are not asked; for those that have no CONFIG
)

// Parameter is a parameter of the servers, as a client has set it.
type Parameter struct{ Name, Value string }

// parameters are those that clients have set at all masters, the one that was set last at the end. A loop comes here
// for each CONFIG SET.
type parameters struct {
	mu      sync.Mutex // guards the fields below it
	list    []Parameter
	version uint64 // grows when list may have to be brought to servers
}

// longestParameter bounds the value of a parameter, since it is kept.
const longestParameter = 64 << 10

// set notes parameters that all masters have taken.
func (p *parameters) set(pairs [][]byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := 0; i < len(pairs); i += 2 {
		name := strings.ToLower(string(pairs[i]))
		p.list = slices.DeleteFunc(slices.Clone(p.list), func(o Parameter) bool { return o.Name == name })
		p.list = append(p.list, Parameter{name, string(pairs[i+1])})
	}
	p.version++
}

// doubt notes that some masters may have another value than the one that is kept.
func (p *parameters) doubt() {
	p.mu.Lock()
	p.version++
	p.mu.Unlock()
}

// Parameters are those that clients have set at all masters of the pool. The version is another one whenever they
// have to be compared with the servers. There are none while the pool does not set parameters. The list must not be
// changed.
func (p *Pool) Parameters() (list []Parameter, version uint64) {
	p.parameters.mu.Lock()
	defer p.parameters.mu.Unlock()
	if p.Settings().ServerConfig != ServerConfigSet {
		return nil, p.parameters.version
	}
	return p.parameters.list, p.parameters.version
}

// AdoptParameter takes over what somebody else has set at the masters. It does nothing when clients have set
// something since version.
func (p *Pool) AdoptParameter(name, value string, version uint64) {
	p.parameters.mu.Lock()
	defer p.parameters.mu.Unlock()
	i := slices.IndexFunc(p.parameters.list, func(o Parameter) bool { return o.Name == name })
	if i < 0 || p.parameters.version != version {
		return
	}
	p.parameters.list = slices.Clone(p.parameters.list)
	p.parameters.list[i].Value = value
}

// FunctionChanges grows when a client begins to change the functions of all masters, and when that is done.
func (p *Pool) FunctionChanges() uint64 { return p.functionChanges.Load() }

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
	if isSecret(name) {
		return guarded[0].why
	}
	return ""
}

// isSecret reports whether the value of a parameter may be a password, which nobody is shown. name is in lower case.
func isSecret(name string) bool {
	return strings.Contains(name, "pass") || strings.Contains(name, "auth") && name != "tls-auth-clients" ||
		strings.HasPrefix(name, "namespace")
}

// ownPrefixes begin the names of parameters that only Sluice has.
var ownPrefixes = []string{"proxy.", "hold.", "backend."}

// isOwn reports whether a name or a pattern is about parameters of Sluice alone.
func isOwn(name []byte) bool {
	return paramNamed(string(name)) != nil || slices.ContainsFunc(ownPrefixes, func(prefix string) bool {
		return len(name) >= len(prefix) && strings.EqualFold(string(name[:len(prefix)]), prefix)
	})
}

// mayNotSet says why servers are not asked to take a parameter, "" when they are.
func (s *PoolSettings) mayNotSet(name string, value []byte) (refusal string) {
	if s.ServerConfig == ServerConfigOff {
		return unknownParameter(name)
	}
	if s.ServerConfig == ServerConfigGet {
		return setFailed(name, `parameters of the servers are not set through Sluice here, server_config is "get"`)
	}
	if why := guardOf(strings.ToLower(name)); why != "" {
		return setFailed(name, "not allowed through Sluice: "+why+"; set it at each server")
	}
	if len(value) > longestParameter {
		return setFailed(name, fmt.Sprintf("not allowed through Sluice: a value of more than %d bytes", longestParameter))
	}
	return ""
}

func unknownParameter(name string) string {
	return fmt.Sprintf("ERR Unknown option or number of arguments for CONFIG SET - '%s'", name)
}
