package mover

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"sluice/discovery/controller"
	"sluice/internal/control"
	"sluice/router"
)

// codis moves slots of a codis-server or a Pika with the server's own commands. The source deletes what the target has
// acknowledged; a client's key is moved before its turn by the proxies (proxy/keymove).
//
//	codis-server, semi-async  SLOTSMGRTTAGSLOT-ASYNC host port timeout maxbulks maxbytes slot keys --> moved, left
//	codis-server, Pika, sync  SLOTSMGRTTAGSLOT host port timeout slot --> moved, left: one key, and those of its tag
//
// (codis 3.2, extern/redis-3.2.11/src/slots_async.c; Pika 4.0.1, src/pika_slot_command.cc.)
type codis struct {
	sync bool
	pika *caches // nil: it is a codis-server
}

const (
	// stepTimeout is how long the source may wait for its target in one step. What a Pika gives up its target goes on
	// with.
	stepTimeout = 30 * time.Second
	// stepWait is how long one step may take in all: a large value is sent in many parts.
	stepWait = 10 * time.Minute
	// busyPause is between two looks at a source that moves something else.
	busyPause = 20 * time.Millisecond
	// stuckAfter is how long a source may move nothing although it has keys.
	stuckAfter = 15 * time.Second
	// asyncBulks and asyncBytes bound one message between codis-servers: the values of a dashboard.
	asyncBulks, asyncBytes = 200, 512 << 10
)

// Check asks both sides whether they are there, and know slots.
func (m codis) Check(ctx context.Context, b Batch) error {
	for _, addr := range []string{b.Source, b.Target} {
		c, err := b.dial(ctx, addr)
		if err != nil {
			return err
		}
		_, err = ask(ctx, c, "SLOTSINFO", "0", "1")
		if err == nil && m.pika != nil {
			err = slotmigrateOn(ctx, c)
		}
		c.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// slotmigrateOn reports a Pika that keeps no index of its slots: it would move nothing.
func slotmigrateOn(ctx context.Context, c *control.Conn) error {
	v, err := ask(ctx, c, "CONFIG", "GET", "slotmigrate")
	if err != nil {
		return err
	}
	if v.At(1).Text == "no" {
		return finalf("%s keeps no index of its slots: CONFIG SET slotmigrate yes, then SLOTSRELOAD", c.Addr())
	}
	return nil
}

// Prepare clears the cache of a Pika.
func (m codis) Prepare(ctx context.Context, b Batch) error {
	if m.pika == nil {
		return nil
	}
	return m.pika.clear(ctx, &b)
}

// Copy moves slot after slot, in each database.
func (m codis) Copy(ctx context.Context, b Batch, report func(controller.Progress)) error {
	c, err := b.dial(ctx, b.Source)
	if err != nil {
		return err
	}
	defer c.Close()
	dbs, err := databases(ctx, c)
	if err != nil {
		return err
	}
	probes, err := b.probe(ctx)
	if err != nil {
		return err
	}
	defer probes.stop()
	w := &codisWork{codis: m, b: b, c: c, report: report, pacer: newPacer(b.Pace, probes)}
	for _, db := range dbs {
		if err := choose(ctx, c, db); err != nil {
			return err
		}
		if err := w.count(ctx); err != nil {
			return err
		}
		for _, slot := range b.Slots {
			if err := w.slot(ctx, slot); err != nil {
				return err
			}
		}
	}
	return nil
}

// codisWork is one Copy.
type codisWork struct {
	codis
	b      Batch
	c      *control.Conn
	done   controller.Progress
	report func(controller.Progress)
	pacer  *pacer
}

// count adds up what there is to move in the database.
func (w *codisWork) count(ctx context.Context) error {
	w.done.Left = 0
	for _, slot := range w.b.Slots {
		n, err := slotKeys(ctx, w.c, slot)
		if err != nil {
			return err
		}
		w.done.Left += n
	}
	w.report(w.done)
	return nil
}

// slot moves the keys of one slot in one database.
func (w *codisWork) slot(ctx context.Context, slot router.Slot) error {
	progress := time.Now()
	for {
		request, err := w.request(slot)
		if err != nil {
			return err
		}
		if err := w.b.fenced(); err != nil {
			return err
		}
		began := time.Now()
		moved, left, busy, err := w.step(ctx, request)
		took := time.Since(began)
		if moved > 0 {
			progress = time.Now()
			w.done.Keys += moved
			w.done.Left = max(0, w.done.Left-moved)
			w.report(w.done)
		}
		switch {
		case err != nil:
			return err
		case left == 0 && !busy:
			return nil
		case time.Since(progress) > stuckAfter:
			return fmt.Errorf("%s has %d keys of slot %d and has moved none of them for %s%s",
				w.b.Source, left, slot, stuckAfter, w.stuckHint())
		}
		if moved == 0 {
			if err := pause(ctx, busyPause); err != nil {
				return err
			}
			continue
		}
		if err := w.pacer.done(ctx, int(moved), 0, took); err != nil {
			return err
		}
		w.done.Note = w.pacer.note()
	}
}

func (w *codisWork) stuckHint() string {
	if w.pika != nil {
		return ": SLOTSRELOAD there, or one is a stream, which a Pika can't move"
	}
	return ""
}

// request is the command of a step.
func (w *codisWork) request(slot router.Slot) ([]string, error) {
	host, port, err := w.b.hostPort()
	if err != nil {
		return nil, err
	}
	timeout, number := strconv.FormatInt(stepTimeout.Milliseconds(), 10), strconv.Itoa(int(slot))
	keys, _ := w.pacer.next()
	if w.sync {
		return []string{"SLOTSMGRTTAGSLOT", host, port, timeout, number}, nil
	}
	return []string{
		"SLOTSMGRTTAGSLOT-ASYNC", host, port, timeout, strconv.Itoa(asyncBulks), strconv.Itoa(asyncBytes), number,
		strconv.Itoa(keys),
	}, nil
}

// step has the source move some keys. busy says that it is at work for somebody else, and has moved none.
func (w *codisWork) step(ctx context.Context, request []string) (moved, left int64, busy bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, stepWait)
	defer cancel()
	v, err := w.c.Do(ctx, request...)
	if err != nil {
		return 0, 0, false, err
	}
	if text := fmt.Sprint(v.Err()); v.Err() != nil {
		if strings.Contains(text, "is being migrated") || strings.Contains(text, "may be currently migrating") {
			return 0, 0, true, nil
		}
		return 0, 0, false, fmt.Errorf("%s answers %s with: %w", w.b.Source, request[0], v.Err())
	}
	moved, ok := number(v.At(0))
	left, also := number(v.At(1))
	if !ok || !also {
		return 0, 0, false, finalf("%s answers %s with %.100q instead of two numbers", w.b.Source, request[0], fmt.Sprint(v))
	}
	return moved, left, false, nil
}

// Verify asks the source for what it has left, in each database.
func (m codis) Verify(ctx context.Context, b Batch) error {
	c, err := b.dial(ctx, b.Source)
	if err != nil {
		return err
	}
	defer c.Close()
	dbs, err := databases(ctx, c)
	if err != nil {
		return err
	}
	for _, db := range dbs {
		if err := choose(ctx, c, db); err != nil {
			return err
		}
		for _, slot := range b.Slots {
			n, err := slotKeys(ctx, c, slot)
			if err != nil {
				return err
			}
			if n > 0 {
				return fmt.Errorf("%s still has %d keys of slot %d in database %d: somebody may have written to it past the proxies",
					b.Source, n, slot, db)
			}
		}
	}
	return nil
}

// Clean has nothing to do: the source has deleted what it has moved.
func (codis) Clean(context.Context, Batch) error { return nil }

// slotKeys is how many keys a server has of a slot, in the connection's database: SLOTSINFO slot 1 --> [[slot, keys]],
// or nothing for none.
func slotKeys(ctx context.Context, c *control.Conn, slot router.Slot) (int64, error) {
	v, err := ask(ctx, c, "SLOTSINFO", strconv.Itoa(int(slot)), "1")
	if err != nil {
		return 0, err
	}
	for _, pair := range v.Elems {
		if n, ok := number(pair.At(1)); ok && pair.At(0).Text == strconv.Itoa(int(slot)) {
			return n, nil
		}
	}
	return 0, nil
}
