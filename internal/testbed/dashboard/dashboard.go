package dashboard

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Options says how a Dashboard behaves. The zero value of a duration or a number is what the real one has.
type Options struct {
	Product string // product_name
	Auth    string // product_auth
	Slots   int    // max_slot_num; 0 is 1024
	// Pika makes it promote as Pika's fork does: one command after the other, without MULTI.
	Pika bool
	// Sentinels are told to every proxy that comes online.
	Sentinels []string

	ErrorPause time.Duration // after a failed step; 0 is 5 s. IdlePause follows.
	IdlePause  time.Duration // between two looks for something to do; 0 is 1 s
	SlotPause  time.Duration // after every round of slots; 0 is 10 ms
	StatsEvery time.Duration // between two looks at the proxies; 0 is 1 s
	Interval   time.Duration // between two commands that move keys of a slot; 0 is none, as with the real one

	Parallel int           // migration_parallel_slots; 0 is 100
	MaxBulks int           // migration_async_maxbulks; 0 is 200
	MaxBytes int           // migration_async_maxbytes; 0 is 32 MiB
	NumKeys  int           // migration_async_numkeys; 0 is 500
	Timeout  time.Duration // migration_timeout; 0 is 30 s
}

func (o Options) withDefaults() Options {
	o.Slots = cmp.Or(o.Slots, 1024)
	o.ErrorPause = cmp.Or(o.ErrorPause, 5*time.Second)
	o.IdlePause = cmp.Or(o.IdlePause, time.Second)
	o.SlotPause = cmp.Or(o.SlotPause, 10*time.Millisecond)
	o.StatsEvery = cmp.Or(o.StatsEvery, time.Second)
	o.Parallel = cmp.Or(o.Parallel, 100)
	o.MaxBulks = cmp.Or(o.MaxBulks, 200)
	o.MaxBytes = cmp.Or(o.MaxBytes, 32<<20)
	o.NumKeys = cmp.Or(o.NumKeys, 500)
	o.Timeout = cmp.Or(o.Timeout, 30*time.Second)
	return o
}

// rpcTimeout bounds a call to a proxy, and statsTimeout the question how it does.
const (
	rpcTimeout   = time.Minute
	statsTimeout = time.Second
)

// Dashboard is one running dashboard. Safe for concurrent use. mu is held during every step, calls to proxies
// included, as in the real one, and guards the fields below it.
type Dashboard struct {
	opts   Options
	client *http.Client
	idle   servers
	stop   context.CancelFunc
	work   sync.WaitGroup

	progress progress

	mu        sync.Mutex
	method    Method
	slots     []mapping
	groups    map[int]*group
	proxies   []*proxy
	sentinels []string
	running   int // commands that move keys, now
}

// Start starts a Dashboard with its groups; no slot is assigned and no proxy known. Close ends it.
func Start(opts Options, groups ...Group) *Dashboard {
	opts = opts.withDefaults()
	d := &Dashboard{
		opts: opts, method: SemiAsync, slots: make([]mapping, opts.Slots), groups: make(map[int]*group),
		client: &http.Client{Timeout: rpcTimeout, Transport: &http.Transport{}}, sentinels: opts.Sentinels,
	}
	d.progress.changed = make(chan struct{})
	for i := range d.slots {
		d.slots[i].id = i
	}
	for _, g := range groups {
		d.groups[g.ID] = &group{id: g.ID, servers: slices.Clone(g.Servers), replicaReads: g.ReplicaReads}
	}
	ctx, cancel := context.WithCancel(context.Background())
	d.stop = cancel
	d.work.Go(func() { d.act(ctx) })
	d.work.Go(func() { d.watch(ctx) })
	return d
}

// Close ends the Dashboard and returns when nothing of it runs any more. Proxies and servers stay as they are.
func (d *Dashboard) Close() {
	d.stop()
	d.work.Wait()
	d.client.CloseIdleConnections()
	d.idle.close()
}

// act does the actions of slots until ctx ends.
func (d *Dashboard) act(ctx context.Context) {
	for ctx.Err() == nil {
		if err := d.processSlots(ctx); err != nil && ctx.Err() == nil {
			d.progress.failed(err)
			pause(ctx, d.opts.ErrorPause)
		}
		pause(ctx, d.opts.IdlePause)
	}
}

// watch asks the proxies how they do until ctx ends, and puts those online that are not.
func (d *Dashboard) watch(ctx context.Context) {
	for ctx.Err() == nil {
		var all sync.WaitGroup
		for _, p := range d.knownProxies() {
			all.Go(func() {
				short, cancel := context.WithTimeout(ctx, statsTimeout)
				defer cancel()
				st, err := p.stats(short)
				d.mu.Lock()
				p.last, p.lastErr = st, err
				d.mu.Unlock()
				if err != nil || st.Online || st.Closed {
					return
				}
				if err := d.Online(ctx, p.admin); err != nil && ctx.Err() == nil {
					d.progress.failed(fmt.Errorf("proxy %s is not online and can't be put online: %w", p.admin, err))
				}
			})
		}
		all.Wait()
		pause(ctx, d.opts.StatsEvery)
	}
}

// pause waits for a while, or until ctx ends.
func pause(ctx context.Context, wait time.Duration) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
