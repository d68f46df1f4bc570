package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"sluice/discovery/consul"
	"sluice/discovery/controller"
	"sluice/discovery/controller/driver"
	"sluice/discovery/controller/mover"
	"sluice/internal/control"
	"sluice/router"
)

// What a rebalance can go by.
const (
	bySlots  = "slots"
	byKeys   = "keys"
	byMemory = "memory"
)

var rebalanceBy = []string{bySlots, byKeys, byMemory}

// rebalanceRequest is what ctl rebalance, or ctl group drain, asks for.
type rebalanceRequest struct {
	by      string
	weights map[string]int
	atMost  int
	drain   string // the group that gives all it has to the others, which give nothing; "": all are balanced

	yes, dryRun, json bool
	moveOptions
}

func (c *ctl) rebalanceCommand() *cobra.Command {
	t := &ctlTopology{ctl: c}
	var r rebalanceRequest
	cmd := &cobra.Command{
		Use:   "rebalance [--by slots|keys|memory] [--weight GROUP=N ...]",
		Short: "Ask the controller to divide the slots evenly among the groups",
		Long: "Plan which slots have to move so that each group has its share, show the plan, and ask the controller for\n" +
			"the moves, one for each group that gets slots: `sluice controller` has to run, and `sluice ctl moves` shows\n" +
			"how far they are. As few slots move as possible. Slots of a move that is not over, and others that are not\n" +
			"stable, are left alone, and count for the group that they go to.\n\n" +
			"  --by slots    each group gets the same number of slots, or one more\n" +
			"  --by keys     about the same number of keys; the masters count them: redis-servers are scanned once\n" +
			"  --by memory   about the same memory, by samples of 16 keys of each slot; redis-servers only\n\n" +
			"--weight 2=3 gives group 2 three times as much as one without a weight, --weight 2=0 takes all it has.\n" +
			"Consul is reached as by ctl topology.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return t.rebalance(cmd, r) },
	}
	t.addFlags(cmd)
	r.addFlags(cmd)
	return cmd
}

func (r *rebalanceRequest) addFlags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&r.by, "by", bySlots, "what is divided: "+strings.Join(rebalanceBy, ", "))
	cmd.Flags().StringToIntVar(&r.weights, "weight", nil, "GROUP=N: its part in proportion to the others, whose weight is 1")
	cmd.Flags().IntVar(&r.atMost, "slots-at-most", 0, "move no more slots than this, now")
	r.moveOptions.add(cmd)
	cmd.Flags().BoolVarP(&r.yes, "yes", "y", false, "ask for the moves without asking back")
	cmd.Flags().BoolVar(&r.dryRun, "dry-run", false, "only show the plan")
}

// check refuses what makes no sense whatever the topology is.
func (r *rebalanceRequest) check() error {
	switch {
	case !slices.Contains(rebalanceBy, r.by):
		return fmt.Errorf("--by %q is not known; it is one of %s", r.by, strings.Join(rebalanceBy, ", "))
	case r.atMost < 0:
		return fmt.Errorf("--slots-at-most %d: 0 stands for as many as it takes", r.atMost)
	}
	if err := r.moveOptions.check(); err != nil {
		return err
	}
	return askable(r.json, r.yes, r.dryRun)
}

// askable refuses to ask somebody who reads JSON.
func askable(json, yes, dryRun bool) error {
	if json && !yes && !dryRun {
		return errors.New("with --output json nobody is asked: add --yes, or --dry-run")
	}
	return nil
}

// rebalance shows a plan and asks for its moves.
func (t *ctlTopology) rebalance(cmd *cobra.Command, r rebalanceRequest) error {
	r.json = t.asJSON()
	if err := r.check(); err != nil {
		return err
	}
	target, err := t.target(cmd)
	if err != nil {
		return err
	}
	if err := target.checkMethod(r.method); err != nil {
		return err
	}
	site, err := target.site(cmd.Context())
	if err != nil {
		return err
	}
	p, err := target.planMoves(cmd.Context(), site, r)
	if err != nil {
		return err
	}
	if r.json {
		if !r.dryRun {
			err = target.askFor(cmd, p)
		}
		return errors.Join(printJSON(cmd.OutOrStdout(), p), err)
	}
	if err := p.print(cmd.OutOrStdout()); err != nil || r.dryRun || len(p.moves) == 0 {
		return err
	}
	if !r.yes {
		if err := confirm(cmd, "move them?"); err != nil {
			return err
		}
	}
	err = target.askFor(cmd, p)
	out := cmd.OutOrStdout()
	for i, id := range p.Moves {
		fmt.Fprintf(out, "move %s to group %s is asked for\n", id, p.moves[i].To)
	}
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "`sluice ctl moves` shows how far it is")
	if r.drain != "" {
		fmt.Fprintf(out, "when it is done, `sluice ctl group remove %s` takes the group out\n", r.drain)
	}
	if !site.Active {
		fmt.Fprintln(out, noController)
	}
	return nil
}

// site is moves with a deadline of its own.
func (t *topologyTarget) site(ctx context.Context) (*driver.Site, error) {
	ctx, cancel := context.WithTimeout(ctx, ctlTimeout)
	defer cancel()
	return t.moves(ctx)
}

// planMoves plans, and makes a move for each group that gets slots.
func (t *topologyTarget) planMoves(ctx context.Context, site *driver.Site, r rebalanceRequest) (*movePlan, error) {
	doc := site.Topology
	if r.drain != "" {
		if err := checkGroup(doc, r.drain); err != nil {
			return nil, err
		}
	}
	list, err := doc.Assignments(t.modelFor(doc))
	if err != nil {
		return nil, err
	}
	b := controller.Balance{Weighed: r.by != bySlots, AtMost: r.atMost}
	if b.Shares, err = r.shares(doc); err != nil {
		return nil, err
	}
	var left []leftAlone
	if b.Slots, left, err = slotLoads(site, list); err != nil {
		return nil, err
	}
	if b.Weighed {
		if err := t.weigh(ctx, doc, list, r.by, b.Slots); err != nil {
			return nil, err
		}
	}
	if r.drain != "" {
		for i := range b.Slots {
			b.Slots[i].Fixed = b.Slots[i].Fixed || b.Slots[i].Group != r.drain
		}
	}
	plan, err := controller.Rebalance(b)
	if err != nil {
		return nil, err
	}
	p := newMovePlan(plan, r)
	p.Pool, p.Epoch, p.Left = t.name, doc.Epoch.Epoch, left
	for _, g := range plan.Groups {
		slots := slotsOf(plan.Transfers, func(x controller.Transfer) bool { return x.To == g.Group })
		if len(slots) > 0 {
			p.moves = append(p.moves, t.newMove(g.Group, slots, r.moveOptions))
		}
	}
	return p, nil
}

// shares are the weights of all groups.
func (r *rebalanceRequest) shares(doc *consul.Document) ([]controller.Share, error) {
	var shares []controller.Share
	var ids []string
	for _, g := range doc.Groups {
		s := controller.Share{Group: g.ID, Weight: 1}
		if w, given := r.weights[g.ID]; given {
			s.Weight = w
		}
		if g.ID == r.drain {
			s.Weight = 0
		}
		shares, ids = append(shares, s), append(ids, g.ID)
	}
	for id := range r.weights {
		if !slices.Contains(ids, id) {
			return nil, fmt.Errorf("--weight: there is no group %q; there are %s", id, strings.Join(ids, ", "))
		}
	}
	return shares, nil
}

// slotLoads says whose each slot is, or will be, and which have to be left alone.
func slotLoads(site *driver.Site, list []consul.Assignment) ([]controller.SlotLoad, []leftAlone, error) {
	loads := make([]controller.SlotLoad, len(list))
	why := make([]string, len(list))
	for slot, a := range list {
		loads[slot].Group = a.Group
		if a.To != "" {
			loads[slot].Group = a.To
		}
		if a.State != consul.Stable {
			why[slot] = a.String()
		}
	}
	for _, m := range site.Moves {
		if m.Over() {
			continue
		}
		ranges, err := router.ParseRanges(m.Slots)
		if err != nil {
			return nil, nil, fmt.Errorf("move %s: slots %q: %w", m.ID, m.Slots, err)
		}
		for _, r := range ranges {
			for slot := int(r.From); slot <= int(r.To) && slot < len(list); slot++ {
				loads[slot].Group = m.To
				why[slot] = fmt.Sprintf("part of move %s to group %s, which is %s", m.ID, m.To, m.State)
			}
		}
	}
	var left []leftAlone
	for slot, reason := range why {
		loads[slot].Fixed = reason != ""
		if reason == "" || slices.ContainsFunc(left, func(l leftAlone) bool { return l.Why == reason }) {
			continue
		}
		slots := router.RangesOf(len(why), func(s router.Slot) bool { return why[s] == reason })
		left = append(left, leftAlone{router.FormatRanges(slots), reason})
	}
	return loads, left, nil
}

// weigh asks the masters what the slots weigh.
func (t *topologyTarget) weigh(
	ctx context.Context, doc *consul.Document, list []consul.Assignment, by string, loads []controller.SlotLoad,
) error {
	if t.conf == nil {
		return fmt.Errorf("--by %s asks the masters: name the configuration with --config, which says how", by)
	}
	movers := mover.New(string(t.conf.Dialect))
	ask := movers.Keys
	if by == byMemory {
		if err := movers.CanWeighMemory(); err != nil {
			return fmt.Errorf("--by memory: %w", err)
		}
		ask = movers.Memory
	}
	owning := make(map[string]bool)
	for _, a := range list {
		owning[a.Group] = true
		if a.To != "" {
			owning[a.To] = true
		}
	}
	var groups []string
	for _, g := range doc.Groups {
		if owning[g.ID] {
			groups = append(groups, g.ID)
		}
	}
	masters, err := t.masters(ctx, doc, groups)
	if err != nil {
		return err
	}
	weights, errs := make([][]int64, len(groups)), make([]error, len(groups))
	var work sync.WaitGroup
	for i, id := range groups {
		work.Go(func() { weights[i], errs[i] = ask(ctx, t.server(masters[id])) })
	}
	work.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for slot, a := range list {
		for i, id := range groups {
			if id == a.Group || id == a.To { // Of one that moves some keys are there already.
				loads[slot].Weight += weights[i][slot]
			}
		}
	}
	return nil
}

// server is a server of the pool as a mover asks it.
func (t *topologyTarget) server(addr string) mover.Server {
	auth := t.conf.Auth
	return mover.Server{
		Addr: addr, Model: *t.model,
		Access: control.Options{User: auth.BackendUser, Password: auth.BackendPassword.Reveal(), Name: "sluice-ctl"},
	}
}
