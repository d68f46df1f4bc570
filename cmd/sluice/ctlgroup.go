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
	"sluice/router"
)

func (c *ctl) groupCommand() *cobra.Command {
	t := &ctlTopology{ctl: c}
	cmd := &cobra.Command{
		Use:   "group",
		Short: "Add a group to a topology in Consul, empty it, remove it",
		Long: "Add a group to the topology that a pool has in Consul, empty it, and remove it. Consul is reached as by\n" +
			"ctl topology; no proxy has to run. `sluice ctl groups` shows the groups as a proxy sees them.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return fmt.Errorf("ctl group has no command %q; see sluice ctl group --help", args[0])
		},
	}
	t.addFlags(cmd)
	cmd.AddCommand(t.groupAddCommand(), t.groupDrainCommand(), t.groupRemoveCommand())
	return cmd
}

func (t *ctlTopology) groupDrainCommand() *cobra.Command {
	var r rebalanceRequest
	cmd := &cobra.Command{
		Use:   "drain ID",
		Short: "Ask the controller to move all slots of a group to the others",
		Long: "Plan to which groups the slots of this one go, so that the others have even shares afterwards, show the plan,\n" +
			"and ask the controller for the moves. The others give nothing. --by, --weight and what is left alone are those\n" +
			"of ctl rebalance. When the group is empty `sluice ctl group remove ID` takes it out.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r.drain = args[0]
			return t.rebalance(cmd, r)
		},
	}
	r.addFlags(cmd)
	return cmd
}

func (t *ctlTopology) groupRemoveCommand() *cobra.Command {
	var w groupWrite
	cmd := &cobra.Command{
		Use:   "remove ID",
		Short: "Take an empty group out of the topology",
		Long: "Take a group out of the topology that has no slots and is not part of a move. Its servers are not touched; those\n" +
			"that are services of Consul stay registered.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			target, err := t.target(cmd)
			if err != nil {
				return err
			}
			w.why, w.json = "group "+args[0]+" removed by "+whoami(), t.asJSON()
			return target.writeGroups(cmd, w, func(site *driver.Site) (*consul.Document, error) {
				return target.withoutGroup(site, args[0])
			})
		},
	}
	w.addFlags(cmd)
	return cmd
}

// withoutGroup is the topology without a group, or an error that says what stands in the way.
func (t *topologyTarget) withoutGroup(site *driver.Site, id string) (*consul.Document, error) {
	if err := checkGroup(site.Topology, id); err != nil {
		return nil, err
	}
	list, err := site.Topology.Assignments(t.modelFor(site.Topology))
	if err != nil {
		return nil, err
	}
	for _, m := range site.Moves {
		if b := m.Batch; !m.Over() && (m.To == id || b != nil && (b.From == id || b.To == id)) {
			return nil, fmt.Errorf("group %s is part of move %s of slots %s to group %s, which is %s: wait until it is over "+
				"(`sluice ctl moves --watch`), or end it with `sluice ctl move abort %s`", id, m.ID, m.Slots, m.To, m.State, m.ID)
		}
	}
	owned := router.RangesOf(len(list), func(s router.Slot) bool { return list[s].Group == id || list[s].To == id })
	if len(owned) > 0 {
		return nil, fmt.Errorf("group %s has slots %s still: `sluice ctl group drain %s` moves them to the others",
			id, router.FormatRanges(owned), id)
	}
	d := *site.Topology
	d.Groups = slices.DeleteFunc(slices.Clone(d.Groups), func(g consul.Group) bool { return g.ID == id })
	return &d, nil
}

// checkGroup refuses a group that is not there.
func checkGroup(d *consul.Document, id string) error {
	var ids []string
	for _, g := range d.Groups {
		ids = append(ids, g.ID)
	}
	if !slices.Contains(ids, id) {
		return fmt.Errorf("there is no group %q; there are %s", id, strings.Join(ids, ", "))
	}
	return nil
}

// groupWrite is how the groups are written.
type groupWrite struct {
	yes, dryRun, json bool
	why               string // the change in words
	next              string // what to do then
}

func (w *groupWrite) addFlags(cmd *cobra.Command) {
	cmd.Flags().BoolVarP(&w.yes, "yes", "y", false, "write it without asking")
	cmd.Flags().BoolVar(&w.dryRun, "dry-run", false, "only say what would be written")
}

// groupsWritten is the answer as JSON.
type groupsWritten struct {
	Pool    string   `json:"pool"`
	Root    string   `json:"root"`
	Epoch   uint64   `json:"epoch"` // with --dry-run the one that would be written
	Changes []string `json:"changes"`
	Written bool     `json:"written"`
}

// writeGroups writes what change makes of the topology, after showing it.
func (t *topologyTarget) writeGroups(
	cmd *cobra.Command, w groupWrite, change func(*driver.Site) (*consul.Document, error),
) error {
	if err := askable(w.json, w.yes, w.dryRun); err != nil {
		return err
	}
	site, err := t.site(cmd.Context())
	if err != nil {
		return err
	}
	d, err := t.changed(site, change)
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	answer := groupsWritten{Pool: t.name, Root: t.root, Epoch: d.Epoch.Epoch + 1, Changes: consul.Diff(site.Topology, d)}
	for _, line := range answer.Changes {
		if !w.json {
			fmt.Fprintln(out, cell(line))
		}
	}
	if !w.dryRun {
		if !w.yes {
			if err := confirm(cmd, "write it?"); err != nil {
				return err
			}
		}
		if d, err = t.writeChange(cmd.Context(), w.why, change); err != nil {
			return err
		}
		answer.Epoch, answer.Written = d.Epoch.Epoch, true
	}
	if w.json {
		return printJSON(out, answer)
	}
	verb := "would write"
	if answer.Written {
		verb = "wrote"
	}
	fmt.Fprintf(out, "%s epoch %d of pool %s: %d group(s), in %s\n", verb, answer.Epoch, t.name, len(d.Groups), t.root)
	if answer.Written && w.next != "" {
		fmt.Fprintln(out, w.next)
	}
	return nil
}

// changed is what change makes of a topology, if proxies would take it.
func (t *topologyTarget) changed(
	site *driver.Site, change func(*driver.Site) (*consul.Document, error),
) (*consul.Document, error) {
	d, err := change(site)
	if err != nil {
		return nil, err
	}
	if err := d.Validate(t.modelFor(d)); err != nil {
		return nil, fmt.Errorf("proxies would refuse this topology: %s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return d, nil
}

// changeTries is how often a change is tried again because somebody else has written meanwhile: a controller at work
// writes a few epochs a second.
const changeTries = 20

// writeChange writes what change makes of the topology that is there now: one transaction, which fails when somebody
// else has written since it was read. Then change looks at what is there, and it is tried again. An epoch that is a
// barrier is followed by another one, so nobody goes without acknowledging it.
func (t *topologyTarget) writeChange(
	ctx context.Context, why string, change func(*driver.Site) (*consul.Document, error),
) (*consul.Document, error) {
	ctx, cancel := context.WithTimeout(ctx, ctlTimeout)
	defer cancel()
	for range changeTries {
		site, err := t.moves(ctx)
		if err != nil {
			return nil, err
		}
		d, err := t.changed(site, change)
		if err != nil {
			return nil, fmt.Errorf("not written: %w", err)
		}
		d.Epoch.Change = why
		err = consul.WriteDocument(ctx, t.kv, t.root, site.Index, d)
		switch {
		case err == nil:
			return d, nil
		case !errors.Is(err, consul.ErrConflict):
			return nil, reached(err)
		}
	}
	return nil, fmt.Errorf("not written: the topology in %s has changed %d times while this was tried; "+
		"`sluice ctl moves` shows who may be at it, try again", t.root, changeTries)
}
