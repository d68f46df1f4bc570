package migration

import (
	"fmt"
	"net"

	"sluice/backend/dialect"
	"sluice/internal/control"
)

// parsePika reads INFO stats of Pika, which moves one slot at a time in the background and says only that it does;
// which one, and where to, is in the topology (see nameMoves). SLOTSMGRT-ASYNC-STATUS knows more, and holds the lock
// that a batch of the dashboard tries once: see dialect.BackgroundBusy.
func parsePika(reply control.Value) ([]report, error) {
	if err := reply.Err(); err != nil {
		return nil, err
	}
	if !dialect.BackgroundBusy([]byte(reply.Text)) {
		return nil, nil
	}
	return []report{{out: true, state: Copying, word: "migrating", keys: -1, copied: -1, retries: -1}}, nil
}

// parseCodis reads SLOTSMGRT-ASYNC-STATUS of codis-server 3.2: null, or names and values. It tells of the batch that
// is under way, not of the slot; a connection that is kept for the next batch is none.
func parseCodis(reply control.Value) ([]report, error) {
	if err := reply.Err(); err != nil {
		return nil, err
	}
	if reply.IsNull() {
		return nil, nil
	}
	fields, err := reply.Fields()
	if err != nil {
		return nil, err
	}
	if fields["host"].Text == "" {
		return nil, fmt.Errorf("not understood: %.120q", reply)
	}
	if number(fields["used"].Text) == 0 {
		return nil, nil
	}
	return []report{{
		out: true, peer: net.JoinHostPort(fields["host"].Text, fields["port"].Text), state: Copying, word: "migrating",
		keys: -1, copied: -1, retries: -1,
	}}, nil
}
