package conf

import (
	"encoding"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// decoder fills the types of this package from the generic tree that the TOML library makes. It
// goes on after a mistake, so that one run shows all of them; the library's own decoding into
// structs ends at the first wrong type. What a value was is never in a message about its type,
// because the value may be a password that lacks its quotes.
type decoder struct {
	r *report
}

// table fills the struct out from the table in.
func (d *decoder) table(path string, in map[string]any, out reflect.Value) {
	known := keysOf(out.Type())
	for _, key := range slices.Sorted(maps.Keys(in)) { // in order, for equal messages each time
		at := join(path, key)
		i := slices.Index(known, key)
		if i < 0 {
			d.unknown(path, key, in[key], out.Type())
			continue
		}
		d.value(at, in[key], fieldByKey(out, key))
	}
}

// unknown records a key that the table at path, of type t, does not have.
func (d *decoder) unknown(path, key string, in any, t reflect.Type) {
	what := "key"
	if strings.HasSuffix(typeName(in), "table") || strings.HasSuffix(typeName(in), "tables") {
		what = "table"
	}
	known := keysOf(t)
	hint := "known here: " + strings.Join(known, ", ")
	if near := nearest(key, known); near != "" {
		hint = "did you mean " + written(tableName(path), t, near) + "?"
		d.r.excused[join(path, near)] = true
	} else if near, header := home(key); near != "" {
		hint = near + " belongs to " + header
	}
	d.r.add(join(path, key), "unknown "+what, hint)
}

// written returns a key as it stands in a file: a table as its header.
func written(table string, t reflect.Type, key string) string {
	for f := range t.Fields() {
		switch {
		case keyOf(f) != key:
		case isTable(f.Type):
			return "[" + joined(table, key) + "]"
		case isTables(f.Type):
			return "[[" + joined(table, key) + "]]"
		}
	}
	return key
}

// value sets out from one value of the tree.
func (d *decoder) value(path string, in any, out reflect.Value) {
	if _, ok := out.Addr().Interface().(encoding.TextUnmarshaler); ok {
		d.text(path, in, out)
		return
	}
	switch out.Kind() {
	case reflect.Pointer: // a key that may be unset; empty text leaves it so
		if in != "" {
			out.Set(reflect.New(out.Type().Elem()))
			d.value(path, in, out.Elem())
		}
		return
	case reflect.Struct:
		if m, ok := in.(map[string]any); ok {
			d.table(path, m, out)
			return
		}
	case reflect.Slice:
		if list, ok := in.([]any); ok {
			d.list(path, list, out)
			return
		}
	case reflect.String:
		if s, ok := in.(string); ok {
			out.SetString(s)
			return
		}
	case reflect.Int:
		if n, ok := in.(int64); ok {
			if bad := setText(out, strconv.FormatInt(n, 10)); bad != nil {
				d.r.addValue(path, bad)
			}
			return
		}
	case reflect.Bool:
		if b, ok := in.(bool); ok {
			out.SetBool(b)
			return
		}
	default:
		panic("BUG: conf: no decoding into " + out.Type().String())
	}
	d.wrongType(path, in, out)
}

// text sets a value that has a text form. A size may also be a plain number.
func (d *decoder) text(path string, in any, out reflect.Value) {
	s, ok := in.(string)
	if n, isInt := in.(int64); isInt && out.Type() == reflect.TypeFor[Bytes]() {
		s, ok = strconv.FormatInt(n, 10), true
	}
	if !ok {
		d.wrongType(path, in, out)
		return
	}
	if bad := setText(out, s); bad != nil {
		d.r.addValue(path, bad)
	}
}

// list sets a slice. Elements that are wrong stay at their zero value, so that indexes agree with
// the file; their paths are bad.
func (d *decoder) list(path string, in []any, out reflect.Value) {
	out.Set(reflect.MakeSlice(out.Type(), len(in), len(in)))
	for i, value := range in {
		e := out.Index(i)
		switch p := e.Addr().Interface().(type) {
		case *Pool:
			*p = DefaultPool()
		case *User:
			*p = defaultUser()
		case *Command:
			*p = defaultCommand()
		}
		d.value(element(path, i), value, e)
	}
}

// setText sets out from its text form. It is also how environment, flags and the bounds in struct
// tags are read.
func setText(out reflect.Value, text string) *badValue {
	if u, ok := out.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return asBad(u.UnmarshalText([]byte(text)))
	}
	switch out.Kind() {
	case reflect.String:
		out.SetString(text)
	case reflect.Int:
		n, err := strconv.ParseInt(text, 10, strconv.IntSize)
		if err != nil {
			return &badValue{quote(text) + " is not a whole number", "write digits only, such as 4"}
		}
		out.SetInt(n)
	case reflect.Bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return &badValue{quote(text) + " is neither true nor false", "write true or false"}
		}
		out.SetBool(b)
	default:
		panic("BUG: conf: no text form of " + out.Type().String())
	}
	return nil
}

// wrongType records a value of a TOML type that the key does not take.
func (d *decoder) wrongType(path string, in any, out reflect.Value) {
	n, isInt := in.(int64)
	want, hint := "text in quotes", "put it in quotes"
	switch {
	case out.Type() == reflect.TypeFor[Bytes]():
		want, hint = "a size", `such as "64mb", or a number of bytes`
	case out.Type() == reflect.TypeFor[Duration]():
		want, hint = "a duration", `in quotes and with a unit, such as "500ms"`
		if isInt {
			hint = fmt.Sprintf(`a duration needs a unit: "%ds"`, n)
		}
	case out.Type() == reflect.TypeFor[Slots]():
		want, hint = "slots", `in quotes, such as "0-511,600"`
	case isTable(out.Type()):
		want, hint = "a table", "there is one of it, under the header ["+tableName(path)+"]"
		if strings.HasSuffix(path, "]") {
			hint = "each stands under a header [[" + tableName(path) + "]]"
		}
	case isTables(out.Type()):
		want, hint = "a list of tables", "put each under a header in double brackets: [["+tableName(path)+"]]"
	case out.Kind() == reflect.Slice:
		want, hint = "a list", `values in brackets: ["a", "b"]`
		if s, ok := in.(string); ok {
			hint = "put it in brackets: [" + quote(s) + "]"
		}
	case out.Kind() == reflect.Bool:
		want, hint = "true or false", "without quotes"
	case out.Kind() == reflect.Int:
		want, hint = "a whole number", "digits only, such as 4"
		if s, ok := in.(string); ok && setText(reflect.New(out.Type()).Elem(), s) == nil {
			hint = "leave out the quotes"
		}
	case out.Kind() == reflect.String && isInt:
		hint = fmt.Sprintf(`put it in quotes: "%d"`, n)
	case isList(in):
		hint = "one text, without brackets"
	}
	d.r.addValue(path, &badValue{fmt.Sprintf("expected %s, found %s", want, typeName(in)), hint})
}

func isList(in any) bool {
	_, ok := in.([]any)
	return ok
}

// typeName names the TOML type of a value of the tree.
func typeName(in any) string {
	switch in := in.(type) {
	case string:
		return "text"
	case int64:
		return "a whole number"
	case float64:
		return "a number with a fraction"
	case bool:
		return "true or false"
	case map[string]any:
		return "a table"
	case []any:
		if len(in) > 0 {
			if _, ok := in[0].(map[string]any); ok {
				return "a list of tables"
			}
		}
		return "a list"
	}
	return "a date or time"
}

// tableName returns the path as it stands in a header: without indexes.
func tableName(path string) string {
	parts := splitPath(path)
	for i, part := range parts {
		parts[i], _, _ = elementOf(part)
	}
	return strings.Join(parts, ".")
}

// keysOf returns the names of the keys of a table, in the order of the struct.
func keysOf(t reflect.Type) []string {
	var keys []string
	for f := range t.Fields() {
		if key := keyOf(f); key != "" {
			keys = append(keys, key)
		}
	}
	return keys
}

// keyOf returns the name of the key of a field; "" for a field that is not a key.
func keyOf(f reflect.StructField) string {
	key, _, _ := strings.Cut(f.Tag.Get("toml"), ",")
	return key
}

func fieldByKey(v reflect.Value, key string) reflect.Value {
	for i := range v.NumField() {
		if keyOf(v.Type().Field(i)) == key {
			return v.Field(i)
		}
	}
	panic("BUG: conf: no key " + key + " in " + v.Type().String())
}

// isTable reports whether values of t are tables, and not values with a text form.
func isTable(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && !t.Implements(reflect.TypeFor[encoding.TextMarshaler]())
}

// isTables reports whether values of t are lists of tables.
func isTables(t reflect.Type) bool {
	return t.Kind() == reflect.Slice && !t.Implements(reflect.TypeFor[encoding.TextMarshaler]()) && isTable(t.Elem())
}

// home finds the one table, anywhere, that has a key such as the given one, and returns the key and
// the header of the table; "" when there is none, or more than one.
func home(key string) (near, header string) {
	headers := map[string][]string{}
	var visit func(t reflect.Type, table, header string)
	visit = func(t reflect.Type, table, header string) {
		for f := range t.Fields() {
			at := joined(table, keyOf(f))
			switch {
			case keyOf(f) == "":
			case isTable(f.Type):
				visit(f.Type, at, "["+at+"]")
			case isTables(f.Type):
				visit(f.Type.Elem(), at, "[["+at+"]]")
			default:
				headers[keyOf(f)] = append(headers[keyOf(f)], header)
			}
		}
	}
	visit(reflect.TypeFor[Config](), "", "")
	near = nearest(key, slices.Sorted(maps.Keys(headers)))
	if len(headers[near]) != 1 {
		return "", ""
	}
	return near, headers[near][0]
}

// joined returns the name of the table key inside another one, as in a header.
func joined(table, key string) string {
	if table == "" {
		return key
	}
	return table + "." + key
}
