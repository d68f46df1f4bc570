package load

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"
)

const (
	maxLatency    = int64(10 * time.Minute)
	maxErrorTexts = 32
	maxErrorBytes = 120
)

// Result is what one run saw. Latencies are in nanoseconds.
type Result struct {
	// Open is true for an open loop: its latencies count from the intended
	// sending time and need no correction.
	Open bool
	// Requests were answered within the window of length Elapsed.
	Requests uint64
	Elapsed  time.Duration
	// Latency holds one value per reply to a request of the window.
	Latency *hdr.Histogram
	// Late is how late an open loop noticed that a request was due. It is the
	// generator's own share of the latency; empty for a closed loop.
	Late *hdr.Histogram

	// Errors counts error replies, lost connections and wrong replies of the
	// whole run, warm-up included, by text.
	Errors map[string]uint64
	// ErrorReplies, Wrong and Lost split the sum of Errors.
	ErrorReplies, Wrong, Lost uint64
	// Nulls counts the GETs that found nothing.
	Nulls uint64
	// Unanswered requests had no reply when the run ended.
	Unanswered uint64
}

func newResult(open bool) *Result {
	return &Result{
		Open:    open,
		Latency: hdr.New(1, maxLatency, 3),
		Late:    hdr.New(1, maxLatency, 3),
		Errors:  make(map[string]uint64),
	}
}

// Failures is the number of things that went wrong in the run.
func (r *Result) Failures() uint64 {
	return r.ErrorReplies + r.Wrong + r.Lost + r.Unanswered
}

// Throughput is in requests per second.
func (r *Result) Throughput() float64 {
	if r.Elapsed <= 0 {
		return 0
	}
	return float64(r.Requests) / r.Elapsed.Seconds()
}

// Quantile returns a latency, for example Quantile(99.9).
func (r *Result) Quantile(q float64) time.Duration {
	return time.Duration(r.Latency.ValueAtPercentile(q))
}

// Corrected estimates what clients with their own timetable would have seen. A
// closed loop sends nothing while it waits, so a stall of one second counts once
// where a steady client would have met it many times. Every latency above the
// median round trip is therefore counted again for each request that would have
// been due meanwhile. It is an estimate; an open loop measures the real thing.
func (r *Result) Corrected() *hdr.Histogram {
	out := hdr.New(1, maxLatency, 3)
	if r.Open {
		out.Merge(r.Latency)
		return out
	}
	interval := r.Latency.ValueAtPercentile(50)
	for _, bar := range r.Latency.Distribution() {
		if bar.Count == 0 {
			continue
		}
		record(out, bar.To, bar.Count)
		if interval <= 0 {
			continue
		}
		for missing := bar.To - interval; missing >= interval; missing -= interval {
			record(out, missing, bar.Count)
		}
	}
	return out
}

// WriteTo prints the result for people.
func (r *Result) WriteTo(w io.Writer) (int64, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "requests    %d in %.3f s, %.0f per second\n", r.Requests, r.Elapsed.Seconds(), r.Throughput())
	line := func(name string, h *hdr.Histogram) {
		if h.TotalCount() == 0 {
			return
		}
		q := func(p float64) string { return micros(h.ValueAtPercentile(p)) }
		fmt.Fprintf(&b, "%-11s p50 %s  p90 %s  p99 %s  p99.9 %s  max %s\n",
			name, q(50), q(90), q(99), q(99.9), micros(h.Max()))
	}
	if r.Open {
		line("latency", r.Latency)
		b.WriteString("            open loop: counted from the intended sending time\n")
		line("lateness", r.Late)
		b.WriteString("            the generator's own share of the latency\n")
	} else {
		line("latency", r.Latency)
		b.WriteString("            closed loop: as seen, blind to requests it did not send while waiting\n")
		line("corrected", r.Corrected())
		b.WriteString("            estimate for clients that keep sending; use -rate to measure it\n")
	}
	fmt.Fprintf(&b, "errors      %d error replies, %d wrong replies, %d lost connections, %d unanswered, %d GETs found nothing\n",
		r.ErrorReplies, r.Wrong, r.Lost, r.Unanswered, r.Nulls)
	for _, text := range r.ErrorTexts() {
		fmt.Fprintf(&b, "            %8d  %s\n", r.Errors[text], text)
	}
	n, err := io.WriteString(w, b.String())
	return int64(n), err
}

// ErrorTexts returns the keys of Errors, the most frequent first.
func (r *Result) ErrorTexts() []string {
	texts := make([]string, 0, len(r.Errors))
	for text := range r.Errors {
		texts = append(texts, text)
	}
	slices.SortFunc(texts, func(a, b string) int {
		if r.Errors[a] != r.Errors[b] {
			if r.Errors[a] > r.Errors[b] {
				return -1
			}
			return 1
		}
		return strings.Compare(a, b)
	})
	return texts
}

// failed counts one failure under its text. Texts beyond the first few are
// counted together, so that texts with keys in them cannot fill the memory.
func (r *Result) failed(text string) {
	if len(text) > maxErrorBytes {
		text = text[:maxErrorBytes]
	}
	if _, known := r.Errors[text]; !known && len(r.Errors) >= maxErrorTexts {
		text = "(other texts)"
	}
	r.Errors[text]++
}

// merge adds the result of another loop of the same run.
func (r *Result) merge(from *Result) {
	r.Requests += from.Requests
	r.Elapsed = max(r.Elapsed, from.Elapsed)
	r.Latency.Merge(from.Latency)
	r.Late.Merge(from.Late)
	for text, n := range from.Errors {
		r.Errors[text] += n
	}
	r.ErrorReplies += from.ErrorReplies
	r.Wrong += from.Wrong
	r.Lost += from.Lost
	r.Nulls += from.Nulls
	r.Unanswered += from.Unanswered
}

// record adds n equal latencies; what is out of range counts at the edge.
func record(h *hdr.Histogram, v, n int64) {
	_ = h.RecordValues(min(max(v, 1), maxLatency), n) // in range by construction
}

func micros(ns int64) string {
	switch d := time.Duration(ns); {
	case d < 100*time.Microsecond:
		return fmt.Sprintf("%.1fµs", float64(ns)/1e3)
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.0fµs", float64(ns)/1e3)
	default:
		return fmt.Sprintf("%.1fms", float64(ns)/1e6)
	}
}
