package migration

import (
	"fmt"
	"net"
	"strings"

	"sluice/internal/control"
)

// parsePika reads SLOTSMGRT-ASYNC-STATUS of Pika, which moves one slot at a time: five lines "name : value". An idle
// one has "migrating  : no". What it moves is shown until the slot is empty.
func parsePika(reply control.Value) ([]report, error) {
	if err := reply.Err(); err != nil {
		return nil, err
	}
	fields := make(map[string]string)
	for _, e := range reply.Elems {
		name, text, ok := strings.Cut(e.Text, ":")
		if !ok {
			return nil, fmt.Errorf("not understood: %.120q", e.Text)
		}
		fields[strings.TrimSpace(name)] = strings.TrimSpace(text)
	}
	if _, ok := fields["migrating"]; !ok {
		return nil, fmt.Errorf("not understood: %.120q", reply)
	}
	if fields["migrating"] != "yes" {
		return nil, nil
	}
	return []report{{
		out: true, peer: fields["dest server"], slots: fields["slot number"], state: Copying, word: "migrating",
		keys: number(fields["remain keys"]), copied: number(fields["moved keys"]), retries: -1,
	}}, nil
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
