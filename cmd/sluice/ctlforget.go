package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"sluice/discovery/consul"
)

func (c *ctl) forgetCommand() *cobra.Command {
	t := &ctlTopology{ctl: c}
	var yes bool
	cmd := &cobra.Command{
		Use:   "forget ID",
		Short: "Take a proxy that is gone for good out of Consul",
		Long: "Take a proxy out of Consul whose process has ended without leaving, so that no move waits for it any more. Consul is\n" +
			"reached as by ctl topology; no proxy has to run.\n\n" +
			"Make sure of its end first: a proxy that is only cut off from Consul may still write to servers, and what it writes\n" +
			"to slots that move meanwhile is lost. While its session lives, which is up to twice session_ttl longer than itself,\n" +
			"it is not forgotten.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			target, err := t.target(cmd)
			if err != nil {
				return err
			}
			return target.forget(cmd, args[0], yes)
		},
	}
	t.addFlags(cmd)
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "forget it without asking")
	return cmd
}

// forget asks for what nobody can look up: whether the process has ended.
func (t *topologyTarget) forget(cmd *cobra.Command, id string, yes bool) error {
	if !yes {
		fmt.Fprintf(cmd.OutOrStdout(), "proxy %s of pool %s; its connections to servers are called sluice:%s#N in CLIENT LIST\n", cell(id), t.name, cell(id))
		if err := confirm(cmd, "has its process ended?"); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), ctlTimeout)
	defer cancel()
	err := consul.Forget(ctx, t.kv, t.root, id)
	switch {
	case errors.Is(err, consul.ErrNoMember):
		return fmt.Errorf("%w; `sluice ctl proxies` shows those of pool %s", err, t.name)
	case errors.Is(err, consul.ErrAlive):
		return fmt.Errorf("%w: the proxy lives, or has ended just now; stop it, or try again when its lease is lost", err)
	case errors.Is(err, consul.ErrConflict):
		return fmt.Errorf("not forgotten: proxy %s has written its keys meanwhile, so it lives", cell(id))
	case err != nil:
		return reached(err)
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "proxy %s of pool %s is forgotten\n", cell(id), t.name)
	return err
}
