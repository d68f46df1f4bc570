package consul

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/consul/api"

	"sluice/router"
)

// instance is a node of a pool as the catalog has it.
type instance struct {
	group   router.GroupID
	addr    string
	zone    string
	passing bool
	leaving bool   // it is in maintenance: an operator wants it out, whatever its checks say
	status  string // Consul's word for all its checks
}

// listing is what the catalog says of a pool. Immutable.
type listing struct {
	nodes    map[string]instance // by address
	problems []string            // services that look like nodes of the pool and can't be
}

// askCatalog lists all instances, also those whose checks fail: that they fail is no reason to forget a node.
func (s *Source) askCatalog(ctx context.Context, opts *api.QueryOptions) ([]*api.ServiceEntry, *api.QueryMeta, error) {
	entries, meta, err := s.cfg.Client.Health().Service(s.cfg.Service, "", false, opts.WithContext(ctx))
	if err == nil && meta.ResultsFilteredByACLs {
		err = fmt.Errorf("some instances of service %s are hidden: the token needs service_prefix and node_prefix read", s.cfg.Service)
	}
	return entries, meta, err
}

// readListing finds the nodes of a pool among the instances of a service. Which pool and group an instance is of stands
// in its meta, or in tags like "group=1".
func readListing(entries []*api.ServiceEntry, pool string) listing {
	l := listing{nodes: make(map[string]instance)}
	for _, e := range entries {
		if e.Service == nil || e.Node == nil || label(e.Service, "pool") != pool {
			continue
		}
		host := e.Service.Address
		if host == "" {
			host = e.Node.Address
		}
		status := e.Checks.AggregatedStatus()
		n := instance{
			group: router.GroupID(label(e.Service, "group")), zone: label(e.Service, "zone"),
			addr:    net.JoinHostPort(host, strconv.Itoa(e.Service.Port)),
			passing: status == api.HealthPassing, leaving: status == api.HealthMaint, status: status,
		}
		other, twice := l.nodes[n.addr]
		switch {
		case n.group == "":
			l.problems = append(l.problems, fmt.Sprintf("service %s has no group", e.Service.ID))
			continue
		case checkAddr(n.addr) != nil:
			l.problems = append(l.problems, fmt.Sprintf("service %s has no usable address: %s", e.Service.ID, n.addr))
			continue
		case twice && other.group != n.group:
			l.problems = append(l.problems, fmt.Sprintf("%s is registered for group %s and for group %s: the first by name counts",
				n.addr, min(other.group, n.group), max(other.group, n.group)))
			if other.group < n.group {
				continue
			}
		case twice && other.passing:
			continue // Registered with two agents; one of them vouches for it.
		}
		l.nodes[n.addr] = n
	}
	slices.Sort(l.problems)
	return l
}

// label is what the meta of a service says, or its tag.
func label(s *api.AgentService, name string) string {
	if value := s.Meta[name]; value != "" {
		return value
	}
	for _, tag := range s.Tags {
		if value, ok := strings.CutPrefix(tag, name+"="); ok {
			return value
		}
	}
	return ""
}
