package consul

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"
)

// The one loop around blocking queries. Each rule is there because somebody was bitten:
//
//   - An index that goes backwards (a restored snapshot, a wiped server) starts again at 0 at once. With the old one the
//     query would sleep until the server has counted up to it; the wait time bounds even that to a minute.
//   - Index 0 in an answer would make the next query not block, so 1 is sent.
//   - An error starts again at 0 too, after a pause with full jitter: a thousand proxies that lost one agent must not come
//     back together. Nothing is handed on: an error is no news about the topology. A kick ends the pause: somebody knows
//     that Consul is back. Whatever fails after it waits from the shortest pause on again.
//   - Every round takes a token (bucket.go), also one that says nothing new: Consul before 1.10 wakes a query for a missing
//     key with every write anywhere.
//   - A deadline of our own stands behind the wait time, for an agent that was stopped or a path that swallows packets.
const (
	watchTopology = "watch of the topology"
	watchCatalog  = "watch of the catalog"
	joining       = "joining"
)

const (
	minPause = 250 * time.Millisecond
	maxPause = 30 * time.Second
	// degradedAfter is the errors in a row that are trouble; a restart of the agent brings one or two.
	degradedAfter = 3
	// firstWait bounds a query that does not block. Consul holds one for rpc_hold_timeout (7 s) when it has no leader.
	firstWait = 9 * time.Second
)

// watch asks for one thing again and again. Its goroutine owns it but for health.
type watch[T any] struct {
	name string // for people
	wait time.Duration
	// ask queries Consul. opts and its context have everything that makes the query block.
	ask func(ctx context.Context, opts *api.QueryOptions) (T, *api.QueryMeta, error)
	// take is given what ask has found. It decides whether that is news.
	take   func(T)
	bucket *bucket
	health *health
	log    *slog.Logger
	kick   chan struct{} // capacity 1: ask now, from index 0; nil: never
}

// errKicked ends a query in favour of another one.
var errKicked = errors.New("asked anew")

// run asks until ctx ends.
func (w *watch[T]) run(ctx context.Context) {
	var index uint64
	failures := 0 // since the last answer or kick
	for ctx.Err() == nil {
		value, next, err := w.round(ctx, index)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, errKicked):
			index = 0
			continue
		case err != nil:
			index = 0
			w.health.failed(w.name, err, w.log)
			failures++
			if nap(ctx, pause(failures), w.kick) {
				failures = 0
			}
			continue
		}
		failures = 0
		w.health.answered(w.name, w.log)
		if next < index {
			index = 0
			w.health.reset()
			w.log.Warn("consul index went backwards, asking anew", "watch", w.name, "index", next)
		} else {
			index = next
			w.take(value)
		}
		if nap(ctx, w.bucket.take(time.Now()), w.kick) {
			index = 0
		}
	}
}

// round is one query. The index that it returns is never 0.
func (w *watch[T]) round(ctx context.Context, index uint64) (T, uint64, error) {
	limit := firstWait
	if index > 0 {
		limit = w.wait + w.wait/16 + max(2*time.Second, w.wait/8) // Consul adds up to a sixteenth.
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	opts := &api.QueryOptions{WaitIndex: index}
	if index > 0 {
		opts.WaitTime = w.wait
	}
	var listen sync.WaitGroup
	kicked := false
	if w.kick != nil {
		listen.Go(func() {
			select {
			case <-w.kick:
				kicked = true
				cancel()
			case <-ctx.Done():
			}
		})
	}
	value, meta, err := w.ask(ctx, opts.WithContext(ctx))
	cancel()
	listen.Wait()
	switch {
	case kicked && err != nil:
		return value, 0, errKicked
	case kicked: // The answer is good, and the next question is to be the new one.
		notify(w.kick)
	case err != nil:
		return value, 0, explain(w.name, err)
	}
	return value, max(meta.LastIndex, 1), nil
}

// pause is how long to wait after so many errors in a row.
func pause(failures int) time.Duration {
	limit := maxPause
	if n := failures - 1; n < 7 { // 250 ms doubled 7 times is more than 30 s.
		limit = minPause << n
	}
	return rand.N(limit)
}

// sleep waits, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) { nap(ctx, d, nil) }

// nap is sleep that a kick ends too, which it reports.
func nap(ctx context.Context, d time.Duration, kick <-chan struct{}) bool {
	if d <= 0 {
		select {
		case <-kick:
			return true
		default:
			return false
		}
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-kick:
		return true
	case <-ctx.Done():
	case <-timer.C:
	}
	return false
}

// health is how a Source stands with Consul. mu guards the fields.
type health struct {
	mu       sync.Mutex
	contact  time.Time      // of the watch of the topology
	failures map[string]int // in a row, by name of watch
	errs     map[string]error
	resets   uint64
}

func newHealth() *health {
	return &health{failures: make(map[string]int), errs: make(map[string]error)}
}

// failed counts an error and returns how many there are in a row.
func (h *health) failed(name string, err error, log *slog.Logger) int {
	h.mu.Lock()
	h.failures[name]++
	n := h.failures[name]
	h.errs[name] = err
	h.mu.Unlock()
	if n == degradedAfter {
		log.Warn("consul does not answer; what is known stays", "watch", name, "failures", n, "err", err)
	}
	return n
}

// answered notes that Consul has answered.
func (h *health) answered(name string, log *slog.Logger) {
	h.mu.Lock()
	n := h.failures[name]
	delete(h.failures, name)
	delete(h.errs, name)
	if name == watchTopology {
		h.contact = time.Now()
	}
	h.mu.Unlock()
	if n >= degradedAfter {
		log.Info("consul answers again", "watch", name, "failures", n)
	}
}

func (h *health) resetCount() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.resets
}

func (h *health) reset() {
	h.mu.Lock()
	h.resets++
	h.mu.Unlock()
}

// lastContact is when the topology was asked for last with success.
func (h *health) lastContact() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.contact
}

// troubles is how many errors the watch of the topology has had in a row.
func (h *health) troubles() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.failures[watchTopology]
}

// last is the error of the watch, nil when its last round was well.
func (h *health) last(name string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.errs[name]
}

// err joins the errors of the watches that have failed at least so many times in a row.
func (h *health) err(atLeast int) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var errs []error
	for _, name := range []string{watchTopology, watchCatalog, joining} {
		if h.failures[name] >= atLeast && h.errs[name] != nil {
			errs = append(errs, h.errs[name])
		}
	}
	return errors.Join(errs...)
}

// ListStale lists keys for people to read: from any server, also without a leader, unless the answer is older than
// maxStale; then the leader is asked. It must not be used for what routes.
func ListStale(ctx context.Context, kv *api.KV, prefix string, maxStale time.Duration) (api.KVPairs, *api.QueryMeta, error) {
	ask := func(stale bool) (api.KVPairs, *api.QueryMeta, error) {
		ctx, cancel := context.WithTimeout(ctx, firstWait)
		defer cancel()
		pairs, meta, err := kv.List(prefix, (&api.QueryOptions{AllowStale: stale}).WithContext(ctx))
		if err != nil {
			return nil, nil, explain("list "+prefix, err)
		}
		return pairs, meta, nil
	}
	pairs, meta, err := ask(true)
	if err == nil && meta.LastContact > maxStale {
		if fresh, freshMeta, freshErr := ask(false); freshErr == nil {
			return fresh, freshMeta, nil
		}
	}
	return pairs, meta, err // Old is better than nothing here; meta.LastContact says how old.
}
