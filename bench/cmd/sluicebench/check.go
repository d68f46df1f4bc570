package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	"sluice/bench/check"
)

// runCheck is the subcommand check. An interrupt ends the load early; what was
// seen until then is judged and printed all the same.
func runCheck(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	cfg, marks, err := checkConfig(args)
	if err != nil {
		return err
	}
	run, err := check.Start(ctx, cfg)
	if err != nil {
		return fmt.Errorf("check: %w", err)
	}
	if marks {
		go func() { // Blocks on in until it ends or the process does.
			for lines := bufio.NewScanner(in); lines.Scan(); {
				if name := strings.TrimSpace(lines.Text()); name != "" {
					run.Mark(name)
				}
			}
		}()
	}
	<-run.Done()
	report := run.Stop()
	fmt.Fprint(out, report)
	if err := report.Err(); err != nil {
		return fmt.Errorf("check: %w", err)
	}
	return nil
}

// checkConfig reads the command line. A flag that is not given has the value of
// the profile.
func checkConfig(args []string) (cfg check.Config, marks bool, err error) {
	for _, parse := range []bool{false, true} { // First for the profile, then over its settings.
		profile := check.Baseline
		if parse {
			profile = cfg.Profile
		}
		cfg = check.Defaults(profile)
		marks, err = parseCheck(&cfg, args)
		if err != nil {
			return check.Config{}, false, err
		}
	}
	return cfg, marks, nil
}

func parseCheck(cfg *check.Config, args []string) (marks bool, err error) {
	fs := flag.NewFlagSet("check", flag.ContinueOnError)
	fs.StringVar(&cfg.Addr, "addr", cfg.Addr, "loopback `address`: host:port or unix:/path")
	profile := fs.String("profile", string(cfg.Profile), "baseline, hard, mixed, reads or full; sets what other flags don't")
	seconds := fs.Float64("seconds", 20, "`seconds` of load")
	fs.IntVar(&cfg.Requests, "n", cfg.Requests, "`requests` of each connection, if that is sooner")
	fs.IntVar(&cfg.Clients, "c", cfg.Clients, "`connections`")
	fs.IntVar(&cfg.Pipeline, "P", cfg.Pipeline, "pipeline `depth`")
	fs.Float64Var(&cfg.Rate, "rate", cfg.Rate, "`requests` per second of all connections; 0 is as fast as replies come")
	fs.Uint64Var(&cfg.Seed, "seed", cfg.Seed, "`number` that makes keys and operations repeatable")
	fs.IntVar(&cfg.Keys, "keys", cfg.Keys, "`number` of keys that belong to one connection each")
	fs.IntVar(&cfg.SharedPercent, "shared", cfg.SharedPercent, "`percent` of operations on keys of all connections")
	fs.IntVar(&cfg.Sessions.Transactions, "transactions", cfg.Sessions.Transactions, "further `connections` that do transactions")
	fs.IntVar(&cfg.Sessions.Scripts, "scripts", cfg.Sessions.Scripts, "further `connections` that run scripts")
	fs.IntVar(&cfg.Sessions.Pops, "queues", cfg.Sessions.Pops, "`number` of queues, each with a producer and two consumers that block")
	fs.IntVar(&cfg.Sessions.Streams, "streams", cfg.Sessions.Streams, "`number` of streams, each with a writer and three readers that block")
	fs.BoolVar(&cfg.Sessions.Moves, "blmove", cfg.Sessions.Moves, "one consumer of each queue uses BLMOVE")
	fs.Float64Var(&cfg.Sessions.Rate, "steps", cfg.Sessions.Rate, "`steps` per second of each of these connections; 0 is as fast as replies come")
	fs.DurationVar(&cfg.Sessions.BlockTime, "block", cfg.Sessions.BlockTime, "`time` that blocking commands ask for")
	fs.DurationVar(&cfg.Sessions.Slack, "slack", cfg.Sessions.Slack, "`time` that they may take beyond that")
	fs.IntVar(&cfg.ValueBytes, "d", cfg.ValueBytes, "least `bytes` of a value")
	fs.StringVar(&cfg.Prefix, "prefix", cfg.Prefix, "`text` before every key")
	fs.BoolVar(&cfg.Tagged, "tagged", cfg.Tagged, "keep multi-key commands within a hash tag")
	consistency := fs.String("consistency", cfg.Consistency.String(), "what reads are `judged` by: linear, read-your-writes, monotonic or eventual")
	fs.DurationVar(&cfg.MaxAge, "max-age", cfg.MaxAge, "`time` that a read may be out of date when it is sent; 0 is any")
	fs.Float64Var(&cfg.WriteShare, "write-share", cfg.WriteShare, "make this `share` (0..1) of the requests be writes; -1 is as the mix says")
	fs.IntVar(&cfg.ObservedPercent, "observed", cfg.ObservedPercent, "`percent` of GET, MGET, SET on keys that one connection writes and others read")
	fs.IntVar(&cfg.ObservedKeys, "observed-keys", cfg.ObservedKeys, "`number` of these keys")
	fs.IntVar(&cfg.Window, "window", cfg.Window, "`versions` of a key whose ages are known")
	mix := fs.String("mix", cfg.Mix.String(), "`weights` of the operations")
	model := fs.String("model", "codis", "how a key becomes a slot: codis (1024) or cluster")
	slots := fs.String("slots", "", "watched `slots`, such as 0-255,300")
	fs.Float64Var(&cfg.WatchShare, "share", cfg.WatchShare, "choose keys so that this `share` (0..1) is in watched slots; -1 does not")
	fs.IntVar(&cfg.Filler, "filler", cfg.Filler, "`number` of further keys in watched slots")
	fs.DurationVar(&cfg.ReplyTimeout, "timeout", cfg.ReplyTimeout, "`time` to wait for a reply")
	fs.DurationVar(&cfg.EndLimit, "end", cfg.EndLimit, "`time` for each of the last replies, the final reads, the search")
	tolerate := fs.String("tolerate", "", "error `texts`, parted by |, that are no violation; parts of them are enough")
	fs.BoolVar(&marks, "marks", false, "read the names of phases from standard input, one in each line")
	if err := fs.Parse(args); err != nil {
		return false, flag.ErrHelp
	}
	if fs.NArg() > 0 {
		return false, fmt.Errorf("check: unexpected argument %q", fs.Arg(0))
	}
	cfg.Profile = check.Profile(*profile)
	cfg.Duration = time.Duration(*seconds * float64(time.Second))
	if cfg.Duration <= 0 {
		return false, errors.New("check: -seconds must be positive")
	}
	if cfg.Mix, err = check.ParseMix(*mix); err != nil {
		return false, err
	}
	if cfg.Consistency, err = check.ParseConsistency(*consistency); err != nil {
		return false, err
	}
	switch *model {
	case "codis":
		cfg.Slot = check.CodisSlot
	case "cluster":
		cfg.Slot = check.ClusterSlot
	default:
		return false, fmt.Errorf("check: model %q: known are codis, cluster", *model)
	}
	watched, err := check.ParseSlots(*slots)
	if err != nil {
		return false, err
	}
	if slot := cfg.Slot; *slots != "" {
		cfg.Watch = func(key []byte) bool { return watched.Contains(slot(key)) }
	}
	if *tolerate != "" {
		texts := strings.Split(*tolerate, "|")
		cfg.Tolerate = func(text string) bool {
			for _, t := range texts {
				if strings.Contains(text, t) {
					return true
				}
			}
			return false
		}
	}
	return marks, nil
}
