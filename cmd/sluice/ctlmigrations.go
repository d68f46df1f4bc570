package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	moves "sluice/discovery/migration"
	"sluice/proxy/admin"
)

func (c *ctl) migrationsCommand() *cobra.Command {
	var pool string
	cmd := &cobra.Command{
		Use:   "migrations",
		Short: "Show slots that migrate between servers, and the last ones that did",
		Long: "Show slots that migrate between servers: those under way, and the last ones that are over.\n\n" +
			"  DONE    keys at the target, as a share of those at the source\n" +
			"  TRIES   attempts that failed\n" +
			"  TIME    how long it has been known, or how long ago its end was seen\n\n" +
			"What is not known is -. Slots of a Dragonfly before 1.40 are not known.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return showPools(c, cmd, "/api/v1/migrations", ofPools(pool), func(out io.Writer, pools []admin.PoolMigrations) error {
				if len(pools) == 0 {
					return fmt.Errorf("there is no pool %q; without --pool all are listed", pool)
				}
				return printMigrations(out, pools, time.Now())
			})
		},
	}
	cmd.Flags().StringVar(&pool, "pool", "", "of this pool only")
	return cmd
}

// printMigrations prints a table for each pool, which is named if there are several, and what is behind it.
func printMigrations(out io.Writer, pools []admin.PoolMigrations, now time.Time) error {
	for i := range pools {
		p := &pools[i]
		if len(pools) > 1 {
			if i > 0 {
				fmt.Fprintln(out)
			}
			fmt.Fprintf(out, "pool %s\n", cell(p.Name))
		}
		switch {
		case p.Checked.IsZero():
			fmt.Fprintln(out, "the nodes have not been asked yet")
		case len(p.Migrations) == 0:
			fmt.Fprintf(out, "no node knows of a migration; asked %s ago\n", sinceText(now, p.Checked))
		default:
			if err := printMigrationTable(out, p.Migrations, now); err != nil {
				return err
			}
		}
		for _, addr := range slices.Sorted(maps.Keys(p.Silent)) {
			fmt.Fprintf(out, "%s does not answer: %s\n", cell(addr), cell(p.Silent[addr]))
		}
		if len(p.Moves) > 0 {
			fmt.Fprintf(out, "%d slot(s) are locked or moving by the topology; see /api/v1/topology\n", len(p.Moves))
		}
	}
	return nil
}

func printMigrationTable(out io.Writer, list []moves.Migration, now time.Time) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "SOURCE\tTARGET\tSLOTS\tSTATE\tDONE\tTRIES\tTIME\tVERDICT")
	for i := range list {
		m := &list[i]
		done, at := "-", sinceText(now, m.Since)
		if m.Progress != nil {
			done = fmt.Sprintf("%.0f%%", 100**m.Progress)
		}
		if !m.Ended.IsZero() {
			at = sinceText(now, m.Ended) + " ago"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\n", cell(m.Source), cell(m.Target), cell(m.Slots), cell(string(m.State)),
			done, m.Retries, at, cell(m.Verdict))
	}
	return table.Flush()
}
