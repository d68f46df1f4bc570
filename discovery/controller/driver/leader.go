package driver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/consul/api"
)

// The lock is held by a session with a TTL and no checks: with the node's serfHealth, the default, a flap of gossip
// would end it before its TTL. Lost, it can be taken by nobody for LockDelay.

// errDeposed is why a term ends whose lock is somebody else's, or may be.
var errDeposed = errors.New("the lock is lost")

// lead waits for the lock, works while it is held, and gives it back. It returns why it ended.
func (d *Driver) lead(ctx context.Context) error {
	d.renewed.Store(time.Now().UnixNano())
	session, err := d.createSession(ctx)
	if err != nil {
		return err
	}
	defer d.destroySession(ctx, session)
	ctx, cancel := context.WithCancelCause(ctx)
	renewed := make(chan struct{})
	go func() {
		defer close(renewed)
		cancel(d.renew(ctx, session))
	}()
	defer func() { <-renewed }()
	defer cancel(nil)
	if err := d.lock(ctx, session); err != nil {
		return err
	}
	d.cfg.Log.Info("the active controller", "session", session)
	return d.term(ctx, session)
}

func (d *Driver) createSession(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	id, _, err := d.cfg.Client.Session().CreateNoChecks(&api.SessionEntry{
		Name: "sluice controller " + d.cfg.ID, TTL: d.cfg.TTL.String(), LockDelay: d.cfg.LockDelay,
		Behavior: api.SessionBehaviorRelease,
	}, (&api.WriteOptions{}).WithContext(ctx))
	if err != nil {
		return "", fmt.Errorf("consul: create a session: %w", err)
	}
	return id, nil
}

// destroySession gives the lock back at once, without its delay, since nobody works for it any more.
func (d *Driver) destroySession(ctx context.Context, session string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
	defer cancel()
	pair := &api.KVPair{Key: d.lockKey(), Session: session}
	_, _, err := d.cfg.Client.KV().Release(pair, (&api.WriteOptions{}).WithContext(ctx))
	_, ended := d.cfg.Client.Session().Destroy(session, (&api.WriteOptions{}).WithContext(ctx))
	if err = errors.Join(err, ended); err != nil {
		d.cfg.Log.Warn("the lock was not given back; it ends with its session", "err", err)
	}
}

// renew keeps the session until ctx ends. It returns why nobody may count on it any more.
func (d *Driver) renew(ctx context.Context, session string) error {
	last := time.Now()
	for {
		sleep(ctx, d.cfg.TTL/6)
		if ctx.Err() != nil {
			return nil
		}
		began := time.Now()
		asked, cancel := context.WithTimeout(ctx, d.cfg.TTL/6)
		entry, _, err := d.cfg.Client.Session().Renew(session, (&api.WriteOptions{}).WithContext(asked))
		cancel()
		switch {
		case err == nil && entry == nil:
			return fmt.Errorf("%w: its session is gone", errDeposed)
		case err == nil:
			last = began
			d.renewed.Store(last.UnixNano())
		case time.Since(last) > d.cfg.TTL/2:
			return fmt.Errorf("%w, perhaps: the session could not be renewed for %s: %w", errDeposed, d.cfg.TTL/2, err)
		}
	}
}

// lock waits until the lock is ours.
func (d *Driver) lock(ctx context.Context, session string) error {
	value, err := json.Marshal(struct {
		ID string `json:"id"`
	}{d.cfg.ID})
	if err != nil {
		return err
	}
	var index uint64
	for {
		ok, err := d.acquire(ctx, session, value)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			return fmt.Errorf("consul: acquire %s: %w", d.lockKey(), err)
		case ok:
			return nil
		}
		if index, err = d.awaitFree(ctx, index); err != nil {
			return err
		}
	}
}

func (d *Driver) acquire(ctx context.Context, session string, value []byte) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	pair := &api.KVPair{Key: d.lockKey(), Value: value, Session: session}
	ok, _, err := d.cfg.Client.KV().Acquire(pair, (&api.WriteOptions{}).WithContext(ctx))
	return ok, err
}

// awaitFree waits until the lock may be free. During its delay it is free and can't be had.
func (d *Driver) awaitFree(ctx context.Context, index uint64) (uint64, error) {
	asked, cancel := context.WithTimeout(ctx, askTimeout+listWait)
	defer cancel()
	opts := &api.QueryOptions{WaitIndex: index, WaitTime: listWait}
	pair, meta, err := d.cfg.Client.KV().Get(d.lockKey(), opts.WithContext(asked))
	switch {
	case ctx.Err() != nil:
		return 0, context.Cause(ctx)
	case err != nil:
		return 0, fmt.Errorf("consul: read %s: %w", d.lockKey(), err)
	case pair == nil || pair.Session == "":
		sleep(ctx, retryPause)
		return 0, nil
	}
	return meta.LastIndex, nil
}
