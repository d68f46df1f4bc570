package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sluice/conf"
)

// doctor looks at everything around a Sluice that has to be right for it to be well, and says of each what to do. A check
// is a method that adds findings, in a file of its own: doctorhost.go, doctorconsul.go, doctorbackend.go. It changes
// nothing, but for one key in Consul that it removes again.
type doctor struct {
	file     string
	cfg      *conf.Config // nil when it can't be read
	findings []finding
	nodes    []backendNode // that Consul names
}

// verdict is how bad a finding is.
type verdict int

const (
	fine verdict = iota // as it should be
	warn                // it works, and might not one day
	fail                // it does not work
)

// String returns what stands in front of the line.
func (v verdict) String() string {
	switch v {
	case fine:
		return "OK"
	case warn:
		return "WARN"
	case fail:
		return "FAIL"
	}
	panic("BUG: no such verdict")
}

// finding is one line.
type finding struct {
	verdict verdict
	subject string // "consul", "backend 10.0.0.5:6379"
	text    string
	fix     string // what to do; "" when there is nothing to do
}

func (f finding) String() string {
	text := fmt.Sprintf("%-4s  %s: %s", f.verdict, f.subject, f.text)
	if f.fix != "" {
		text += "; do: " + f.fix
	}
	return strings.Map(printable, text)
}

// doctorTimeout bounds each question: a host that takes longer is not well.
const doctorTimeout = 3 * time.Second

func doctorCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "doctor [--config FILE]",
		Short: "Check the configuration, Consul, the backends, clocks and limits",
		Long: "Check what Sluice needs: its configuration, Consul and what its token may do there, the backends, clocks and limits.\n" +
			"One line for each, with what to do. It changes nothing, but for one key in Consul that it removes again.\n\n" +
			"Exit code 1: something is FAIL.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d := &doctor{file: file}
			d.examine(cmd)
			return d.print(cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVarP(&file, "config", "c", "", "configuration file (or SLUICE_CONFIG; without both "+defaultConfig+", if it is here)")
	return cmd
}

// examine makes all checks that what is known allows.
func (d *doctor) examine(cmd *cobra.Command) {
	ctx := cmd.Context()
	d.checkConfig()
	d.checkFiles()
	if d.cfg == nil {
		return
	}
	d.checkAdmin(ctx)
	d.checkConsul(ctx)
	d.checkBackends(ctx)
}

func (d *doctor) found(v verdict, subject, fix, format string, args ...any) {
	d.findings = append(d.findings, finding{v, subject, fmt.Sprintf(format, args...), fix})
}

// print prints the findings and what they come to.
func (d *doctor) print(out io.Writer) error {
	var count [fail + 1]int
	for _, f := range d.findings {
		count[f.verdict]++
		if _, err := fmt.Fprintln(out, f); err != nil {
			return err
		}
	}
	if _, err := fmt.Fprintf(out, "%d OK, %d WARN, %d FAIL\n", count[fine], count[warn], count[fail]); err != nil {
		return err
	}
	if count[fail] > 0 {
		return errReported
	}
	return nil
}

// checkConfig reads the configuration.
func (d *doctor) checkConfig() {
	problems := new(strings.Builder)
	quiet := &cobra.Command{}
	quiet.SetErr(problems)
	cfg, file, err := loadCtlConfig(quiet, configFlag(d.file))
	switch {
	case errors.Is(err, errReported):
		for line := range strings.SplitSeq(strings.TrimSpace(problems.String()), "\n") {
			problem, hint, _ := strings.Cut(line, "; hint: ")
			d.found(fail, "configuration", hint, "%s", problem)
		}
	case err != nil:
		d.found(fail, "configuration", "name a file that can be read", "%v", err)
	case cfg == nil:
		d.found(fail, "configuration", "name the file with --config; `sluice config default` prints one to start from",
			"there is no %s here", defaultConfig)
	default:
		d.cfg, d.file = cfg, file
		d.found(fine, "configuration", "", "%s: %s", file, digest(cfg))
	}
}

// within gives a check its time.
func within(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, doctorTimeout)
}
