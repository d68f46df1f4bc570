package main

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"sluice/proxy/admin"
)

func (c *ctl) slowlogCommand() *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use:   "slowlog",
		Short: "Show slow requests and what their time was spent on",
		Long: "Show the newest slow requests of all pools, newest first.\n\n" +
			"  TOTAL    from the arrival of the request, or the begin of its hold, to the reply of the server\n" +
			"  HELD     of it, waiting for its slot or its master\n" +
			"  BACKEND  of it, at the server; of a command that was divided, at the slowest one\n" +
			"  SLOWEST  what that server was asked, of a command that was divided\n\n" +
			"What is slow, and how many are kept, is slowlog-log-slower-than and slowlog-max-len of CONFIG SET.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var list admin.SlowLog
			body, err := c.get(cmd.Context(), "/api/v1/slowlog", url.Values{"limit": {strconv.Itoa(limit)}}, &list)
			if err != nil {
				return err
			}
			if list.Requests == nil {
				return errors.New("the answer has no requests in it; " + notSluice)
			}
			if c.asJSON() {
				_, err := cmd.OutOrStdout().Write(body)
				return err
			}
			return printSlow(cmd.OutOrStdout(), list.Requests)
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 100, "the newest N only")
	return cmd
}

func printSlow(out io.Writer, list []admin.SlowRequest) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tTIME\tTOTAL\tHELD\tBACKEND\tNODE\tPOOL\tCLIENT\tCOMMAND\tSLOWEST")
	for _, r := range list {
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.ID, r.Time.Local().Format(time.DateTime),
			micros(r.TotalMicros), micros(r.HeldMicros), micros(r.BackendMicros), cell(r.Backend), cell(r.Pool),
			cell(strings.TrimSpace(r.Client+" "+r.Name)), commandCell(r.Args), commandCell(r.SlowestPart))
	}
	return w.Flush()
}

func micros(n int64) string { return (time.Duration(n) * time.Microsecond).String() }

// longestCommand is as much of a command as a line of the table shows.
const longestCommand = 60

func commandCell(args []string) string {
	text := []rune(cell(strings.Join(args, " ")))
	if len(text) > longestCommand {
		return string(text[:longestCommand-1]) + "…"
	}
	return string(text)
}
