package conf

import (
	"bytes"
	"fmt"
	"sort"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// Values are decoded from a generic tree, which knows no positions. This file makes a second pass
// over the same text with the parser alone and notes where each key stands, so that a problem found
// much later, by a check that compares two groups, still leads to a line.
//
// A path names a value: table names and keys joined by dots, elements of lists by their index from
// 0. The element of [[pool]] that a header such as [pool.group] refers to is the last one begun.
//
//	[[pool]]              pool[0]
//	name = "main"         pool[0].name
//	listen = ["a", "b"]   pool[0].listen, pool[0].listen[0], pool[0].listen[1]
//	[[pool.group]]        pool[0].group[0]

// Origin is where a value was given. The zero value means that it is the default.
type Origin struct {
	File   string // the file as it was named, "environment SLUICE_..." or "--set"
	Line   int    // from 1; 0 when it is not a file
	Column int    // from 1; 0 when it is not a file
}

// String returns "default", "sluice.toml:12", "environment SLUICE_PROXY_LOOPS" or "--set".
func (o Origin) String() string {
	switch {
	case o.File == "":
		return "default"
	case o.Line == 0:
		return o.File
	}
	return fmt.Sprintf("%s:%d", o.File, o.Line)
}

// Origin returns where the value of a key was given. A key is written as in "proxy.limits.max_bulk"
// and "pool[0].group[1].slots", with indexes from 0.
func (c *Config) Origin(key string) Origin { return c.origins[key] }

// given reports whether the key at path was given a value, and not left at its default.
func (c *Config) given(path string) bool {
	_, ok := c.origins[path]
	return ok
}

// place returns where a problem of the key at path is to be shown: at the key, else at the nearest
// table around it.
func (c *Config) place(path string) Origin {
	for ; path != ""; path = parent(path) {
		if o, ok := c.origins[path]; ok {
			return o
		}
	}
	return c.origins[""]
}

// places returns where each key and table of a TOML document stands. The document has been decoded
// before, so it is well formed.
func places(file string, doc []byte) map[string]Origin {
	w := placer{file: file, out: map[string]Origin{"": {file, 1, 1}}, elements: map[string]int{}}
	for at := 0; ; {
		end := bytes.IndexByte(doc[at:], '\n')
		if end < 0 {
			break
		}
		at += end + 1
		w.lineStarts = append(w.lineStarts, at)
	}
	w.parser.Reset(doc)
	for w.parser.NextExpression() {
		w.expression(w.parser.Expression())
	}
	return w.out
}

// placer is the state of the pass. Owned by places.
type placer struct {
	file       string
	lineStarts []int // offsets of lines 2, 3, ...
	out        map[string]Origin
	elements   map[string]int // elements of each list of tables so far
	table      string         // path of the table that the last header opened
	parser     unstable.Parser
}

func (w *placer) expression(n *unstable.Node) {
	switch n.Kind {
	case unstable.Table:
		w.table = w.walk("", n.Key())
	case unstable.ArrayTable:
		list, at := "", 0
		for it := n.Key(); len(list) <= longestPath && it.Next(); {
			key := it.Node()
			list, at = join(w.lastElement(list), string(key.Data)), int(key.Raw.Offset)
		}
		w.table = element(list, w.elements[list])
		w.elements[list]++
		w.note(list, at)
		w.note(w.table, at)
	case unstable.KeyValue:
		w.value(w.walk(w.table, n.Key()), n.Value())
	}
}

// longestPath ends the pass below paths that are longer than any of the configuration, so that a file
// of nothing but nesting takes no memory to speak of. What is wrong there is shown further up.
const longestPath = 1024

// walk notes every part of a dotted key below path, and returns the path of the last one.
func (w *placer) walk(path string, key unstable.Iterator) string {
	for len(path) <= longestPath && key.Next() {
		path = w.lastElement(join(path, string(key.Node().Data)))
		w.note(path, int(key.Node().Raw.Offset))
	}
	return path
}

// value notes what is inside a list or an inline table.
func (w *placer) value(path string, n *unstable.Node) {
	if len(path) > longestPath {
		return
	}
	switch n.Kind {
	case unstable.Array:
		index := 0
		for it := n.Children(); it.Next(); index++ {
			at := element(path, index)
			if it.Node().Raw.Length > 0 { // lists and inline tables have no position of their own
				w.note(at, int(it.Node().Raw.Offset))
			}
			w.value(at, it.Node())
		}
	case unstable.InlineTable:
		for it := n.Children(); it.Next(); {
			w.value(w.walk(path, it.Node().Key()), it.Node().Value())
		}
	}
}

// lastElement returns the path of the last element when path is a list of tables, else path.
func (w *placer) lastElement(path string) string {
	if n := w.elements[path]; n > 0 {
		return element(path, n-1)
	}
	return path
}

// note keeps the first place of a path: a table may be opened by a dotted key before its header.
func (w *placer) note(path string, offset int) {
	if _, ok := w.out[path]; ok {
		return
	}
	line := sort.SearchInts(w.lineStarts, offset+1)
	start := 0
	if line > 0 {
		start = w.lineStarts[line-1]
	}
	w.out[path] = Origin{w.file, line + 1, offset - start + 1}
}

// join returns the path of key in the table at path. A key that is not a bare one is quoted, so that
// no key can look like a path.
func join(path, key string) string {
	if !isBare(key) {
		key = strconv.Quote(key)
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

func element(path string, index int) string { return path + "[" + strconv.Itoa(index) + "]" }

// parent returns the path of the table or list around path; "" at the top.
func parent(path string) string {
	return path[:max(0, strings.LastIndexAny(path, ".["))]
}

// splitPath cuts a path at the dots that are outside of quotes.
func splitPath(path string) []string {
	var parts []string
	start, quoted := 0, false
	for i := 0; i < len(path); i++ {
		switch {
		case quoted && path[i] == '\\':
			i++
		case path[i] == '"':
			quoted = !quoted
		case path[i] == '.' && !quoted:
			parts = append(parts, path[start:i])
			start = i + 1
		}
	}
	return append(parts, path[start:])
}

// elementOf splits "group[1]" into its name and index.
func elementOf(part string) (name string, index int, ok bool) {
	open := strings.LastIndexByte(part, '[')
	if open < 0 || !strings.HasSuffix(part, "]") {
		return part, 0, false
	}
	index, err := strconv.Atoi(part[open+1 : len(part)-1])
	return part[:open], index, err == nil
}

func isBare(key string) bool {
	return key != "" && strings.Trim(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") == ""
}
