package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"sluice/conf"
)

func serveCommand() *cobra.Command {
	var file string
	var set []string
	cmd := &cobra.Command{
		Use:   "serve --config FILE",
		Short: "Run the proxy",
		Long: "Run the proxy until SIGTERM or SIGINT, which drain it; a second signal ends it at once.\n" +
			"SIGHUP reads the configuration again and applies what can change while clients are connected.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			load := func() (*conf.Config, error) {
				return conf.LoadWith(file, conf.Overrides{Env: os.Environ(), Set: set})
			}
			cfg, err := load()
			if err != nil {
				return printProblems(cmd, err)
			}
			log, level := newLogger(cfg.Proxy, os.Stderr)
			raiseFileLimit(cfg.Proxy.MaxClients, log)
			tuneScheduler(cfg.Proxy.Loops)
			tuneCollector()
			in, err := startInstance(cfg, load, log, level)
			if err != nil {
				return err
			}
			for _, p := range in.server.Pools() {
				for _, addr := range p.Addrs() {
					log.Info("listening", "pool", p.Name, "addr", addr.String())
				}
			}
			log.Info("sluice is up", "version", version, "admin", in.adminAddr(), "max_clients", proxySettings(cfg).MaxClients)
			in.runUntilSignal()
			return nil
		},
	}
	cmd.Flags().StringVarP(&file, "config", "c", os.Getenv("SLUICE_CONFIG"), "configuration file (or SLUICE_CONFIG)")
	cmd.Flags().StringArrayVar(&set, "set", nil, "override a key of [proxy], such as --set proxy.max_clients=500")
	if file == "" {
		_ = cmd.MarkFlagRequired("config")
	}
	return cmd
}

// runUntilSignal serves until SIGTERM or SIGINT, then drains.
func (in *instance) runUntilSignal() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer signal.Stop(signals)
	for up := true; up; {
		select {
		case s := <-signals:
			if s == syscall.SIGHUP {
				_, _, _ = in.reload() // Logs what it did, or why not.
				continue
			}
			in.log.Info("draining, send the signal again to end at once", "signal", s.String())
		case <-in.end:
			in.log.Info("draining, because the dashboard asked for the end")
		}
		up = false
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	in.shutdown(ctx)
	in.log.Info("bye")
}

// newLogger makes the logger of the process: text for people at a terminal, JSON for collectors.
func newLogger(p conf.Proxy, out *os.File) (*slog.Logger, *slog.LevelVar) {
	level := new(slog.LevelVar)
	level.Set(p.LogLevel.Slog())
	opts := &slog.HandlerOptions{Level: level}
	asText := p.LogFormat == conf.LogText
	if p.LogFormat == conf.LogAuto {
		info, err := out.Stat()
		asText = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	if asText {
		return slog.New(slog.NewTextHandler(out, opts)), level
	}
	return slog.New(slog.NewJSONHandler(out, opts)), level
}
