package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sluice/bench/load"
	"sluice/bench/report"
)

const (
	profileTime  = 3 * time.Second
	profileLines = 35
)

// profileMisses adds a CPU profile of Sluice for each cell whose target was
// missed. These are extra runs after the measured ones.
func (c *comparison) profileMisses(ctx context.Context) error {
	var missed []string
	for _, v := range c.report.Verdicts() {
		if v.Outcome == report.NotReached {
			missed = append(missed, v.Cells...)
		}
	}
	for _, p := range c.running() {
		if p.Name != report.Sluice {
			continue
		}
		for _, cell := range c.report.Cells {
			if !slices.Contains(missed, cell.Name) {
				continue
			}
			pause := p.alone()
			text, err := c.profile(ctx, cell, p)
			pause()
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				text = "no profile: " + err.Error()
			}
			c.report.Profiles = append(c.report.Profiles, report.Profile{Cell: cell.Name, Text: text})
			c.logf("profile of %s taken", cell.Name)
		}
	}
	return nil
}

// profile keeps the load of a cell running while Sluice profiles itself.
func (c *comparison) profile(ctx context.Context, cell report.Cell, p *participant) (string, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cfg := c.cellLoad(cell, p.in.Addr)
	cfg.Duration = 2 * profileTime // ended by cancel
	over := make(chan error, 1)
	go func() {
		_, err := load.Run(ctx, cfg)
		over <- err
	}()
	file := filepath.Join(c.root, cell.Name+".pprof")
	err := fetch(ctx, fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%.0f", p.in.Admin, profileTime.Seconds()), file)
	cancel()
	<-over
	if err != nil {
		return "", err
	}
	cmd := exec.Command("go", "tool", "pprof", "-top", fmt.Sprintf("-nodecount=%d", profileLines), p.in.Program, file)
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go tool pprof: %w", err)
	}
	// The lines before the totals name files and times of this machine.
	if at := strings.Index(string(out), "Duration:"); at >= 0 {
		out = out[at:]
	}
	return string(out), nil
}

func fetch(ctx context.Context, url, file string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*profileTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("profile: %s", resp.Status)
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, resp.Body); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
