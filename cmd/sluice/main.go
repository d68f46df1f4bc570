// Command sluice is a replication-aware Redis proxy. See README.md; "sluice help" lists what it can do.
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
)

// version is set by the Makefile with -ldflags.
var version = "dev"

func main() {
	root := &cobra.Command{
		Use:           "sluice",
		Short:         "A replication-aware proxy for Redis and its kin",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(serveCommand(), controllerCommand(), devCommand(), ctlCommand(), doctorCommand(), configCommand(), versionCommand())
	if err := root.Execute(); err != nil {
		if !errors.Is(err, errReported) {
			fmt.Fprintln(os.Stderr, "sluice: "+err.Error())
		}
		os.Exit(exitCode(err))
	}
}

// exitCode is 1, unless the error says another one.
func exitCode(err error) int {
	var other interface{ ExitCode() int }
	if errors.As(err, &other) {
		return other.ExitCode()
	}
	return 1
}

// errReported ends the process with exit code 1 after the problem was printed already.
var errReported = errors.New("reported")

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		Run: func(cmd *cobra.Command, _ []string) {
			fmt.Fprintln(cmd.OutOrStdout(), "sluice "+versionText())
		},
	}
}
