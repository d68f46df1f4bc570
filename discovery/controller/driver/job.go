package driver

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"sluice/discovery/controller"
	"sluice/discovery/controller/mover"
	"sluice/router"
)

// job is what the mover does for a batch. mu guards the fields below it; the job's goroutine writes them.
type job struct {
	kind   controller.JobKind
	cancel context.CancelFunc
	ended  chan struct{}

	mu    sync.Mutex
	state controller.Job
	told  bool // it was told to stop
}

// shown is what is known of the job; nil when it has stopped because it was told to.
func (j *job) shown() *controller.Job {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.told && j.state.Ended {
		return nil
	}
	state := j.state
	return &state
}

// tellMover makes the mover do what was decided, and forgets the job if the decision was made with its end.
func (t *term) tellMover(ctx context.Context, seen *controller.Job, d controller.Decision) {
	id := d.Move.ID
	j := t.jobs[id]
	if j != nil && j.over() && (seen == nil || seen.Ended) {
		delete(t.jobs, id)
		j = nil
	}
	switch {
	case j != nil && j.kind != d.Job:
		j.stop()
	case j == nil && d.Job != "":
		t.jobs[id] = t.begin(ctx, d.Job, d.Move.Batch, d.Move.Pace)
	}
}

// over reports whether the job has ended.
func (j *job) over() bool {
	select {
	case <-j.ended:
		return true
	default:
		return false
	}
}

func (j *job) stop() {
	j.mu.Lock()
	j.told = true
	j.mu.Unlock()
	j.cancel()
}

// stopJobs ends all jobs, and waits for them.
func (t *term) stopJobs() {
	for _, j := range t.jobs {
		j.stop()
	}
	for _, j := range t.jobs {
		<-j.ended
	}
}

// begin starts a job.
func (t *term) begin(ctx context.Context, kind controller.JobKind, b *controller.Batch, pace controller.Pace) *job {
	ctx, cancel := context.WithCancel(ctx)
	j := &job{kind: kind, cancel: cancel, ended: make(chan struct{}), state: controller.Job{Kind: kind}}
	go func() {
		defer cancel()
		err := t.work(ctx, kind, *b, pace, func(p controller.Progress) {
			j.mu.Lock()
			j.state.Progress = p
			j.mu.Unlock()
			t.wake()
		})
		final, lost := mover.Final{}, mover.Lost{}
		j.mu.Lock()
		j.state.Ended = true
		if err != nil {
			j.state.Err, j.state.Final, j.state.Lost = err.Error(), errors.As(err, &final), errors.As(err, &lost)
		}
		j.mu.Unlock()
		close(j.ended)
		t.wake()
	}()
	return j
}

// wake makes the term look at its jobs.
func (d *Driver) wake() {
	select {
	case d.news <- struct{}{}:
	default:
	}
}

// work does a job. It runs on its goroutine.
func (t *term) work(
	ctx context.Context, kind controller.JobKind, b controller.Batch, pace controller.Pace,
	report func(controller.Progress),
) error {
	m, err := t.cfg.Mover(b.Method)
	if err != nil {
		return mover.Final{Err: err}
	}
	batch := mover.Batch{
		Model: t.cfg.Model, Source: t.cfg.Master(b.From), Target: t.cfg.Master(b.To), Access: t.cfg.Access(),
		Token: b.Token, Tokens: b.Tokens, Pace: pace, Fence: t.held,
	}
	switch {
	case batch.Source == "":
		return fmt.Errorf("group %s has no master now", b.From)
	case batch.Target == "":
		return fmt.Errorf("group %s has no master now", b.To)
	}
	ranges, err := router.ParseRanges(b.Slots)
	if err != nil {
		return mover.Final{Err: err}
	}
	for _, r := range ranges {
		for slot := r.From; slot <= r.To; slot++ {
			batch.Slots = append(batch.Slots, slot)
		}
	}
	switch kind {
	case controller.JobCheck:
		return m.Check(ctx, batch)
	case controller.JobPrepare:
		return m.Prepare(ctx, batch)
	case controller.JobCopy:
		return m.Copy(ctx, batch, report)
	case controller.JobVerify:
		return m.Verify(ctx, batch)
	case controller.JobClean:
		return m.Clean(ctx, batch)
	}
	return mover.Final{Err: fmt.Errorf("unknown job %q", kind)}
}
