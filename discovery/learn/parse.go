package learn

import (
	"errors"
	"strconv"
	"strings"

	"sluice/internal/control"
	"sluice/proxy/command"
)

// commands is what a server has: the names of all, in lower case, and those that can be learned.
type commands struct {
	names map[string]bool
	found map[string]command.Declaration
}

// parse reads a reply of COMMAND.
func parse(reply control.Value) (commands, error) {
	list, err := reply.List()
	if err != nil {
		return commands{}, err
	}
	all := commands{names: make(map[string]bool), found: make(map[string]command.Declaration)}
	for _, item := range list {
		name := strings.ToLower(item.At(0).Text)
		all.names[name] = true
		if d, ok := declarationOf(name, item); ok {
			all.found[name] = d
		}
	}
	if !all.names["get"] {
		return commands{}, errors.New("COMMAND does not list GET, so it does not list what there is")
	}
	return all, nil
}

// furthest bounds positions of keys: what is further on is no reply of a server in order.
const furthest = 1000

// declarationOf reads the entry of one command: its name, arity, flags, first key, last key and step, ACL
// categories (since Redis 6), tips and key specs (since 7.0). It is not ok for a command that the table has, and
// for one that can't be routed by that: one without keys which is not of a module, and may be about the server
// itself; one whose keys are not all told; one that blocks, or is for administrators.
func declarationOf(name string, item control.Value) (d command.Declaration, ok bool) {
	isName := name != "" && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789._-") == ""
	if len(item.Elems) < 6 || !isName || len(name) > command.LongestDeclared || command.Lookup([]byte(name)) != nil || command.Internal(name) {
		return d, false
	}
	d = command.Declaration{Name: name, Arity: number(item.At(1)), Write: true, Learned: true}
	movable := false
	for _, flag := range item.At(2).Elems {
		switch flag.Text {
		case "readonly":
			d.Write = false
		case "movablekeys":
			movable = true
		case "admin", "blocking", "pubsub":
			return d, false
		}
	}
	if d.Arity == 0 || d.Arity > furthest || d.Arity < -furthest {
		return d, false
	}
	for _, category := range item.At(6).Elems {
		d.ACL |= command.CategoryByName([]byte(strings.ToLower(strings.TrimPrefix(category.Text, "@"))))
	}
	if d.Keys, ok = keysOf(item, movable); !ok {
		return d, false
	}
	if len(d.Keys) == 0 {
		d.Masters = command.OnlyMaster
	}
	return d, len(d.Keys) > 0 || strings.Contains(name, ".")
}

// keysOf says where the keys of a command are. It is not ok if that is not all told.
func keysOf(item control.Value, movable bool) (keys []command.KeySpec, ok bool) {
	specs := item.At(8).Elems
	first, last, step := number(item.At(3)), number(item.At(4)), number(item.At(5))
	if len(specs) == 0 {
		switch {
		case movable:
			return nil, false
		case first == 0:
			return nil, true
		case first < 1 || first > furthest || last > furthest || last < -furthest || last >= 0 && last < first || step < 1 || step > furthest:
			return nil, false
		}
		return command.KeysAt(first, last, step), true
	}
	if len(specs) > command.MaxKeySpecs {
		return nil, false
	}
	plain := true
	for _, v := range specs {
		spec, err := specOf(v)
		if err != nil {
			return nil, false
		}
		plain = plain && spec.Begin.Kind == command.BeginIndex && spec.Find.Kind == command.FindRange
		keys = append(keys, spec)
	}
	// A module that finds the keys of a command itself says where the first ones are, and that this is not all.
	if movable && plain && len(keys) == 1 {
		return nil, false
	}
	return keys, true
}

// specOf reads a key spec (https://redis.io/docs/latest/develop/reference/key-specs/). What is done to the key is
// left out: of modules servers do not know that, and say everything.
func specOf(v control.Value) (spec command.KeySpec, err error) {
	r := specReader{fields: fieldsOf(v)}
	for _, flag := range r.fields["flags"].Elems {
		if flag.Text == "incomplete" || flag.Text == "not_key" {
			return spec, errSpec
		}
	}
	switch kind, at := r.step("begin_search"); kind {
	case "index":
		spec.Begin = command.Begin{Kind: command.BeginIndex, Pos: r.number(at, "index", 1)}
	case "keyword":
		spec.Begin = command.Begin{Kind: command.BeginKeyword, Keyword: at["keyword"].Text, Pos: r.number(at, "startfrom", -furthest)}
		r.bad = r.bad || spec.Begin.Keyword == "" || spec.Begin.Pos == 0
	default:
		return spec, errSpec
	}
	switch kind, at := r.step("find_keys"); kind {
	case "range":
		spec.Find = command.Find{Kind: command.FindRange, Last: r.number(at, "lastkey", -furthest),
			Step: r.number(at, "keystep", 1), Limit: r.number(at, "limit", 0)}
	case "keynum":
		spec.Find = command.Find{Kind: command.FindKeyNum, NumAt: r.number(at, "keynumidx", 0),
			First: r.number(at, "firstkey", 0), Step: r.number(at, "keystep", 1)}
	default:
		return spec, errSpec
	}
	if r.bad {
		return spec, errSpec
	}
	return spec, nil
}

var errSpec = errors.New("not a key spec that says where the keys are")

// specReader reads the fields of a key spec. It notes what is not as it should be.
type specReader struct {
	fields map[string]control.Value
	bad    bool
}

// step returns the kind of one of the two steps, and its fields.
func (r *specReader) step(name string) (kind string, fields map[string]control.Value) {
	step := fieldsOf(r.fields[name])
	return step["type"].Text, fieldsOf(step["spec"])
}

func (r *specReader) number(fields map[string]control.Value, name string, least int) int {
	n, err := strconv.Atoi(fields[name].Text)
	r.bad = r.bad || err != nil || n < least || n > furthest
	return n
}

// fieldsOf are the fields of v, none when it has none.
func fieldsOf(v control.Value) map[string]control.Value {
	fields, err := v.Fields()
	if err != nil {
		return nil
	}
	return fields
}

// number is v as an integer, 0 when it is none.
func number(v control.Value) int {
	n, err := strconv.Atoi(v.Text)
	if err != nil {
		return 0
	}
	return n
}
