package report

import (
	"bytes"
	"flag"
	"math"
	"os"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files")

func TestSpread(t *testing.T) {
	f := func(want Spread, values ...float64) {
		t.Helper()
		if got := NewSpread(values); got != want {
			t.Errorf("NewSpread(%v) = %+v, want %+v", values, got, want)
		}
	}
	f(Spread{})
	f(Spread{Min: 3, Median: 3, Max: 3, N: 1}, 3)
	f(Spread{Min: 1, Median: 2, Max: 9, N: 3}, 9, 1, 2)
	f(Spread{Min: 1, Median: 2.5, Max: 4, N: 4}, 4, 1, 3, 2)
}

func TestGeometricMean(t *testing.T) {
	if got := geometricMean([]float64{0.5, 2}); math.Abs(got-1) > 1e-12 {
		t.Errorf("got %v, want 1", got)
	}
	if got := geometricMean([]float64{0.7}); math.Abs(got-0.7) > 1e-12 {
		t.Errorf("got %v, want 0.7", got)
	}
}

// withRuns builds a report of runs with these CPU times in µs, one per round.
func withRuns(rounds int, cpu map[[2]string][]int) *Report {
	r := &Report{Settings: Settings{Rounds: rounds, Idle: idleTarget}}
	for key, values := range cpu {
		for i, v := range values {
			r.Runs = append(r.Runs, Run{
				Round: i + 1, Cell: key[0], Peer: key[1], CPU: time.Duration(v) * time.Microsecond,
			})
		}
	}
	return r
}

func TestRatioPairsRunsOfOneRound(t *testing.T) {
	// Round 2 was ten times slower for both: unpaired medians would give 0.5 too,
	// unpaired extremes would not.
	r := withRuns(3, map[[2]string][]int{
		{P1Get, Sluice}:  {10, 100, 12},
		{P1Get, Predixy}: {20, 200, 20},
	})
	if got, want := r.Ratio(Predixy, P1Get), (Spread{Min: 0.5, Median: 0.5, Max: 0.6, N: 3}); !near(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestRatioOfSeveralCellsIsTheirGeometricMean(t *testing.T) {
	r := withRuns(2, map[[2]string][]int{
		{P1Get, Sluice}: {10, 10}, {P1Get, Predixy}: {20, 10},
		{P1Set, Sluice}: {20, 40}, {P1Set, Predixy}: {10, 10},
	})
	if got, want := r.Ratio(Predixy, P1Get, P1Set), (Spread{Min: 1, Median: 1.5, Max: 2, N: 2}); !near(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestRatioLeavesOutIncompleteRounds(t *testing.T) {
	r := withRuns(3, map[[2]string][]int{
		{P1Get, Sluice}:  {10, 10, 10},
		{P1Get, Predixy}: {20, 10}, // died before round 3
	})
	for i := range r.Runs {
		if r.Runs[i].Peer == Predixy && r.Runs[i].Round == 1 {
			r.Runs[i].Failures = 1
		}
	}
	if got, want := r.Ratio(Predixy, P1Get), (Spread{Min: 1, Median: 1, Max: 1, N: 1}); !near(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := r.Ratio(Predixy, P1Get, P1Set); got.N != 0 {
		t.Errorf("a cell without runs gives %+v", got)
	}
	if got := r.Ratio(Codis, P1Get); got.N != 0 {
		t.Errorf("a peer without runs gives %+v", got)
	}
}

func near(a, b Spread) bool {
	d := func(x, y float64) bool { return math.Abs(x-y) < 1e-9 }
	return d(a.Min, b.Min) && d(a.Median, b.Median) && d(a.Max, b.Max) && a.N == b.N
}

func TestVerdicts(t *testing.T) {
	outcome := func(r *Report, target string) Outcome {
		t.Helper()
		var found *Verdict
		for _, v := range r.Verdicts() {
			if strings.Contains(v.Target, target) {
				if found != nil {
					t.Fatalf("%q names two targets", target)
				}
				found = &v
			}
		}
		if found == nil {
			t.Fatalf("no target %q", target)
		}
		return found.Outcome
	}
	f := func(r *Report, target string, want Outcome) {
		t.Helper()
		if got := outcome(r, target); got != want {
			t.Errorf("%s: %s, want %s", target, got, want)
		}
	}
	r := withRuns(1, map[[2]string][]int{
		{P1Get, Sluice}: {95}, {P1Set, Sluice}: {95}, {P1Get, Predixy}: {100}, {P1Set, Predixy}: {100},
		{P16Get, Sluice}: {76}, {P16Set, Sluice}: {76}, {P16Get, Predixy}: {100}, {P16Set, Predixy}: {100},
		{P64Get, Sluice}: {70}, {P64Get, Predixy}: {100}, // no SET
		{P16Get, Codis}: {1000}, {P16Set, Codis}: {1000},
	})
	f(r, "predixy, 50 connections, P 1,", Reached) // the limit itself is enough
	f(r, "predixy, 50 connections, P 16,", NotReached)
	f(r, "predixy, 50 connections, P 64,", NotMeasured)
	f(r, "codis-proxy, 50 connections, P 16,", Reached)
	f(r, "twemproxy", NotMeasured)
	f(r, "RSS with 50 ", NotMeasured)
	f(r, "p50 added", NotMeasured)

	r.Memory = []MemoryRow{
		{Peer: Sluice, Stage: StageSmall, RSSBytes: 32 << 20},
		{Peer: Sluice, Stage: StageLarge, RSSBytes: 64<<20 + 1},
		{Peer: Sluice, Stage: StageIdle, RSSBytes: 40 << 20},
		{Peer: Predixy, Stage: StageLarge, RSSBytes: 1},
	}
	f(r, "RSS with 50 ", Reached)
	f(r, "RSS with 500", NotReached)
	f(r, "RSS 30 s after", NotReached) // below, not equal
	r.Settings.Idle = 2 * time.Second
	f(r, "RSS 2 s after", NotMeasured) // not yet late
	r.Memory[2].RSSBytes = 39 << 20
	f(r, "RSS 2 s after", Reached)

	open := func(cell, peer string, cpu, p99 int) {
		r.Runs = append(r.Runs, Run{
			Round: 1, Cell: cell, Peer: peer,
			CPU: time.Duration(cpu) * time.Microsecond, P99: time.Duration(p99) * time.Microsecond, P999: time.Millisecond,
		})
	}
	for _, cell := range []string{Open1k, Open5k, Open15k} {
		open(cell, Sluice, 50, 110)
		open(cell, Predixy, 50, 100)
	}
	f(r, "p99 vs predixy, open loop, Sluice, worst of open-1k,", NotMeasured) // one rate is missing
	open(Open30k, Sluice, 111, 99)
	open(Open30k, Predixy, 100, 100)
	f(r, "p99 vs predixy, open loop, Sluice, worst of open-1k,", Reached)
	f(r, "CPU vs predixy, open loop, Sluice, worst of open-1k,", NotReached) // good at three of four is not enough
	f(r, "CPU vs predixy, open loop, two loops", NotMeasured)
	open(Open15kC9000, Sluice, 57, 0)
	f(r, "9,000 connections", Reached)
	r.Runs[len(r.Runs)-1].CPU = 58 * time.Microsecond
	f(r, "9,000 connections", NotReached)

	lone := func(round int, peer string, p50 int) {
		r.Runs = append(r.Runs, Run{Round: round, Cell: LoneGet, Peer: peer, P50: time.Duration(p50) * time.Microsecond})
	}
	lone(1, Direct, 40)
	lone(1, Predixy, 60)
	lone(1, Sluice, 61)
	f(r, "p50 added", NotReached)
	r.Runs[len(r.Runs)-1].P50 = 60 * time.Microsecond
	f(r, "p50 added", Reached)
	if got := r.Added(Predixy, LoneGet).Median; got != 20 {
		t.Errorf("predixy adds %v µs, want 20", got)
	}
}

// sample is a report with everything in it that a page can show.
func sample() *Report {
	r := &Report{
		When: time.Date(2026, 3, 4, 5, 6, 0, 0, time.UTC),
		Machine: Machine{
			CPU: "Example CPU", Cores: 2, Kernel: "6.1.0", Go: "go1.26.0",
			LoadBefore: "0.10 0.20 0.30", LoadAfter: "1.50 0.90 0.40",
		},
		Settings: Settings{
			Command: "sluicebench compare", Rounds: 2, Duration: 2 * time.Second, Open: 3 * time.Second,
			Warmup: 300 * time.Millisecond,
			Idle:   30 * time.Second, Servers: 2, Server: "Example server 1.0",
		},
		Peers: []Peer{
			{Name: Direct, Version: "Example server 1.0", Note: "no proxy", Check: "100 replies, 0 wrong"},
			{Name: Sluice, Version: "sluice 0.1", Note: "1 loop", Check: "100 replies, 0 wrong"},
			{Name: Predixy, Version: "predixy-1", Note: "1 worker", Check: "100 replies, 0 wrong"},
			{Name: Twemproxy, Version: "twemproxy-1", Note: "ketama", Problem: "did not run: exit status 1: bad | line"},
		},
		Cells:    Cells(),
		Profiles: []Profile{{Cell: P16Get, Text: "Duration: 3s\n  1s 33% main.main\n"}},
	}
	for round := 1; round <= 2; round++ {
		for ci, cell := range r.Cells {
			for pi, p := range r.Peers[:3] {
				cpu := 10_000 / cell.Depth * (10 + pi + round) / 10
				r.Runs = append(r.Runs, Run{
					Round: round, Cell: cell.Name, Peer: p.Name,
					Throughput: float64(100_000 + 1000*ci + 10*pi + round),
					P50:        time.Duration(40+10*pi+round) * time.Microsecond, P99: time.Duration(1+pi) * time.Millisecond,
					P999:         time.Duration(3+pi) * time.Millisecond,
					CorrectedP99: time.Duration(2+pi) * time.Millisecond,
					CPU:          time.Duration(cpu), User: 0.4, Generator: 500 * time.Nanosecond,
					RSSBytes: int64(10+pi) << 20, PeakBytes: int64(12+pi) << 20,
				})
			}
		}
	}
	failed := &r.Runs[len(r.Runs)-1]
	failed.Failures, failed.Failure = 3, "ERR out of luck"
	for i, stage := range Stages() {
		r.Memory = append(r.Memory, MemoryRow{Peer: Sluice, Stage: stage, RSSBytes: int64(8+10*i) << 20, PeakBytes: int64(9+10*i) << 20})
	}
	return r
}

func TestMarkdownPage(t *testing.T) {
	const golden = "testdata/page.md"
	var got bytes.Buffer
	if err := sample().WriteMarkdown(&got); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("the page differs from %s; run with -update and look at the difference", golden)
	}
}

func TestMarkdownOfAnEmptyReport(t *testing.T) {
	var got bytes.Buffer
	if err := (&Report{Cells: Cells()}).WriteMarkdown(&got); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(got.String(), "0 of 25 reached, 0 not reached, 25 not measured") {
		t.Errorf("got\n%s", got.String())
	}
}
