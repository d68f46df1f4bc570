package mover

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"sluice/backend/dialect"
	"sluice/discovery/controller"
	"sluice/internal/control"
)

// bringing brings keys of a batch from its source to its target, many at once.
type bringing struct {
	b              Batch
	source, target *control.Conn
	done           controller.Progress
	report         func(controller.Progress)
	pacer          *pacer
}

// begin connects to both sides.
func (b *Batch) begin(ctx context.Context, report func(controller.Progress)) (*bringing, error) {
	source, err := b.dial(ctx, b.Source)
	if err != nil {
		return nil, err
	}
	target, err := b.dial(ctx, b.Target)
	if err != nil {
		source.Close()
		return nil, err
	}
	return &bringing{b: *b, source: source, target: target, report: report, pacer: newPacer(b.Pace, new(probes))}, nil
}

func (w *bringing) close() {
	w.source.Close()
	w.target.Close()
}

// maxBring bounds the bytes of one command, but for a key that has more alone.
const maxBring = 4 << 20

// keys brings keys of one database.
func (w *bringing) keys(ctx context.Context, db int, keys []string) error {
	for _, c := range []*control.Conn{w.source, w.target} {
		if err := choose(ctx, c, db); err != nil {
			return err
		}
	}
	for len(keys) > 0 {
		n, maxBytes := w.pacer.next()
		some := keys[:min(len(keys), n)]
		keys = keys[len(some):]
		before := w.done.Bytes
		took, err := w.some(ctx, db, some, maxBytes)
		if err != nil {
			return err
		}
		w.done.Keys += int64(len(some))
		w.report(w.done)
		if err := w.pacer.done(ctx, len(some), w.done.Bytes-before, took); err != nil {
			return err
		}
		w.done.Note = w.pacer.note()
	}
	return nil
}

// some brings a few keys, and compares one of them. It returns what the longest command took.
func (w *bringing) some(ctx context.Context, db int, keys []string, maxBytes int) (took time.Duration, err error) {
	sample, err := w.sample(ctx, keys)
	if err != nil {
		return 0, err
	}
	n, took, err := w.bring(ctx, db, keys, keys, maxBytes)
	if err != nil {
		return 0, err
	}
	w.done.Bytes += n
	if err := w.compare(ctx, sample); err != nil {
		return 0, err
	}
	began := time.Now()
	err = w.drop(ctx, db, keys)
	return max(took, time.Since(began)), err
}

// bring reads keys at the source and has the target restore them under names, some at a time when they have more than
// maxBytes. It returns how many bytes they have, and what the longest command took.
func (w *bringing) bring(
	ctx context.Context, db int, keys, names []string, maxBytes int,
) (bytes int64, took time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, stepWait)
	defer cancel()
	clock, err := w.clock(ctx)
	if err != nil {
		return 0, 0, err
	}
	questions := make([][]string, 0, 2*len(keys))
	for _, key := range keys {
		questions = append(questions, []string{"DUMP", key}, []string{"PTTL", key})
	}
	answers, err := w.source.Pipe(ctx, questions...)
	if err != nil {
		return 0, 0, err
	}
	var part []restored
	size := 0
	send := func() error {
		began := time.Now()
		err := w.restore(ctx, db, part)
		took, part, size = max(took, time.Since(began)), part[:0], 0
		return err
	}
	for i, name := range names {
		r, err := w.restored(name, answers[2*i], answers[2*i+1], clock)
		if err != nil {
			return 0, 0, err
		}
		if len(part) > 0 && size+len(r.dump) > maxBytes {
			if err := send(); err != nil {
				return 0, 0, err
			}
		}
		part, size, bytes = append(part, r), size+len(r.dump), bytes+int64(len(r.dump))
	}
	err = send()
	return bytes, took, err
}

// clock is the target's, in milliseconds: asked before what a key has to live, so that the key does not live longer by as
// long as its way takes.
func (w *bringing) clock(ctx context.Context) (int64, error) {
	v, err := ask(ctx, w.target, "TIME")
	if err != nil {
		return 0, err
	}
	seconds, err := strconv.ParseInt(v.At(0).Text, 10, 64)
	if err != nil {
		return 0, finalf("%s answers TIME with %.100q", w.b.Target, v.String())
	}
	micros, err := strconv.ParseInt(v.At(1).Text, 10, 64)
	return seconds*1000 + micros/1000, err
}

// restored is a key as the target is to have it. An empty dump: the source does not have it.
type restored struct {
	key, dump string
	ends      string // as BringScript takes it
}

// restored reads the answers to DUMP and PTTL.
func (w *bringing) restored(key string, dump, pttl control.Value, clock int64) (r restored, err error) {
	for _, v := range []control.Value{dump, pttl} {
		if err := v.Err(); err != nil {
			return r, fmt.Errorf("%s answers DUMP and PTTL of %.60q with: %w", w.b.Source, key, err)
		}
	}
	n, ok := number(pttl)
	if !ok {
		return r, finalf("%s answers PTTL of %.60q with %.100q", w.b.Source, key, pttl.String())
	}
	r = restored{key: key, dump: dump.Text}
	life, lives := dialect.Life(n)
	if !lives || dump.IsNull() {
		r.dump = ""
	}
	if r.ends = "0"; life > 0 {
		r.ends = "@" + strconv.FormatInt(clock+life, 10)
	}
	return r, nil
}

// restore has the target restore keys. When it refuses, each is tried alone, so that the error names one.
func (w *bringing) restore(ctx context.Context, db int, part []restored) error {
	args := []string{"EVAL", dialect.BringScript, strconv.Itoa(len(part) + 1), dialect.BringMarker(w.b.Token)}
	for _, r := range part {
		args = append(args, r.key)
	}
	args = append(args, strconv.Itoa(db))
	if err := w.b.fenced(); err != nil {
		return err
	}
	for _, r := range part {
		args = append(args, cmp.Or(r.ends, "0"), r.dump)
	}
	v, err := w.target.Do(ctx, args...)
	switch {
	case err != nil:
		return err
	case v.Err() == nil:
		return nil
	case strings.HasPrefix(v.Text, dialect.NoMove):
		return w.lost(w.b.Target, v)
	case len(part) > 1:
		for i := range part {
			if err := w.restore(ctx, db, part[i:i+1]); err != nil {
				return err
			}
		}
		return nil
	}
	err = fmt.Errorf("%s has refused the key %.60q (%d bytes): %w", w.b.Target, part[0].key, len(part[0].dump), v.Err())
	if isIncompatible(v.Text) {
		return Final{fmt.Errorf("%w: it is older than %s, or lacks a module of it", err, w.b.Source)}
	}
	return err
}

// drop deletes keys at the source, which the target has.
func (w *bringing) drop(ctx context.Context, db int, keys []string) error {
	args := []string{"EVAL", dialect.DropScript, strconv.Itoa(len(keys) + 1), dialect.BringMarker(w.b.Token)}
	args = append(append(args, keys...), strconv.Itoa(db))
	if err := w.b.fenced(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, stepWait)
	defer cancel()
	v, err := w.source.Do(ctx, args...)
	switch {
	case err != nil:
		return err
	case strings.HasPrefix(v.Text, dialect.NoMove):
		return w.lost(w.b.Source, v)
	case v.Err() != nil:
		return fmt.Errorf("%s does not delete the keys that were brought to %s: %w", w.b.Source, w.b.Target, v.Err())
	}
	return nil
}

// lost is the error of a server without the marker.
func (w *bringing) lost(addr string, v control.Value) error {
	return Lost{fmt.Errorf("%s: %s (FLUSHALL, a restart without its data, or eviction)", addr, v.Text)}
}
