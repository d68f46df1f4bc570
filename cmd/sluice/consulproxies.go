package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"sluice/discovery/consul"
	"sluice/proxy/admin"
)

// listProxies asks Consul for the proxies of the pool whose keys begin with root; self is the id of this one. What is
// wrong is in the answer.
//
// A proxy writes members/<id>, which stays, and proxies/<id> and acks/<id>, which go with its session. So one that has only
// the first is gone without having said so: it may be dead, or cut off from Consul and still serve.
func listProxies(ctx context.Context, kv *api.KV, root, self string) admin.PoolProxies {
	out := admin.PoolProxies{Self: self, Proxies: []admin.Proxy{}}
	list, err := readProxies(ctx, kv, root, &out)
	if err != nil {
		out.Error = err.Error()
		return out
	}
	for _, p := range list {
		out.Proxies = append(out.Proxies, *p)
	}
	slices.SortFunc(out.Proxies, func(a, b admin.Proxy) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// readProxies reads the keys into proxies by id, and the epoch into out. It is for people, so any server may answer.
func readProxies(ctx context.Context, kv *api.KV, root string, out *admin.PoolProxies) (map[string]*admin.Proxy, error) {
	opts := (&api.QueryOptions{AllowStale: true}).WithContext(ctx)
	var epoch consul.Epoch
	pair, _, err := kv.Get(root+"topology/epoch", opts)
	if err != nil {
		return nil, fmt.Errorf("consul: read %stopology/epoch: %w", root, err)
	}
	if pair != nil && json.Unmarshal(pair.Value, &epoch) == nil {
		out.Epoch, out.Barrier = epoch.Epoch, epoch.Barrier
	}
	found := make(map[string]*admin.Proxy)
	proxyOf := func(id string) *admin.Proxy {
		if found[id] == nil {
			found[id] = &admin.Proxy{ID: id, State: "gone", Lease: "lost"}
		}
		return found[id]
	}
	for _, part := range []struct {
		dir  string
		read func(p *admin.Proxy, pair *api.KVPair) error
	}{{"members/", readMember}, {"proxies/", readProxy}, {"acks/", readAck}} {
		pairs, _, err := kv.List(root+part.dir, opts)
		if err != nil {
			return nil, fmt.Errorf("consul: list %s%s: %w", root, part.dir, err)
		}
		for _, pair := range pairs {
			id := strings.TrimPrefix(pair.Key, root+part.dir)
			// A doctor leaves a key there for a moment, and nobody is a proxy without a name.
			if id == "" || strings.HasPrefix(id, doctorKeyPrefix) {
				continue
			}
			if err := part.read(proxyOf(id), pair); err != nil {
				return nil, fmt.Errorf("consul: %s: %w", pair.Key, err)
			}
		}
	}
	return found, nil
}

func readMember(p *admin.Proxy, pair *api.KVPair) error {
	var r consul.MemberRecord
	err := json.Unmarshal(pair.Value, &r)
	p.Member, p.Seen = true, r.LastSeenEpoch
	return err
}

func readProxy(p *admin.Proxy, pair *api.KVPair) error {
	var r consul.ProxyRecord
	if err := json.Unmarshal(pair.Value, &r); err != nil {
		return err
	}
	p.Addr, p.Admin, p.Version, p.Host, p.PID = r.Addr, r.Admin, r.Version, r.Host, r.PID
	p.Started, p.State = r.Started, r.State
	if p.Session = pair.Session; p.Session != "" {
		p.Lease = "held"
	}
	return nil
}

func readAck(p *admin.Proxy, pair *api.KVPair) error {
	var r consul.AckRecord
	err := json.Unmarshal(pair.Value, &r)
	p.Acked, p.TookMS = r.Epoch, r.TookMS
	return err
}

// lastSeenEpoch is the highest epoch that any proxy of the pool has said it has seen.
func lastSeenEpoch(ctx context.Context, kv *api.KV, root string) (epoch uint64, proxies []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, ctlTimeout)
	defer cancel()
	found, err := readProxies(ctx, kv, root, &admin.PoolProxies{})
	if err != nil {
		return 0, nil, err
	}
	for id, p := range found {
		if seen := max(p.Seen, p.Acked); seen > 0 {
			epoch = max(epoch, seen)
			proxies = append(proxies, id)
		}
	}
	slices.Sort(proxies)
	return epoch, proxies, nil
}

// sinceText is how long ago something was, "-" when it is not known.
func sinceText(now, at time.Time) string {
	if at.IsZero() {
		return "-"
	}
	seconds := max(0, now.Sub(at).Seconds())
	return shortSeconds(&seconds)
}
