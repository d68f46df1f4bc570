// Package driver runs the moves of one pool: it has the lock in Consul, reads documents, topology and acknowledgements,
// asks controller.Next what happens next, writes that in one transaction, and has a mover move keys.
//
//	Run --lock--> term --every change of a key below the root, news of the mover, a time that was asked for--> round
//	  ^            |
//	  +-- lost ----+
//
// One goroutine decides and writes (term), one waits for changes in Consul (watch), one renews the session, and one
// works for each batch (job). The term ends all of them and waits for them before the lock is given back. What is
// written carries the session: a driver that was deposed and does not know it yet fails.
//
// A term that could not renew its session for half of its TTL ends by itself: nobody else can have the lock before the
// other half and the lock delay are over. A process that was stopped may wake up behind that, so a mover looks at the
// time of the last renewal before each command (Fence); what has been sent by then, and comes late, is what the fencing
// tokens of redis-servers are for.
package driver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/hashicorp/consul/api"

	"sluice/discovery/consul"
	"sluice/discovery/controller/mover"
	"sluice/internal/control"
	"sluice/router"
)

// Config is what a Driver needs. All of it is required.
type Config struct {
	Client *api.Client
	Root   string // of the pool's keys, "sluice/main/"
	ID     string // of this process, for people
	Model  router.Model
	// Master is the address of the master of a group, "" when it has none now.
	Master func(group string) string
	// Mover is that of the pool's family for a method.
	Mover  func(method string) (mover.Mover, error)
	Access func() control.Options
	Log    *slog.Logger
	// TTL is that of the session, at least 10 s, and LockDelay how long nobody gets the lock after it was lost.
	TTL, LockDelay time.Duration
}

// Driver runs the moves of one pool. Use New.
type Driver struct {
	cfg  Config
	news chan struct{} // capacity 1: a job has got on
	// renewed is when the session was renewed last, in nanoseconds since 1970: the clock goes on while a machine sleeps.
	renewed atomic.Int64
}

// New returns a Driver that does nothing yet.
func New(cfg Config) *Driver { return &Driver{cfg: cfg, news: make(chan struct{}, 1)} }

const (
	// retryPause is the time after an error of Consul.
	retryPause = time.Second
	// listWait is how long Consul may wait for a change before it answers all the same.
	listWait = time.Minute
	// askTimeout bounds a question that Consul answers at once.
	askTimeout = 10 * time.Second
)

// Run competes for the lock, and moves slots while it has it, until ctx ends.
func (d *Driver) Run(ctx context.Context) {
	for ctx.Err() == nil {
		err := d.lead(ctx)
		if ctx.Err() != nil {
			return
		}
		d.cfg.Log.Warn("not the active controller", "err", err)
		sleep(ctx, retryPause)
	}
}

// term works while this process has the lock. It returns why it ended.
func (d *Driver) term(ctx context.Context, session string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	t := &term{Driver: d, session: session, jobs: make(map[string]*job)}
	defer t.stopJobs()
	sites := make(chan *site)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		d.watch(ctx, sites)
	}()
	defer func() { <-watched }()
	defer cancel(nil)
	again := time.NewTimer(0)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case s := <-sites:
			if t.site == nil || s.listed >= t.site.listed || s.listed == 0 { // Else round has read a newer one.
				t.site = s
			}
		case <-d.news:
		case <-again.C:
		}
		if t.site == nil {
			continue
		}
		next, err := t.round(ctx)
		switch {
		case errors.Is(err, errDeposed):
			return err
		case err != nil:
			d.cfg.Log.Warn("Consul did not take what was decided, looking again", "err", err)
			next = time.Now().Add(retryPause)
		}
		if !next.IsZero() {
			again.Reset(max(time.Until(next), 0))
		}
	}
}

// watch lists everything below the root whenever something has changed.
func (d *Driver) watch(ctx context.Context, sites chan<- *site) {
	var index uint64
	for ctx.Err() == nil {
		s, err := d.list(ctx, index)
		if err != nil {
			if ctx.Err() == nil {
				d.cfg.Log.Warn("cannot read the pool in Consul", "err", err)
			}
			index = 0
			sleep(ctx, retryPause)
			continue
		}
		index = max(s.listed, 1)
		select {
		case sites <- s:
		case <-ctx.Done():
		}
	}
}

// list reads everything below the root at one moment. With an index it waits until something has changed since.
func (d *Driver) list(ctx context.Context, index uint64) (*site, error) {
	wait := askTimeout
	if index > 0 {
		wait += listWait
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	opts := &api.QueryOptions{WaitIndex: index, WaitTime: listWait, RequireConsistent: index == 0}
	pairs, meta, err := d.cfg.Client.KV().List(d.cfg.Root, opts.WithContext(ctx))
	if err != nil {
		return nil, err
	}
	s, err := readSite(d.cfg.Root, pairs, d.cfg.Model)
	if err != nil {
		return nil, err
	}
	s.listed = meta.LastIndex
	if meta.LastIndex < index {
		s.listed = 0 // Consul was restored from a snapshot: begin anew.
	}
	return s, nil
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// keyLeader is the key whose holder is the active controller.
const keyLeader = "controller/leader"

func (d *Driver) lockKey() string { return d.cfg.Root + keyLeader }

// fence makes a transaction fail when the lock is somebody else's.
func (d *Driver) fence(session string) *api.KVTxnOp { return consul.Fence(d.lockKey(), session) }

// held says that the lock may be somebody else's by now. It is asked on the goroutines of jobs.
func (d *Driver) held() error {
	if ago := time.Since(time.Unix(0, d.renewed.Load())); ago > d.cfg.TTL/2 {
		return fmt.Errorf("%w, perhaps: the session was renewed %s ago", errDeposed, ago.Round(time.Millisecond))
	}
	return nil
}
