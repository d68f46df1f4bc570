package learn

import (
	"bytes"
	"errors"
	"strings"

	"github.com/tidwall/resp"

	"sluice/proxy/command"
)

// errNoCommands is returned by parse for a reply that is no list.
var errNoCommands = errors.New("the reply to COMMAND is not a list of commands")

// parse reads a reply of COMMAND and returns what can be learned from it, by name.
func parse(reply []byte) (map[string]command.Declaration, error) {
	v, _, err := resp.NewReader(bytes.NewReader(reply)).ReadValue()
	if err != nil {
		return nil, err
	}
	if err := v.Error(); err != nil {
		return nil, err
	}
	if v.Type() != resp.Array {
		return nil, errNoCommands
	}
	found := make(map[string]command.Declaration)
	for _, item := range v.Array() {
		if d, ok := declarationOf(item.Array()); ok {
			found[d.Name] = d
		}
	}
	return found, nil
}

// furthest bounds positions of keys: what is further on is no reply of a server in order.
const furthest = 1000

// declarationOf reads the entry of one command: its name, arity, flags, first key, last key and step, and more that is of no
// use here. It is not ok for a command that Redis has, and for one that can't be routed by that: one without keys, which
// may be about the server itself; one whose keys are not all told; one that blocks, or is for administrators.
func declarationOf(fields []resp.Value) (d command.Declaration, ok bool) {
	if len(fields) < 6 {
		return d, false
	}
	d = command.Declaration{
		Name: strings.ToLower(fields[0].String()), Arity: fields[1].Integer(), Write: true,
		FirstKey: fields[3].Integer(), LastKey: fields[4].Integer(), KeyStep: fields[5].Integer(),
	}
	for _, flag := range fields[2].Array() {
		switch flag.String() {
		case "readonly":
			d.Write = false
		case "admin", "blocking", "movablekeys", "pubsub":
			return d, false
		}
	}
	name := []byte(d.Name)
	isName := d.Name != "" && strings.Trim(d.Name, "abcdefghijklmnopqrstuvwxyz0123456789._-") == ""
	switch {
	case !isName, command.Lookup(name) != nil, command.Internal(d.Name):
		return d, false
	case d.Arity == 0, d.Arity > furthest, d.Arity < -furthest:
		return d, false
	case d.FirstKey < 1, d.FirstKey > furthest, d.LastKey > furthest, d.LastKey < -furthest:
		return d, false
	case d.LastKey >= 0 && d.LastKey < d.FirstKey, d.KeyStep < 1, d.KeyStep > furthest:
		return d, false
	}
	return d, true
}
