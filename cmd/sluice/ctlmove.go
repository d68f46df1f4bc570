package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"sluice/discovery/consul"
	"sluice/discovery/controller"
	"sluice/discovery/controller/driver"
	"sluice/router"
)

// moveRequest is what ctl move asks for.
type moveRequest struct {
	slots, to   string
	yes, dryRun bool
	moveOptions
}

func (c *ctl) moveCommand() *cobra.Command {
	t := &ctlTopology{ctl: c}
	var r moveRequest
	cmd := &cobra.Command{
		Use:   "move --slots RANGES --to GROUP",
		Short: "Ask the controller to move slots to a group",
		Long: "Ask the controller to move slots to a group: `sluice controller` has to run, and `sluice ctl moves`\n" +
			"shows how far it is. The slots are moved in batches. A batch is locked, which all proxies acknowledge;\n" +
			"then its keys are moved, and when the source has none left the slots are the target's. Consul is\n" +
			"reached as by ctl topology.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			target, err := t.target(cmd)
			if err != nil {
				return err
			}
			return target.move(cmd, r)
		},
	}
	t.addFlags(cmd)
	cmd.Flags().StringVar(&r.slots, "slots", "", `slots to move, such as "0-127,200"`)
	cmd.Flags().StringVar(&r.to, "to", "", "group that is to have them")
	r.moveOptions.add(cmd)
	cmd.Flags().BoolVarP(&r.yes, "yes", "y", false, "ask for it without asking back")
	cmd.Flags().BoolVar(&r.dryRun, "dry-run", false, "only say what would be asked for")
	_, _ = cmd.MarkFlagRequired("slots"), cmd.MarkFlagRequired("to")
	cmd.AddCommand(
		t.wishCommand("pause ID", "Stop moving keys, behind the command that is under way", controller.Pause),
		t.wishCommand("resume ID", "Go on with a move that is paused, or that has stopped", controller.Run),
		t.abortCommand(),
	)
	return cmd
}

// move asks for a move, after saying what it is.
func (t *topologyTarget) move(cmd *cobra.Command, r moveRequest) error {
	if err := r.moveOptions.check(); err != nil {
		return err
	}
	ranges, err := router.ParseRanges(r.slots)
	if err != nil {
		return fmt.Errorf("--slots: %w", err)
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), ctlTimeout)
	defer cancel()
	site, err := t.moves(ctx)
	if err != nil {
		return err
	}
	model := t.modelFor(site.Topology)
	m := t.newMove(r.to, ranges, r.moveOptions)
	if err := site.Check(m, model); err != nil {
		return err
	}
	if err := t.checkMethod(r.method); err != nil {
		return err
	}
	plan, err := t.plan(&m, site.Topology)
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	fmt.Fprintln(out, plan)
	if r.dryRun {
		return nil
	}
	if !r.yes {
		if err := confirm(cmd, "move them?"); err != nil {
			return err
		}
		ctx, cancel = context.WithTimeout(cmd.Context(), ctlTimeout) // Somebody may have thought about it.
		defer cancel()
	}
	if err := driver.Ask(ctx, t.kv, t.root, m); err != nil {
		return reached(err)
	}
	fmt.Fprintf(out, "move %s is asked for; `sluice ctl moves` shows it\n", m.ID)
	if !site.Active {
		fmt.Fprintln(out, noController)
	}
	return nil
}

// noController is said when nobody would do what was asked for.
const noController = "no controller is active: start `sluice controller --config FILE`"

// moves reads the moves of the pool.
func (t *topologyTarget) moves(ctx context.Context) (*driver.Site, error) {
	doc, _, err := t.read(ctx)
	if err != nil {
		return nil, err
	}
	site, err := driver.Read(ctx, t.kv, t.root, t.modelFor(doc))
	if err != nil {
		return nil, reached(err)
	}
	return site, nil
}

// plan says what a move will do.
func (t *topologyTarget) plan(m *controller.Move, doc *consul.Document) (string, error) {
	list, err := doc.Assignments(t.modelFor(doc))
	if err != nil {
		return "", err
	}
	ranges, err := router.ParseRanges(m.Slots)
	if err != nil {
		return "", err
	}
	slots, batches := 0, 0
	from := make(map[string]int)
	for _, r := range ranges {
		for slot := r.From; slot <= r.To; slot++ {
			if g := list[slot].Group; g != m.To {
				slots++
				from[cmp.Or(g, "nobody")]++
			}
		}
	}
	var sources []string
	for group, n := range from {
		sources = append(sources, fmt.Sprintf("%d of group %s", n, group))
		batches += (n + m.BatchSize - 1) / m.BatchSize
	}
	slices.Sort(sources)
	if slots == 0 {
		return "", fmt.Errorf("group %s has all of slots %s already", m.To, m.Slots)
	}
	text := fmt.Sprintf("pool %s: %d slot(s) to group %s: %s; in %d batch(es) of at most %d", t.name, slots, m.To,
		strings.Join(sources, ", "), batches, m.BatchSize)
	return text, nil
}

// wishCommand is a command that says what is wanted of a move.
func (t *ctlTopology) wishCommand(use, short string, verb controller.Verb) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return t.wish(cmd, args[0], verb) },
	}
}

func (t *ctlTopology) abortCommand() *cobra.Command {
	var back, forward bool
	cmd := &cobra.Command{
		Use:   "abort ID {--forward | --back}",
		Short: "End a move",
		Long: "End a move. Batches that are done stay where they are. What becomes of the batch that is under way, if\n" +
			"some of its keys have moved, has to be said: --forward finishes it, --back takes its keys back.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if back == forward {
				return errors.New("say what is to become of the batch that is under way: " +
					"--forward finishes it, --back takes its keys back")
			}
			verb := controller.AbortForward
			if back {
				verb = controller.AbortBack
			}
			return t.wish(cmd, args[0], verb)
		},
	}
	cmd.Flags().BoolVar(&forward, "forward", false, "finish the batch that is under way")
	cmd.Flags().BoolVar(&back, "back", false, "take the keys of the batch that is under way back")
	return cmd
}

func (t *ctlTopology) wish(cmd *cobra.Command, id string, verb controller.Verb) error {
	target, err := t.target(cmd)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), ctlTimeout)
	defer cancel()
	if err := driver.SetWish(ctx, target.kv, target.root, id, verb, whoami()); err != nil {
		return reached(err)
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "the controller is told: %s move %s\n", cmp.Or(string(verb), "run"), cell(id))
	return err
}
