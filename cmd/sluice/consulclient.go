package main

import (
	"strings"

	"sluice/conf"
	"sluice/discovery/consul"
)

// consulClientConfig is where Consul is and as whom it is asked, as the table [consul] of cfg says.
func consulClientConfig(cfg *conf.Config) consul.ClientConfig {
	c := cfg.Consul
	out := consul.ClientConfig{
		Address: c.Address, Token: c.Token.Reveal(), TokenFile: cfg.Beside(c.TokenFile),
		Datacenter: c.Datacenter, Namespace: c.Namespace,
		CAFile: cfg.Beside(c.CAFile), CertFile: cfg.Beside(c.CertFile), KeyFile: cfg.Beside(c.KeyFile),
		ServerName: c.TLSServerName,
	}
	// Without it CONSUL_HTTP_SSL would make an http:// of the file https.
	if scheme, _, found := strings.Cut(c.Address, "://"); found && scheme != "unix" {
		out.Scheme = scheme
	}
	return out
}
