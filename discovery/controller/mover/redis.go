package mover

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"sluice/discovery/controller"
	"sluice/internal/control"
	"sluice/router"
)

// redis moves slots between servers that know nothing of slots. Proxies hold the slots from the lock to the end, so
// nobody but the mover writes to their keys, on either side:
//
//   - before the lock the target has no key of the slots (Check);
//   - one SCAN of the source sorts its keys; those of the slots travel with MIGRATE, without REPLACE;
//   - BUSYKEY is a key that an earlier MIGRATE has brought and could not delete at the source (IOERR). It is looked at:
//     the same on both sides, it is deleted at the source; different, the move stops, and nothing is deleted.
//
// After an IOERR a RESTORE may still be on its way to the target. Nothing of the slots is used there before the move is
// over, and before that the source's connections are ended at the target, so it comes too early or not at all.
type redis struct{}

// migrateTimeout is how long the source may wait for its target without getting on. It does nothing else meanwhile.
const migrateTimeout = time.Second

// scanCount is how many keys a SCAN looks at in one step.
const scanCount = 1000

// namedKeys is how many keys an error names.
const namedKeys = 3

// Check looks for left-overs at the target.
func (redis) Check(ctx context.Context, b Batch) error {
	source, err := b.dial(ctx, b.Source)
	if err != nil {
		return err
	}
	source.Close()
	c, err := b.dial(ctx, b.Target)
	if err != nil {
		return err
	}
	defer c.Close()
	var names []string
	found := 0
	err = b.scan(ctx, c, func(_ context.Context, _ int, keys []string) error {
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

// Prepare has nothing to do.
func (redis) Prepare(context.Context, Batch) error { return nil }

// scan calls f with the keys of the batch's slots that a server has, some at a time, by database. The connection is in
// that database then.
func (b *Batch) scan(
	ctx context.Context, c *control.Conn, f func(ctx context.Context, db int, keys []string) error,
) error {
	dbs, err := databases(ctx, c)
	if err != nil {
		return err
	}
	wanted := make(map[router.Slot]bool, len(b.Slots))
	for _, slot := range b.Slots {
		wanted[slot] = true
	}
	for _, db := range dbs {
		if err := choose(ctx, c, db); err != nil {
			return err
		}
		for cursor := "0"; ; {
			v, err := ask(ctx, c, "SCAN", cursor, "COUNT", strconv.Itoa(scanCount))
			if err != nil {
				return err
			}
			var keys []string
			for _, key := range v.At(1).Elems {
				if wanted[b.Model.Slot([]byte(key.Text))] {
					keys = append(keys, key.Text)
				}
			}
			if len(keys) > 0 {
				if err := f(ctx, db, keys); err != nil {
					return err
				}
			}
			if cursor = v.At(0).Text; cursor == "0" || cursor == "" {
				break
			}
		}
	}
	return nil
}

// Copy moves what a SCAN of the source finds.
func (redis) Copy(ctx context.Context, b Batch, report func(controller.Progress)) error {
	w := &redisWork{b: b, report: report}
	var err error
	if w.scanner, err = b.dial(ctx, b.Source); err != nil {
		return err
	}
	defer w.scanner.Close()
	if w.source, err = b.dial(ctx, b.Source); err != nil {
		return err
	}
	defer w.source.Close()
	if w.target, err = b.dial(ctx, b.Target); err != nil {
		return err
	}
	defer w.target.Close()
	return b.scan(ctx, w.scanner, w.keys)
}

// redisWork is one Copy.
type redisWork struct {
	b                       Batch
	scanner, source, target *control.Conn
	done                    controller.Progress
	report                  func(controller.Progress)
}

// keys moves keys of one database.
func (w *redisWork) keys(ctx context.Context, db int, keys []string) error {
	for _, c := range []*control.Conn{w.source, w.target} {
		if err := choose(ctx, c, db); err != nil {
			return err
		}
	}
	for len(keys) > 0 {
		some := keys[:min(len(keys), w.b.Pace.keys())]
		keys = keys[len(some):]
		if err := w.migrate(ctx, db, some); err != nil {
			return err
		}
		w.done.Keys += int64(len(some))
		w.report(w.done)
		if err := pause(ctx, w.b.Pace.Pause); err != nil {
			return err
		}
	}
	return nil
}

// migrate moves some keys, and looks at each when the target has one of them.
func (w *redisWork) migrate(ctx context.Context, db int, keys []string) error {
	err := w.send(ctx, db, keys)
	if !isBusyKey(err) {
		return err
	}
	for _, key := range keys {
		err := w.send(ctx, db, []string{key})
		if isBusyKey(err) {
			err = w.settle(ctx, key)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// send asks the source to move keys: MIGRATE host port "" db timeout [AUTH2 user password | AUTH password] KEYS key ...
// answers OK, or NOKEY when none of them is there any more.
func (w *redisWork) send(ctx context.Context, db int, keys []string) error {
	host, port, err := w.b.hostPort()
	if err != nil {
		return err
	}
	timeout := strconv.FormatInt(migrateTimeout.Milliseconds(), 10)
	args := []string{"MIGRATE", host, port, "", strconv.Itoa(db), timeout}
	switch a := w.b.Access; {
	case a.User != "":
		args = append(args, "AUTH2", a.User, a.Password)
	case a.Password != "":
		args = append(args, "AUTH", a.Password)
	}
	args = append(append(args, "KEYS"), keys...)
	ctx, cancel := context.WithTimeout(ctx, stepWait)
	defer cancel()
	v, err := w.source.Do(ctx, args...)
	if err != nil {
		return errors.Join(err, w.endImports(ctx))
	}
	if err := v.Err(); err != nil {
		if strings.HasPrefix(err.Error(), "IOERR ") {
			return errors.Join(fmt.Errorf("%s answers MIGRATE to %s with: %w", w.b.Source, w.b.Target, err), w.endImports(ctx))
		}
		return fmt.Errorf("%s answers MIGRATE to %s with: %w", w.b.Source, w.b.Target, err)
	}
	return nil
}

// isBusyKey reports whether the target has one of the keys: "ERR Target instance replied with error: BUSYKEY ..."
// (redis 7.0, src/cluster.c migrateCommand).
func isBusyKey(err error) bool { return err != nil && strings.Contains(err.Error(), "BUSYKEY ") }

// settle deletes a key at the source that the target has, too, if it is the same.
func (w *redisWork) settle(ctx context.Context, key string) error {
	here, err := fingerprint(ctx, w.source, key)
	if err != nil {
		return err
	}
	there, err := fingerprint(ctx, w.target, key)
	if err != nil {
		return err
	}
	if here != there {
		return finalf("the key %.60q is at %s (%s) and at %s (%s): nothing of it is deleted, decide which is right and "+
			"delete the other", key, w.b.Source, here, w.b.Target, there)
	}
	_, err = ask(ctx, w.source, "UNLINK", key)
	return err
}

// sizes is what tells the size of a value, by its type.
var sizes = map[string]string{
	"string": "STRLEN", "list": "LLEN", "hash": "HLEN", "set": "SCARD", "zset": "ZCARD", "stream": "XLEN",
}

// fingerprint is what a server has of a key, in words: its type and its size, and of a string the beginning.
func fingerprint(ctx context.Context, c *control.Conn, key string) (string, error) {
	v, err := ask(ctx, c, "TYPE", key)
	if err != nil {
		return "", err
	}
	kind := v.Text
	command := sizes[kind]
	if command == "" {
		return kind, nil
	}
	if v, err = ask(ctx, c, command, key); err != nil {
		return "", err
	}
	text := fmt.Sprintf("a %s of %s", kind, v.Text)
	if kind != "string" {
		return text, nil
	}
	if v, err = ask(ctx, c, "GETRANGE", key, "0", "1023"); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s, %.40q", text, v.Text), nil
}

// endImports ends the connections at the target on which MIGRATE has sent keys, after one that failed: what is still on
// its way on them must not arrive later. They have no name, and have run nothing but what MIGRATE sends.
func (w *redisWork) endImports(ctx context.Context) error {
	host, _, err := net.SplitHostPort(w.source.RemoteAddr().String())
	if err != nil {
		return err
	}
	c, err := w.b.dial(ctx, w.b.Target)
	if err != nil {
		return err
	}
	defer c.Close()
	v, err := ask(ctx, c, "CLIENT", "LIST")
	if err != nil {
		return err
	}
	for line := range strings.Lines(v.Text) {
		fields := make(map[string]string)
		for field := range strings.FieldsSeq(line) {
			name, value, _ := strings.Cut(field, "=")
			fields[name] = value
		}
		from, _, _ := net.SplitHostPort(fields["addr"])
		switch fields["cmd"] {
		case "restore", "restore-asking", "select", "auth", "NULL":
		default:
			continue
		}
		if from != host || fields["name"] != "" {
			continue
		}
		_, err := ask(ctx, c, "CLIENT", "KILL", "ID", fields["id"])
		if err != nil && !strings.Contains(err.Error(), "No such client") {
			return err
		}
	}
	return nil
}

// Verify scans the source once more.
func (redis) Verify(ctx context.Context, b Batch) error {
	c, err := b.dial(ctx, b.Source)
	if err != nil {
		return err
	}
	defer c.Close()
	return b.scan(ctx, c, func(_ context.Context, db int, keys []string) error {
		return finalf("%s still has keys of the slots in database %d, such as %.60q: "+
			"somebody has written to it past the proxies", b.Source, db, keys[0])
	})
}
