package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"sluice/discovery/replication"
	"sluice/proxy/admin"
)

// followEvery is the time between two questions of --follow.
const followEvery = time.Second

func (c *ctl) eventsCommand() *cobra.Command {
	var (
		since  uint64
		limit  int
		follow bool
	)
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Show what happened to replicas and masters",
		Long: "Show what happened to replicas and masters, oldest first. Sluice keeps the newest events, and numbers them\n" +
			"from 1 each time it is started. --follow waits for more until it is interrupted, also while Sluice is away;\n" +
			"with --output json it prints one event per line.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			body, events, err := c.events(cmd.Context(), since, limit)
			if err != nil {
				return err
			}
			if !follow && c.asJSON() {
				_, err := cmd.OutOrStdout().Write(body)
				return err
			}
			if !c.asJSON() {
				fmt.Fprintf(cmd.OutOrStdout(), eventFormat, "ID", "TIME", "GROUP", "NODE", "CHANGE", "REASON")
			}
			if !follow {
				return c.printEvents(cmd.OutOrStdout(), events)
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			f := follower{ctl: c, out: cmd.OutOrStdout(), notes: cmd.ErrOrStderr()}
			return f.run(ctx, since, events)
		},
	}
	cmd.Flags().Uint64Var(&since, "since", 0, "only events with an id above this one")
	cmd.Flags().IntVar(&limit, "limit", 100, "the newest N only")
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "wait for more")
	return cmd
}

// events asks for the newest events above since.
func (c *ctl) events(ctx context.Context, since uint64, limit int) ([]byte, []replication.Event, error) {
	query := url.Values{"limit": {strconv.Itoa(limit)}}
	if since > 0 {
		query.Set("since", strconv.FormatUint(since, 10))
	}
	var list admin.EventList
	body, err := c.get(ctx, "/api/v1/events", query, &list)
	if err != nil {
		return nil, nil, err
	}
	if list.Events == nil {
		return nil, nil, errors.New("the answer has no events in it; " + notSluice)
	}
	return body, list.Events, nil
}

// eventFormat has columns of fixed width, since --follow prints before it knows what comes.
const eventFormat = "%-5s %-19s %-9s %-21s %-22s %s\n"

func (c *ctl) printEvents(out io.Writer, events []replication.Event) error {
	lines := json.NewEncoder(out)
	lines.SetEscapeHTML(false)
	for _, e := range events {
		var err error
		if c.asJSON() {
			err = lines.Encode(e)
		} else {
			_, err = fmt.Fprintf(out, eventFormat, strconv.FormatUint(e.ID, 10), e.Time.Local().Format(time.DateTime),
				cell(e.Pool+"/"+e.Group), cell(e.Node), cell(changeOf(e)), cell(e.Reason))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// changeOf is what happened in few words: "in sync -> lagging", "master 10.0.0.1:6379 -> 10.0.0.2:6379".
func changeOf(e replication.Event) string {
	change := e.To
	if e.From != "" {
		change = e.From + " -> " + e.To
	}
	switch {
	case e.Kind == "state":
		return change
	case change == "":
		return e.Kind
	}
	return e.Kind + " " + change
}

// follower prints events as they come. Each question includes the last event that was printed. If the answer does
// not begin with it, Sluice was started again and its ids with it, or so much has happened that it is not kept any
// more.
type follower struct {
	ctl        *ctl
	out, notes io.Writer
	last       replication.Event // printed; without a time only its id is known, and 0 is before the first
	away       bool              // Sluice did not answer the last question
}

// run ends with ctx, which is no error.
func (f *follower) run(ctx context.Context, since uint64, events []replication.Event) error {
	f.last.ID = since
	every := time.NewTicker(followEvery)
	defer every.Stop()
	for {
		if err := f.ctl.printEvents(f.out, events); err != nil {
			return err
		}
		if n := len(events); n > 0 {
			f.last = events[n-1]
		}
		select {
		case <-ctx.Done():
			return nil
		case <-every.C:
		}
		events = f.ask(ctx)
	}
}

// ask returns the events since the last one. A failure is told once and not the end: Sluice may be on its way back.
func (f *follower) ask(ctx context.Context) []replication.Event {
	_, events, err := f.ctl.events(ctx, max(f.last.ID, 1)-1, admin.MaxEvents)
	if ctx.Err() != nil {
		return nil
	}
	if (err != nil) != f.away {
		f.away = err != nil
		if err != nil {
			fmt.Fprintf(f.notes, "sluice: %v; trying again until it answers\n", err)
		} else {
			fmt.Fprintln(f.notes, "sluice: it answers again")
		}
	}
	if err != nil || f.last.ID == 0 {
		return events
	}
	switch {
	case len(events) > 0 && f.isLast(events[0]):
		return events[1:]
	case len(events) > 0 && events[0].ID > f.last.ID:
		fmt.Fprintf(f.notes, "sluice: %d events in between are not kept\n", events[0].ID-f.last.ID-1)
		return events
	}
	fmt.Fprintln(f.notes, "sluice: it was started again, its events are numbered from 1 again")
	f.last = replication.Event{}
	return f.ask(ctx)
}

func (f *follower) isLast(e replication.Event) bool {
	return e.ID == f.last.ID && (f.last.Time.IsZero() || e.Time.Equal(f.last.Time))
}
