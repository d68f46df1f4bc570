package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sluice/proxy/admin"
)

// The exit codes of ctl status, for scripts: 0 is well.
const (
	exitNotWell   = 1
	exitUnreached = 2
)

// exitWith is an error with an exit code of its own.
type exitWith struct {
	error
	code int
}

// ExitCode is what main ends with.
func (e exitWith) ExitCode() int { return e.code }

// Unwrap lets errReported be found.
func (e exitWith) Unwrap() error { return e.error }

// statusLines is what fits on a small terminal together with the command.
const statusLines = 20

func (c *ctl) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Is it well, and if not, what and where",
		Long: "Say whether a running Sluice is well, and if not, what is wrong and where.\n\n" +
			"Exit code 0: well. 1: not well. 2: it can't be asked.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var st admin.Status
			body, err := c.get(cmd.Context(), "/api/v1/status", nil, &st)
			if err == nil && st.Pools == nil {
				err = errors.New("the answer has no pools in it; " + notSluice)
			}
			if err != nil {
				return exitWith{err, exitUnreached}
			}
			if c.asJSON() {
				_, err = cmd.OutOrStdout().Write(body)
			} else {
				_, err = io.WriteString(cmd.OutOrStdout(), describeStatus(&st, time.Now()))
			}
			if err == nil && !st.Well {
				err = exitWith{errReported, exitNotWell}
			}
			return err
		},
	}
}

// describeStatus has the verdict first, then the pools, then the problems, as many as fit.
func describeStatus(st *admin.Status, now time.Time) string {
	verdict := "well"
	if !st.Well {
		verdict = fmt.Sprintf("NOT WELL, %d problem(s)", len(st.Problems))
	}
	lines := []string{fmt.Sprintf("%s   sluice %s, up %s, %d client(s)", verdict, cell(st.Version), shortSeconds(&st.UptimeSeconds), st.Clients)}
	for i := range st.Pools {
		pool := poolLines(&st.Pools[i], now)
		// The problems are what matters: some of their lines are kept.
		if room := statusLines - len(lines) - min(len(st.Problems)+1, 8); i > 0 && len(pool) > room {
			lines = append(lines, fmt.Sprintf("and %d more pool(s); --output json has them all", len(st.Pools)-i))
			break
		}
		lines = append(lines, pool...)
	}
	if len(st.Problems) > 0 {
		lines = append(lines, "problems:")
	}
	for i, p := range st.Problems {
		if room := statusLines - len(lines); room == 1 && i < len(st.Problems)-1 {
			lines = append(lines, fmt.Sprintf("  and %d more; --output json has them all", len(st.Problems)-i))
			break
		}
		lines = append(lines, "  "+firstLine([]byte(p)))
	}
	return strings.Join(lines, "\n") + "\n"
}

func poolLines(p *admin.PoolStatus, now time.Time) []string {
	topology := fmt.Sprintf("  topology   %s, epoch %d", cell(p.Source), p.Epoch)
	if p.AgeSeconds != nil {
		topology += ", applied " + shortSeconds(p.AgeSeconds) + " ago"
	}
	if p.Alarm != "" {
		topology += ", ALARM " + cell(p.Alarm)
	}
	lines := []string{
		"pool " + cell(p.Name),
		topology,
		fmt.Sprintf("  groups     %d of %d serving, %d of %d replicas in sync", p.GroupsServing, p.Groups, p.ReplicasGood, p.Replicas),
		fmt.Sprintf("  slots      %d: %d uncovered, %d locked, %d moving; %d request(s) held",
			p.Slots, p.SlotsUncovered, p.SlotsLocked, p.SlotsMoving, p.RequestsHeld),
	}
	if len(p.MultiSlot) > 0 {
		lines = append(lines, "  multi_key  "+multiSlotLine(p.MultiSlot))
	}
	if p.Migrations > 0 {
		lines = append(lines, fmt.Sprintf("  migrations %d under way; see sluice ctl migrations", p.Migrations))
	}
	if p.Consul != nil {
		lines = append(lines, "  consul     "+consulLine(p.Consul, now))
	}
	return lines
}

// multiSlotLine says how many requests could not stand that their slots get several owners, and which commands they
// are most often.
func multiSlotLine(counts map[string]uint64) string {
	const shown = 3
	sum := uint64(0)
	commands := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), strings.Compare(a, b))
	})
	var most []string
	for i, command := range commands {
		sum += counts[command]
		if i < shown {
			most = append(most, fmt.Sprintf("%s %d", cell(command), counts[command]))
		}
	}
	if len(commands) > shown {
		most = append(most, "...")
	}
	return fmt.Sprintf("%d request(s) needed several slots in one group: %s", sum, strings.Join(most, ", "))
}

func consulLine(st *admin.ConsulStatus, now time.Time) string {
	parts := []string{"UNREACHABLE"}
	if st.Up {
		parts[0] = "reachable"
	}
	contact := "never seen"
	if !st.LastContact.IsZero() {
		contact = "last contact " + sinceText(now, st.LastContact) + " ago"
	}
	lease := "lease LOST"
	if st.LeaseSure {
		lease = "lease " + shortSeconds(&st.LeaseSeconds)
	}
	service := "not registered"
	switch {
	case st.Registered:
		service = "registered"
	case st.Register:
		service = "NOT REGISTERED"
	}
	return strings.Join(append(parts, contact, lease, service), ", ")
}
