package load

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestCorrectedCountsWhatAClosedLoopDidNotSend(t *testing.T) {
	r := newResult(false)
	record(r.Latency, int64(time.Millisecond), 99)
	record(r.Latency, int64(100*time.Millisecond), 1)
	if p99 := r.Quantile(99); p99 > 2*time.Millisecond {
		t.Errorf("as seen: p99 = %s", p99)
	}
	c := r.Corrected()
	if n := c.TotalCount(); n < 195 || n > 201 { // 100 seen and about 99 that would have been due
		t.Errorf("corrected: %d values", n)
	}
	if p := time.Duration(c.ValueAtPercentile(75)); p < 40*time.Millisecond || p > 60*time.Millisecond {
		t.Errorf("corrected: p75 = %s", p)
	}
}

func TestCorrectedLeavesAnOpenLoopAlone(t *testing.T) {
	r := newResult(true)
	record(r.Latency, int64(time.Millisecond), 99)
	record(r.Latency, int64(time.Second), 1)
	if n := r.Corrected().TotalCount(); n != 100 {
		t.Errorf("%d values, want 100", n)
	}
}

func TestRecordClampsToTheRange(t *testing.T) {
	r := newResult(false)
	record(r.Latency, -5, 1)
	record(r.Latency, 2*maxLatency, 1)
	if n := r.Latency.TotalCount(); n != 2 {
		t.Errorf("%d values, want 2", n)
	}
}

func TestErrorTextsAreBounded(t *testing.T) {
	r := newResult(false)
	for i := range 1000 {
		r.failed(fmt.Sprintf("ERR key %d %s", i, strings.Repeat("x", 1000)))
	}
	r.failed("ERR key 0 " + strings.Repeat("x", 1000))
	if len(r.Errors) > maxErrorTexts+1 {
		t.Errorf("%d texts kept", len(r.Errors))
	}
	texts := r.ErrorTexts()
	if texts[0] != "(other texts)" || len(texts[1]) != maxErrorBytes || r.Errors[texts[1]] != 2 {
		t.Errorf("first texts %q, %q", texts[0], texts[1])
	}
	var sum uint64
	for _, n := range r.Errors {
		sum += n
	}
	if sum != 1001 {
		t.Errorf("%d failures counted, want 1001", sum)
	}
}

func TestMergeAddsLoops(t *testing.T) {
	a, b := newResult(true), newResult(true)
	a.Requests, b.Requests = 3, 4
	a.Elapsed, b.Elapsed = time.Second, 2*time.Second
	a.Wrong, b.Lost, b.Unanswered, a.ErrorReplies = 1, 2, 3, 4
	a.failed("x")
	b.failed("x")
	record(a.Latency, 5, 1)
	record(b.Latency, 9, 1)
	a.merge(b)
	if a.Requests != 7 || a.Elapsed != 2*time.Second || a.Failures() != 10 || a.Errors["x"] != 2 || a.Latency.TotalCount() != 2 {
		t.Errorf("merged: %+v", a)
	}
	if got := a.Throughput(); got != 3.5 {
		t.Errorf("throughput %v", got)
	}
}
