package conf

import (
	"fmt"
	"path/filepath"
	"strings"
)

// Consul is the table [consul]: how Consul is reached, and how this process is known there. It is used by pools whose
// discovery is DiscoverConsul. A key that is not given is taken from the CONSUL_HTTP_* variables of the environment
// where there is one for it. All need a restart; what TokenFile contains is read again when it changes.
// Immutable after construction.
type Consul struct {
	// Address is host:port, with http:// or https:// before it if wanted, or unix:///path. Empty is
	// CONSUL_HTTP_ADDR, else 127.0.0.1:8500, the agent of the host.
	Address string `toml:"address,omitempty" reload:"restart"`
	// Token is the ACL token. Empty is CONSUL_HTTP_TOKEN.
	Token Secret `toml:"token,omitempty" reload:"restart"`
	// TokenFile names a file with the token, instead of Token. Unlike passwords from files its content is not in
	// Token: who uses it reads it when it changes; Config.Beside finds it.
	TokenFile string `toml:"token_file,omitempty" reload:"restart"`
	// Datacenter is asked instead of the one that the agent is in.
	Datacenter string `toml:"datacenter,omitempty" reload:"restart"`
	// Namespace is that of Consul Enterprise. Empty is CONSUL_NAMESPACE.
	Namespace string `toml:"namespace,omitempty" reload:"restart"`
	// CAFile, CertFile and KeyFile are PEM files for https. Config.Beside finds them.
	CAFile   string `toml:"ca_file,omitempty" reload:"restart"`
	CertFile string `toml:"cert_file,omitempty" reload:"restart"`
	KeyFile  string `toml:"key_file,omitempty" reload:"restart"`
	// TLSServerName is the name in the certificate of Consul, where it is not that of Address.
	TLSServerName string `toml:"tls_server_name,omitempty" reload:"restart"`
	// Register makes the pools services of Consul. Default true.
	Register bool `toml:"register" reload:"restart"`
	// ServiceName is the name of these services. Default sluice.
	ServiceName string `toml:"service_name" reload:"restart"`
	// SessionTTL is how long the lease of this proxy holds without being renewed. Default 15s.
	SessionTTL Duration `toml:"session_ttl" reload:"restart" min:"1s" max:"24h"`
	// CheckTTL is after how long without a sign of life the service is critical. Default 10s.
	CheckTTL Duration `toml:"check_ttl" reload:"restart" min:"1s" max:"1h"`
	// DeregisterAfter is after how long a service that is critical is removed. Default 30m.
	DeregisterAfter Duration `toml:"deregister_after" reload:"restart" min:"1m" max:"720h"`
	// OnLoss is what is done while the lease is lost. Default serve.
	OnLoss OnLoss `toml:"on_loss" reload:"restart"`
}

// OnLoss names what a proxy does whose lease in Consul is lost.
type OnLoss string

// What a proxy does whose lease is lost.
const (
	OnLossServe OnLoss = "serve" // goes on, but takes no part in moves
	OnLossFence OnLoss = "fence" // refuses requests until it has a lease again
)

// ConsulRoot returns what the keys of a pool in Consul begin with, unless Discovery.Root says otherwise.
func ConsulRoot(pool string) string { return "sluice/" + pool + "/" }

// Beside returns the path of a file that the configuration names: a relative name is looked up beside the configuration
// file. The empty name stays empty.
func (c *Config) Beside(name string) string {
	if name == "" || filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(c.dir, name)
}

// ReadPassword reads a password file that the configuration names, as it is now.
func (c *Config) ReadPassword(name string) (Secret, error) { return readSecret(c.Beside(name), "") }

// completeConsul fills in the roots that follow from the names of pools.
func completeConsul(r *report) {
	for i := range r.cfg.Pools {
		p, at := &r.cfg.Pools[i], element("pool", i)+".discovery.root"
		if p.Discovery.Kind == DiscoverConsul && isName(p.Name) && !r.cfg.given(at) {
			p.Discovery.Root = ConsulRoot(p.Name)
		}
	}
}

// checkConsul checks the table [consul].
func checkConsul(r *report, c *Consul) {
	checkConsulAddress(r, c)
	checkSecret(r, "consul.token", c.Token)
	checkTokenFile(r, c)
	noBlanks(r, "consul.datacenter", c.Datacenter)
	noBlanks(r, "consul.namespace", c.Namespace)
	noBlanks(r, "consul.tls_server_name", c.TLSServerName)
	const cert, key = "consul.cert_file", "consul.key_file"
	switch {
	case r.isBad(cert) || r.isBad(key):
	case c.CertFile != "" && c.KeyFile == "":
		r.add(cert, "has no key", "add key_file, the private key of the certificate")
	case c.KeyFile != "" && c.CertFile == "":
		r.add(key, "has no certificate", "add cert_file, the certificate that the key is of")
	}
	checkName(r, "consul", "service_name", c.ServiceName, `service_name = "sluice"`)
	checkOneOf(r, "consul.on_loss", c.OnLoss, OnLossServe, OnLossFence)
}

func checkConsulAddress(r *report, c *Consul) {
	const at = "consul.address"
	if c.Address == "" || r.isBad(at) {
		return
	}
	scheme, rest, found := strings.Cut(c.Address, "://")
	switch {
	case found && scheme == "unix":
		if !filepath.IsAbs(rest) {
			r.add(at, quote(c.Address)+" has no absolute path of a socket", `three slashes: "unix:///run/consul.sock"`)
		}
		return
	case !found:
		rest = c.Address
	case scheme != "http" && scheme != "https":
		r.add(at, quote(c.Address)+" is not an address of Consul", `write "127.0.0.1:8500", "https://consul.example.com:8501" or "unix:///run/consul.sock"`)
		return
	}
	if _, err := parseHostPort(strings.TrimSuffix(rest, "/"), forConnecting); err != nil {
		bad := asBad(err)
		hint := bad.hint
		if strings.Contains(rest, "@") {
			hint = "the token of Consul belongs into token or token_file"
		} else if !strings.Contains(rest, ":") {
			hint = "Consul listens on port 8500 for http, and as a rule on 8501 for https"
		}
		r.add(at, bad.msg, hint)
		return
	}
	if scheme != "https" && c.usesTLS() {
		r.add(at, "is not https, but files or a name for TLS are given", "write "+quote("https://"+rest)+", or remove them")
	}
}

func (c *Consul) usesTLS() bool {
	return c.CAFile != "" || c.CertFile != "" || c.KeyFile != "" || c.TLSServerName != ""
}

// checkTokenFile reads the file once, so that a wrong name is found before Consul refuses everything.
func checkTokenFile(r *report, c *Consul) {
	const at = "consul.token_file"
	if c.TokenFile == "" || r.isBad(at) {
		return
	}
	if !c.Token.Empty() {
		r.add(at, "token is given too", "keep one of the two")
		return
	}
	if _, err := readSecret(r.cfg.Beside(c.TokenFile), ""); err != nil {
		bad := asBad(err)
		r.add(at, bad.msg, strings.ReplaceAll(bad.hint, "password", "token"))
	}
}

// checkConsulPool checks a pool whose topology is in Consul.
func checkConsulPool(r *report, path string, p *Pool) {
	checkNoCodis(r, path, p)
	for i := range p.Groups {
		if at := element(join(path, "group"), i); !r.isBad(at) {
			r.add(at, `discovery kind "consul" has the groups in Consul`,
				"`sluice ctl topology init --from-config` takes them there while kind is \"static\", `sluice ctl topology import` from a document; remove the group here")
		}
	}
	noEffect(r, path+".discovery.seeds", len(p.Discovery.Seeds) > 0, "consul", "cluster")
	noEffect(r, path+".discovery.follow", p.Discovery.Follow, "consul", "static")
	noEffect(r, path+".discovery.refresh", p.Discovery.Refresh != DefaultPool().Discovery.Refresh, "consul", "cluster")
	checkRoot(r, path, p)
	if at := path + ".discovery.service"; !isService(p.Discovery.Service) && !r.isBad(at) {
		r.add(at, quote(p.Discovery.Service)+" is not the name of a service", "letters, digits, dots, hyphens and underscores")
	}
	if at := path + ".discovery.require_consul"; p.Discovery.RequireConsul && p.Discovery.StateFile != "" && !r.isBad(at) {
		r.add(at, "with it state_file is never read", "remove one of the two")
	}
}

func checkRoot(r *report, path string, p *Pool) {
	at, root := path+".discovery.root", p.Discovery.Root
	switch {
	case r.isBad(at) || root == "" && !isName(p.Name): // The name is complained about.
		return
	case root == "" || strings.Trim(root, "/") == "":
		r.add(at, "is empty", "write "+quote(ConsulRoot(p.Name))+", or leave it out")
		return
	case strings.HasPrefix(root, "/") || strings.Contains(root, "//") || strings.ContainsAny(root, " \t\r\n?#"):
		r.add(at, quote(root)+" is not a beginning of keys", "names with a slash behind each, such as "+quote(ConsulRoot(p.Name)))
		return
	case !strings.HasSuffix(root, "/"):
		r.add(at, quote(root)+" does not end with a slash", "write "+quote(root+"/"))
		return
	}
	for i := range r.cfg.Pools {
		q, other := &r.cfg.Pools[i], element("pool", i)
		if other == path {
			return
		}
		if q.Discovery.Kind == DiscoverConsul && q.Discovery.Root == root && q.Name != p.Name {
			r.add(at, fmt.Sprintf("%s is the root of %s%s", quote(root), r.cfg.label(other), r.line(other+".discovery.root")),
				"each pool has keys of its own")
			return
		}
	}
}

// checkNoConsul refuses the keys of checkConsulPool where they mean nothing.
func checkNoConsul(r *report, path string, p *Pool) {
	if p.Discovery.Kind == DiscoverConsul {
		return
	}
	kind, d, def := string(p.Discovery.Kind), &p.Discovery, DefaultPool().Discovery
	at := path + ".discovery."
	noEffect(r, at+"root", d.Root != "", kind, "consul")
	noEffect(r, at+"service", d.Service != def.Service, kind, "consul")
	if p.Discovery.Kind != DiscoverCodis {
		noEffect(r, at+"state_file", d.StateFile != "", kind, "consul")
		noEffect(r, at+"max_state_age", d.MaxStateAge != def.MaxStateAge, kind, "consul")
	}
	noEffect(r, at+"require_consul", d.RequireConsul, kind, "consul")
	noEffect(r, at+"flap", d.Flap != def.Flap, kind, "consul")
}

func isService(name string) bool { return isName(strings.ReplaceAll(name, ".", "-")) }

// noBlanks refuses what would end up in an HTTP request.
func noBlanks(r *report, at, text string) {
	if strings.ContainsAny(text, " \t\r\n/?&#") && !r.isBad(at) {
		r.add(at, quote(text)+" is not a name", "names have no blanks and no slash")
	}
}
