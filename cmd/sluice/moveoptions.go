package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"sluice/conf"
	"sluice/discovery/controller"
	"sluice/discovery/controller/mover"
	"sluice/router"
)

// moveOptions say how slots are moved: flags of every command that asks for a move.
type moveOptions struct {
	method        string
	batch         int // 0: that of the family
	latency, step time.Duration
	keys, bytes   int64
}

func (o *moveOptions) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.method, "method", "", "how keys are moved, if there are several ways: sync or semi-async")
	f.IntVar(&o.batch, "batch", 0, fmt.Sprintf("slots that are locked together; 0 stands for %d, of redis-servers for %d", defaultBatch, scannedBatch))
	f.DurationVar(&o.latency, "max-latency", 0, "go slower while the servers take longer to answer a PING; 0 is no limit")
	f.DurationVar(&o.step, "max-step", 5*time.Millisecond, "how long one command may keep a server busy, but for one with a single key")
	f.Int64Var(&o.keys, "max-keys-per-second", 0, "keys moved in a second; 0 is no limit")
	f.Int64Var(&o.bytes, "max-bytes-per-second", 0, "bytes moved in a second, where the servers tell; 0 is no limit")
}

const (
	// defaultBatch is how many slots are locked together: few, so that a pause or an abort is soon through.
	defaultBatch = 16
	// scannedBatch is the same for servers that are scanned once for each batch.
	scannedBatch = 256
)

// check refuses what makes no sense.
func (o *moveOptions) check() error {
	switch {
	case o.batch < 0:
		return fmt.Errorf("--batch %d: a batch has one slot at least", o.batch)
	case o.latency < 0 || o.step <= 0:
		return fmt.Errorf("--max-latency %s and --max-step %s: a time is above 0, and no --max-latency is no limit", o.latency, o.step)
	case o.keys < 0 || o.bytes < 0:
		return fmt.Errorf("--max-keys-per-second %d and --max-bytes-per-second %d: a limit is above 0, and 0 is none", o.keys, o.bytes)
	}
	return nil
}

func (o *moveOptions) pace() controller.Pace {
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	return controller.Pace{MaxLatencyMS: ms(o.latency), MaxStepMS: ms(o.step), MaxKeys: o.keys, MaxBytes: o.bytes}
}

// newMove is a move as a command asks for it.
func (t *topologyTarget) newMove(to string, slots []router.Range, o moveOptions) controller.Move {
	switch {
	case o.batch > 0:
	case t.conf != nil && t.conf.Dialect == conf.DialectRedis:
		o.batch = scannedBatch
	default:
		o.batch = defaultBatch
	}
	m := controller.New(newID()[:8], whoami(), to, slots, o.batch, time.Now().UTC().Truncate(time.Millisecond))
	m.Method, m.Pace = o.method, o.pace()
	return m
}

// checkMethod refuses a method that the pool's servers do not have.
func (t *topologyTarget) checkMethod(method string) error {
	if t.conf == nil {
		return nil
	}
	_, err := mover.New(string(t.conf.Dialect)).Of(method)
	return err
}
