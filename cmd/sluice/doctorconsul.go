package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"sluice/conf"
	"sluice/discovery/consul"
)

const (
	// doctorKeyPrefix starts the names of the keys that the doctor writes and removes. Their session removes them
	// should the doctor die.
	doctorKeyPrefix = "doctor-"
	// policyFile has every rule that a proxy needs.
	policyFile = "etc/consul/proxy.hcl"
	// clockTolerance is what a Date header, which has whole seconds, and a busy host account for.
	clockTolerance = 2 * time.Second
)

// checkConsul checks what the pools need whose topology is in Consul.
func (d *doctor) checkConsul(ctx context.Context) {
	var pools []*conf.Pool
	for i := range d.cfg.Pools {
		if d.cfg.Pools[i].Discovery.Kind == conf.DiscoverConsul {
			pools = append(pools, &d.cfg.Pools[i])
		}
	}
	if len(pools) == 0 {
		return
	}
	client, err := consul.NewClient(consulClientConfig(d.cfg))
	if err != nil {
		d.found(fail, "consul", "look at [consul] and the CONSUL_HTTP_* variables", "%v", err)
		return
	}
	if !d.checkLeader(ctx, client) {
		return
	}
	d.checkConsulClock(ctx)
	for _, p := range pools {
		d.checkTopology(ctx, client, p)
		d.checkWrites(ctx, client, p)
	}
}

// checkLeader sees whether Consul is there and works. It needs no token.
func (d *doctor) checkLeader(ctx context.Context, client *api.Client) bool {
	ctx, cancel := within(ctx)
	defer cancel()
	leader, err := client.Status().LeaderWithQueryOptions((&api.QueryOptions{}).WithContext(ctx))
	switch {
	case err != nil:
		d.found(fail, "consul", "start the agent, or set [consul] address (CONSUL_HTTP_ADDR without it)", "%s", consulError(err))
	case leader == "":
		d.found(fail, "consul", "look at `consul operator raft list-peers`: the servers have no quorum", "the agent answers, but there is no leader")
	default:
		d.found(fine, "consul", "", "reachable at %s, the leader is %s", cmp.Or(d.cfg.Consul.Address, os.Getenv("CONSUL_HTTP_ADDR"), "127.0.0.1:8500"), leader)
		return true
	}
	return false
}

// consulError is an error of the client without the parts that are the same each time.
func consulError(err error) string {
	text := strings.TrimSpace(err.Error())
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Sprintf("no answer within %s: %s", doctorTimeout, text)
	}
	return text
}

// checkConsulClock compares the clock with the Date header of Consul.
func (d *doctor) checkConsulClock(ctx context.Context) {
	ctx, cancel := within(ctx)
	defer cancel()
	before := time.Now()
	date, err := consulDate(ctx, consulClientConfig(d.cfg))
	if err != nil {
		d.found(warn, "clock against consul", "", "not compared: %v", err)
		return
	}
	// Its second began at date and ended before the answer came.
	off := max(0, before.Sub(date.Add(time.Second)), time.Until(date))
	if off > clockTolerance {
		d.found(warn, "clock against consul", "let NTP set the clocks of both hosts", "they differ by %s: times in the topology and in logs will not fit together", off.Round(time.Second))
		return
	}
	d.found(fine, "clock against consul", "", "they agree")
}

// consulDate is what Consul says the time is. The client hides the headers of its answers, so it is asked without.
func consulDate(ctx context.Context, cc consul.ClientConfig) (time.Time, error) {
	c := api.DefaultConfig()
	address, scheme := cmp.Or(cc.Address, c.Address), cmp.Or(cc.Scheme, c.Scheme)
	tlsFiles := c.TLSConfig
	tlsFiles.CAFile, tlsFiles.CertFile = cmp.Or(cc.CAFile, tlsFiles.CAFile), cmp.Or(cc.CertFile, tlsFiles.CertFile)
	tlsFiles.KeyFile, tlsFiles.Address = cmp.Or(cc.KeyFile, tlsFiles.KeyFile), cmp.Or(cc.ServerName, tlsFiles.Address)
	tlsConfig, err := api.SetupTLSConfig(&tlsFiles)
	if err != nil {
		return time.Time{}, err
	}
	transport := &http.Transport{TLSClientConfig: tlsConfig, DisableKeepAlives: true, Proxy: http.ProxyFromEnvironment}
	if path, ok := strings.CutPrefix(address, "unix://"); ok {
		address = "localhost"
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}
	}
	if before, rest, ok := strings.Cut(address, "://"); ok {
		scheme, address = before, rest
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+strings.TrimSuffix(address, "/")+"/v1/status/leader", nil)
	if err != nil {
		return time.Time{}, err
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return time.Time{}, err
	}
	_ = resp.Body.Close()
	return http.ParseTime(resp.Header.Get("Date"))
}

// checkTopology reads the topology of a pool, and notes its nodes for the checks of backends.
func (d *doctor) checkTopology(ctx context.Context, client *api.Client, p *conf.Pool) {
	subject, root := "consul, pool "+p.Name, p.Discovery.Root
	ctx, cancel := within(ctx)
	defer cancel()
	// A List without the right is an empty list, a Get is refused.
	if _, _, err := client.KV().Get(root+"topology/epoch", (&api.QueryOptions{}).WithContext(ctx)); err != nil {
		d.found(fail, subject, rule(err, `key_prefix "`+root+`" { policy = "read" }`), "cannot read %stopology/: %s", root, consulError(err))
		return
	}
	doc, _, err := consul.ReadDocument(ctx, client.KV(), root)
	switch {
	case errors.Is(err, consul.ErrNoTopology):
		d.found(warn, subject, "sluice ctl topology init", "there is no topology in %s yet: the pool will wait for one", root)
		return
	case err == nil:
		err = doc.Validate(modelOf(p))
	}
	if err != nil {
		d.found(fail, subject, "sluice ctl topology import FILE, with a document that is right", "the topology is refused: %s", strings.ReplaceAll(err.Error(), "\n", "; "))
		return
	}
	d.found(fine, subject, "", "%s has epoch %d with %d group(s)", root, doc.Epoch.Epoch, len(doc.Groups))
	for _, g := range doc.Groups {
		for _, n := range g.Nodes {
			d.nodes = append(d.nodes, backendNode{pool: p, group: g.ID, addr: n.Addr})
		}
		if len(g.Nodes) == 0 {
			d.checkServices(ctx, client, p, g.ID)
		}
	}
}

// checkServices looks for the nodes of a group among the services.
func (d *doctor) checkServices(ctx context.Context, client *api.Client, p *conf.Pool, group string) {
	subject, name := "consul, pool "+p.Name, p.Discovery.Service
	services, err := poolServices(ctx, client, p, true)
	if err != nil {
		d.found(fail, subject, rule(err, `service_prefix "" { policy = "read" } and node_prefix "" { policy = "read" }`),
			"cannot read the services %s: %s", name, consulError(err))
		return
	}
	for _, addr := range services[group] {
		d.nodes = append(d.nodes, backendNode{pool: p, group: group, addr: addr})
	}
	if len(services[group]) == 0 {
		d.found(fail, subject, fmt.Sprintf("register its nodes as services %q with meta pool=%s and group=%s, or write them down in the topology; "+
			"a token that may not read services sees none (see %s)", name, p.Name, group, policyFile),
			"group %s names no nodes, and no passing service %q is of it", group, name)
	}
}

// poolServices are the addresses of a pool's servers that are services of Consul, by group.
func poolServices(ctx context.Context, client *api.Client, p *conf.Pool, passing bool) (map[string][]string, error) {
	entries, _, err := client.Health().Service(p.Discovery.Service, "", passing, (&api.QueryOptions{}).WithContext(ctx))
	if err != nil {
		return nil, err
	}
	services := make(map[string][]string)
	for _, e := range entries {
		if label(e.Service, "pool") != p.Name {
			continue
		}
		group, host := label(e.Service, "group"), cmp.Or(e.Service.Address, e.Node.Address)
		services[group] = append(services[group], net.JoinHostPort(host, fmt.Sprint(e.Service.Port)))
	}
	return services, nil
}

// label is what the meta of a service, or a tag such as "group=1", says.
func label(s *api.AgentService, name string) string {
	if v := s.Meta[name]; v != "" {
		return v
	}
	for _, tag := range s.Tags {
		if v, ok := strings.CutPrefix(tag, name+"="); ok {
			return v
		}
	}
	return ""
}

// checkWrites creates a session and, under it, a key beside those of the proxies, and removes both.
func (d *doctor) checkWrites(ctx context.Context, client *api.Client, p *conf.Pool) {
	subject, ttl := "consul, pool "+p.Name, d.cfg.Consul.SessionTTL
	// The end of the examination must not leave them there.
	ctx, cancel := within(context.WithoutCancel(ctx))
	defer cancel()
	opts := (&api.WriteOptions{}).WithContext(ctx)
	session, _, err := client.Session().CreateNoChecks(&api.SessionEntry{
		Name: "sluice doctor", Behavior: api.SessionBehaviorDelete, TTL: ttl.String(), LockDelay: time.Millisecond,
	}, opts)
	switch {
	case err != nil && strings.Contains(err.Error(), "Session TTL"):
		d.found(fail, subject, "set session_ttl of [consul] to 10s or more, or session_ttl_min of the agents", "session_ttl %v is refused: %s", ttl, consulError(err))
		return
	case err != nil:
		d.found(fail, subject, rule(err, `session_prefix "" { policy = "write" }`), "cannot make a session: %s", consulError(err))
		return
	}
	defer func() { _, _ = client.Session().Destroy(session, opts) }()
	key := p.Discovery.Root + "proxies/" + doctorKeyPrefix + randomName()
	held, _, err := client.KV().Acquire(&api.KVPair{Key: key, Value: []byte("{}"), Session: session}, opts)
	if err == nil && !held {
		err = errors.New("it is locked")
	}
	if err != nil {
		d.found(fail, subject, rule(err, fmt.Sprintf(`key_prefix "%sproxies/" { policy = "write" }, and the same for members/ and acks/`, p.Discovery.Root)),
			"cannot write %s: %s", key, consulError(err))
		return
	}
	if _, err := client.KV().Delete(key, opts); err != nil {
		d.found(warn, subject, "nothing: it goes with its session", "%s was written, but not removed: %s", key, consulError(err))
		return
	}
	d.found(fine, subject, "", "can make a session of %v and write below %sproxies/", ttl, p.Discovery.Root)
}

// rule is what to do about an error: if it is one of rights, the rule that is missing and the file that has it.
func rule(err error, text string) string {
	var status api.StatusError
	if errors.As(err, &status) && status.Code == http.StatusForbidden || strings.Contains(err.Error(), "Permission denied") || strings.Contains(err.Error(), "ACL not found") {
		return "give the token the policy of " + policyFile + ", which has: " + text
	}
	return "look at the log of the agent"
}

func randomName() string {
	var b [8]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
