package driver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/consul/api"

	"sluice/discovery/consul"
	"sluice/discovery/controller"
	"sluice/router"
)

// term is the time in which this process has the lock. Only its goroutine uses it, but for what jobs guard themselves.
type term struct {
	*Driver
	session string
	site    *site
	jobs    map[string]*job // by the id of the move
}

// progressEvery is how often a document is written when nothing is new but how much was moved.
const progressEvery = time.Second

// round decides about each move, and writes what is new, until nothing is. It returns when to look again, zero when
// something has to happen first.
func (t *term) round(ctx context.Context) (again time.Time, err error) {
	for {
		again = time.Time{}
		written := false
		for _, m := range t.site.moves {
			if m.Over() {
				continue
			}
			w := t.world(m.ID)
			at, wrote, err := t.carryOut(ctx, m, w.Job, controller.Next(m.Move, w))
			if err != nil {
				return again, err
			}
			if wrote {
				written = true
				break // The others are decided by what is there now.
			}
			if !at.IsZero() && (again.IsZero() || at.Before(again)) {
				again = at
			}
		}
		if !written {
			return again, nil
		}
		if t.site, err = t.list(ctx, 0); err != nil {
			return again, err
		}
	}
}

// world is what a move is decided by.
func (t *term) world(id string) controller.World {
	w := controller.World{
		Now: time.Now(), Epoch: t.site.doc.Epoch.Epoch, Slots: t.site.slots, Members: t.site.members, Wish: t.site.wishes[id],
		Busy: make(map[string]string),
	}
	for _, other := range t.site.moves {
		if b := other.Batch; b != nil && other.ID != id {
			w.Busy[b.From] = fmt.Sprintf("move %s takes slots %s from it", other.ID, b.Slots)
			w.Busy[b.To] = fmt.Sprintf("move %s brings it slots %s", other.ID, b.Slots)
		}
	}
	if j := t.jobs[id]; j != nil {
		w.Job = j.shown()
	}
	return w
}

// carryOut writes what was decided about a move, if it is new, and then has the mover do its part. job is what was known
// of that.
func (t *term) carryOut(
	ctx context.Context, m kept, job *controller.Job, d controller.Decision,
) (again time.Time, wrote bool, err error) {
	again = d.Again
	switch same, more := compare(m.Move, d.Move); {
	case same && d.Change == nil:
	case more && d.Change == nil && time.Since(m.Updated) < progressEvery:
		again = earlier(again, m.Updated.Add(progressEvery))
	default:
		if err := t.write(ctx, m, d); err != nil {
			return again, false, err
		}
		wrote = true
	}
	t.tellMover(ctx, job, d)
	return again, wrote, nil
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

// compare reports whether two documents of a move say the same, or differ in how much was moved only.
func compare(a, b controller.Move) (same, more bool) {
	a.Updated = b.Updated
	if equal(a, b) {
		return true, false
	}
	if a.Batch == nil || b.Batch == nil {
		return false, false
	}
	batch := *a.Batch
	batch.Progress = b.Batch.Progress
	a.Batch = &batch
	return false, equal(a, b)
}

func equal(a, b controller.Move) bool {
	x, _ := json.Marshal(a) // Marshalling it can't fail: it has strings, numbers and times.
	y, _ := json.Marshal(b)
	return bytes.Equal(x, y)
}

// write writes the document of a move, and with it the topology if that changes.
func (t *term) write(ctx context.Context, m kept, d controller.Decision) error {
	next := d.Move
	next.Updated = time.Now()
	value, err := json.Marshal(next)
	if err != nil {
		return err
	}
	ops := []*api.KVTxnOp{
		t.fence(t.session),
		{Verb: api.KVCAS, Key: t.cfg.Root + dirMoves + m.ID, Value: value, Index: m.index},
	}
	if d.Change == nil {
		err = consul.Commit(ctx, t.cfg.Client.KV(), ops)
	} else {
		err = consul.WriteDocument(ctx, t.cfg.Client.KV(), t.cfg.Root, t.site.index, t.changed(d.Change), ops...)
	}
	if errors.Is(err, consul.ErrConflict) && t.deposed(ctx) {
		return fmt.Errorf("%w: %w", errDeposed, err)
	}
	if err == nil {
		t.report(m.Move, next)
	}
	return err
}

// changed is the topology with a change.
func (t *term) changed(c *controller.Change) *consul.Document {
	d := *t.site.doc
	list := make([]consul.Assignment, len(t.site.slots))
	for i, o := range t.site.slots {
		if c.Slots[router.Slot(i)] {
			o = c.Owner
		}
		list[i] = assignmentOf(o)
	}
	d.Slots = consul.SlotRanges(list)
	d.Epoch.Change, d.Epoch.Barrier = c.Why, c.Barrier
	return &d
}

// deposed reports whether somebody else has the lock.
func (t *term) deposed(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	opts := (&api.QueryOptions{RequireConsistent: true}).WithContext(ctx)
	pair, _, err := t.cfg.Client.KV().Get(t.lockKey(), opts)
	return err == nil && (pair == nil || pair.Session != t.session)
}

// report logs what has happened to a move.
func (t *term) report(before, m controller.Move) {
	switch {
	case before.State != m.State || before.Batch == nil != (m.Batch == nil):
	case m.Batch != nil && before.Batch.Phase != m.Batch.Phase:
	default:
		return
	}
	args := []any{"move", m.ID, "state", m.State, "to", m.To, "left", m.Left, "keys", m.Progress.Keys}
	if b := m.Batch; b != nil {
		args = append(args, "phase", b.Phase, "slots", b.Slots, "from", b.From, "epoch", b.Epoch)
	}
	if m.Waits != "" {
		args = append(args, "waits", m.Waits)
	}
	t.cfg.Log.Info("move", args...)
}
