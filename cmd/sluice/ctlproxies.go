package main

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"sluice/proxy/admin"
)

func (c *ctl) proxiesCommand() *cobra.Command {
	var pool string
	cmd := &cobra.Command{
		Use:   "proxies",
		Short: "Show the proxies that share a topology in Consul",
		Long: "Show the proxies that share a topology in Consul, as Consul has them. The one that was asked is marked *.\n\n" +
			"  STATE   joining, serving, draining; gone: its session is over, and nobody has said that it has left\n" +
			"  ACKED   the last epoch with a barrier that it has acknowledged\n" +
			"  LEASE   held; lost: it may be dead, or cut off from Consul and still serve",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return showPools(c, cmd, "/api/v1/proxies", ofPools(pool), func(out io.Writer, pools []admin.PoolProxies) error {
				switch {
				case len(pools) == 0 && pool != "":
					return fmt.Errorf("there is no pool %q with its topology in Consul; without --pool all are listed", pool)
				case len(pools) == 0:
					return errors.New("no pool of this Sluice has its topology in Consul, so it knows no other proxies")
				}
				return printProxies(out, pools)
			})
		},
	}
	cmd.Flags().StringVar(&pool, "pool", "", "of this pool only")
	cmd.AddCommand(c.forgetCommand())
	return cmd
}

// printProxies prints a table for each pool. A pool of which nothing is known makes it an error, after the others.
func printProxies(out io.Writer, pools []admin.PoolProxies) error {
	var errs []error
	for i, p := range pools {
		if p.Error != "" {
			errs = append(errs, fmt.Errorf("pool %s: %s", cell(p.Name), firstLine([]byte(p.Error))))
			continue
		}
		if i > 0 {
			fmt.Fprintln(out)
		}
		barrier := ""
		if p.Barrier {
			barrier = ", to be acknowledged by all"
		}
		fmt.Fprintf(out, "pool %s, epoch %d%s\n", cell(p.Name), p.Epoch, barrier)
		table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "ID\tADDR\tVERSION\tSTATE\tACKED\tLEASE")
		for _, x := range p.Proxies {
			id := x.ID
			if id == p.Self {
				id += " *"
			}
			acked := "-"
			if x.Acked > 0 {
				acked = strconv.FormatUint(x.Acked, 10)
			}
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", cell(id), cell(x.Addr), cell(x.Version), cell(x.State), acked, cell(x.Lease))
		}
		if err := table.Flush(); err != nil {
			return err
		}
	}
	return errors.Join(errs...)
}
