package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"sluice/conf"
)

func configCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "Check a configuration, or print the documented default"}
	var connect bool
	check := &cobra.Command{
		Use:   "check FILE",
		Short: "Print every problem of a configuration file; exit code 1 if there is one",
		Long: "Print every problem of a configuration file; exit code 1 if there is one.\n\n" +
			"With --connect the servers that it names are asked, too: do they answer, take the password, have the role and the\n" +
			"dialect that the file says, and answer at admin_port? `sluice doctor` looks at more than that.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := conf.LoadWith(args[0], conf.Overrides{Env: os.Environ()})
			if err != nil {
				return printProblems(cmd, err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s is valid: %s\n", args[0], digest(cfg))
			if !connect {
				return nil
			}
			d := &doctor{file: args[0], cfg: cfg}
			d.checkBackends(cmd.Context())
			return d.print(cmd.OutOrStdout())
		},
	}
	check.Flags().BoolVar(&connect, "connect", false, "ask the servers, too")
	show := &cobra.Command{
		Use:   "default",
		Short: "Print the documented configuration with every default",
		Args:  cobra.NoArgs,
		Run: func(cmd *cobra.Command, _ []string) {
			fmt.Fprint(cmd.OutOrStdout(), string(conf.Documented))
		},
	}
	cmd.AddCommand(check, show)
	return cmd
}

// printProblems prints one line per problem.
func printProblems(cmd *cobra.Command, err error) error {
	var problems conf.Problems
	if !errors.As(err, &problems) {
		return err
	}
	for _, p := range problems {
		fmt.Fprintln(cmd.ErrOrStderr(), p.Error())
	}
	return errReported
}

// digest says in one line what a configuration sets up.
func digest(cfg *conf.Config) string {
	groups, listeners := 0, 0
	for _, p := range cfg.Pools {
		groups += len(p.Groups)
		listeners += len(p.Listen)
	}
	return fmt.Sprintf("%d pool(s), %d listener(s), %d static group(s), %d loop(s)",
		len(cfg.Pools), listeners, groups, cfg.Proxy.Loops)
}
