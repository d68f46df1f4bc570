package conf

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Change is a key that differs between two configurations.
type Change struct {
	Key string // as in Problem.Key: "proxy.loops", "pool.main.group 2.slots"
	Old string // text of the old value; empty for what was added; the mask for a password
	New string // text of the new value; empty for what was removed; the mask for a password

	with []string // the keys of its tag of this name, such as "pool.main.slots"
}

// String returns "proxy.loops: 1 -> 2".
func (c Change) String() string {
	show := func(s string) string {
		if s == "" {
			return "(none)"
		}
		return s
	}
	return c.Key + ": " + show(c.Old) + " -> " + show(c.New)
}

// Diff names the keys that differ: those that a reload can apply, and those that need a restart.
// Pools, groups and users are matched by their names, so moving one within the file changes nothing;
// neither does the order of listen addresses, replicas, seeds, weights, zones and patterns. That of a
// user's command rules counts.
func Diff(old, new *Config) (apply, restart []Change) {
	d := differ{}
	d.table("", reflect.ValueOf(*old), reflect.ValueOf(*new))
	return d.apply, d.restart
}

type differ struct {
	apply   []Change
	restart []Change
	pool    string   // path of the pool that is compared, "" outside of pools
	with    []string // of the tables around
}

func (d *differ) add(f reflect.StructField, c Change) {
	switch f.Tag.Get("reload") {
	case "live":
		c.with = append(slices.Clone(d.with), d.withOf(f)...)
		d.apply = append(d.apply, c)
	case "restart":
		d.restart = append(d.restart, c)
	default:
		panic("BUG: conf: field " + f.Name + " does not say whether a reload applies it")
	}
}

// withOf reads the tag of this name.
func (d *differ) withOf(f reflect.StructField) []string {
	keys := strings.Fields(f.Tag.Get("with"))
	for i, key := range keys {
		keys[i] = d.pool + "." + key
	}
	return keys
}

// inside compares what is in a field.
func (d *differ) inside(f reflect.StructField, compare func()) {
	around := d.with
	d.with = append(slices.Clone(around), d.withOf(f)...)
	compare()
	d.with = around
}

// table compares two structs of one type key by key.
func (d *differ) table(path string, old, new reflect.Value) {
	for i := range old.NumField() {
		f := old.Type().Field(i)
		if keyOf(f) == "" {
			continue
		}
		at, a, b := join(path, keyOf(f)), old.Field(i), new.Field(i)
		switch {
		case isTable(f.Type):
			d.inside(f, func() { d.table(at, a, b) })
		case isTables(f.Type):
			d.list(f, at, a, b)
		case compared(a) != compared(b):
			d.add(f, Change{Key: at, Old: printed(a), New: printed(b)})
		}
	}
}

// list compares two lists of tables, matching the elements by name.
func (d *differ) list(f reflect.StructField, path string, old, new reflect.Value) {
	sep := " "
	if path == "pool" {
		sep = "."
	}
	for i := range old.Len() {
		a := old.Index(i)
		at := path + sep + nameOf(a)
		if b := findByName(new, nameOf(a)); b.IsValid() {
			if path == "pool" {
				d.pool = at
			}
			d.inside(f, func() { d.table(at, a, b) })
			continue
		}
		d.add(f, Change{Key: at, Old: summary(a)})
	}
	for i := range new.Len() {
		b := new.Index(i)
		if !findByName(old, nameOf(b)).IsValid() {
			d.add(f, Change{Key: path + sep + nameOf(b), New: summary(b)})
		}
	}
}

// nameOf returns what identifies an element of a list of tables: its first key.
func nameOf(v reflect.Value) string { return v.Field(0).String() }

func findByName(list reflect.Value, name string) reflect.Value {
	for i := range list.Len() {
		if nameOf(list.Index(i)) == name {
			return list.Index(i)
		}
	}
	return reflect.Value{}
}

// summary prints the plain keys of a table on one line.
func summary(v reflect.Value) string {
	var parts []string
	for i := range v.NumField() {
		f := v.Field(i)
		if isTable(f.Type()) || isTables(f.Type()) || printed(f) == "" {
			continue
		}
		parts = append(parts, keyOf(v.Type().Field(i))+"="+printed(f))
	}
	return strings.Join(parts, " ")
}

// printed returns the text of a value as it may be shown.
func printed(v reflect.Value) string {
	if v.Kind() == reflect.Pointer && v.IsNil() {
		return ""
	}
	if _, ok := v.Interface().(fmt.Stringer); !ok && v.Kind() == reflect.Slice {
		return strings.Join(elements(v), ", ")
	}
	return fmt.Sprint(v.Interface())
}

// compared returns the text of a value by which it compares; unlike printed it holds passwords.
func compared(v reflect.Value) string {
	switch v := v.Interface().(type) {
	case Secret:
		return v.Reveal()
	case []Secret:
		var all []string
		for _, s := range v {
			all = append(all, strings.ToLower(s.Reveal()))
		}
		slices.Sort(all)
		return fmt.Sprintf("%q", all)
	case CommandRules:
		return fmt.Sprintf("%q", []string(v))
	}
	if _, ok := v.Interface().(fmt.Stringer); !ok && v.Kind() == reflect.Slice {
		return fmt.Sprintf("%q", slices.Sorted(slices.Values(elements(v))))
	}
	return printed(v)
}

func elements(v reflect.Value) []string {
	out := make([]string, v.Len())
	for i := range out {
		out[i] = fmt.Sprint(v.Index(i).Interface())
	}
	return out
}
