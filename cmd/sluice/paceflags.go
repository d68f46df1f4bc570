package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"sluice/discovery/controller"
)

// paceFlags are the flags that say how fast a move may go.
type paceFlags struct {
	latency, step time.Duration
	keys, bytes   int64
}

func (p *paceFlags) add(cmd *cobra.Command) {
	cmd.Flags().DurationVar(&p.latency, "max-latency", 0, "go slower while the servers take longer to answer a PING; 0 is no limit")
	cmd.Flags().DurationVar(&p.step, "max-step", 5*time.Millisecond, "how long one command may keep a server busy, but for one with a single key")
	cmd.Flags().Int64Var(&p.keys, "max-keys-per-second", 0, "keys moved in a second; 0 is no limit")
	cmd.Flags().Int64Var(&p.bytes, "max-bytes-per-second", 0, "bytes moved in a second, where the servers tell; 0 is no limit")
}

// check refuses what makes no sense.
func (p *paceFlags) check() error {
	switch {
	case p.latency < 0 || p.step <= 0:
		return fmt.Errorf("--max-latency %s and --max-step %s: a time is above 0, and no --max-latency is no limit", p.latency, p.step)
	case p.keys < 0 || p.bytes < 0:
		return fmt.Errorf("--max-keys-per-second %d and --max-bytes-per-second %d: a limit is above 0, and 0 is none", p.keys, p.bytes)
	}
	return nil
}

func (p *paceFlags) pace() controller.Pace {
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	return controller.Pace{MaxLatencyMS: ms(p.latency), MaxStepMS: ms(p.step), MaxKeys: p.keys, MaxBytes: p.bytes}
}
