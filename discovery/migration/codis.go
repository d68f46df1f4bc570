package migration

import (
	"fmt"
	"net"
	"strings"
)

// parsePika reads SLOTSMGRT-ASYNC-STATUS of Pika, which moves one slot at a time: five lines "name : value". An idle
// one has "migrating  : no". What it moves is shown until the slot is empty.
func parsePika(reply value) ([]report, error) {
	if err := reply.err(); err != nil {
		return nil, err
	}
	fields := make(map[string]string)
	for _, e := range reply.list {
		name, text, ok := strings.Cut(e.text, ":")
		if !ok {
			return nil, fmt.Errorf("not understood: %.120q", e.text)
		}
		fields[strings.TrimSpace(name)] = strings.TrimSpace(text)
	}
	if _, ok := fields["migrating"]; !ok {
		return nil, fmt.Errorf("not understood: %.120q", reply.String())
	}
	if fields["migrating"] != "yes" {
		return nil, nil
	}
	return []report{{
		out: true, peer: fields["dest server"], slots: fields["slot number"], state: Copying, word: "migrating",
		keys: value{text: fields["remain keys"]}.number(), copied: value{text: fields["moved keys"]}.number(), retries: -1,
	}}, nil
}

// parseCodis reads SLOTSMGRT-ASYNC-STATUS of codis-server 3.2: null, or names and values. It tells of the batch that
// is under way, not of the slot; a connection that is kept for the next batch is none.
func parseCodis(reply value) ([]report, error) {
	if err := reply.err(); err != nil {
		return nil, err
	}
	if reply.kind == '_' {
		return nil, nil
	}
	fields, err := reply.fields()
	if err != nil {
		return nil, err
	}
	if fields["host"].text == "" {
		return nil, fmt.Errorf("not understood: %.120q", reply.String())
	}
	if fields["used"].number() == 0 {
		return nil, nil
	}
	return []report{{
		out: true, peer: net.JoinHostPort(fields["host"].text, fields["port"].text), state: Copying, word: "migrating",
		keys: -1, copied: -1, retries: -1,
	}}, nil
}
