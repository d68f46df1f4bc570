package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"sluice/bench/load"
	"sluice/bench/peer"
	"sluice/bench/report"
)

// What the control side does must not be felt by requests. A Sluice of its own with many nodes and many idle
// clients gets a steady load while it is scraped, reloaded, asked, and so on. One node is a real server, which has
// the slot of all keys of the load; standIns take the places of the others.
const (
	controlNodes = 1000
	controlIdle  = 5000
	controlRate  = 5000
	controlTag   = "{a}"
	controlSlots = 1024 // of the configuration
	// controlSettle is how long it is left alone before.
	controlSettle = 5 * time.Second
)

// work is something that the control side does again and again.
type work struct {
	name  string
	every time.Duration
	do    func(context.Context) error
}

// measureControl adds a row for each kind of work, and one for none.
func (c *comparison) measureControl(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	others, err := startStandIns(ctx, c.servers[1].Addr, controlNodes)
	if err != nil {
		return err
	}
	servers := make([]peer.Server, controlNodes)
	for i := range servers {
		servers[i].Addr = others.addrs[i]
	}
	slot := int(crc32.ChecksumIEEE([]byte(strings.Trim(controlTag, "{}")))) % controlSlots
	for i := range servers { // The owner of the slot; see peer.shareSlots.
		if i*controlSlots/controlNodes <= slot && slot < (i+1)*controlSlots/controlNodes {
			servers[i].Addr = c.servers[0].Addr
		}
	}
	kinds := peer.Kinds(c.opt.sluice)
	in, err := kinds[0].Launch(ctx, c.root, servers)
	if err != nil {
		return err
	}
	defer in.Stop()
	cfg := load.Default()
	cfg.Target, cfg.Prefix, cfg.Keys, cfg.Conns = in.Addr, controlTag+"key:", 1000, 50
	cfg.Rate, cfg.Warmup, cfg.Duration = controlRate, c.opt.warmup, 2*c.opt.open
	if err := fill(ctx, cfg); err != nil {
		return err
	}
	idle, err := idleClients(ctx, in.Addr, controlIdle)
	defer func() {
		for _, nc := range idle {
			_ = nc.Close()
		}
	}()
	if err != nil {
		return err
	}
	select { // All nodes are new to it.
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(controlSettle):
	}
	works, err := controlWorks(in, c.root)
	if err != nil {
		return err
	}
	for _, w := range append([]work{{name: "nothing"}}, works...) {
		row, err := c.disturbed(ctx, cfg, in, w)
		if err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		c.report.Control = append(c.report.Control, row)
		c.logf("control  %-40s p50 %s  p99 %s  p99.9 %s (generator %s)  max %s  "+
			"%d of %d turns (up to %s) and %d of %d waits (up to %s) over 1 ms",
			row.Work, row.P50, row.P99, row.P999, row.Late, row.Max,
			row.LongTurns, row.Turns, row.LongestTurn, row.LongWaits, row.Waits, row.LongestWait)
	}
	return nil
}

// disturbed runs the load while w is done.
func (c *comparison) disturbed(
	ctx context.Context, cfg load.Config, in *peer.Instance, w work,
) (report.ControlRow, error) {
	turnsBefore, waitsBefore, err := loopTimes(ctx, in.Admin)
	if err != nil {
		return report.ControlRow{}, err
	}
	working, stop := context.WithCancel(ctx)
	defer stop()
	failed := make(chan error, 1)
	go func() { failed <- w.keepDoing(working) }()
	sum, err := loadElsewhere(ctx, cfg)
	stop()
	if err := errors.Join(err, in.Alive(), <-failed); err != nil {
		return report.ControlRow{}, err
	}
	if sum.Failures > 0 {
		return report.ControlRow{}, fmt.Errorf("%d failures: %v", sum.Failures, sum.Errors)
	}
	row := report.ControlRow{Work: w.name, P50: sum.P50, P99: sum.P99, P999: sum.P999, Max: sum.Max, Late: sum.Late}
	turns, waits, err := loopTimes(ctx, in.Admin)
	row.LongTurns, row.Turns, row.LongestTurn = turns.since(turnsBefore)
	row.LongWaits, row.Waits, row.LongestWait = waits.since(waitsBefore)
	return row, err
}

// keepDoing does w until ctx ends, at least once.
func (w work) keepDoing(ctx context.Context) error {
	if w.do == nil {
		return nil
	}
	for done := 0; ; done++ {
		err := w.do(ctx)
		switch {
		case err != nil && ctx.Err() != nil && done > 0:
			return nil // In the middle of it.
		case err != nil:
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(w.every):
		}
	}
}

// controlWorks are the kinds of work, the last of them all at once.
func controlWorks(in *peer.Instance, root string) ([]work, error) {
	found, err := filepath.Glob(filepath.Join(root, in.Name+"-*", "sluice.toml"))
	if err != nil || len(found) == 0 {
		return nil, fmt.Errorf("configuration of %s: %w", in.Name, errors.Join(err, os.ErrNotExist))
	}
	file, swapped := found[len(found)-1], false
	for _, f := range found { // The one that names the admin address.
		if text, err := os.ReadFile(f); err == nil && strings.Contains(string(text), strconv.Quote(in.Admin)) {
			file = f
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	get := func(path string) func(context.Context) error {
		return func(ctx context.Context) error { return call(ctx, http.MethodGet, "http://"+in.Admin+path) }
	}
	ask := func(request ...string) func(context.Context) error {
		return func(ctx context.Context) error { return askOnce(ctx, in.Addr, request...) }
	}
	reload := func(ctx context.Context) error {
		// The first and the last group change places, or change back.
		swapped = !swapped
		out := string(text)
		if swapped {
			out = strings.NewReplacer(
				`slots = "0-0"`, `slots = "1023-1023"`, `slots = "1022-1023"`, `slots = "0-0,1022-1022"`,
			).Replace(out)
		}
		if err := os.WriteFile(file, []byte(out), 0o600); err != nil {
			return err
		}
		return call(ctx, http.MethodPost, "http://"+in.Admin+"/-/reload")
	}
	works := []work{
		{"scrapes of /metrics", 50 * time.Millisecond, get("/metrics")},
		{"reloads", 100 * time.Millisecond, reload},
		{"INFO of all", 500 * time.Millisecond, ask("INFO", "all")},
		{"CLIENT LIST", 100 * time.Millisecond, ask("CLIENT", "LIST")},
		{"topology and groups", 50 * time.Millisecond, func(ctx context.Context) error {
			return errors.Join(get("/api/v1/topology")(ctx), get("/api/v1/groups")(ctx))
		}},
		{"garbage collections", 100 * time.Millisecond, get("/debug/pprof/heap?gc=1")},
		{"a slow log of everything", time.Second, ask("CONFIG", "SET", "slowlog-log-slower-than", "0")},
	}
	all := work{name: "all of these", every: 50 * time.Millisecond}
	ways := append([]work(nil), works...)
	all.do = func(ctx context.Context) error {
		var errs []error
		for _, w := range ways {
			errs = append(errs, w.do(ctx))
		}
		return errors.Join(errs...)
	}
	return append(works, all), nil
}

func call(ctx context.Context, method, url string) error {
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %.2000s", url, resp.Status, body)
	}
	return err
}

// askOnce sends one request on a connection of its own and reads its reply.
func askOnce(ctx context.Context, addr string, request ...string) error {
	var d net.Dialer
	nc, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(10 * time.Second))
	text := fmt.Sprintf("*%d\r\n", len(request))
	for _, arg := range request {
		text += fmt.Sprintf("$%d\r\n%s\r\n", len(arg), arg)
	}
	if _, err := io.WriteString(nc, text); err != nil {
		return err
	}
	r := bufio.NewReader(nc)
	line, err := r.ReadString('\n')
	if err != nil || line[0] == '-' {
		return errors.Join(err, fmt.Errorf("%q: %q", request, line))
	}
	if line[0] != '$' {
		return nil
	}
	n, err := strconv.ParseInt(strings.TrimSpace(line[1:]), 10, 64)
	if err != nil {
		return err
	}
	_, err = io.CopyN(io.Discard, r, n+2)
	return err
}

// loopTime is a histogram of the event loops: how many durations there are up to each bound, in seconds.
type loopTime map[float64]uint64

// since is how many of those that came since before were longer than that, of how many, and the bound of the longest.
func (l loopTime) since(before loopTime) (long, all uint64, longest time.Duration) {
	count := func(bound float64) uint64 { return l[bound] - before[bound] }
	all = count(math.Inf(1))
	for bound := range l {
		if count(bound) == all && (longest == 0 || bound < longest.Seconds()) {
			longest = time.Duration(min(bound, 3600) * float64(time.Second))
		}
	}
	return all - count(0.001), all, longest
}

// loopTimes reads the lengths of turns and of waits for them.
func loopTimes(ctx context.Context, admin string) (turns, waits loopTime, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+admin+"/metrics", nil)
	if err != nil {
		return nil, nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	turns, waits = make(loopTime), make(loopTime)
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		for prefix, into := range map[string]loopTime{
			`sluice_loop_turn_seconds_bucket{le="`: turns, `sluice_loop_wait_seconds_bucket{le="`: waits,
		} {
			text, is := strings.CutPrefix(lines.Text(), prefix)
			bound, count, _ := strings.Cut(text, `"} `)
			if le, err := strconv.ParseFloat(bound, 64); is && err == nil {
				into[le], _ = strconv.ParseUint(count, 10, 64)
			}
		}
	}
	if len(turns) == 0 || len(waits) == 0 {
		return nil, nil, errors.New("no sluice_loop_turn_seconds and sluice_loop_wait_seconds in /metrics")
	}
	return turns, waits, nil
}

// idleClients connects n clients that say nothing.
func idleClients(ctx context.Context, addr string, n int) (all []net.Conn, err error) {
	var d net.Dialer
	for range n {
		nc, err := d.DialContext(ctx, "tcp", addr)
		if err != nil {
			return all, err
		}
		all = append(all, nc)
	}
	return all, nil
}

// standIns are many nodes that cost next to nothing: each request is asked of a real server once, and answered
// in the same words from then on.
type standIns struct {
	target string
	addrs  []string

	mu      sync.Mutex
	answers map[string][]byte // by requests
}

// startStandIns opens n addresses. They are closed when ctx ends.
func startStandIns(ctx context.Context, target string, n int) (*standIns, error) {
	s := &standIns{target: target, answers: make(map[string][]byte)}
	for range n {
		var cfg net.ListenConfig
		ln, err := cfg.Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		s.addrs = append(s.addrs, ln.Addr().String())
		context.AfterFunc(ctx, func() { _ = ln.Close() })
		go func() {
			for {
				nc, err := ln.Accept()
				if err != nil {
					return
				}
				context.AfterFunc(ctx, func() { _ = nc.Close() })
				go s.serve(nc)
			}
		}()
	}
	return s, nil
}

// serve answers what comes on a connection. The questions of a probe come in one piece.
func (s *standIns) serve(nc net.Conn) {
	defer nc.Close()
	buf := make([]byte, 4<<10)
	for {
		n, err := nc.Read(buf)
		if err != nil {
			return
		}
		answer, err := s.answer(buf[:n])
		if err != nil {
			return
		}
		if _, err := nc.Write(answer); err != nil {
			return
		}
	}
}

func (s *standIns) answer(requests []byte) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if known, ok := s.answers[string(requests)]; ok {
		return known, nil
	}
	nc, err := net.Dial("tcp", s.target)
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := nc.Write(requests); err != nil {
		return nil, err
	}
	wanted, err := frames(requests)
	if err != nil {
		return nil, err
	}
	var got []byte
	for buf := make([]byte, 64<<10); ; {
		n, err := nc.Read(buf)
		if err != nil {
			return nil, err
		}
		got = append(got, buf[:n]...)
		if have, err := frames(got); err != nil || have >= wanted {
			s.answers[string(requests)] = got
			return got, err
		}
	}
}

// frames counts the requests, or the replies, that data begins with.
func frames(data []byte) (whole int, err error) {
	for {
		n, _, err := load.Frame(data)
		if err != nil || n == 0 {
			return whole, err
		}
		data, whole = data[n:], whole+1
	}
}
