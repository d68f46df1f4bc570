package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sluice/bench/load"
	"sluice/bench/peer"
	"sluice/bench/report"
)

// A comparison starts the servers, fills them, starts every proxy it finds, and
// then goes through the cells in rounds. Within a cell the proxies take turns, and
// who begins changes from cell to cell and round to round, so that no proxy always
// runs on a warm or a busy machine. The proxies stay alive all the time; those that
// are not asked are paused, since on a host there is one. A proxy that is missing, does
// not start or dies is reported by name and reason, and the others go on.
//
// Each server holds all keys, so that every GET finds its key whatever way a proxy
// spreads keys over the servers.
type comparison struct {
	opt    options
	out    io.Writer
	root   string // directory of all the processes
	report report.Report

	servers      []*peer.Instance
	replicas     []*peer.Instance // of each server, if anybody reads from them
	spinners     []*peer.Process  // that take CPU time
	participants []*participant
}

// participant is a proxy of the comparison, or the server itself as "direct".
type participant struct {
	*report.Peer
	kind *peer.Kind     // nil for direct
	in   *peer.Instance // nil when it is not running
}

// runs reports whether the participant takes part in a cell.
func (p *participant) runs(cell report.Cell) bool {
	if p.kind == nil {
		return true
	}
	return cell.Rate > 0 && p.kind.Open || cell.Rate == 0 && p.kind.Closed
}

// alone lets a participant that is paused run until its result is called. The server behind all always runs.
func (p *participant) alone() (pause func()) {
	if p.kind == nil {
		return func() {}
	}
	p.in.Resume()
	return p.in.Pause
}

type options struct {
	sluice   string
	out      string
	rounds   int
	duration time.Duration
	open     time.Duration
	warmup   time.Duration
	idle     time.Duration
	only     string
	cells    string
	quick    bool
	beside   int
	memory   bool
	control  bool
	profile  bool
}

const (
	servers   = 2
	smallKeys = 100_000
	largeKeys = 50_000
)

// runCompare is the subcommand compare.
func runCompare(ctx context.Context, args []string, out io.Writer) (err error) {
	var o options
	fs := flag.NewFlagSet("compare", flag.ContinueOnError)
	fs.StringVar(&o.sluice, "sluice", "bin/sluice", "`program` of Sluice")
	fs.StringVar(&o.out, "out", "bench/RESULTS.md", "`file` of the report; - prints it")
	fs.IntVar(&o.rounds, "rounds", 5, "`rounds` to take medians over")
	fs.DurationVar(&o.duration, "duration", 2*time.Second, "measured `time` of each run")
	fs.DurationVar(&o.open, "open", 2*time.Second, "measured `time` of each run of an open loop")
	fs.DurationVar(&o.warmup, "warmup", 300*time.Millisecond, "`time` before it")
	fs.DurationVar(&o.idle, "idle", 30*time.Second, "`time` without load before the last reading of memory")
	fs.StringVar(&o.only, "only", "", "comma-separated `names` of the proxies to run, direct included")
	fs.StringVar(&o.cells, "cells", "", "comma-separated `patterns` of the cells to run, like c50-p16-*")
	fs.IntVar(&o.beside, "beside", 0, "`processes` that spin meanwhile: a host that has other work")
	fs.BoolVar(&o.memory, "memory", true, "measure memory in fresh processes after the rounds")
	fs.BoolVar(&o.control, "control", true, "measure what the control side costs, in another process")
	fs.BoolVar(&o.profile, "profile", true, "profile Sluice in cells that missed their target")
	fs.BoolVar(&o.quick, "quick", false, "smoke run: one short round, for the machinery and not for figures")
	if err := fs.Parse(args); err != nil {
		return flag.ErrHelp
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("compare: unexpected argument %q", fs.Arg(0))
	}
	if o.quick {
		given := make(map[string]bool)
		fs.Visit(func(f *flag.Flag) { given[f.Name] = true })
		o.shorten(given)
	}
	if o.beside < 0 || o.beside > 64 {
		return errors.New("compare: beside must be between 0 and 64")
	}
	if o.rounds < 1 || o.duration <= 0 || o.open <= 0 || o.warmup < 0 || o.idle < 0 {
		return errors.New("compare: rounds and duration must be positive, warm-up and idle time not negative")
	}

	if _, _, err := o.entrants(peer.Kinds(o.sluice)); err != nil {
		return err
	}

	c := &comparison{opt: o, out: out}
	if c.report.Cells, err = chooseCells(o.cells); err != nil {
		return err
	}
	c.report.When = time.Now()
	c.report.Settings = report.Settings{
		Command: command(fs), Rounds: o.rounds, Duration: o.duration, Open: o.open, Warmup: o.warmup, Idle: o.idle,
		Servers: servers, Server: peer.ServerVersion(),
	}
	if c.root, err = os.MkdirTemp("", "sluicebench-"); err != nil {
		return err
	}
	defer os.RemoveAll(c.root)
	defer c.close()
	if err := c.run(ctx); err != nil {
		return fmt.Errorf("compare: %w", err)
	}
	return c.write()
}

// shorten replaces what was not given on the command line.
func (o *options) shorten(given map[string]bool) {
	for name, set := range map[string]func(){
		"rounds":   func() { o.rounds = 1 },
		"duration": func() { o.duration = 250 * time.Millisecond },
		"open":     func() { o.open = 250 * time.Millisecond },
		"warmup":   func() { o.warmup = 100 * time.Millisecond },
		"idle":     func() { o.idle = 2 * time.Second },
		"profile":  func() { o.profile = false },
		"control":  func() { o.control = false },
	} {
		if !given[name] {
			set()
		}
	}
}

// command renders what was asked for, without the paths of this machine.
func command(fs *flag.FlagSet) string {
	words := []string{"sluicebench compare"}
	fs.Visit(func(f *flag.Flag) {
		if f.Name != "sluice" && f.Name != "out" {
			words = append(words, "-"+f.Name+"="+f.Value.String())
		}
	})
	return strings.Join(words, " ")
}

func chooseCells(patterns string) ([]report.Cell, error) {
	if patterns == "" {
		return report.Cells(), nil
	}
	var chosen []report.Cell
	for _, cell := range report.Cells() {
		for pattern := range strings.SplitSeq(patterns, ",") {
			match, err := path.Match(pattern, cell.Name)
			if err != nil {
				return nil, fmt.Errorf("cells: pattern %q: %w", pattern, err)
			}
			if match {
				chosen = append(chosen, cell)
				break
			}
		}
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("cells: nothing matches %q", patterns)
	}
	return chosen, nil
}

func (c *comparison) logf(format string, args ...any) { fmt.Fprintf(c.out, format+"\n", args...) }

// run does the whole comparison. An error means that there is nothing to report.
func (c *comparison) run(ctx context.Context) (err error) {
	if err := raiseFileLimit(); err != nil {
		return fmt.Errorf("limit on open files: %w", err)
	}
	c.report.Machine = thisMachine()
	if err := c.startServers(ctx); err != nil {
		return err
	}
	if err := c.startProxies(ctx); err != nil {
		return err
	}
	for _, p := range c.running() {
		if err := c.check(ctx, p); err != nil {
			return err
		}
	}
	for _, p := range c.running() {
		p.alone()() // Paused from now on.
	}
	if c.spinners, err = peer.Spin(c.root, c.opt.beside); err != nil {
		return err
	}
	for round := 1; round <= c.opt.rounds; round++ {
		for i, cell := range c.report.Cells {
			turn := slices.DeleteFunc(c.running(), func(p *participant) bool { return !p.runs(cell) })
			for k := range turn {
				p := turn[(k+i+round)%len(turn)]
				if err := c.measure(ctx, round, cell, p); err != nil {
					return err
				}
			}
		}
	}
	if c.opt.profile {
		if err := c.profileMisses(ctx); err != nil {
			return err
		}
	}
	c.stopProxies()
	if c.opt.control {
		if err := c.measureControl(ctx); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			c.logf("control: %v", err)
		}
	}
	if c.opt.memory {
		if err := c.measureMemory(ctx); err != nil {
			return err
		}
	}
	c.report.Machine.LoadAfter = loadAverage()
	return nil
}

// close ends every process, proxies first.
func (c *comparison) close() {
	c.stopProxies()
	for _, s := range c.spinners {
		s.Stop()
	}
	for _, s := range slices.Concat(c.replicas, c.servers) {
		s.Stop()
	}
	c.servers, c.replicas = nil, nil
}

func (c *comparison) stopProxies() {
	for _, p := range c.participants {
		if p.kind != nil && p.in != nil {
			p.in.Stop()
		}
		p.in = nil
	}
}

func (c *comparison) running() []*participant {
	var up []*participant
	for _, p := range c.participants {
		if p.in != nil {
			up = append(up, p)
		}
	}
	return up
}

// behind are the servers that proxies are put in front of.
func (c *comparison) behind() []peer.Server {
	var servers []peer.Server
	for i, s := range c.servers {
		servers = append(servers, peer.Server{Addr: s.Addr})
		if i < len(c.replicas) {
			servers[i].Replica = c.replicas[i].Addr
		}
	}
	return servers
}

func (c *comparison) startServers(ctx context.Context) error {
	for i := range servers {
		s, err := peer.LaunchServer(ctx, c.root, fmt.Sprintf("server%d", i+1))
		if err != nil {
			return err
		}
		c.servers = append(c.servers, s)
		for _, value := range []int{3, 1024} {
			cfg := load.Default()
			cfg.Target = s.Addr
			c.useKeys(&cfg, value)
			if err := fill(ctx, cfg); err != nil {
				return err
			}
		}
	}
	c.logf("%d servers filled", len(c.servers))
	if _, wanted, err := c.opt.entrants(peer.Kinds(c.opt.sluice)); err != nil || !wanted(report.Reads) {
		return err
	}
	for i, s := range c.servers {
		host, port, err := net.SplitHostPort(s.Addr)
		if err != nil {
			return err
		}
		name := fmt.Sprintf("replica%d", i+1)
		r, err := peer.LaunchServer(ctx, c.root, name, "--replicaof", host, port, "--repl-diskless-sync-delay", "0")
		if err != nil {
			return err
		}
		c.replicas = append(c.replicas, r)
	}
	return nil
}

// useKeys selects the key space that holds values of this size.
func (c *comparison) useKeys(cfg *load.Config, valueBytes int) {
	cfg.ValueBytes, cfg.Keys, cfg.Prefix = valueBytes, smallKeys, "key:"
	if valueBytes >= 1024 {
		cfg.Keys, cfg.Prefix = largeKeys, "big:"
	}
	if c.opt.quick {
		cfg.Keys /= 5
	}
}

// entrants returns the names of all that could take part, and a test for those
// that shall.
func (o *options) entrants(kinds []peer.Kind) (names []string, wanted func(string) bool, err error) {
	names = []string{report.Direct}
	for _, k := range kinds {
		names = append(names, k.Name)
	}
	only := strings.FieldsFunc(o.only, func(r rune) bool { return r == ',' })
	for _, name := range only {
		if !slices.Contains(names, name) {
			return nil, nil, fmt.Errorf("only: unknown name %q, known are %s", name, strings.Join(names, ", "))
		}
	}
	return names, func(name string) bool { return len(only) == 0 || slices.Contains(only, name) }, nil
}

func (c *comparison) startProxies(ctx context.Context) error {
	kinds := peer.Kinds(c.opt.sluice)
	names, wanted, err := c.opt.entrants(kinds)
	if err != nil {
		return err
	}
	c.report.Peers = make([]report.Peer, len(names)) // participants point into it
	for i, name := range names {
		p := &participant{Peer: &c.report.Peers[i]}
		p.Name = name
		c.participants = append(c.participants, p)
		if i == 0 {
			p.Version, p.Note = c.report.Settings.Server, "no proxy, one server only"
			if p.in = c.servers[0]; !wanted(name) {
				p.in, p.Problem = nil, "left out by -only"
			}
			continue
		}
		p.kind = &kinds[i-1]
		p.Note = p.kind.Note
		if !wanted(name) {
			p.Problem = "left out by -only"
			continue
		}
		p.Version = p.kind.Version()
		in, err := p.kind.Launch(ctx, c.root, c.behind())
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			p.Problem = "did not run: " + err.Error()
			c.logf("%s %s", name, p.Problem)
		default:
			p.in = in
			c.logf("%s is ready", name)
		}
	}
	if len(c.running()) == 0 {
		return errors.New("nothing to measure")
	}
	return nil
}

// write puts the report in its place, whole or not at all.
func (c *comparison) write() error {
	if c.opt.out == "-" {
		return c.report.WriteMarkdown(c.out)
	}
	f, err := os.CreateTemp(filepath.Dir(c.opt.out), ".results-")
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	defer os.Remove(f.Name())
	err = c.report.WriteMarkdown(f)
	if err := errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	if err := os.Rename(f.Name(), c.opt.out); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	for _, v := range c.report.Verdicts() {
		c.logf("%-14s %s: %s, wanted %s", strings.Trim(string(v.Outcome), "*"), v.Target, v.Got, v.Limit)
	}
	c.logf("report written to %s", c.opt.out)
	return nil
}
