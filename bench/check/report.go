package check

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"
)

// Report is what a run saw. Immutable.
type Report struct {
	Profile  Profile
	Clients  int
	Pipeline int
	Rate     float64 // asked for, in requests per second; 0: as fast as possible
	Elapsed  time.Duration

	// Requests were sent; Unknown of them may have run, and nobody knows.
	Requests, Unknown uint64
	// Errors are the distinct texts of error replies and lost connections; Failed
	// is the sum of those that are not tolerated.
	Errors []ErrorText
	Failed uint64
	// Counts has the number of findings of each Kind, Findings the first hundred.
	Counts   map[Kind]uint64
	Findings []Finding
	Linear   Linear
	// HistoryFull means that shared keys were not used until the end.
	HistoryFull bool

	// Consistency is what reads were judged by. Dated says that their ages are known:
	// Own and Others are those of own keys, and of keys that another connection wrote.
	Consistency Consistency
	MaxAge      time.Duration
	Dated       bool
	Own, Others ReadStats
	// StaleOwn is how many reads of own keys returned a version older than the last
	// one acknowledged to their client when the reply came. It is above Own.Stale by
	// reads sent in one pipeline with the write. The oldest is Own.Oldest.
	StaleOwn uint64

	// Steps are those of the sessions, by kind; kinds that were not done are left out.
	Steps []Step

	Phases  []Phase
	Windows []Window
}

// Step sums up one kind of step of sessions. Requests has none of them, Unknown and Errors have.
type Step struct {
	Name string
	// Done were acknowledged, or are elements and entries that were received. Nothing is how many came back with
	// nothing, were not run because a watched key had changed, or found another value than they were to replace.
	Done, Nothing, Unknown, Refused uint64
	// Stall is the longest time that one took, without the time that it had nothing to return.
	Stall time.Duration
}

// Phase is what the clients saw between two marks.
type Phase struct {
	Name     string
	From, To time.Duration
	// Replies in the phase, and per second.
	Replies uint64
	Rate    float64
	// Slowest is the lowest rate of a whole window of 100 ms, per second; Silent is
	// the number of those without a reply.
	Slowest float64
	Silent  int
	// Watched and Others are the latencies of requests that were under way in the
	// phase, also if they ended in a later one.
	Watched, Others Latency
	// Stall is the longest time that a connection with requests outstanding had
	// between two replies.
	Stall time.Duration
}

// Latency sums up the requests of one phase.
type Latency struct {
	Count               int64
	P50, P99, P999, Max time.Duration
}

// Window is 100 ms of the run.
type Window struct{ Replies, Watched uint32 }

func newLatency(h *hdr.Histogram) Latency {
	at := func(q float64) time.Duration { return time.Duration(h.ValueAtPercentile(q)) * time.Microsecond }
	return Latency{Count: h.TotalCount(), P50: at(50), P99: at(99), P999: at(99.9), Max: time.Duration(h.Max()) * time.Microsecond}
}

// newReport takes the figures of the load, which ended at end.
func newReport(r *Run, end time.Duration) *Report {
	rep := &Report{
		Profile: r.cfg.Profile, Clients: r.cfg.Clients, Pipeline: r.cfg.Pipeline, Rate: r.cfg.Rate, Elapsed: end,
		HistoryFull: r.history.Load() > int64(r.cfg.History),
	}
	for _, c := range r.clients {
		rep.Requests += c.requests
		rep.StaleOwn += c.staleOwn
	}
	rep.Steps = r.sessions.steps()
	rep.Consistency, rep.MaxAge, rep.Dated = r.cfg.Consistency, r.cfg.MaxAge, r.cfg.dates()
	rep.Own = newReadStats(r.clients, func(c *client) *readMeter { return &c.own })
	rep.Others = newReadStats(r.clients, func(c *client) *readMeter { return &c.others })
	for i := range min(int(end/windowLength)+1, len(r.line.windows)) {
		w := &r.line.windows[i]
		rep.Windows = append(rep.Windows, Window{Replies: w.all.Load(), Watched: w.watched.Load()})
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, m := range r.marks {
		to := end
		if i+1 < len(r.marks) {
			to = min(r.marks[i+1].at, end)
		}
		rep.Phases = append(rep.Phases, rep.phase(r, i, m, to))
	}
	return rep
}

func (rep *Report) phase(r *Run, i int, m mark, to time.Duration) Phase {
	p := Phase{Name: m.name, From: min(m.at, to), To: to}
	both := [2]*hdr.Histogram{hdr.New(1, maxLatency, 2), hdr.New(1, maxLatency, 2)}
	for _, c := range r.clients {
		if i >= len(c.meter.phases) {
			continue
		}
		for j, h := range c.meter.phases[i].latency {
			both[j].Merge(h)
		}
		p.Stall = max(p.Stall, c.meter.phases[i].stall)
	}
	p.Others, p.Watched = newLatency(both[0]), newLatency(both[1])
	p.Replies = uint64(p.Others.Count + p.Watched.Count)
	if length := p.To - p.From; length > 0 {
		p.Rate = float64(p.Replies) / length.Seconds()
	}
	// Whole windows of the phase only; the edges belong to two phases.
	p.Slowest = -1
	for w := int((p.From + windowLength - 1) / windowLength); w < min(int(p.To/windowLength), len(rep.Windows)); w++ {
		rate := float64(rep.Windows[w].Replies) / windowLength.Seconds()
		if rate == 0 {
			p.Silent++
		}
		if p.Slowest < 0 || rate < p.Slowest {
			p.Slowest = rate
		}
	}
	return p
}

// close takes what the journal has when all is judged.
func (rep *Report) close(j *journal) {
	rep.Errors = j.errorTexts()
	j.mu.Lock()
	defer j.mu.Unlock()
	rep.Unknown, rep.Failed, rep.Findings = j.unknown, j.failed, j.findings
	rep.Counts = make(map[Kind]uint64)
	for k := range kinds {
		if j.counts[k] > 0 {
			rep.Counts[k] = j.counts[k]
		}
	}
}

// ErrViolation is returned by Report.Err, wrapped, when there is a finding or an
// error reply that is not tolerated.
var ErrViolation = errors.New("violation")

// Err is nil when nothing was found. Requests with an unknown outcome and
// tolerated errors are nothing; histories that could not be decided are not
// either: see Report.Linear.
func (rep *Report) Err() error {
	var parts []string
	for k := range kinds {
		if n := rep.Counts[k]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, k))
		}
	}
	if rep.Failed > 0 {
		parts = append(parts, fmt.Sprintf("%d errors", rep.Failed))
	}
	if len(parts) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrViolation, strings.Join(parts, ", "))
}

// shownFindings is how many lines String has of findings.
const shownFindings = 12

// String is the report for people.
func (rep *Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d clients, pipeline %d, asked %s, %.1f s, %d requests\n",
		rep.Profile, rep.Clients, rep.Pipeline, asked(rep.Rate), rep.Elapsed.Seconds(), rep.Requests)
	tab := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tab, "phase\ts\trate/s\tslowest 100 ms\tsilent\tslots\trequests\tp50 ms\tp99\tp99.9\tmax\tstall ms\t")
	for _, p := range rep.Phases {
		slowest := "-"
		if p.Slowest >= 0 {
			slowest = fmt.Sprintf("%.0f", p.Slowest)
		}
		fmt.Fprintf(tab, "%s\t%.1f\t%.0f\t%s\t%d\t", p.Name, (p.To - p.From).Seconds(), p.Rate, slowest, p.Silent)
		p.Others.write(tab, "others")
		fmt.Fprintf(tab, "%s\t\n", millis(p.Stall))
		if p.Watched.Count > 0 {
			fmt.Fprint(tab, "\t\t\t\t\t")
			p.Watched.write(tab, "watched")
			fmt.Fprint(tab, "\t\n")
		}
	}
	_ = tab.Flush() // A strings.Builder takes everything.
	if rep.Dated {
		rep.writeReads(&b)
	}
	if len(rep.Steps) > 0 {
		rep.writeSteps(&b)
	}
	l := rep.Linear
	fmt.Fprintf(&b, "shared keys: %d with %d operations: %d linearizable, %d not, %d undecided in time\n",
		l.Keys, l.Operations, l.Good, l.Bad, l.Unknown)
	if rep.HistoryFull {
		b.WriteString("             the history was full before the end\n")
	}
	verdict := "0 violations"
	if err := rep.Err(); err != nil {
		verdict = err.Error()
	}
	fmt.Fprintf(&b, "%s; %d outcomes unknown\n", verdict, rep.Unknown)
	for _, e := range rep.Errors {
		note := ""
		if e.Tolerated {
			note = " (tolerated)"
		}
		fmt.Fprintf(&b, "%8d x %s%s; first %s\n", e.Count, e.Text, note, where(e.At, e.Phase, e.Key, e.Slot))
	}
	for _, f := range rep.Findings[:min(len(rep.Findings), shownFindings)] {
		fmt.Fprintln(&b, f)
	}
	return b.String()
}

func (rep *Report) writeReads(b *strings.Builder) {
	bound := "no bound"
	if rep.MaxAge > 0 {
		bound = "over " + rep.MaxAge.String()
	}
	fmt.Fprintf(b, "reads are to be %s; %d own ones older than acknowledged\n", rep.Consistency, rep.StaleOwn)
	tab := tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(tab, "keys\treads\tstale\t%%\tage p99 ms\tof stale\toldest\tat s\t%s\twent back\tahead\tbeyond window\t\n", bound)
	fmt.Fprint(tab, rep.Own.row("own"), rep.Others.row("others"))
	_ = tab.Flush() // A strings.Builder takes everything.
}

func (rep *Report) writeSteps(b *strings.Builder) {
	tab := tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tab, "sessions\tdone\tnothing\tunknown\trefused\tstall ms\t")
	for _, s := range rep.Steps {
		fmt.Fprintf(tab, "%s\t%d\t%d\t%d\t%d\t%s\t\n", s.Name, s.Done, s.Nothing, s.Unknown, s.Refused, millis(s.Stall))
	}
	_ = tab.Flush() // A strings.Builder takes everything.
}

func (l Latency) write(w io.Writer, name string) {
	fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\t", name, l.Count, millis(l.P50), millis(l.P99), millis(l.P999), millis(l.Max))
}

func millis(d time.Duration) string { return fmt.Sprintf("%.2f", float64(d)/float64(time.Millisecond)) }

func asked(rate float64) string {
	if rate == 0 {
		return "all it takes"
	}
	return fmt.Sprintf("%.0f/s", rate)
}
