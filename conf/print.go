package conf

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// String returns the configuration as TOML with every value in force, defaults included, and masks
// in place of passwords. A configuration without passwords parses back to an equal one.
//
// The TOML library is not used for it: it asks named strings, numbers and slices for no text form,
// and would print sizes as numbers and durations as nanoseconds.
func (c *Config) String() string {
	shown := Config{Proxy: c.Proxy, Consul: c.Consul, Pools: slices.Clone(c.Pools)}
	for i := range shown.Pools {
		// Written out it would be asked for, and refused where it can't be had.
		if p := &shown.Pools[i]; !provesLag(p) && !c.givenMaxLag(element("pool", i), p) {
			p.Reads.MaxLag = 0
		}
		// A password that came from a file is shown as the name of the file.
		a := &shown.Pools[i].Auth
		if a.BackendPasswordFile != "" {
			a.BackendPassword = Secret{}
		}
		a.Users = slices.Clone(a.Users)
		for j := range a.Users {
			if a.Users[j].PasswordFile != "" {
				a.Users[j].Password = Secret{}
			}
		}
	}
	var b strings.Builder
	printTable(&b, "", reflect.ValueOf(shown))
	return strings.TrimPrefix(b.String(), "\n")
}

// printTable writes the plain keys of a table, then the tables in it, each under its header.
func printTable(b *strings.Builder, path string, v reflect.Value) {
	for i := range v.NumField() {
		f, value := v.Type().Field(i), v.Field(i)
		if keyOf(f) == "" || isTable(f.Type) || isTables(f.Type) || omitted(f, value) {
			continue
		}
		fmt.Fprintf(b, "%s = %s\n", keyOf(f), literalOf(value))
	}
	for i := range v.NumField() {
		f, value := v.Type().Field(i), v.Field(i)
		at := join(path, keyOf(f))
		switch {
		case keyOf(f) == "":
		case isTable(f.Type):
			fmt.Fprintf(b, "\n[%s]\n", at)
			printTable(b, at, value)
		case isTables(f.Type):
			for j := range value.Len() {
				fmt.Fprintf(b, "\n[[%s]]\n", at)
				printTable(b, at, value.Index(j))
			}
		}
	}
}

// omitted reports whether a key is left out because it has no value and an empty one would read as
// if somebody had set it.
func omitted(f reflect.StructField, v reflect.Value) bool {
	return strings.HasSuffix(f.Tag.Get("toml"), ",omitempty") && v.IsZero()
}

// literalOf returns a value as it stands after an equals sign.
func literalOf(v reflect.Value) string {
	if m, ok := v.Interface().(encoding.TextMarshaler); ok {
		text, err := m.MarshalText()
		if err != nil {
			panic("BUG: conf: a text form that fails: " + err.Error())
		}
		return quoteTOML(string(text))
	}
	switch v.Kind() {
	case reflect.String:
		return quoteTOML(v.String())
	case reflect.Int:
		return strconv.FormatInt(v.Int(), 10)
	case reflect.Bool:
		return strconv.FormatBool(v.Bool())
	case reflect.Slice:
		parts := make([]string, v.Len())
		for i := range parts {
			parts[i] = literalOf(v.Index(i))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	default:
		panic("BUG: conf: no literal of " + v.Type().String())
	}
}

// quoteTOML returns s as a basic string of TOML, which has other escapes than Go.
func quoteTOML(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, "\\u%04X", r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
