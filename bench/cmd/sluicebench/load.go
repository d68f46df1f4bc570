package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"time"

	"sluice/bench/load"
)

// runLoad is the subcommand load.
func runLoad(ctx context.Context, args []string, out io.Writer) error {
	cfg := load.Default()
	fs := flag.NewFlagSet("load", flag.ContinueOnError)
	fs.StringVar(&cfg.Target, "target", cfg.Target, "loopback `address`: host:port or unix:/path")
	fs.IntVar(&cfg.Conns, "c", cfg.Conns, "`connections`")
	fs.IntVar(&cfg.Depth, "P", cfg.Depth, "pipeline `depth`")
	fs.IntVar(&cfg.Threads, "threads", cfg.Threads, "event `loops` of the generator")
	fs.Uint64Var(&cfg.Keys, "keys", cfg.Keys, "`size` of the key space")
	fs.StringVar(&cfg.Prefix, "prefix", cfg.Prefix, "`text` before the twelve digits of a key")
	dist := fs.String("dist", cfg.Dist.String(), "how keys are drawn: uniform, zipf, sequential")
	fs.Float64Var(&cfg.ZipfS, "zipf-s", cfg.ZipfS, "`exponent` of zipf, above 1")
	fs.IntVar(&cfg.ValueBytes, "d", cfg.ValueBytes, "`bytes` of a value")
	mix := fs.String("mix", "get=1", "`weights` of the commands get, set, mget, ping")
	fs.IntVar(&cfg.MGetKeys, "mget-keys", cfg.MGetKeys, "`keys` of one MGET")
	fs.BoolVar(&cfg.Verify, "verify", false, "write values that can be checked and check every reply")
	asJSON := fs.Bool("json", false, "print the result as JSON and nothing else")
	preload := fs.Bool("preload", false, "write every key once before the run")
	fs.Uint64Var(&cfg.Seed, "seed", cfg.Seed, "`number` that makes keys and commands repeatable")
	fs.Float64Var(&cfg.Rate, "rate", 0, "open loop at so many `requests` per second; 0 is a closed loop")
	fs.DurationVar(&cfg.Warmup, "warmup", cfg.Warmup, "`time` before the measured window")
	fs.DurationVar(&cfg.Duration, "duration", cfg.Duration, "`time` to measure")
	fs.Uint64Var(&cfg.Requests, "n", 0, "`requests` to send instead of a duration")
	fs.DurationVar(&cfg.DrainLimit, "drain", cfg.DrainLimit, "`time` to wait for the replies of the last requests")
	fs.DurationVar(&cfg.Limit, "limit", cfg.Limit, "`time` after which the run ends in any case")
	if err := fs.Parse(args); err != nil {
		return flag.ErrHelp
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("load: unexpected argument %q", fs.Arg(0))
	}
	var errs [2]error
	cfg.Dist, errs[0] = load.ParseDist(*dist)
	cfg.Mix, errs[1] = load.ParseMix(*mix)
	if err := errors.Join(errs[:]...); err != nil {
		return err
	}

	if *preload {
		if err := fill(ctx, cfg); err != nil {
			return err
		}
	}
	if *asJSON {
		res, err := load.Run(ctx, cfg)
		if err != nil {
			return fmt.Errorf("load: %w", err)
		}
		return json.NewEncoder(out).Encode(summarize(res))
	}
	loop := "closed loop"
	if cfg.Rate > 0 {
		loop = fmt.Sprintf("open loop at %.0f per second", cfg.Rate)
	}
	fmt.Fprintf(out, "target      %s, %d connections, pipeline %d, %s\n", cfg.Target, cfg.Conns, cfg.Depth, loop)
	fmt.Fprintf(out, "requests of %s, %d %s keys, values of %d bytes\n", cfg.Mix, cfg.Keys, cfg.Dist, cfg.ValueBytes)
	res, err := load.Run(ctx, cfg)
	if res != nil {
		if _, err := res.WriteTo(out); err != nil {
			return err
		}
	}
	if err != nil {
		return fmt.Errorf("load: %w", err)
	}
	if res.Wrong+res.Lost > 0 {
		return fmt.Errorf("load: %d wrong replies, %d lost connections", res.Wrong, res.Lost)
	}
	return nil
}

// summary is a result for another process; times are in nanoseconds.
type summary struct {
	Requests, Failures  uint64
	P50, P99, P999, Max time.Duration
	Late                time.Duration // p99.9 of the generator's own lateness
	Errors              []string      `json:",omitempty"`
}

func summarize(res *load.Result) summary {
	return summary{
		Requests: res.Requests, Failures: res.Failures(),
		P50: res.Quantile(50), P99: res.Quantile(99), P999: res.Quantile(99.9), Max: res.Quantile(100),
		Late: time.Duration(res.Late.ValueAtPercentile(99.9)), Errors: res.ErrorTexts(),
	}
}

// loadElsewhere is the subcommand load in a process of its own, which has nothing else to do.
func loadElsewhere(ctx context.Context, cfg load.Config) (sum summary, err error) {
	self, err := os.Executable()
	if err != nil {
		return sum, err
	}
	cmd := exec.CommandContext(ctx, self, "load", "-json", "-target", cfg.Target, "-prefix", cfg.Prefix,
		"-keys", strconv.FormatUint(cfg.Keys, 10), "-c", strconv.Itoa(cfg.Conns), "-rate", fmt.Sprint(cfg.Rate),
		"-warmup", cfg.Warmup.String(), "-duration", cfg.Duration.String())
	cmd.Stderr = os.Stderr
	text, err := cmd.Output()
	if err != nil {
		return sum, fmt.Errorf("load in a process of its own: %w", err)
	}
	return sum, json.Unmarshal(text, &sum)
}

// fill writes every key of cfg's key space once.
func fill(ctx context.Context, cfg load.Config) error {
	cfg.Conns, cfg.Depth, cfg.Threads = 8, 64, 1
	cfg.Dist = load.DistSequential
	cfg.Mix = load.Mix{Set: 1}
	cfg.Rate, cfg.Warmup = 0, 0
	cfg.Requests = cfg.Keys
	cfg.OnBegin, cfg.OnEnd = nil, nil
	cfg.Limit = 2 * time.Minute
	res, err := load.Run(ctx, cfg)
	if err != nil {
		return fmt.Errorf("preload: %w", err)
	}
	if res.Failures() > 0 {
		return fmt.Errorf("preload: %d failures, most often %q", res.Failures(), append(res.ErrorTexts(), "no reply")[0])
	}
	return nil
}
