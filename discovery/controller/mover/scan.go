package mover

import (
	"context"
	"strconv"
	"strings"

	"sluice/backend/dialect"
	"sluice/internal/control"
	"sluice/router"
)

// scanCount is how many keys a SCAN looks at in one step.
const scanCount = 1000

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
				if wanted[b.Model.Slot([]byte(key.Text))] && !strings.HasPrefix(key.Text, dialect.BringMarkers) {
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
