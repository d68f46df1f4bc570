package main

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"sluice/discovery/consul"
	"sluice/discovery/controller"
	"sluice/discovery/controller/driver"
	"sluice/router"
)

// movePlan is what a rebalance or a drain will do, as it is shown; with --output json as it is here.
type movePlan struct {
	Pool      string         `json:"pool"`
	Epoch     uint64         `json:"epoch"` // of the topology that it is made for
	By        string         `json:"by"`
	Groups    []planGroup    `json:"groups"`
	Transfers []planTransfer `json:"transfers"`
	Left      []leftAlone    `json:"left_alone,omitempty"`
	Moves     []string       `json:"moves"` // ids of those that were asked for

	transfers []controller.Transfer
	moves     []controller.Move
}

type planGroup struct {
	ID        string `json:"id"`
	Weight    int    `json:"weight"`
	Slots     int    `json:"slots"`
	SlotsThen int    `json:"slots_then"`
	// Keys or bytes of its slots; not by slots.
	Load     *int64 `json:"load,omitempty"`
	LoadThen *int64 `json:"load_then,omitempty"`
}

type planTransfer struct {
	From  string `json:"from"`
	To    string `json:"to"`
	Count int    `json:"count"`
	Slots string `json:"slots"`
}

// leftAlone are slots that a plan does not touch.
type leftAlone struct {
	Slots string `json:"slots"`
	Why   string `json:"why"`
}

func newMovePlan(plan controller.Plan, r rebalanceRequest) *movePlan {
	p := &movePlan{By: r.by, Transfers: []planTransfer{}, Moves: []string{}, transfers: plan.Transfers}
	for _, g := range plan.Groups {
		out := planGroup{ID: g.Group, Weight: g.Weight, Slots: g.Slots, SlotsThen: g.SlotsThen}
		if r.by != bySlots {
			out.Load, out.LoadThen = &g.Load, &g.LoadThen
		}
		p.Groups = append(p.Groups, out)
	}
	for _, from := range plan.Groups {
		for _, to := range plan.Groups {
			slots := slotsOf(plan.Transfers, func(x controller.Transfer) bool {
				return x.From == from.Group && x.To == to.Group
			})
			if len(slots) > 0 {
				text := router.FormatRanges(slots)
				p.Transfers = append(p.Transfers, planTransfer{from.Group, to.Group, countSlots(text), text})
			}
		}
	}
	return p
}

// slotsOf are the slots of some transfers.
func slotsOf(transfers []controller.Transfer, of func(controller.Transfer) bool) []router.Range {
	chosen := make(map[router.Slot]bool)
	for _, x := range transfers {
		if of(x) {
			chosen[x.Slot] = true
		}
	}
	return router.RangesOf(router.ClusterSlots, func(s router.Slot) bool { return chosen[s] })
}

// whichWidth is how much of the slots of a transfer a table shows.
const whichWidth = 60

func (p *movePlan) print(out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	header := "GROUP\tWEIGHT\tSLOTS\tTHEN"
	switch p.By {
	case byKeys:
		header += "\tKEYS\tTHEN"
	case byMemory:
		header += "\tMEMORY\tTHEN"
	}
	fmt.Fprintln(table, header)
	for _, g := range p.Groups {
		fmt.Fprintf(table, "%s\t%d\t%d\t%d", cell(g.ID), g.Weight, g.Slots, g.SlotsThen)
		switch p.By {
		case byKeys:
			fmt.Fprintf(table, "\t%d\t%d", *g.Load, *g.LoadThen)
		case byMemory:
			fmt.Fprintf(table, "\t%s\t%s", shortBytes(g.Load), shortBytes(g.LoadThen))
		}
		fmt.Fprintln(table)
	}
	if len(p.Transfers) > 0 {
		fmt.Fprintln(table, "\nFROM\tTO\tSLOTS\tWHICH")
	}
	slots, batches := 0, 0
	for _, x := range p.Transfers {
		which := x.Slots
		if len(which) > whichWidth {
			which = which[:whichWidth] + "…"
		}
		fmt.Fprintf(table, "%s\t%s\t%d\t%s\n", cell(x.From), cell(x.To), x.Count, which)
		slots += x.Count
		batches += (x.Count + p.moves[0].BatchSize - 1) / p.moves[0].BatchSize
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, l := range p.Left {
		fmt.Fprintf(out, "slots %s are left alone: %s\n", l.Slots, cell(l.Why))
	}
	if len(p.Transfers) == 0 {
		_, err := fmt.Fprintf(out, "no slot has to move\n")
		return err
	}
	fmt.Fprintf(out, "%d slot(s) move, in %d batch(es) of at most %d\n", slots, batches, p.moves[0].BatchSize)
	return nil
}

// askFor asks for the moves of a plan, unless what it was made for has changed: somebody may have thought about it for
// long. What was asked for stands in p.Moves then.
func (t *topologyTarget) askFor(cmd *cobra.Command, p *movePlan) error {
	ctx, cancel := context.WithTimeout(cmd.Context(), ctlTimeout)
	defer cancel()
	site, err := t.moves(ctx)
	if err != nil {
		return err
	}
	model := t.modelFor(site.Topology)
	list, err := site.Topology.Assignments(model)
	if err != nil {
		return err
	}
	for _, x := range p.transfers {
		if a := list[x.Slot]; a != (consul.Assignment{Group: x.From, State: consul.Stable}) {
			return fmt.Errorf("nothing is asked for: slot %d is not as it was planned for (now: %s); plan again", x.Slot, a)
		}
	}
	for _, m := range p.moves {
		if err := site.Check(m, model); err != nil {
			return fmt.Errorf("nothing is asked for: %w; plan again", err)
		}
	}
	for _, m := range p.moves {
		if err := driver.Ask(ctx, t.kv, t.root, m); err != nil {
			return fmt.Errorf("move to group %s: %w; `sluice ctl moves` shows what was asked for before", m.To, reached(err))
		}
		p.Moves = append(p.Moves, m.ID)
	}
	return nil
}
