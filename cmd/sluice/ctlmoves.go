package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"sluice/discovery/controller"
	"sluice/discovery/controller/driver"
	"sluice/router"
)

func (c *ctl) movesCommand() *cobra.Command {
	t := &ctlTopology{ctl: c}
	var all, watch bool
	cmd := &cobra.Command{
		Use:   "moves",
		Short: "Show the moves that the controller has been asked for",
		Long: "Show the moves that the controller has been asked for: those that are not over, and the last that are.\n\n" +
			"  SLOTS   those that have moved, of all\n" +
			"  KEYS    that were moved\n" +
			"  ETA     when the rest will have moved, if it goes on as until now\n\n" +
			"Below each stands what it waits for, and its first and its last error. Consul is reached as by ctl topology.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			target, err := t.target(cmd)
			if err != nil {
				return err
			}
			for {
				site, err := target.movesToShow(cmd.Context(), all)
				if err != nil {
					return err
				}
				if t.asJSON() {
					err = printJSON(cmd.OutOrStdout(), site.Moves)
				} else {
					err = printMoves(cmd.OutOrStdout(), site, time.Now())
				}
				if err != nil || !watch || allOver(site.Moves) {
					return err
				}
				if !pauseFor(cmd.Context(), watchEvery) {
					return nil
				}
			}
		},
	}
	t.addFlags(cmd)
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "show them every second, until all are over")
	cmd.Flags().BoolVar(&all, "all", false, "all that there ever were")
	return cmd
}

// watchEvery is how often --watch shows the moves.
const watchEvery = time.Second

// pauseFor waits, and reports false when ctx has ended.
func pauseFor(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (t *topologyTarget) movesToShow(ctx context.Context, all bool) (*driver.Site, error) {
	ctx, cancel := context.WithTimeout(ctx, ctlTimeout)
	defer cancel()
	site, err := t.moves(ctx)
	if err == nil && !all {
		site.Moves = recent(site.Moves)
	}
	return site, err
}

func allOver(moves []controller.Move) bool {
	return !slices.ContainsFunc(moves, func(m controller.Move) bool { return !m.Over() })
}

// recentMoves is how many of those that are over are shown.
const recentMoves = 5

// recent leaves out what is over for long.
func recent(moves []controller.Move) []controller.Move {
	over := 0
	for i := range moves {
		if moves[i].Over() {
			over++
		}
	}
	list := make([]controller.Move, 0, len(moves))
	for i := range moves {
		if moves[i].Over() {
			if over--; over >= recentMoves {
				continue
			}
		}
		list = append(list, moves[i])
	}
	return list
}

func printMoves(out io.Writer, site *driver.Site, now time.Time) error {
	moves := site.Moves
	if len(moves) == 0 {
		_, err := fmt.Fprintln(out, "no move has been asked for; `sluice ctl move --slots RANGES --to GROUP` asks for one")
		return err
	}
	if !site.Active && !allOver(moves) {
		fmt.Fprintln(out, noController)
	}
	for i := range moves {
		m := &moves[i]
		table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "MOVE\tSTATE\tTO\tSLOTS\tKEYS\tETA\tBATCH")
		moved, of := countSlots(m.Moved), countSlots(m.Slots)
		keys, batch := m.Progress.Keys, "-"
		if b := m.Batch; b != nil {
			keys += b.Progress.Keys
			batch = fmt.Sprintf("%s %s of group %s, %s", b.Phase, b.Slots, b.From, sinceText(now, b.Since))
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%d of %d\t%d\t%s\t%s\n", cell(m.ID), cell(string(m.State)), cell(m.To),
			moved, of, keys, eta(m, moved, of, now), cell(batch))
		if err := table.Flush(); err != nil {
			return err
		}
		if waits := waitsFor(m); waits != "" {
			fmt.Fprintf(out, "  waits: %s\n", cell(waits))
		}
		if f := m.First; f != nil && !m.Over() {
			fmt.Fprintf(out, "  first error, %s ago: %s\n", sinceText(now, f.At), cell(f.Text))
			if l := m.Last; l != nil && !l.At.Equal(f.At) {
				fmt.Fprintf(out, "  last error, %s ago: %s\n", sinceText(now, l.At), cell(l.Text))
			}
		}
	}
	return nil
}

// countSlots is the number of slots in a text of ranges, 0 if it can't be read.
func countSlots(text string) (n int) {
	if text == "" {
		return 0
	}
	ranges, _ := router.ParseRanges(text)
	for _, r := range ranges {
		n += r.Len()
	}
	return n
}

// eta is how long the rest takes at the mean speed until now.
func eta(m *controller.Move, moved, of int, now time.Time) string {
	if m.State != controller.Running || moved == 0 {
		return "-"
	}
	seconds := now.Sub(m.Created).Seconds() * float64(of-moved) / float64(moved)
	return shortSeconds(&seconds)
}

// waitsFor is what a move waits for, in words.
func waitsFor(m *controller.Move) string {
	if m.Waits == "" && m.Batch != nil {
		return m.Batch.Progress.Note
	}
	return m.Waits
}
