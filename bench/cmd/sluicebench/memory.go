package main

import (
	"context"
	"fmt"
	"time"

	"sluice/bench/peer"
	"sluice/bench/report"
)

// measureMemory takes a fresh process of each proxy through small and large loads
// and then leaves all of them alone for a while, together. A smoke run does it for
// Sluice only.
func (c *comparison) measureMemory(ctx context.Context) error {
	fresh := make(map[*participant]*peer.Instance)
	defer func() {
		for _, in := range fresh {
			in.Stop()
		}
	}()
	for _, p := range c.participants {
		if p.kind == nil || !p.kind.Closed || p.Problem != "" || c.opt.quick && p.Name != report.Sluice {
			continue
		}
		in, err := p.kind.Launch(ctx, c.root, c.behind())
		if err == nil {
			fresh[p] = in
			err = c.fillMemory(ctx, p, in)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			p.Problem = fmt.Sprintf("memory: %v", err)
			c.logf("%s %s", p.Name, p.Problem)
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	c.logf("memory: waiting %s", c.opt.idle)
	for _, in := range fresh {
		_ = peer.ResetPeak(in.PID()) // the reading below reports a process that is gone
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(c.opt.idle):
	}
	for p, in := range fresh {
		if err := c.readMemory(p, in, report.StageIdle); err != nil {
			p.Problem = fmt.Sprintf("memory: %v", err)
		}
	}
	return nil
}

// fillMemory takes one process through the loads.
func (c *comparison) fillMemory(ctx context.Context, p *participant, in *peer.Instance) error {
	if err := c.readMemory(p, in, report.StageStart); err != nil {
		return err
	}
	stages := []struct {
		stage report.Stage
		cells []string
	}{
		{report.StageSmall, []string{report.P1Get, report.P16Set, report.P64Get}},
		{report.StageLarge, []string{report.LargeSet, report.LargeGet}},
	}
	for _, s := range stages {
		row := report.MemoryRow{Peer: p.Name, Stage: s.stage}
		for _, cell := range report.Cells() {
			for _, name := range s.cells {
				if cell.Name != name {
					continue
				}
				res, run, err := sample(ctx, c.cellLoad(cell, in.Addr), in)
				if err != nil {
					return err
				}
				if run.Failures > 0 {
					return fmt.Errorf("%s: %d failures: %s, after %d replies", name, run.Failures, run.Failure, res.Requests)
				}
				row.RSSBytes = max(row.RSSBytes, run.RSSBytes)
				row.PeakBytes = max(row.PeakBytes, run.PeakBytes)
			}
		}
		c.fileMemory(row)
	}
	return nil
}

func (c *comparison) readMemory(p *participant, in *peer.Instance, stage report.Stage) error {
	u, err := peer.Measure(in.PID())
	if err != nil {
		return err
	}
	c.fileMemory(report.MemoryRow{Peer: p.Name, Stage: stage, RSSBytes: u.RSSBytes, PeakBytes: u.PeakBytes})
	return nil
}

func (c *comparison) fileMemory(row report.MemoryRow) {
	c.report.Memory = append(c.report.Memory, row)
	c.logf("memory  %-12s %-30s RSS %6.1f MiB, peak %6.1f MiB",
		row.Peer, row.Stage, float64(row.RSSBytes)/(1<<20), float64(row.PeakBytes)/(1<<20))
}
