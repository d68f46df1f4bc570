package conf

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Problem is one thing that is wrong with a configuration.
type Problem struct {
	File   string // the file as it was named, "environment SLUICE_..." or "--set"; empty for a Config built in code
	Line   int    // from 1; 0 when there is no file
	Column int    // from 1; 0 when the problem is about the line as a whole
	Key    string // such as "proxy.loops" or "pool.main.group 2.master"; empty for broken TOML
	Msg    string // what is wrong
	Hint   string // what to do; may be empty
}

// Error returns the problem on one line: place, key, message, hint.
func (p Problem) Error() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(p.File)
		if p.Line > 0 {
			fmt.Fprintf(&b, ":%d", p.Line)
		}
		if p.Column > 0 {
			fmt.Fprintf(&b, ":%d", p.Column)
		}
		b.WriteString(": ")
	}
	if p.Key != "" {
		b.WriteString(p.Key + ": ")
	}
	b.WriteString(p.Msg)
	if p.Hint != "" {
		b.WriteString("; hint: " + p.Hint)
	}
	return b.String()
}

// Problems is everything that is wrong with a configuration, those of the file first and in its
// order. It is the error that Load, LoadWith, Parse and Validate return.
type Problems []Problem

var (
	_ error                         = Problems(nil)
	_ interface{ Unwrap() []error } = Problems(nil)
)

// Error returns one problem per line.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap lets errors.As find a single Problem.
func (ps Problems) Unwrap() []error {
	errs := make([]error, len(ps))
	for i, p := range ps {
		errs[i] = p
	}
	return errs
}

// report collects problems while a configuration is read and checked. Keys are paths with indexes
// ("pool[0].group[1].slots") until the end, when the names that stand for the indexes are known.
type report struct {
	cfg      *Config
	problems Problems
	// bad holds the paths whose value could not be read or has been complained about. Checks that
	// depend on such a value keep quiet: they would only repeat the mistake in other words.
	bad map[string]bool
	// excused holds the paths that are not to be missed, because something stands there under a
	// wrong name. Unlike with bad, what is inside of a table of that path is still checked.
	excused map[string]bool
}

func newReport(cfg *Config) *report {
	return &report{cfg: cfg, bad: map[string]bool{}, excused: map[string]bool{}}
}

// add records a problem of the key at path, placed at the line of the key, or of the table around
// it when the key is not there.
func (r *report) add(path, msg, hint string) {
	r.addAt(path, path, msg, hint)
	r.bad[path] = true
}

// addAt is add for a problem that is named by one path and placed at another: what is wrong with a
// group as a whole is best seen at one of its keys.
func (r *report) addAt(path, where, msg, hint string) {
	o := r.cfg.place(where)
	r.problems = append(r.problems, Problem{File: o.File, Line: o.Line, Key: path, Msg: msg, Hint: hint})
}

// addValue is add for a value that is not of its type, with the column. The bad value may be of an
// element; what counts as bad then is the element and not its list.
func (r *report) addValue(path string, v *badValue) {
	o := r.cfg.place(path)
	r.problems = append(r.problems, Problem{o.File, o.Line, o.Column, path, v.msg, v.hint})
	r.bad[path] = true
}

// isBad reports whether the value at path, or the table around it, is not to be relied on, or not to
// be missed.
func (r *report) isBad(path string) bool {
	if r.excused[path] {
		return true
	}
	for ; path != ""; path = parent(path) {
		if r.bad[path] {
			return true
		}
	}
	return false
}

// line returns " (line 9)" for a message that refers to another key.
func (r *report) line(path string) string {
	if o := r.cfg.place(path); o.Line > 0 {
		return fmt.Sprintf(" (line %d)", o.Line)
	}
	return ""
}

// err returns the problems with the keys as an operator knows them, or nil.
func (r *report) err() error {
	if len(r.problems) == 0 {
		return nil
	}
	for i := range r.problems {
		r.problems[i].Key = r.cfg.label(r.problems[i].Key)
	}
	slices.SortStableFunc(r.problems, func(a, b Problem) int {
		if (a.Line == 0) != (b.Line == 0) {
			return cmp.Compare(b.Line, a.Line) // those with a line first
		}
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return r.problems
}

// label turns the path of a key into its name for an operator: the element of a list of tables is
// named by what identifies it, or by its number ("#2") where that is missing, and the element of
// a plain list by the list.
func (c *Config) label(path string) string {
	var out []string
	var pool *Pool
	for _, part := range splitPath(path) {
		name, index, ok := elementOf(part)
		if !ok {
			out = append(out, part)
			continue
		}
		id, sep := "", " "
		switch {
		case name == "pool" && len(out) == 0:
			if sep = "."; index < len(c.Pools) {
				pool = &c.Pools[index]
				id = pool.Name
			}
		case name == "group" && pool != nil:
			if index < len(pool.Groups) {
				id = pool.Groups[index].ID
			}
		case name == "user" && pool != nil:
			if index < len(pool.Auth.Users) {
				id = pool.Auth.Users[index].Name
			}
		case name == "command" && pool != nil:
			if index < len(pool.Commands) {
				id = pool.Commands[index].Name
			}
		default:
			out = append(out, name)
			continue
		}
		if !isName(id) {
			id, sep = "#"+strconv.Itoa(index+1), " "
		}
		out = append(out, name+sep+id)
	}
	return strings.Join(out, ".")
}
