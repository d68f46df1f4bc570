package proxy

import "sluice/proxy/local"

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

// Parameters are those that clients have set at all masters of the pool. The version is another one whenever they
// have to be compared with the servers. There are none while the pool does not set parameters. The list must not be
// changed.
func (p *Pool) Parameters() (list []local.Parameter, version uint64) {
	list, version = p.parameters.List()
	if p.Settings().ServerConfig != ServerConfigSet {
		return nil, version
	}
	return list, version
}

// AdoptParameter takes over what somebody else has set at the masters. It does nothing when clients have set
// something since version.
func (p *Pool) AdoptParameter(name, value string, version uint64) {
	p.parameters.Adopt(name, value, version)
}

// FunctionChanges grows when a client begins to change the functions of all masters, and when that is done.
func (p *Pool) FunctionChanges() uint64 { return p.functionChanges.Load() }

// mayNotSet says why servers are not asked to take a parameter, "" when they are.
func (s *PoolSettings) mayNotSet(name string, value []byte) (refusal string) {
	if s.ServerConfig == ServerConfigOff {
		return local.UnknownParameter(name)
	}
	if s.ServerConfig == ServerConfigGet {
		return local.SetFailed(name, `parameters of the servers are not set through Sluice here, server_config is "get"`)
	}
	return local.Guarded(name, value)
}
