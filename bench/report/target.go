package report

import (
	"fmt"
	"strings"
	"time"
)

// idleTarget is how long the memory may take to come back.
const idleTarget = 30 * time.Second

// Outcome of a target.
type Outcome string

// The outcomes. A figure that is missing is never taken for a good one.
const (
	Reached     Outcome = "reached"
	NotReached  Outcome = "**not reached**"
	NotMeasured Outcome = "not measured"
)

// Verdict is one target with what was measured.
type Verdict struct {
	Target  string
	Limit   string
	Got     string
	Outcome Outcome
	// Cells are those that the figure comes from; empty for memory.
	Cells []string
}

// Verdicts judges all targets.
func (r *Report) Verdicts() []Verdict {
	ratio := func(name, peer string, limit float64, cells ...string) Verdict {
		v := Verdict{Target: name, Limit: fmt.Sprintf("≤ %.2f", limit), Cells: cells}
		s := r.Ratio(peer, cells...)
		v.Got, v.Outcome = spreadText(s, "%.2f"), judge(s, limit)
		return v
	}
	memory := func(name string, stage Stage, limitMiB float64, below bool) Verdict {
		v := Verdict{Target: name, Limit: fmt.Sprintf("≤ %.0f MiB", limitMiB), Outcome: NotMeasured}
		if below {
			v.Limit = fmt.Sprintf("< %.0f MiB", limitMiB)
		}
		for _, row := range r.Memory {
			if row.Peer != Sluice || row.Stage != stage {
				continue
			}
			got := mib(row.RSSBytes)
			v.Got = fmt.Sprintf("%.1f MiB", got)
			v.Outcome = NotReached
			if got < limitMiB || got == limitMiB && !below {
				v.Outcome = Reached
			}
		}
		return v
	}
	lone := func() Verdict {
		v := Verdict{
			Target: "p50 added to direct, one unpipelined client, Sluice minus predixy",
			Limit:  "≤ 0 µs", Cells: []string{LoneGet},
		}
		s := r.latencyDifference(Sluice, Predixy, LoneGet)
		v.Got, v.Outcome = spreadText(s, "%+.1f µs"), judge(s, 0)
		return v
	}
	// worst is the cell in which the median is highest; all of them have to be there.
	worst := func(name string, limit float64, figure Figure, own, other string, cells ...string) Verdict {
		v := Verdict{
			Target: name + ", worst of " + strings.Join(cells, ", "), Limit: fmt.Sprintf("≤ %.2f", limit),
			Cells: cells, Outcome: NotMeasured,
		}
		var high Spread
		for _, cell := range cells {
			s := r.Compare(figure, own, other, cell)
			if s.N == 0 {
				return v
			}
			if s.Median > high.Median {
				high, v.Got = s, spreadText(s, "%.2f")+" at "+cell
			}
		}
		v.Outcome = judge(high, limit)
		return v
	}
	between := func(name string, limit float64, cell, base string) Verdict {
		s := r.Between(CPU, cell, base)
		return Verdict{
			Target: name, Limit: fmt.Sprintf("≤ %.2f", limit), Got: spreadText(s, "%.2f"), Outcome: judge(s, limit),
			Cells: []string{cell, base},
		}
	}
	idle := memory(fmt.Sprintf("RSS %.0f s after that load", r.Settings.Idle.Seconds()), StageIdle, 40, true)
	if idle.Outcome == NotReached && r.Settings.Idle < idleTarget {
		idle.Outcome = NotMeasured // it still had time
	}
	verdicts := []Verdict{
		ratio("CPU vs predixy, 50 connections, P 1, GET and SET", Predixy, 0.95, P1Get, P1Set),
		ratio("CPU vs predixy, 50 connections, P 16, GET and SET", Predixy, 0.75, P16Get, P16Set),
		ratio("CPU vs predixy, 50 connections, P 64, GET and SET", Predixy, 0.55, P64Get, P64Set),
		ratio("CPU vs predixy, 500 connections, P 64, 1 KiB, GET and SET", Predixy, 0.90, LargeGet, LargeSet),
		ratio("CPU vs predixy, one unpipelined client", Predixy, 1.25, LoneGet),
		ratio("CPU vs twemproxy, 50 connections, P 16, GET and SET", Twemproxy, 0.35, P16Get, P16Set),
		ratio("CPU vs codis-proxy, 50 connections, P 16, GET and SET", Codis, 0.40, P16Get, P16Set),
		ratio("CPU vs codis-proxy, 50 connections, P 64, GET and SET", Codis, 0.40, P64Get, P64Set),
		memory("RSS with 50 connections", StageSmall, 32, false),
		memory("RSS with 500 connections, P 64, 1 KiB", StageLarge, 64, false),
		idle,
		lone(),
	}
	rates, many := []string{Open1k, Open5k, Open15k, Open30k}, []string{Open5kC500, Open15kC500, Open5kC5000, Open15kC5000}
	for _, pair := range []struct {
		name, own, other string
		cells            []string
	}{
		{"Sluice", Sluice, Predixy, rates},
		{"Sluice", Sluice, Predixy, many},
		{"two loops", Sluice2, Predixy2, rates},
		{"reads from replicas", Reads, Predixy, rates},
	} {
		verdicts = append(verdicts,
			worst("CPU vs predixy, open loop, "+pair.name, 1.10, CPU, pair.own, pair.other, pair.cells...),
			worst("p99 vs predixy, open loop, "+pair.name, 1.10, P99, pair.own, pair.other, pair.cells...),
			worst("p99.9 vs predixy, open loop, "+pair.name, 1.10, P999, pair.own, pair.other, pair.cells...))
	}
	return append(verdicts, between("CPU with 9,000 connections vs 50, at 15,000 requests/s", 1.15, Open15kC9000, Open15k))
}

func judge(s Spread, limit float64) Outcome {
	switch {
	case s.N == 0:
		return NotMeasured
	case s.Median <= limit:
		return Reached
	default:
		return NotReached
	}
}

func spreadText(s Spread, format string) string {
	if s.N == 0 {
		return ""
	}
	f := func(v float64) string { return fmt.Sprintf(format, v) }
	if s.N == 1 {
		return f(s.Median) + " (1 round)"
	}
	return fmt.Sprintf("%s (%s … %s, %d rounds)", f(s.Median), f(s.Min), f(s.Max), s.N)
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }
