package replication

import (
	"context"
	"fmt"
	"strings"

	"sluice/backend"
	"sluice/internal/control"
)

// lengths are the commands that tell how long a value is, by type.
var lengths = map[string]string{
	"string": "STRLEN", "list": "LLEN", "hash": "HLEN", "set": "SCARD", "zset": "ZCARD", "stream": "XLEN",
}

// description is what one server says of a key: its replies, each with its kind.
type description string

// isError reports whether the server could not say its type.
func (d description) isError() bool { return strings.HasPrefix(string(d), string(control.Error)) }

// isMoved reports whether the server says that the key is of a slot that it has not.
func (d description) isMoved() bool {
	_, text, _ := strings.Cut(string(d), ":")
	return d.isError() && strings.HasPrefix(text, "MOVED ")
}

func describeKey(replies ...control.Value) description {
	var b strings.Builder
	for _, v := range replies {
		fmt.Fprintf(&b, "%c%d:%s", v.Kind, len(v.Text), v.Text)
	}
	return description(b.String())
}

// describeKeys tells of each key what can be compared between two servers: type, length, and the beginning of a
// string. Other values are in no order that two servers share.
func describeKeys(ctx context.Context, c *backend.Control, keys []string) ([]description, error) {
	commands := make([][]string, len(keys))
	for i, key := range keys {
		commands[i] = []string{"TYPE", key}
	}
	types, err := c.Do(ctx, commands...)
	if err != nil || len(keys) == 0 {
		return nil, err
	}
	commands = nil
	for i, key := range keys {
		name := strings.ToLower(types[i].Text)
		length, ok := lengths[name]
		switch {
		case name == "string":
			commands = append(commands, []string{"STRLEN", key}, []string{"GETRANGE", key, "0", fmt.Sprint(longestValue - 1)})
		case ok:
			commands = append(commands, []string{length, key}, []string{"TYPE", key})
		default:
			commands = append(commands, []string{"TYPE", key}, []string{"TYPE", key})
		}
	}
	replies, err := c.Do(ctx, commands...)
	if err != nil {
		return nil, err
	}
	out := make([]description, len(keys))
	for i := range keys {
		out[i] = describeKey(types[i], replies[2*i], replies[2*i+1])
	}
	return out, nil
}

// texts are the strings in a reply, in arrays too.
func texts(reply control.Value) []string {
	var found []string
	if reply.Kind == control.Bulk {
		found = append(found, reply.Text)
	}
	for _, e := range reply.Elems {
		found = append(found, texts(e)...)
	}
	return found
}
