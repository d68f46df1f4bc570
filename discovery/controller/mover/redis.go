package mover

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"sluice/backend/dialect"
	"sluice/discovery/controller"
	"sluice/internal/control"
)

// redis moves slots between servers that know nothing of slots. A key is brought by whoever needs it first, a proxy for
// its client or Copy: read at the source, restored at the target, deleted at the source, and only then used
// (backend/dialect/bringkey.go). What holds it together is the marker of the move, which both servers have from the lock
// to the end: without it they refuse to bring or delete anything (Lost).
type redis struct{}

// namedKeys is how many keys an error names.
const namedKeys = 3

// Check tries on both sides what the move needs, and looks for left-overs at the target.
func (redis) Check(ctx context.Context, b Batch) error {
	b.Token = 0
	w, err := b.begin(ctx, nil)
	if err != nil {
		return err
	}
	defer w.close()
	if err := w.try(ctx); err != nil {
		return err
	}
	var names []string
	found := 0
	err = b.scan(ctx, w.target, func(_ context.Context, _ int, keys []string) error {
		for _, key := range keys {
			if found++; len(names) < namedKeys {
				names = append(names, fmt.Sprintf("%.60q", key))
			}
		}
		return nil
	})
	if err == nil && found > 0 {
		err = finalf("%s, which is to get the slots, has %d keys of them already, such as %s: left-overs of another move? "+
			"Delete them there, or move them away", b.Target, found, strings.Join(names, ", "))
	}
	return err
}

// try brings a marker as if it were a key. Its token is that of no move.
func (w *bringing) try(ctx context.Context) error {
	const field = "a key of Sluice that is about to be deleted"
	tried := dialect.BringMarkers + "tried"
	if err := w.b.onBoth(ctx, "UNLINK", dialect.BringMarker(0), tried); err != nil { // Of a check that was killed.
		return err
	}
	for _, c := range []*control.Conn{w.source, w.target} {
		if _, err := ask(ctx, c, "HSET", dialect.BringMarker(w.b.Token), "", field); err != nil {
			return refused(err)
		}
	}
	_, _, err := w.bring(ctx, 0, []string{dialect.BringMarker(w.b.Token)}, []string{tried}, maxBring)
	if err == nil {
		err = w.drop(ctx, 0, []string{tried})
	}
	for _, c := range []*control.Conn{w.source, w.target} {
		_, gone := ask(ctx, c, "UNLINK", dialect.BringMarker(w.b.Token), tried)
		err = errors.Join(err, gone)
	}
	return refused(err)
}

// refused makes what a server does not let its user do an error that stays.
func refused(err error) error {
	reply := control.ReplyError("")
	if !errors.As(err, &reply) {
		return err
	}
	text := string(reply)
	for _, known := range []string{"NOPERM", "unknown command", "can't run this command"} {
		if strings.Contains(text, known) {
			return Final{fmt.Errorf("%w; a move needs DUMP, PTTL, RESTORE, UNLINK, EVAL, SELECT and the commands of hashes", err)}
		}
	}
	return err
}

// isIncompatible reports whether RESTORE can't read what DUMP has made: the source is newer than the target, or has a
// module that the target has not.
func isIncompatible(text string) bool {
	return strings.Contains(text, "DUMP payload version") || strings.Contains(text, "Bad data format")
}

// prepareTimeout is short: the slots are locked.
const prepareTimeout = 2 * time.Second

// Prepare makes the markers: from now on keys may be brought. Those of earlier locks of the batch go first: when it is
// turned round, a request to delete a key that is still on its way to what was the source must not be obeyed.
func (redis) Prepare(ctx context.Context, b Batch) error {
	ctx, cancel := context.WithTimeout(ctx, prepareTimeout)
	defer cancel()
	earlier := slices.DeleteFunc(slices.Clone(b.Tokens), func(token uint64) bool { return token == b.Token })
	if err := b.forget(ctx, earlier); err != nil {
		return err
	}
	return b.onBoth(ctx, "HSET", dialect.BringMarker(b.Token), "", "")
}

// Clean deletes the markers: a request to bring or delete a key that arrives behind it does nothing.
func (redis) Clean(ctx context.Context, b Batch) error { return b.forget(ctx, b.Tokens) }

// forget deletes markers on both sides.
func (b *Batch) forget(ctx context.Context, tokens []uint64) error {
	if len(tokens) == 0 {
		return nil
	}
	args := []string{"UNLINK"}
	for _, token := range tokens {
		args = append(args, dialect.BringMarker(token))
	}
	return b.onBoth(ctx, args...)
}

// onBoth asks both sides the same.
func (b *Batch) onBoth(ctx context.Context, args ...string) error {
	for _, addr := range []string{b.Source, b.Target} {
		c, err := b.dial(ctx, addr)
		if err != nil {
			return err
		}
		_, err = ask(ctx, c, args...)
		c.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// Copy brings what a SCAN of the source finds.
func (redis) Copy(ctx context.Context, b Batch, report func(controller.Progress)) error {
	w, err := b.begin(ctx, report)
	if err != nil {
		return err
	}
	defer w.close()
	probes, err := b.probe(ctx)
	if err != nil {
		return err
	}
	defer probes.stop()
	if err := probes.trouble(); err != nil {
		return err
	}
	w.pacer.probes = probes
	scanner, err := b.dial(ctx, b.Source)
	if err != nil {
		return err
	}
	defer scanner.Close()
	return b.scan(ctx, scanner, w.keys)
}

// Verify scans the source once more.
func (redis) Verify(ctx context.Context, b Batch) error {
	c, err := b.dial(ctx, b.Source)
	if err != nil {
		return err
	}
	defer c.Close()
	return b.scan(ctx, c, func(_ context.Context, db int, keys []string) error {
		return fmt.Errorf("%s still has keys of the slots in database %d, such as %.60q: "+
			"somebody may have written to it past the proxies", b.Source, db, keys[0])
	})
}
