package learn

import (
	"strconv"
	"strings"

	"sluice/internal/control"
	"sluice/proxy/command"
)

// parse reads a reply of COMMAND and returns what can be learned from it, by name.
func parse(reply control.Value) (map[string]command.Declaration, error) {
	commands, err := reply.List()
	if err != nil {
		return nil, err
	}
	found := make(map[string]command.Declaration)
	for _, item := range commands {
		if d, ok := declarationOf(item.Elems); ok {
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
func declarationOf(fields []control.Value) (d command.Declaration, ok bool) {
	if len(fields) < 6 {
		return d, false
	}
	d = command.Declaration{
		Name: strings.ToLower(fields[0].Text), Arity: number(fields[1]), Write: true,
		FirstKey: number(fields[3]), LastKey: number(fields[4]), KeyStep: number(fields[5]),
	}
	for _, flag := range fields[2].Elems {
		switch flag.Text {
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

// number is v as an integer, 0 when it is none.
func number(v control.Value) int {
	n, err := strconv.Atoi(v.Text)
	if err != nil {
		return 0
	}
	return n
}
