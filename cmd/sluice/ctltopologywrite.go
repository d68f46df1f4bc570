package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/user"
	"strings"

	"github.com/hashicorp/consul/api"
	"github.com/spf13/cobra"

	"sluice/discovery/consul"
	"sluice/proxy/admin"
)

func (t *ctlTopology) initCommand() *cobra.Command {
	var fromConfig, dryRun bool
	var groups []string
	cmd := &cobra.Command{
		Use:   "init {--from-config | --groups ID,ID | --groups ID=HOST:PORT,HOST:PORT ...}",
		Short: "Write the first topology of a pool",
		Long: "Write the first topology of a pool; nothing may be there yet. With --from-config it has the [[pool.group]] of the\n" +
			"configuration, whose kind is \"static\" still. With --groups the slots are divided evenly; a group that names no nodes\n" +
			"gets them from the services of Consul.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			target, err := t.target(cmd)
			if err != nil {
				return err
			}
			d, err := target.first(fromConfig, groups)
			if err != nil {
				return err
			}
			if err := target.refuseInvalid(cmd, d, target.name); err != nil {
				return err
			}
			if err := target.refuseIfThere(cmd.Context()); err != nil {
				return err
			}
			d.Epoch.Change = "init by " + whoami()
			return target.write(cmd, 0, d, dryRun)
		},
	}
	cmd.Flags().BoolVar(&fromConfig, "from-config", false, "groups and slots are those of the configuration")
	cmd.Flags().StringArrayVar(&groups, "groups", nil, "groups with equal parts of the slots; may be given several times")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would be written")
	return cmd
}

// first is the document that init writes.
func (t *topologyTarget) first(fromConfig bool, groups []string) (*consul.Document, error) {
	if t.conf == nil {
		return nil, errors.New("init needs the slot_model of the pool: name the configuration with --config")
	}
	format := consul.FormatOf(*t.model)
	switch {
	case fromConfig == (len(groups) > 0):
		return nil, errors.New("name the groups: either --from-config or --groups, such as --groups 1,2")
	case !fromConfig:
		return evenSplit(groups, format)
	case len(t.conf.Groups) == 0:
		return nil, fmt.Errorf("--from-config: pool %s of %s has no [[pool.group]]; name them with --groups", t.name, t.file)
	}
	return fromGroups(t.conf.Groups, format), nil
}

// refuseIfThere says what is there already. Proxies that wait for their first topology may be there; proxies that have seen
// one may not: it was lost, and a first one in its place would be refused by them, or worse, be wrong.
func (t *topologyTarget) refuseIfThere(ctx context.Context) error {
	opts, cancel := t.options(ctx)
	defer cancel()
	for _, name := range []string{"format", "topology/"} {
		keys, _, err := t.kv.Keys(t.root+name, "", opts)
		if err != nil {
			return reached(fmt.Errorf("consul: list %s%s: %w", t.root, name, err))
		}
		if len(keys) > 0 {
			return fmt.Errorf("%s is there already; `sluice ctl topology show` shows the topology, and `import` changes it", keys[0])
		}
	}
	epoch, proxies, err := lastSeenEpoch(ctx, t.kv, t.root)
	if err != nil {
		return err
	}
	if epoch > 0 {
		return fmt.Errorf("there is no topology in %s, but there was one: %d proxies (%s) know epoch %d; "+
			"write it back with `sluice ctl topology import FILE`, from an export",
			t.root, len(proxies), strings.Join(proxies[:min(len(proxies), 3)], ", "), epoch)
	}
	return nil
}

func (t *topologyTarget) options(ctx context.Context) (*api.QueryOptions, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, ctlTimeout)
	return (&api.QueryOptions{}).WithContext(ctx), cancel
}

// refuseInvalid prints everything that is wrong with a document, one line each.
func (t *topologyTarget) refuseInvalid(cmd *cobra.Command, d *consul.Document, name string) error {
	err := d.Validate(t.modelFor(d))
	if err == nil {
		return nil
	}
	for line := range strings.SplitSeq(err.Error(), "\n") {
		fmt.Fprintf(cmd.ErrOrStderr(), "%s: %s\n", name, line)
	}
	return errReported
}

// write writes d, which was made from what was read at index, and says so.
func (t *topologyTarget) write(cmd *cobra.Command, index uint64, d *consul.Document, dryRun bool) error {
	what := fmt.Sprintf("epoch %d of pool %s: %d group(s), %d slots, in %s", d.Epoch.Epoch+1, t.name, len(d.Groups), d.Format.Slots, t.root)
	if dryRun {
		_, err := fmt.Fprintln(cmd.OutOrStdout(), "would write "+what)
		return err
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), ctlTimeout)
	defer cancel()
	err := consul.WriteDocument(ctx, t.kv, t.root, index, d)
	switch {
	case errors.Is(err, consul.ErrConflict):
		return fmt.Errorf("not written: the topology in %s has changed since it was read, by the controller or by somebody else; look at it and try again", t.root)
	case err != nil:
		return reached(err)
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout(), "wrote "+what)
	return err
}

func (t *ctlTopology) importCommand() *cobra.Command {
	var yes, dryRun bool
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Replace the topology with a document, after showing what changes",
		Long: "Replace the topology with a document, TOML or JSON as export prints it; - is standard input. Everything that is wrong\n" +
			"with it is printed, else what changes. It is written at once and as a whole, or not at all if somebody else has\n" +
			"changed the topology meanwhile. It moves no keys: a slot that changes its group there loses sight of its keys.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			target, err := t.target(cmd)
			if err != nil {
				return err
			}
			return target.importFile(cmd, args[0], yes, dryRun)
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "write it without asking")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would change")
	return cmd
}

func (t *topologyTarget) importFile(cmd *cobra.Command, name string, yes, dryRun bool) error {
	data, err := readInput(cmd, name)
	if err != nil {
		return err
	}
	file, err := parseTopology(name, data)
	if err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			fmt.Fprintln(cmd.ErrOrStderr(), line)
		}
		return errReported
	}
	old, index, err := t.read(cmd.Context())
	missing := errors.Is(err, consul.ErrNoTopology)
	if err != nil && !consul.IsContent(err) {
		return err
	}
	d := file.document(t.format(old))
	if err := t.refuseInvalid(cmd, d, name); err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	switch {
	case missing:
		fmt.Fprintf(out, "there is no topology in %s yet\n", t.root)
	case old == nil:
		fmt.Fprintf(out, "what is there can't be used: %s\n", strings.ReplaceAll(err.Error(), "\n", "; "))
	default:
		changes := consul.Diff(old, d)
		if len(changes) == 0 {
			_, err := fmt.Fprintf(out, "nothing changes: epoch %d says the same\n", old.Epoch.Epoch)
			return err
		}
		if old.Format != d.Format {
			return fmt.Errorf("%s: it is for %d slots by %s, the pool has %d by %s, and that never changes: use another root",
				name, d.Format.Slots, d.Format.Hash, old.Format.Slots, old.Format.Hash)
		}
		for _, line := range changes {
			fmt.Fprintln(out, cell(line))
		}
		d.Epoch.Epoch = old.Epoch.Epoch
		if n := handedOver(old, d); n > 0 {
			fmt.Fprintf(out, "%d slot(s) change their group, and an import moves no keys: what they hold will not be found any more\n", n)
		}
	}
	// A number that proxies know already would be refused by them.
	known, err := t.knownEpoch(cmd.Context())
	if err != nil {
		return err
	}
	d.Epoch.Epoch = max(d.Epoch.Epoch, known)
	d.Epoch.Change = "import of " + name + " by " + whoami()
	if !dryRun && !yes {
		if err := confirm(cmd, "write it?"); err != nil {
			return err
		}
	}
	return t.write(cmd, index, d, dryRun)
}

// knownEpoch is the highest epoch that a proxy may have seen: that of Consul, even if the rest of what is there is broken,
// and those that proxies have said. The leader is asked, since a number that is too low is refused by the proxies.
func (t *topologyTarget) knownEpoch(ctx context.Context) (uint64, error) {
	opts, cancel := t.options(ctx)
	defer cancel()
	opts.RequireConsistent = true
	pair, _, err := t.kv.Get(t.root+"topology/epoch", opts)
	if err != nil {
		return 0, reached(fmt.Errorf("consul: read %stopology/epoch: %w", t.root, err))
	}
	var epoch consul.Epoch
	if pair != nil {
		_ = json.Unmarshal(pair.Value, &epoch) // What can be read of it.
	}
	highest := epoch.Epoch
	for _, part := range []struct {
		dir  string
		read func(p *admin.Proxy, pair *api.KVPair) error
	}{{"members/", readMember}, {"acks/", readAck}} {
		pairs, _, err := t.kv.List(t.root+part.dir, opts)
		if err != nil {
			return 0, reached(fmt.Errorf("consul: list %s%s: %w", t.root, part.dir, err))
		}
		for _, pair := range pairs {
			id := strings.TrimPrefix(pair.Key, t.root+part.dir)
			if id == "" || strings.HasPrefix(id, doctorKeyPrefix) {
				continue
			}
			var p admin.Proxy
			if err := part.read(&p, pair); err != nil {
				return 0, fmt.Errorf("consul: %s: %w", pair.Key, err)
			}
			highest = max(highest, p.Seen, p.Acked)
		}
	}
	return highest, nil
}

// format is that of a document that has none.
func (t *topologyTarget) format(old *consul.Document) consul.Format {
	switch {
	case t.model != nil:
		return consul.FormatOf(*t.model)
	case old != nil:
		return old.Format
	}
	return consul.Format{} // Validate says that it is missing.
}

// handedOver counts the slots that a change gives to another group, or takes from the one that they were moving to: keys
// that have moved already are there.
func handedOver(old, d *consul.Document) int {
	model, err := d.Format.Model()
	if err != nil {
		return 0
	}
	was, _ := old.Assignments(model)
	is, _ := d.Assignments(model)
	n := 0
	for i := range was {
		was, is := was[i], is[i]
		if was.Group != is.Group && was.Group != "" || was.State == consul.Moving && is.To != was.To && is.Group != was.To {
			n++
		}
	}
	return n
}

// confirm asks somebody at a terminal. Without one there is nobody to ask, and nothing is done.
func confirm(cmd *cobra.Command, question string) error {
	in := cmd.InOrStdin()
	if f, ok := in.(*os.File); ok {
		if info, err := f.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
			return errors.New("not written: there is nobody to ask; add --yes")
		}
	}
	fmt.Fprint(cmd.OutOrStdout(), question+" [y/N] ")
	answer, _ := bufio.NewReader(in).ReadString('\n')
	if a := strings.ToLower(strings.TrimSpace(answer)); a == "y" || a == "yes" {
		return nil
	}
	return errors.New("not written, as you say")
}

// readInput reads a file, or standard input for "-".
func readInput(cmd *cobra.Command, name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(io.LimitReader(cmd.InOrStdin(), ctlMaxAnswer))
	}
	return os.ReadFile(name)
}

// whoami is who changes something, for those who read it later.
func whoami() string {
	name := cmp.Or(os.Getenv("SUDO_USER"), os.Getenv("USER"))
	if u, err := user.Current(); name == "" && err == nil {
		name = u.Username
	}
	host, _ := os.Hostname()
	return cmp.Or(name, "somebody") + "@" + cmp.Or(host, "somewhere")
}

func (t *ctlTopology) acceptCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "accept",
		Short: "Let a proxy apply a topology that it refuses because it is older",
		Long: "Let the proxy at --admin apply the topology that Consul has, once, although it is older than the one in force, or\n" +
			"another one of the same number: after a snapshot of Consul was restored. Ask each proxy. To go on from what the\n" +
			"proxies have instead, import it.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var accepted admin.Accepted
			body, err := t.ask(cmd.Context(), http.MethodPost, "/api/v1/topology/accept", ofPools(t.pool), &accepted)
			if err != nil {
				return err
			}
			if t.asJSON() {
				_, err := cmd.OutOrStdout().Write(body)
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "pool %s, where epoch %d is in force: %s\nit was refused because: %s\n",
				cell(accepted.Pool), accepted.Epoch, cell(accepted.Result), cell(accepted.Alarm))
			return err
		},
	}
}
