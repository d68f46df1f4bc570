package dashboard

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Report is what a migration did.
type Report struct {
	Slots  int // whose action was completed
	Keys   int // moved by the commands of the dashboard, those of other migrations at the same time included
	Steps  int // such commands
	Took   time.Duration
	Errors []string // each followed by a back-off
}

// progress counts what the dashboard does. mu guards the fields below it.
type progress struct {
	mu      sync.Mutex
	keys    int
	steps   int
	errors  []string
	changed chan struct{} // closed at every change
}

func (p *progress) signal() {
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *progress) failed(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.errors = append(p.errors, err.Error())
	p.signal()
}

func (p *progress) moved(keys int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys += keys
	p.steps++
}

func (p *progress) completed() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.signal()
}

// now is what was counted so far.
func (p *progress) now() (keys, steps int, errors []string, changed <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.keys, p.steps, append([]string(nil), p.errors...), p.changed
}

// Errors lists what has gone wrong so far.
func (d *Dashboard) Errors() []string {
	_, _, errors, _ := d.progress.now()
	return errors
}

// Migrate moves slots to a group and returns when all have arrived. The method is that of the whole dashboard, as if it had been
// restarted with another migration_method. Like the real one it never gives up; the error, when ctx ends before, tells
// what is left, which goes on.
func (d *Dashboard) Migrate(ctx context.Context, slots []int, target int, method Method) (Report, error) {
	begin := time.Now()
	keys, steps, errors, _ := d.progress.now()
	planned, err := d.plan(slots, target, method)
	if err != nil {
		return Report{}, err
	}
	for {
		nowKeys, nowSteps, nowErrors, changed := d.progress.now()
		left := d.unfinished(slots)
		r := Report{
			Slots: planned - left, Keys: nowKeys - keys, Steps: nowSteps - steps, Took: time.Since(begin),
			Errors: nowErrors[len(errors):],
		}
		if left == 0 {
			return r, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return r, fmt.Errorf("%d of %d slots have not arrived: %w; errors: %q", left, planned, ctx.Err(), r.Errors)
		}
	}
}
