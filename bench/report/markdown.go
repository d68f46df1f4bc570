package report

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// WriteMarkdown renders the report as one page.
func (r *Report) WriteMarkdown(w io.Writer) error {
	p := &page{Report: r}
	p.head()
	p.targets()
	p.peers()
	p.cpu()
	p.ratios()
	p.speed()
	p.open()
	p.control()
	p.lone()
	p.memory()
	p.failures()
	p.profiles()
	p.raw()
	_, err := io.WriteString(w, p.b.String())
	return err
}

// enoughRounds is what the targets ask for.
const enoughRounds = 5

// page is a report on its way to text.
type page struct {
	*Report
	b strings.Builder
}

func (p *page) printf(format string, args ...any) { fmt.Fprintf(&p.b, format, args...) }

// table writes rows under a head; the first columns are text, the others figures.
func (p *page) table(texts int, head []string, rows [][]string) {
	p.printf("| %s |\n", strings.Join(head, " | "))
	p.printf("%s%s|\n", strings.Repeat("|---", texts), strings.Repeat("|---:", len(head)-texts))
	for _, row := range rows {
		for i := range row {
			row[i] = strings.ReplaceAll(row[i], "|", `\|`)
			if row[i] == "" {
				row[i] = "–"
			}
		}
		p.printf("| %s |\n", strings.Join(row, " | "))
	}
	p.printf("\n")
}

func (p *page) head() {
	m, s := p.Machine, p.Settings
	p.printf("# Benchmark results\n\n")
	p.printf("Written by `%s` on %s; do not edit. How to read it: [README.md](README.md).\n\n",
		s.Command, p.When.UTC().Format("2006-01-02 15:04 MST"))
	p.printf("Machine: %s, %d cores, Linux %s, %s; load average before %s, after %s.\n",
		m.CPU, m.Cores, m.Kernel, m.Go, m.LoadBefore, m.LoadAfter)
	p.printf("%d rounds, each cell %s after %s of warm-up, proxies in rotating order; "+
		"%d servers (%s). Everything, generator included, on the same cores. Open loops run for %s.\n\n",
		s.Rounds, s.Duration, s.Warmup, s.Servers, s.Server, s.Open)
}

func (p *page) targets() {
	p.printf("## Targets\n\nMedian of the rounds (smallest … largest).\n\n")
	if p.Settings.Rounds < enoughRounds {
		p.printf("**Fewer than %d rounds: good for a first look, not for a verdict.**\n\n", enoughRounds)
	}
	var rows [][]string
	missed, missing := 0, 0
	for _, v := range p.Verdicts() {
		rows = append(rows, []string{v.Target, v.Limit, v.Got, string(v.Outcome)})
		switch v.Outcome {
		case NotReached:
			missed++
		case NotMeasured:
			missing++
		case Reached:
		}
	}
	p.table(4, []string{"Target", "limit", "measured", "outcome"}, rows)
	p.printf("%d of %d reached, %d not reached, %d not measured.\n\n", len(rows)-missed-missing, len(rows), missed, missing)
}

func (p *page) peers() {
	p.printf("## Who took part\n\n")
	var rows [][]string
	for _, peer := range p.Peers {
		state := peer.Problem
		if state == "" {
			state = "all figures"
		}
		rows = append(rows, []string{peer.Name, peer.Version, peer.Note, peer.Check, state})
	}
	p.table(5, []string{"Name", "version", "set-up", "verified run", "state"}, rows)
}

// measured lists the peers that have at least one run, in the order of Peers.
func (p *page) measured() []string {
	var names []string
	for _, peer := range p.Peers {
		if slices.ContainsFunc(p.Runs, func(r Run) bool { return r.Peer == peer.Name }) {
			names = append(names, peer.Name)
		}
	}
	return names
}

// measuredIn are those of measured that have a run in an open loop, or in a closed one.
func (p *page) measuredIn(open bool) []string {
	return slices.DeleteFunc(p.measured(), func(name string) bool {
		return !slices.ContainsFunc(p.Cells, func(c Cell) bool {
			has := func(r Run) bool { return r.Peer == name && r.Cell == c.Name }
			return c.Rate > 0 == open && slices.ContainsFunc(p.Runs, has)
		})
	})
}

// byCell writes a table with a row for each cell of an open loop, or of a closed one, and a column for each name.
func (p *page) byCell(open bool, names []string, value func(cell, name string) string) {
	var rows [][]string
	for _, c := range p.Cells {
		if c.Rate > 0 != open {
			continue
		}
		row := []string{c.title()}
		for _, name := range names {
			row = append(row, value(c.Name, name))
		}
		rows = append(rows, row)
	}
	p.table(1, append([]string{"Cell"}, names...), rows)
}

func (c Cell) title() string {
	size := fmt.Sprintf("%d B", c.ValueBytes)
	if c.ValueBytes >= 1024 {
		size = fmt.Sprintf("%d KiB", c.ValueBytes/1024)
	}
	if c.Rate > 0 {
		return fmt.Sprintf("%d/s c %d", c.Rate, c.Conns)
	}
	return fmt.Sprintf("%s c %d P %d %s", c.Command, c.Conns, c.Depth, size)
}

func (p *page) cpu() {
	p.printf("## CPU per request\n\nµs of the process's own CPU time, median; `direct` is the server itself.\n\n")
	p.byCell(false, p.measuredIn(false), func(cell, name string) string {
		s := p.over(cell, name, func(r *Run) float64 { return micros(r.CPU) })
		if s.N == 0 {
			return ""
		}
		return fmt.Sprintf("%.2f", s.Median)
	})
}

func (p *page) ratios() {
	var others []string
	if !slices.Contains(p.measuredIn(false), Sluice) {
		return
	}
	for _, name := range p.measuredIn(false) {
		if name != Sluice && name != Direct {
			others = append(others, name)
		}
	}
	if len(others) == 0 {
		return
	}
	p.printf("## CPU per request, Sluice over peer\n\nBelow 1.00 Sluice is cheaper. Paired by round; median (smallest … largest).\n\n")
	p.byCell(false, others, func(cell, name string) string {
		s := p.Ratio(name, cell)
		if s.N == 0 {
			return ""
		}
		return fmt.Sprintf("%.2f (%.2f … %.2f)", s.Median, s.Min, s.Max)
	})
}

func (p *page) speed() {
	p.printf("## Throughput and latency\n\nThousand requests per second, p50 / p99 in ms; medians. " +
		"A closed loop: the next request waits for the reply.\n\n")
	p.byCell(false, p.measuredIn(false), func(cell, name string) string {
		t := p.over(cell, name, func(r *Run) float64 { return r.Throughput / 1e3 })
		p50 := p.over(cell, name, func(r *Run) float64 { return micros(r.P50) / 1e3 })
		p99 := p.over(cell, name, func(r *Run) float64 { return micros(r.P99) / 1e3 })
		if t.N == 0 {
			return ""
		}
		return fmt.Sprintf("%.1f, %.2f / %.2f", t.Median, p50.Median, p99.Median)
	})
}

// open writes what was seen at rates below the highest.
func (p *page) open() {
	names := p.measuredIn(true)
	if len(names) == 0 {
		return
	}
	p.printf("## Open loop: at the rates that sidecars see\n\n" +
		"GET, P 1, 3 B. Requests leave by a timetable, whether earlier ones were answered or not, " +
		"and their latency counts from " +
		"the instant that it has for them.\n\nCPU µs per request, median; `direct` is the server itself.\n\n")
	p.byCell(true, names, func(cell, name string) string {
		s := p.over(cell, name, func(r *Run) float64 { return micros(r.CPU) })
		if s.N == 0 {
			return ""
		}
		return fmt.Sprintf("%.1f", s.Median)
	})
	p.printf("Latency, p50 / p99 / p99.9 in ms; medians.\n\n")
	p.byCell(true, names, func(cell, name string) string {
		ms := func(figure Figure) float64 { return p.over(cell, name, figure).Median / 1e6 }
		if p.over(cell, name, P50).N == 0 {
			return ""
		}
		return fmt.Sprintf("%.2f / %.2f / %.2f", ms(P50), ms(P99), ms(P999))
	})
	var pairs []string
	against := make(map[string][2]string)
	for _, own := range []string{Sluice, Sluice2, Reads} {
		other := Predixy
		if own == Sluice2 {
			other = Predixy2
		}
		if slices.Contains(names, own) && slices.Contains(names, other) {
			pair := own + " / " + other
			pairs, against[pair] = append(pairs, pair), [2]string{own, other}
		}
	}
	if len(pairs) == 0 {
		return
	}
	p.printf("Sluice over predixy, CPU, p50, p99, p99.9. Paired by round, medians.\n\n")
	p.byCell(true, pairs, func(cell, pair string) string {
		var texts []string
		for _, figure := range []Figure{CPU, P50, P99, P999} {
			s := p.Compare(figure, against[pair][0], against[pair][1], cell)
			if s.N == 0 {
				return ""
			}
			texts = append(texts, fmt.Sprintf("%.2f", s.Median))
		}
		return strings.Join(texts, ", ")
	})
}

func (p *page) control() {
	if len(p.Control) == 0 {
		return
	}
	p.printf("## What the control side costs\n\n" +
		"An open loop at 5,000 requests/s in front of one of many nodes, beside idle clients, while " +
		"Sluice is kept busy with something else. Turns of the event loop and waits for it are from its own histograms.\n\n")
	var rows [][]string
	for _, r := range p.Control {
		ms := func(d time.Duration) string { return fmt.Sprintf("%.2f", micros(d)/1e3) }
		rows = append(rows, []string{
			r.Work, ms(r.P50), ms(r.P99), ms(r.P999), ms(r.Max), ms(r.Late),
			fmt.Sprintf("%d of %d (≤ %s)", r.LongTurns, r.Turns, r.LongestTurn),
			fmt.Sprintf("%d of %d (≤ %s)", r.LongWaits, r.Waits, r.LongestWait),
		})
	}
	p.table(1, []string{
		"Work", "p50 ms", "p99 ms", "p99.9 ms", "max ms", "generator late, p99.9", "turns > 1 ms", "waits > 1 ms",
	}, rows)
}

func (p *page) lone() {
	if !slices.ContainsFunc(p.Cells, func(c Cell) bool { return c.Name == LoneGet }) {
		return
	}
	p.printf("## Latency added for one unpipelined client\n\nµs between the p50 through the proxy and the p50 without it, paired by round.\n\n")
	var rows [][]string
	for _, name := range p.measured() {
		if s := p.Added(name, LoneGet); name != Direct && s.N > 0 {
			rows = append(rows, []string{name, spreadText(s, "%+.1f")})
		}
	}
	p.table(1, []string{"Proxy", "added µs"}, rows)
}

func (p *page) memory() {
	if len(p.Memory) == 0 {
		return
	}
	p.printf("## Memory\n\nOne fresh process per proxy goes through these stages; MiB resident under load at the end of the stage, and the peak of the stage in brackets. "+
		"The last one is %s without a client.\n\n", p.Settings.Idle)
	head := []string{"Proxy"}
	for _, s := range Stages() {
		head = append(head, string(s))
	}
	var rows [][]string
	for _, peer := range p.Peers {
		row := []string{peer.Name}
		for _, s := range Stages() {
			cell := ""
			for _, m := range p.Memory {
				if m.Peer == peer.Name && m.Stage == s {
					cell = fmt.Sprintf("%.1f (%.1f)", mib(m.RSSBytes), mib(m.PeakBytes))
				}
			}
			row = append(row, cell)
		}
		if strings.Join(row[1:], "") != "" {
			rows = append(rows, row)
		}
	}
	p.table(1, head, rows)
}

func (p *page) failures() {
	var rows [][]string
	for _, r := range p.Runs {
		if r.Failures > 0 {
			rows = append(rows, []string{r.Peer, r.Cell, fmt.Sprint(r.Round), fmt.Sprint(r.Failures), r.Failure})
		}
	}
	if len(rows) == 0 {
		return
	}
	p.printf("## Runs with failures\n\nThey count for nothing above.\n\n")
	p.table(5, []string{"Peer", "cell", "round", "failures", "most often"}, rows)
}

func (p *page) profiles() {
	if len(p.Profiles) == 0 {
		return
	}
	p.printf("## Where the time goes in cells that missed their target\n\nCPU profiles of Sluice, taken in extra runs.\n\n")
	for _, prof := range p.Profiles {
		p.printf("<details><summary>%s</summary>\n\n```\n%s\n```\n\n</details>\n\n", prof.Cell, strings.TrimSpace(prof.Text))
	}
}

func (p *page) raw() {
	p.printf("## Every run\n\n<details><summary>%d runs</summary>\n\n", len(p.Runs))
	p.printf("gen is the generator's CPU time per request; p99 corr estimates clients that keep sending; RSS and its peak within the run in MiB.\n\n")
	var rows [][]string
	for _, r := range p.Runs {
		failed := ""
		if r.Failures > 0 {
			failed = fmt.Sprint(r.Failures)
		}
		rows = append(rows, []string{
			r.Cell, r.Peer, fmt.Sprint(r.Round),
			fmt.Sprintf("%.1f", r.Throughput/1e3),
			fmt.Sprintf("%.3f", micros(r.CPU)), fmt.Sprintf("%.0f", r.User*100), fmt.Sprintf("%.3f", micros(r.Generator)),
			fmt.Sprintf("%.3f", micros(r.P50)/1e3), fmt.Sprintf("%.3f", micros(r.P99)/1e3),
			fmt.Sprintf("%.3f", micros(r.P999)/1e3), fmt.Sprintf("%.3f", micros(r.CorrectedP99)/1e3),
			fmt.Sprintf("%.1f", mib(r.RSSBytes)), fmt.Sprintf("%.1f", mib(r.PeakBytes)), failed,
		})
	}
	p.table(2, []string{
		"Cell", "peer", "round", "krps", "CPU µs", "user %", "gen µs",
		"p50 ms", "p99 ms", "p99.9 ms", "p99 corr", "RSS", "peak", "failures",
	}, rows)
	p.printf("</details>\n")
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }
