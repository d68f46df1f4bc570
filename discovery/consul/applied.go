package consul

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// awaitTime bounds waiting for the answers of commands that were sent before an epoch. The controller gives up earlier.
const awaitTime = 10 * time.Second

// awaitPause is before asking again when some did not come.
const awaitPause = 200 * time.Millisecond

// acker tells that epochs are in force. One with a barrier is told only when all commands that were sent by older tables
// have been answered: until then somebody may still be writing where slots have left. mu guards the fields below it.
type acker struct {
	await   func(ctx context.Context, addrs []string) error
	applied func(epoch uint64, digest string, barrier bool, took time.Duration)
	mayMove func() bool // while it says no, no barrier is told; nil: always
	log     *slog.Logger
	wake    chan struct{} // capacity 1

	mu    sync.Mutex
	next  *inForce
	owing []string // masters that commands were sent to before; those of epochs without a barrier add up
	err   error
}

// inForce is an epoch that is in force.
type inForce struct {
	epoch   uint64
	digest  string
	barrier bool
	begun   time.Time // when it was seen
}

// add takes an epoch; a newer one takes the place of one that was not told yet.
func (a *acker) add(e inForce, owing []string) {
	a.mu.Lock()
	a.next = &e
	a.owing = append(a.owing, owing...)
	slices.Sort(a.owing)
	a.owing = slices.Compact(a.owing)
	a.mu.Unlock()
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// run tells until ctx ends.
func (a *acker) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.wake:
		}
		for ctx.Err() == nil && a.tell(ctx) {
			sleep(ctx, awaitPause)
		}
	}
}

// tell tells the newest epoch. It reports whether that has to be tried again.
func (a *acker) tell(ctx context.Context) (again bool) {
	a.mu.Lock()
	e, owing := a.next, slices.Clone(a.owing)
	a.mu.Unlock()
	if e == nil {
		return false
	}
	if err := a.pass(ctx, e, owing); err != nil {
		err = fmt.Errorf("epoch %d is in force and not acknowledged: %w", e.epoch, err)
		a.mu.Lock()
		logged := a.err != nil && a.err.Error() == err.Error()
		a.err = err
		a.mu.Unlock()
		if !logged {
			a.log.Warn("epoch not acknowledged", "epoch", e.epoch, "err", err)
		}
		return true
	}
	a.mu.Lock()
	a.err = nil
	if e.barrier {
		a.owing = slices.DeleteFunc(a.owing, func(addr string) bool { return slices.Contains(owing, addr) && a.next == e })
	}
	if a.next == e {
		a.next = nil
	}
	again = a.next != nil
	a.mu.Unlock()
	if a.applied != nil {
		a.applied(e.epoch, e.digest, e.barrier, time.Since(e.begun))
	}
	return again
}

// pass waits until a barrier may be told.
func (a *acker) pass(ctx context.Context, e *inForce, owing []string) error {
	if !e.barrier {
		return nil
	}
	if !a.sure() {
		return errUnsure
	}
	if a.await != nil && len(owing) > 0 {
		ctx, cancel := context.WithTimeout(ctx, awaitTime)
		defer cancel()
		if err := a.await(ctx, owing); err != nil {
			return fmt.Errorf("commands sent before are not answered: %w", err)
		}
		if !a.sure() { // It may have taken long.
			return errUnsure
		}
	}
	return nil
}

var errUnsure = errors.New("this proxy is not sure of its membership")

func (a *acker) sure() bool { return a.mayMove == nil || a.mayMove() }

func (a *acker) lastErr() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.err
}
