package main

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"sluice/proxy/admin"
)

func (c *ctl) groupsCommand() *cobra.Command {
	var pool, group string
	cmd := &cobra.Command{
		Use:   "groups",
		Short: "Show each group's nodes: state, lag and part of the reads",
		Long: "Show each group's nodes.\n\n" +
			"  LAG     how far the replica is proven to be behind its master at most\n" +
			"  BYTES   what it was behind when it was asked last (some families count records)\n" +
			"  AGE     how long ago the node last answered\n" +
			"  READS   served by the node for this Sluice, and its share in its group\n\n" +
			"What is not known is -. With --output json it is null, and there is more.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			query := ofPools(pool)
			if group != "" {
				query.Set("group", group)
			}
			return showPools(c, cmd, "/api/v1/groups", query, func(out io.Writer, pools []admin.PoolGroups) error {
				if err := checkFound(pools, pool, group); err != nil {
					return err
				}
				return printGroups(out, pools)
			})
		},
	}
	cmd.Flags().StringVar(&pool, "pool", "", "of this pool only")
	cmd.Flags().StringVar(&group, "group", "", "of this group only")
	return cmd
}

// checkFound says why there would be nothing to print.
func checkFound(pools []admin.PoolGroups, pool, group string) error {
	for _, p := range pools {
		if len(p.Groups) > 0 {
			return nil
		}
	}
	switch {
	case len(pools) == 0 && pool != "":
		return fmt.Errorf("there is no pool %q; without --pool all are listed", pool)
	case group != "":
		return fmt.Errorf("nothing is known of a group %q; without --group all are listed", group)
	}
	return errors.New("nothing is known of the groups yet; has Sluice a topology? See /api/v1/topology of its admin address")
}

// printGroups prints a table for each pool, which is named if there are several.
func printGroups(out io.Writer, pools []admin.PoolGroups) error {
	for i, p := range pools {
		if len(pools) > 1 {
			if i > 0 {
				fmt.Fprintln(out)
			}
			fmt.Fprintf(out, "pool %s\n", cell(p.Name))
		}
		// tabwriter aligns columns; the last one is not followed by a tab and so not part of a column.
		table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "GROUP\tNODE\tROLE\tSTATE\tLAG\tBYTES\tAGE\tREADS\tREASON")
		for _, g := range p.Groups {
			for _, n := range g.Nodes {
				fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n",
					cell(g.ID), cell(n.Addr), cell(n.Role), cell(n.State), shortSeconds(n.LagSeconds), shortBytes(n.LagBytes),
					shortSeconds(n.EvidenceAgeSeconds), readsOf(n), cell(reasonOf(n)))
			}
		}
		if err := table.Flush(); err != nil {
			return err
		}
	}
	return nil
}

// reasonOf is why the node is in its state, and why it gets no requests at all if that is so.
func reasonOf(n admin.GroupNode) string {
	if n.Available {
		return n.Reason
	}
	closed := "no requests are sent to it"
	if n.Error != "" {
		closed += ": " + n.Error
	}
	if n.Reason == "" {
		return closed
	}
	return n.Reason + "; " + closed
}

func readsOf(n admin.GroupNode) string {
	if n.ReadShare == nil {
		return "-"
	}
	return fmt.Sprintf("%s %.0f%%", short(float64(n.Reads), 1000), *n.ReadShare*100)
}

// shortSeconds writes a time with what matters of it: "12ms", "1.5s", "3m20s", "26h40m".
func shortSeconds(seconds *float64) string {
	if seconds == nil {
		return "-"
	}
	d := time.Duration(*seconds * float64(time.Second))
	switch {
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
}

func shortBytes(n *int64) string {
	if n == nil {
		return "-"
	}
	return short(float64(*n), 1024)
}

// short writes a count with a unit of powers of base: "812", "1.5K", "30M".
func short(n, base float64) string {
	unit := ""
	for _, next := range []string{"K", "M", "G", "T", "P", "E"} {
		if n < base {
			break
		}
		n, unit = n/base, next
	}
	if unit == "" || n >= 10 {
		return strconv.FormatFloat(n, 'f', 0, 64) + unit
	}
	return strconv.FormatFloat(n, 'f', 1, 64) + unit
}
