package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"sluice/discovery/consul"
)

// groupNodes are the addresses of each group's servers: of those that the topology names, and of the services of Consul.
func (t *topologyTarget) groupNodes(ctx context.Context, d *consul.Document) (map[string][]string, error) {
	ctx, cancel := context.WithTimeout(ctx, ctlTimeout)
	defer cancel()
	nodes, err := poolServices(ctx, t.client, t.conf, false)
	if err != nil {
		return nil, reached(fmt.Errorf("consul: read the services %s: %w", t.conf.Discovery.Service, err))
	}
	for _, g := range d.Groups {
		for _, n := range g.Nodes {
			if !slices.Contains(nodes[g.ID], n.Addr) {
				nodes[g.ID] = append(nodes[g.ID], n.Addr)
			}
		}
	}
	return nodes, nil
}

// masters asks the servers of some groups which of them is the master. It fails unless each group has one.
func (t *topologyTarget) masters(ctx context.Context, d *consul.Document, groups []string) (map[string]string, error) {
	nodes, err := t.groupNodes(ctx, d)
	if err != nil {
		return nil, err
	}
	var list []backendNode
	for _, id := range groups {
		for _, addr := range nodes[id] {
			list = append(list, backendNode{pool: t.conf, group: id, addr: addr})
		}
	}
	found, silent := make(map[string][]string), make(map[string][]string)
	for _, x := range examineAll(ctx, list) {
		switch {
		case x.err != nil:
			silent[x.group] = append(silent[x.group], strings.TrimPrefix(x.err.Error(), "dial tcp "))
		case x.says == "master":
			found[x.group] = append(found[x.group], x.addr)
		}
	}
	masters := make(map[string]string)
	var errs []error
	for _, id := range groups {
		switch list := found[id]; len(list) {
		case 1:
			masters[id] = list[0]
		case 0:
			why := slices.Concat([]string{fmt.Sprintf("%d server(s) are known", len(nodes[id]))}, silent[id])
			errs = append(errs, fmt.Errorf("group %s has no master now: %s; see `sluice doctor`", id, strings.Join(why, "; ")))
		default:
			errs = append(errs, fmt.Errorf("group %s: %s all say that they are the master; see `sluice doctor`",
				id, strings.Join(list, ", ")))
		}
	}
	return masters, errors.Join(errs...)
}

// examineAll asks servers, some at a time.
func examineAll(ctx context.Context, nodes []backendNode) []examined {
	results := make([]examined, len(nodes))
	var work sync.WaitGroup
	turn := make(chan struct{}, examineAtOnce)
	for i, n := range nodes {
		work.Go(func() {
			turn <- struct{}{}
			defer func() { <-turn }()
			results[i] = examine(ctx, n)
		})
	}
	work.Wait()
	return results
}
