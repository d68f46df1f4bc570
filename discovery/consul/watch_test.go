package consul

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/consul/api"
)

// answer is one of a fake Consul.
type answer struct {
	index uint64
	value string
	err   error
	after time.Duration
}

// question is what the watch has asked.
type question struct {
	index uint64
	wait  time.Duration
	at    time.Duration // since the start
}

// script runs a watch over answers; the one after the last hangs. It returns the questions and the values taken.
func script(t *testing.T, answers ...answer) (asked []question, taken []string, h *health) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	start := time.Now()
	h = newHealth()
	w := &watch[string]{
		name: watchTopology, wait: time.Minute, health: h, log: slog.New(slog.DiscardHandler),
		bucket: newBucket(2, time.Second, 15*time.Second),
		ask: func(_ context.Context, opts *api.QueryOptions) (string, *api.QueryMeta, error) {
			asked = append(asked, question{opts.WaitIndex, opts.WaitTime, time.Since(start)})
			if len(asked) > len(answers) {
				cancel()
				<-ctx.Done()
				return "", nil, ctx.Err()
			}
			a := answers[len(asked)-1]
			select {
			case <-time.After(a.after):
			case <-opts.Context().Done():
				return "", nil, opts.Context().Err()
			}
			return a.value, &api.QueryMeta{LastIndex: a.index}, a.err
		},
		take: func(v string) { taken = append(taken, v) },
	}
	w.run(ctx)
	return asked, taken, h
}

func indexes(asked []question) []uint64 {
	var list []uint64
	for _, q := range asked {
		list = append(list, q.index)
	}
	return list
}

func TestWatchIndexes(t *testing.T) {
	f := func(name string, want []uint64, taken string, answers ...answer) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			asked, got, _ := script(t, answers...)
			if !slices.Equal(indexes(asked), want) || strings.Join(got, "") != taken {
				t.Errorf("%s: asked with %v and took %q, want %v and %q", name, indexes(asked), got, want, taken)
			}
		})
	}
	bad := errors.New("EOF")
	f("in order", []uint64{0, 5, 9}, "ab", answer{index: 5, value: "a"}, answer{index: 9, value: "b"})
	f("reset", []uint64{0, 50, 0, 7}, "ac", answer{index: 50, value: "a"}, answer{index: 7, value: "b"}, answer{index: 7, value: "c"})
	f("zero", []uint64{0, 1, 1}, "ab", answer{index: 0, value: "a"}, answer{index: 0, value: "b"})
	f("error", []uint64{0, 5, 0, 5}, "ab", answer{index: 5, value: "a"}, answer{err: bad}, answer{index: 5, value: "b"})
	f("timeout", []uint64{0, 5, 5}, "aa", answer{index: 5, value: "a"}, answer{index: 5, value: "a", after: time.Minute})
}

func TestWatchHasADeadlineOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked, taken, _ := script(t, answer{index: 5, value: "a"}, answer{index: 6, value: "b", after: time.Hour}, answer{index: 7, value: "c"})
		if !slices.Equal(indexes(asked), []uint64{0, 5, 0, 7}) || strings.Join(taken, "") != "ac" {
			t.Fatalf("asked %v, took %q", asked, taken)
		}
		if asked[0].wait != 0 || asked[1].wait != time.Minute {
			t.Errorf("waits %v and %v", asked[0].wait, asked[1].wait)
		}
		if hung := asked[2].at - asked[1].at; hung < time.Minute+4*time.Second || hung > 80*time.Second {
			t.Errorf("a query that hangs was given up after %s", hung)
		}
	})
}

func TestWatchBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answers := make([]answer, 30)
		for i := range answers {
			answers[i].err = errors.New("connection refused")
		}
		asked, taken, h := script(t, answers...)
		var total time.Duration
		for i := 1; i < len(asked); i++ {
			gap := asked[i].at - asked[i-1].at
			if limit := min(minPause<<min(i-1, 10), maxPause); gap > limit {
				t.Errorf("pause %d of %s, at most %s", i, gap, limit)
			}
			total += gap
		}
		if total < 30*time.Second {
			t.Errorf("30 errors in %s: there is no back-off", total)
		}
		if len(taken) > 0 || h.troubles() < len(answers) || h.err(degradedAfter) == nil {
			t.Errorf("took %q after %d failures", taken, h.troubles())
		}
	})
}

func TestWatchSlowsDownWhereValuesChurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answers := make([]answer, 40)
		for i := range answers {
			answers[i] = answer{index: uint64(i + 10), value: "x"} // At once, each time.
		}
		asked, _, _ := script(t, answers...)
		if early := asked[2].at; early != 0 {
			t.Errorf("the third question came after %s, want at once", early)
		}
		last := asked[len(asked)-1].at - asked[len(asked)-2].at
		if last != 15*time.Second {
			t.Errorf("the last gap is %s, want 15s", last)
		}
		b := newBucket(2, time.Second, 15*time.Second)
		now := time.Now()
		for range 20 {
			now = now.Add(b.take(now))
		}
		now = now.Add(time.Hour)
		for i, want := range []time.Duration{0, 0, time.Second} {
			if got := b.take(now); got != want {
				t.Errorf("take %d after a quiet hour: %s, want %s", i, got, want)
			}
		}
	})
}

// fakeConsul answers what faults a real Consul does not produce on demand. mu guards the fields.
type fakeConsul struct {
	mu     sync.Mutex
	status int    // of every answer; 0: as usual
	body   string // with status
	cut    bool   // the connection ends in the middle of the answer
	hang   bool
}

func (f *fakeConsul) set(change func(*fakeConsul)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

func (f *fakeConsul) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	status, body, cut, hang := f.status, f.body, f.cut, f.hang
	f.mu.Unlock()
	switch {
	case hang:
		<-r.Context().Done()
	case cut:
		w.Header().Set("Content-Length", "1000")
		io.WriteString(w, "[{")
		panic(http.ErrAbortHandler)
	case status != 0:
		w.WriteHeader(status)
		io.WriteString(w, body)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func TestErrorsOfConsulAreExplained(t *testing.T) {
	fake := &fakeConsul{}
	srv := httptest.NewServer(fake)
	t.Cleanup(srv.Close)
	client := newClient(t, ClientConfig{Address: srv.URL})
	f := func(want string, set func(*fakeConsul)) {
		t.Helper()
		fake.set(func(f *fakeConsul) { f.status, f.body, f.cut, f.hang = 0, "", false, false })
		fake.set(set)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		if fake.hang {
			ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
		}
		_, _, err := ReadDocument(ctx, client.KV(), "sluice/x/")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
		if errors.As(err, new(contentError)) != strings.HasPrefix(want, "there is no topology") {
			t.Errorf("%v is taken for content", err)
		}
	}
	f("the servers have no quorum", func(f *fakeConsul) { f.status, f.body = 500, "No cluster leader" })
	f("raise limits.http_max_conns_per_client", func(f *fakeConsul) { f.status, f.body = 429, "Your IP is issuing too many concurrent connections" })
	f("the token lacks a rule", func(f *fakeConsul) { f.status, f.body = 403, "Permission denied" })
	f("does not answer", func(f *fakeConsul) { f.hang = true })
	f("EOF", func(f *fakeConsul) { f.cut = true })
	f("there is no topology", func(*fakeConsul) {})
}

func TestListStaleAsksTheLeaderWhenTheAnswerIsOld(t *testing.T) {
	var asked []string
	var mu sync.Mutex
	age := "500"
	leaderless := false
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		stale := r.URL.Query().Has("stale")
		asked = append(asked, fmt.Sprint(stale))
		if !stale && leaderless {
			w.WriteHeader(500)
			return
		}
		w.Header().Set("X-Consul-Index", "3")
		if stale {
			w.Header().Set("X-Consul-LastContact", age)
		}
		io.WriteString(w, `[{"Key":"a","Value":"`+map[bool]string{true: "b2xk", false: "bmV3"}[stale]+`"}]`)
	}))
	t.Cleanup(srv.Close)
	client := newClient(t, ClientConfig{Address: srv.URL})
	f := func(want, wantAsked string) {
		t.Helper()
		asked = nil
		pairs, _, err := ListStale(t.Context(), client.KV(), "a", time.Second)
		if err != nil || string(pairs[0].Value) != want || strings.Join(asked, " ") != wantAsked {
			t.Errorf("%v, error %v, asked %v; want %s, %s", pairs, err, asked, want, wantAsked)
		}
	}
	f("old", "true")
	age = "5000"
	f("new", "true false")
	leaderless = true
	f("old", "true false")
}
