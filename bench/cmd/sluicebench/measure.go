package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sluice/bench/load"
	"sluice/bench/peer"
	"sluice/bench/report"
)

// cellLoad is the load of a cell on the process behind addr.
func (c *comparison) cellLoad(cell report.Cell, addr string) load.Config {
	cfg := load.Default()
	cfg.Target = addr
	cfg.Conns, cfg.Depth = cell.Conns, cell.Depth
	c.useKeys(&cfg, cell.ValueBytes)
	cfg.Mix = load.Mix{Get: 1}
	if cell.Command == "SET" {
		cfg.Mix = load.Mix{Set: 1}
	}
	cfg.Warmup, cfg.Duration = c.opt.warmup, c.opt.duration
	if cell.Rate > 0 {
		cfg.Rate, cfg.Duration = float64(cell.Rate), c.opt.open
	}
	cfg.Limit = cfg.Warmup + cfg.Duration + 30*time.Second
	cfg.DrainLimit = 10 * time.Second
	return cfg
}

// sample runs cfg and reads what the process used in the measured window.
func sample(ctx context.Context, cfg load.Config, in *peer.Instance) (*load.Result, report.Run, error) {
	var begin, end peer.Usage
	var genBegin, genEnd time.Duration
	var errs [2]error
	cfg.OnBegin = func() {
		begin, errs[0] = peer.Measure(in.PID())
		genBegin = peer.ThreadCPU()
	}
	cfg.OnEnd = func() {
		genEnd = peer.ThreadCPU()
		end, errs[1] = peer.Measure(in.PID())
	}
	if err := peer.ResetPeak(in.PID()); err != nil {
		return nil, report.Run{}, fmt.Errorf("%s: %w", in.Name, errors.Join(in.Alive(), err))
	}
	res, err := load.Run(ctx, cfg)
	if err := errors.Join(in.Alive(), err); err != nil {
		return nil, report.Run{}, err
	}
	if err := errors.Join(errs[:]...); err != nil {
		return nil, report.Run{}, fmt.Errorf("%s: %w", in.Name, err)
	}
	run := report.Run{
		Throughput: res.Throughput(),
		P50:        res.Quantile(50), P99: res.Quantile(99), P999: res.Quantile(99.9),
		CorrectedP99: time.Duration(res.Corrected().ValueAtPercentile(99)),
		RSSBytes:     end.RSSBytes, PeakBytes: end.PeakBytes,
		Failures: res.Failures(),
	}
	if cpu := end.User + end.System - begin.User - begin.System; cpu > 0 {
		run.User = float64(end.User-begin.User) / float64(cpu)
	}
	if res.Requests == 0 {
		run.Failures++
		run.Failure = "no reply in the measured window"
		return res, run, nil
	}
	run.CPU = (end.CPU - begin.CPU) / time.Duration(res.Requests)
	run.Generator = (genEnd - genBegin) / time.Duration(res.Requests)
	if run.Failures > 0 {
		run.Failure = "no reply"
		if texts := res.ErrorTexts(); len(texts) > 0 {
			run.Failure = texts[0]
		}
	}
	return res, run, nil
}

// measure does one run and files it. Only the end of ctx is an error; a proxy that
// fails is out from here on.
func (c *comparison) measure(ctx context.Context, round int, cell report.Cell, p *participant) error {
	pause := p.alone()
	_, run, err := sample(ctx, c.cellLoad(cell, p.in.Addr), p.in)
	pause()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		c.giveUp(p, fmt.Sprintf("round %d, cell %s", round, cell.Name), err)
		return nil
	}
	run.Round, run.Cell, run.Peer = round, cell.Name, p.Name
	c.report.Runs = append(c.report.Runs, run)
	note := ""
	if run.Failures > 0 {
		note = fmt.Sprintf("  %d failures: %s", run.Failures, run.Failure)
	}
	c.logf("round %d  %-16s %-12s %8.1f krps  p50 %8.3f ms  p99 %8.3f ms  p99.9 %8.3f ms  "+
		"CPU %7.3f µs  gen %6.3f µs  RSS %6.1f MiB%s",
		round, cell.Name, p.Name, run.Throughput/1e3, run.P50.Seconds()*1e3, run.P99.Seconds()*1e3, run.P999.Seconds()*1e3,
		float64(run.CPU.Nanoseconds())/1e3, float64(run.Generator.Nanoseconds())/1e3, float64(run.RSSBytes)/(1<<20), note)
	return nil
}

// giveUp ends a participant's part and keeps the reason.
func (c *comparison) giveUp(p *participant, where string, err error) {
	p.Problem = fmt.Sprintf("stopped at %s: %v", where, err)
	c.logf("%s %s", p.Name, p.Problem)
	if p.kind != nil {
		p.in.Stop()
	}
	p.in = nil
}

// check runs a verified mix of commands and looks how the keys spread over the
// servers. Wrong replies do not end the comparison, but the report shows them.
func (c *comparison) check(ctx context.Context, p *participant) error {
	cfg := load.Default()
	cfg.Target = p.in.Addr
	cfg.Conns, cfg.Depth = 20, 16
	cfg.Keys, cfg.Prefix, cfg.ValueBytes = 5000, "chk:", 64
	cfg.Mix = load.Mix{Get: 5, Set: 3, MGet: 1, Ping: 1}
	cfg.Verify = true
	cfg.Warmup, cfg.Duration, cfg.Limit = 0, 300*time.Millisecond, 20*time.Second

	var before, after [servers]int64
	read := func(into *[servers]int64) error {
		for i, s := range c.servers {
			var err error
			if into[i], err = peer.Commands(s.Addr); err != nil {
				return err
			}
		}
		return nil
	}
	if err := read(&before); err != nil {
		return err
	}
	res, err := load.Run(ctx, cfg)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err := errors.Join(p.in.Alive(), err); err != nil {
		c.giveUp(p, "the verified run", err)
		return nil
	}
	if err := read(&after); err != nil {
		return err
	}
	p.Check = fmt.Sprintf("%d replies, %d wrong, %d errors", res.Requests, res.Wrong, res.Failures()-res.Wrong)
	if texts := res.ErrorTexts(); len(texts) > 0 {
		p.Check += " (" + texts[0] + ")"
	}
	first, sum := after[0]-before[0], int64(0)
	for i := range after {
		sum += after[i] - before[i]
	}
	p.Check += fmt.Sprintf("; %.0f %% on server 1", 100*float64(first)/float64(max(sum, 1)))
	c.logf("%s: verified run: %s", p.Name, p.Check)
	return nil
}
