package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"sluice/discovery/consul"
	"sluice/discovery/controller/driver"
	"sluice/discovery/controller/mover"
)

// newGroup is a group that is to be added.
type newGroup struct {
	id         string
	master     string
	replicas   []string
	acceptKeys bool
	services   bool // its nodes are services of Consul: the topology names none
}

func (t *ctlTopology) groupAddCommand() *cobra.Command {
	var g newGroup
	var w groupWrite
	cmd := &cobra.Command{
		Use:   "add ID --master HOST:PORT [--replica HOST:PORT ...]",
		Short: "Add a group without slots to the topology",
		Long: "Add a group without slots to the topology, after asking its servers: the master has to answer, be a master of\n" +
			"the pool's dialect, and hold no keys; replicas have to follow it; none may be in another group. Where all\n" +
			"that are named are services of Consul for this group, the topology names no nodes: the catalog does.\n" +
			"`sluice ctl rebalance` gives it slots.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			g.id = args[0]
			target, err := t.target(cmd)
			if err != nil {
				return err
			}
			w.json = t.asJSON()
			return target.addGroup(cmd, g, w)
		},
	}
	cmd.Flags().StringVar(&g.master, "master", "", "HOST:PORT of its master")
	cmd.Flags().StringArrayVar(&g.replicas, "replica", nil, "HOST:PORT of a replica; may be given several times")
	cmd.Flags().BoolVar(&g.acceptKeys, "accept-keys", false, "add it although its master holds keys")
	w.addFlags(cmd)
	_ = cmd.MarkFlagRequired("master")
	return cmd
}

func (t *topologyTarget) addGroup(cmd *cobra.Command, g newGroup, w groupWrite) error {
	if t.conf == nil {
		return errors.New("group add asks the servers: name the configuration with --config, which says how")
	}
	ctx := cmd.Context()
	site, err := t.site(ctx)
	if err != nil {
		return err
	}
	nodes, err := t.groupNodes(ctx, site.Topology)
	if err != nil {
		return err
	}
	change := func(site *driver.Site) (*consul.Document, error) { return withGroup(site, &g) }
	if _, err := change(site); err != nil {
		return err
	}
	for id, addrs := range nodes {
		for _, addr := range g.nodes() {
			if id != g.id && slices.ContainsFunc(addrs, func(other string) bool { return sameServer(addr, other) }) {
				return fmt.Errorf("%s is in group %s already", addr, id)
			}
		}
	}
	if _, err := t.changed(site, change); err != nil {
		return err
	}
	g.services = !slices.ContainsFunc(g.nodes(), func(addr string) bool { return !slices.Contains(nodes[g.id], addr) })
	if err := t.examineGroup(ctx, &g); err != nil {
		return err
	}
	w.why = "group " + g.id + " added by " + whoami()
	w.next = fmt.Sprintf("group %s has no slots yet: `sluice ctl rebalance` gives it some", cell(g.id))
	return t.writeGroups(cmd, w, change)
}

// nodes are its servers, the master first.
func (g *newGroup) nodes() []string { return slices.Concat([]string{g.master}, g.replicas) }

// withGroup is the topology with the group.
func withGroup(site *driver.Site, g *newGroup) (*consul.Document, error) {
	d := *site.Topology
	if slices.ContainsFunc(d.Groups, func(other consul.Group) bool { return other.ID == g.id }) {
		return nil, fmt.Errorf("there is a group %s already; `sluice ctl topology show` shows it, and import changes its nodes", g.id)
	}
	spec := consul.Group{ID: g.id}
	for _, addr := range g.nodes() {
		if !g.services {
			spec.Nodes = append(spec.Nodes, consul.Node{Addr: addr})
		}
	}
	d.Groups = append(slices.Clone(d.Groups), spec)
	return &d, nil
}

// examineGroup asks the servers of a group whether they are fit for it.
func (t *topologyTarget) examineGroup(ctx context.Context, g *newGroup) error {
	list := []backendNode{{pool: t.conf, group: g.id, addr: g.master}}
	for _, addr := range g.replicas {
		list = append(list, backendNode{pool: t.conf, group: g.id, addr: addr, master: g.master})
	}
	for _, x := range examineAll(ctx, list) {
		if err := x.fitness(); err != nil {
			return fmt.Errorf("%s: %w", x.addr, err)
		}
	}
	if g.acceptKeys {
		return nil
	}
	keys, err := mover.New(string(t.conf.Dialect)).Keys(ctx, t.server(g.master))
	if err != nil {
		return fmt.Errorf("its keys can't be counted: %w; --accept-keys adds the group all the same", err)
	}
	total := int64(0)
	for _, n := range keys {
		total += n
	}
	if total > 0 {
		return fmt.Errorf("%s holds %d key(s) of slots of this pool, which are not its own: a move of their slots to it would stop "+
			"at them. Delete them there, or add --accept-keys", g.master, total)
	}
	return nil
}

// fitness says why a server can't be what it is meant to be in a group.
func (x *examined) fitness() error {
	family, _, _ := strings.Cut(x.version, " ")
	switch {
	case x.err != nil:
		return fmt.Errorf("%s; %s", strings.TrimPrefix(x.err.Error(), x.addr+": "), x.fix)
	case !speaks(x.pool.Dialect, family):
		return fmt.Errorf("it is %s, and pool %s has dialect %q", x.version, x.pool.Name, x.pool.Dialect)
	case x.master == "" && x.says != "master":
		return fmt.Errorf("it is a replica of %s: name its master with --master, or make it one with REPLICAOF NO ONE", x.follows)
	case x.master != "" && x.says != "replica":
		return fmt.Errorf("it is no replica: REPLICAOF %s there", spaced(x.master))
	case x.master != "" && !sameServer(x.follows, x.master):
		return fmt.Errorf("it follows %s: REPLICAOF %s there", x.follows, spaced(x.master))
	case x.master != "" && !x.linkUp:
		return fmt.Errorf("its link to %s is down: look at its log", x.master)
	}
	return nil
}
