package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/hashicorp/consul/api"
	"github.com/spf13/cobra"

	"sluice/conf"
	"sluice/discovery/consul"
	"sluice/router"
)

// ctlTopology is about the topology of a pool in Consul. Its commands talk to Consul themselves, as [consul] of a
// configuration file says, so they work while no proxy runs; only accept is for a proxy.
type ctlTopology struct {
	*ctl
	config string
	pool   string
}

// defaultConfig is the configuration of those who have one in front of them.
const defaultConfig = "sluice.toml"

func (c *ctl) topologyCommand() *cobra.Command {
	t := &ctlTopology{ctl: c}
	cmd := &cobra.Command{
		Use:   "topology",
		Short: "Show and change the topology that a pool has in Consul",
		Long: "Show and change the topology that a pool has in Consul. It is reached as [consul] of the configuration says, and\n" +
			"without one as CONSUL_HTTP_ADDR and its kin say; no proxy has to run.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return fmt.Errorf("ctl topology has no command %q; see sluice ctl topology --help", args[0])
		},
	}
	t.addFlags(cmd)
	cmd.AddCommand(t.showCommand(), t.exportCommand(), t.initCommand(), t.importCommand(), t.acceptCommand())
	return cmd
}

// addFlags adds the flags that say where the pool is.
func (t *ctlTopology) addFlags(cmd *cobra.Command) {
	cmd.PersistentFlags().StringVarP(&t.config, "config", "c", os.Getenv("SLUICE_CONFIG"),
		"configuration file (or SLUICE_CONFIG; without both "+defaultConfig+", if it is here)")
	cmd.PersistentFlags().StringVar(&t.pool, "pool", "", "name of the pool, if there are several")
}

// topologyTarget is the pool that a command is about.
type topologyTarget struct {
	name  string
	root  string
	conf  *conf.Pool    // nil without a configuration file
	file  string        // the configuration file
	model *router.Model // nil without a configuration file

	client *api.Client
	kv     *api.KV
}

// target finds the pool and makes a client of Consul.
func (t *ctlTopology) target(cmd *cobra.Command) (*topologyTarget, error) {
	cfg, file, err := loadCtlConfig(cmd, t.config)
	if err != nil {
		return nil, err
	}
	out := &topologyTarget{name: t.pool, file: file}
	if cfg == nil {
		if t.pool == "" {
			return nil, fmt.Errorf("which pool? There is no %s here; name the configuration with --config, or the pool with --pool", defaultConfig)
		}
		empty := conf.Default()
		cfg = &empty
	} else if out.conf, err = poolOf(cfg, file, t.pool); err != nil {
		return nil, err
	}
	if out.conf != nil {
		out.name, out.root = out.conf.Name, out.conf.Discovery.Root
		model := modelOf(out.conf)
		out.model = &model
	}
	out.root = cmp.Or(out.root, conf.ConsulRoot(out.name))
	client, err := consul.NewClient(consulClientConfig(cfg))
	if err != nil {
		return nil, err
	}
	out.client, out.kv = client, client.KV()
	return out, nil
}

// loadCtlConfig reads the configuration of a command that can do without. It is nil if none is named and none is here.
func loadCtlConfig(cmd *cobra.Command, file string) (*conf.Config, string, error) {
	if file == "" {
		if _, err := os.Stat(defaultConfig); errors.Is(err, os.ErrNotExist) {
			return nil, "", nil
		}
		file = defaultConfig
	}
	cfg, err := conf.LoadWith(file, conf.Overrides{Env: os.Environ()})
	if err != nil {
		return nil, file, printProblems(cmd, err)
	}
	return cfg, file, nil
}

// poolOf is the pool of that name; without one the only one, or the only one whose topology is in Consul.
func poolOf(cfg *conf.Config, file, name string) (*conf.Pool, error) {
	var names []string
	var inConsul []*conf.Pool
	for i := range cfg.Pools {
		p := &cfg.Pools[i]
		if p.Name == name || name == "" && len(cfg.Pools) == 1 {
			return p, nil
		}
		names = append(names, p.Name)
		if p.Discovery.Kind == conf.DiscoverConsul {
			inConsul = append(inConsul, p)
		}
	}
	switch {
	case name != "":
		return nil, fmt.Errorf("--pool %q: %s has no pool of this name; it has %s", name, file, strings.Join(names, ", "))
	case len(inConsul) == 1:
		return inConsul[0], nil
	}
	return nil, fmt.Errorf("which pool? %s has several; name one with --pool: %s", file, strings.Join(names, ", "))
}

// modelOf is how the pool makes slots of keys.
func modelOf(p *conf.Pool) router.Model {
	if p.SlotModel == conf.SlotCodis {
		return router.CodisModel(p.Slots)
	}
	return router.ClusterModel()
}

// read returns the topology that there is.
func (t *topologyTarget) read(ctx context.Context) (*consul.Document, uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, ctlTimeout)
	defer cancel()
	d, index, err := consul.ReadDocument(ctx, t.kv, t.root)
	if err != nil {
		return nil, index, reached(err)
	}
	return d, index, nil
}

// reached adds what to do when Consul does not answer at all.
func reached(err error) error {
	if strings.Contains(err.Error(), "dial ") || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%w; is Consul running there? [consul] address or CONSUL_HTTP_ADDR say where it is", err)
	}
	return err
}

func (t *ctlTopology) showCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show",
		Short: "Show groups, nodes and slots",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			target, err := t.target(cmd)
			if err != nil {
				return err
			}
			d, index, err := target.read(cmd.Context())
			if err != nil {
				return err
			}
			if t.asJSON() {
				return printJSON(cmd.OutOrStdout(), shownTopology{
					Pool: target.name, Root: target.root, Index: index, Change: d.Epoch.Change, Barrier: d.Epoch.Barrier, topologyFile: fileOf(d),
				})
			}
			return target.print(cmd.OutOrStdout(), d)
		},
	}
}

// shownTopology is the answer of show as JSON.
type shownTopology struct {
	Pool    string `json:"pool"`
	Root    string `json:"root"`
	Index   uint64 `json:"index"` // of Consul, changes with every write
	Change  string `json:"change"`
	Barrier bool   `json:"barrier"`
	*topologyFile
}

func printJSON(out io.Writer, v any) error {
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// print prints a table of the groups, and one of the slots that are not settled.
func (t *topologyTarget) print(out io.Writer, d *consul.Document) error {
	fmt.Fprintf(out, "pool %s, epoch %d, %d slots by %s, in %s\n", cell(t.name), d.Epoch.Epoch, d.Format.Slots, cell(d.Format.Hash), cell(t.root))
	if d.Epoch.Change != "" {
		fmt.Fprintf(out, "last change: %s\n", cell(d.Epoch.Change))
	}
	slots := make(map[string][]string)
	for _, s := range d.Slots {
		slots[s.Group] = append(slots[s.Group], s.Slots)
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "GROUP\tSLOTS\tNODES")
	for _, g := range d.Groups {
		nodes := make([]string, len(g.Nodes))
		for i, n := range g.Nodes {
			nodes[i] = n.Addr
			if n.Zone != "" {
				nodes[i] += " (" + n.Zone + ")"
			}
		}
		if len(nodes) == 0 {
			nodes = []string{"those that are services of Consul"}
		}
		fmt.Fprintf(table, "%s\t%s\t%s\n", cell(g.ID), cell(strings.Join(slots[g.ID], ",")), cell(strings.Join(nodes, ", ")))
	}
	header := "\nSLOTS\tSTATE\tGROUP\tTO"
	for _, s := range d.Slots {
		if s.State == consul.Stable {
			continue
		}
		if header != "" {
			if err := table.Flush(); err != nil {
				return err
			}
			fmt.Fprintln(table, header)
			header = ""
		}
		to := s.To
		if s.Method != "" {
			to += " (" + s.Method + ")"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", cell(s.Slots), cell(s.State), cell(s.Group), cell(to))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if err := d.Validate(t.modelFor(d)); err != nil {
		return fmt.Errorf("proxies refuse this topology: %s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return nil
}

// modelFor is the model of the configuration, without one that of the document.
func (t *topologyTarget) modelFor(d *consul.Document) router.Model {
	if t.model != nil {
		return *t.model
	}
	model, err := d.Format.Model()
	if err != nil {
		return router.ClusterModel() // Validate says what is wrong with the format.
	}
	return model
}

func (t *ctlTopology) exportCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "export",
		Short: "Print the topology as a document that import reads",
		Long:  "Print the topology as a document that import reads: TOML, or with --output json JSON.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			target, err := t.target(cmd)
			if err != nil {
				return err
			}
			d, _, err := target.read(cmd.Context())
			if err != nil {
				return err
			}
			if t.asJSON() {
				return printJSON(cmd.OutOrStdout(), fileOf(d))
			}
			text, err := fileOf(d).tomlText(target.name)
			if err != nil {
				return err
			}
			_, err = io.WriteString(cmd.OutOrStdout(), text)
			return err
		},
	}
}
