package consul

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"
)

// The service is for those who look for a proxy. Its id is the same after a restart of the process, so that the old
// registration is replaced. Nothing that changes with the topology is in it: each change would wake all who watch health.
//
// Two checks: a TTL check that this process feeds as long as its event loops make progress and a topology is in force, and
// an HTTP check on /-/ready, which proves that the agent can reach us. Only the first takes the service away when it stays
// critical, DeregisterAfter: an agent that can't reach the admin server must not.

// serviceID is the id of the service, the same for each process that listens on addr.
func serviceID(name, pool, addr, hostname string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return name + "-" + pool + "-" + addr
	}
	if unspecified(host) {
		host = hostname
	}
	return name + "-" + pool + "-" + host + "-" + port
}

// unspecified reports whether host stands for all addresses of the machine.
func unspecified(host string) bool {
	ip := net.ParseIP(host)
	return host == "" || ip != nil && ip.IsUnspecified()
}

func (m *Member) ttlCheck() string  { return "service:" + m.serviceID + ":ttl" }
func (m *Member) httpCheck() string { return "service:" + m.serviceID + ":http" }

// needService is what a token needs, for refused.
func (m *Member) needService() string {
	return fmt.Sprintf(`service %q { policy = "write" }`, m.cfg.Name)
}

// keepService feeds the TTL check and looks after the registration until ctx ends or Leave is called.
func (m *Member) keepService(ctx context.Context) {
	var reconcileAt time.Time
	failures := 0
	wait := time.Duration(0)
	for {
		m.wait(ctx, wait, m.serviceNews)
		if ctx.Err() != nil || m.left() {
			return
		}
		reconcile := !time.Now().Before(reconcileAt)
		if err := m.tendService(ctx, reconcile); err != nil {
			failures++
			reconcileAt = time.Time{}
			wait = retryAfter(failures, m.cfg.CheckTTL/3)
			continue
		}
		failures = 0
		wait = jittered(m.cfg.CheckTTL / 3)
		if reconcile {
			reconcileAt = time.Now().Add(jittered(reconcileEvery))
		}
	}
}

// tendService says how the proxy is, and with reconcile looks first whether the registration is as it should be.
func (m *Member) tendService(ctx context.Context, reconcile bool) error {
	unfit := m.unfit()
	err := m.take(ctx, m.serviceTurn)
	if err != nil {
		return err
	}
	defer func() { <-m.serviceTurn }()
	if m.left() {
		return errors.New("this proxy has left")
	}
	status, why := m.verdict(unfit)
	if m.takeZoneNew() || reconcile {
		err = m.reconcile(ctx, status) // After an error the next one does, too.
	}
	if err == nil {
		err = m.beat(ctx, status, why)
	}
	m.mu.Lock()
	if err == nil {
		m.registered, m.check = true, status+": "+why
		m.counts.Beats++
	} else {
		m.registered = false
		m.counts.ServiceErrors++
	}
	m.mu.Unlock()
	if ctx.Err() == nil || err == nil {
		m.note("service", &m.service, err)
	}
	return err
}

// unfit is why a proxy that serves should not, "" for no reason. It may take a moment, so it is asked before the turn.
func (m *Member) unfit() string {
	switch {
	case m.currentState() != StateServing:
	case m.cfg.Healthy != nil && !m.cfg.Healthy():
		return "the event loops make no progress"
	case m.cfg.Ready != nil && !m.cfg.Ready():
		return "not ready for clients, /-/ready says why"
	}
	return ""
}

// verdict is what the TTL check is to say, and why. The caller has the turn, so that what was said before Drain does not
// come after it.
func (m *Member) verdict(unfit string) (status, why string) {
	switch state := m.currentState(); {
	case state == StateDraining:
		return api.HealthCritical, "draining"
	case state == StateJoining:
		return api.HealthCritical, "joining, no topology is in force yet"
	case unfit != "":
		return api.HealthCritical, unfit
	}
	return api.HealthPassing, "serving"
}

func (m *Member) currentState() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state
}

// beat feeds the TTL check.
func (m *Member) beat(ctx context.Context, status, why string) error {
	opts, cancel := m.read(ctx) // UpdateTTL takes the options of a read.
	defer cancel()
	if err := m.cfg.Client.Agent().UpdateTTLOpts(m.ttlCheck(), why, status, opts); err != nil {
		return refused("feed check "+m.ttlCheck(), m.needService(), err)
	}
	return nil
}

// reconcile registers the service if it is not there, or not as it should be.
func (m *Member) reconcile(ctx context.Context, status string) error {
	want := m.registration(status)
	there, err := m.inAgent(ctx)
	if err != nil {
		return refused("read service "+m.serviceID, m.needService(), err)
	}
	checks, err := m.checks(ctx)
	if err != nil {
		return refused("read the checks of service "+m.serviceID, m.needService(), err)
	}
	if there == nil || !sameService(there, want) || !hasChecks(checks, want) {
		if err := m.register(ctx, want); err != nil {
			return err
		}
	}
	if _, stale := checks[m.httpCheck()]; !stale || m.cfg.Admin != "" {
		return nil
	}
	// A process before this one had an admin server.
	opts, cancel := m.read(ctx)
	defer cancel()
	if err := m.cfg.Client.Agent().CheckDeregisterOpts(m.httpCheck(), opts); err != nil {
		return refused("remove check "+m.httpCheck(), m.needService(), err)
	}
	return nil
}

// inAgent is the registration that the agent has, nil when there is none.
func (m *Member) inAgent(ctx context.Context) (*api.AgentService, error) {
	opts, cancel := m.read(ctx)
	defer cancel()
	there, _, err := m.cfg.Client.Agent().Service(m.serviceID, opts)
	if notFound(err) {
		return nil, nil
	}
	return there, err
}

func (m *Member) checks(ctx context.Context) (map[string]*api.AgentCheck, error) {
	opts, cancel := m.read(ctx)
	defer cancel()
	return m.cfg.Client.Agent().ChecksWithFilterOpts(fmt.Sprintf("ServiceID == %q", m.serviceID), opts)
}

// register writes the registration over what is there. It leaves other checks alone, such as an operator's maintenance.
func (m *Member) register(ctx context.Context, want *api.AgentServiceRegistration) error {
	ctx, cancel := context.WithTimeout(ctx, m.callTimeout())
	defer cancel()
	if err := m.cfg.Client.Agent().ServiceRegisterOpts(want, api.ServiceRegisterOpts{}.WithContext(ctx)); err != nil {
		return refused("register service "+m.serviceID, m.needService(), err)
	}
	m.mu.Lock()
	m.counts.Registrations++
	m.mu.Unlock()
	m.cfg.Log.Info("registered", "service", m.serviceID)
	return nil
}

// registration is what the agent should have.
func (m *Member) registration(status string) *api.AgentServiceRegistration {
	host, port, _ := net.SplitHostPort(m.cfg.Addr) // conf has checked it; without one the service has none.
	number, _ := strconv.Atoi(port)
	if unspecified(host) {
		host = "" // The agent's.
	}
	want := &api.AgentServiceRegistration{
		ID: m.serviceID, Name: m.cfg.Name, Address: host, Port: number, Meta: make(map[string]string),
		Checks: api.AgentServiceChecks{{
			CheckID: m.ttlCheck(), Name: "event loops of " + m.serviceID, TTL: m.cfg.CheckTTL.String(), Status: status,
			DeregisterCriticalServiceAfter: m.cfg.DeregisterAfter.String(),
		}},
	}
	for _, tag := range []string{m.cfg.Pool, m.cfg.Version} {
		if tag != "" {
			want.Tags = append(want.Tags, tag)
		}
	}
	meta := map[string]string{"admin": m.cfg.Admin, "version": m.cfg.Version, "zone": m.Zone(), "proxy": m.cfg.ID}
	for name, value := range meta {
		if value != "" {
			want.Meta[name] = value
		}
	}
	if m.cfg.Admin != "" {
		want.Checks = append(want.Checks, &api.AgentServiceCheck{
			CheckID: m.httpCheck(), Name: "/-/ready of " + m.serviceID, HTTP: m.readyURL(), Method: http.MethodGet,
			Interval: m.cfg.CheckTTL.String(), Timeout: min(m.cfg.CheckTTL, 5*time.Second).String(),
			Status: status, // Else a registration that is made anew would be critical until the agent has asked.
		})
	}
	return want
}

// readyURL is what the agent asks. An admin server on all addresses is asked where clients connect, else on loopback.
func (m *Member) readyURL() string {
	admin := m.cfg.Admin
	if host, port, err := net.SplitHostPort(admin); err == nil && unspecified(host) {
		host, _, _ = net.SplitHostPort(m.cfg.Addr)
		if unspecified(host) {
			host = "127.0.0.1"
		}
		admin = net.JoinHostPort(host, port)
	}
	return "http://" + admin + "/-/ready"
}

// sameService compares what we have written.
func sameService(there *api.AgentService, want *api.AgentServiceRegistration) bool {
	return there.Service == want.Name && there.Address == want.Address && there.Port == want.Port &&
		slices.Equal(there.Tags, want.Tags) && maps.Equal(there.Meta, want.Meta)
}

func hasChecks(there map[string]*api.AgentCheck, want *api.AgentServiceRegistration) bool {
	return !slices.ContainsFunc(want.Checks, func(c *api.AgentServiceCheck) bool {
		_, ok := there[c.CheckID]
		return !ok
	})
}

// withdrawService is Leave's part of the service.
func (m *Member) withdrawService(ctx context.Context) error {
	ctx, cancelAll := context.WithTimeout(ctx, leaveBudget/2) // The keys want their share.
	defer cancelAll()
	if err := m.take(ctx, m.serviceTurn); err != nil {
		return err
	}
	defer func() { <-m.serviceTurn }()
	opts, cancel := m.read(ctx)
	defer cancel()
	err := m.cfg.Client.Agent().ServiceDeregisterOpts(m.serviceID, opts)
	if err != nil && !notFound(err) {
		return refused("deregister service "+m.serviceID, m.needService(), err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.registered = false
	return nil
}

// notFound reports whether the agent does not know a service. Older ones say so with status 500.
func notFound(err error) bool {
	var status api.StatusError
	return errors.As(err, &status) &&
		(status.Code == http.StatusNotFound || strings.Contains(status.Body, "Unknown service"))
}
