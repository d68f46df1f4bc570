package control

import (
	"errors"
	"fmt"
	"strings"
)

// Kind is what a Value is: its first byte on the wire, where several forms mean the same that of one of them.
type Kind byte

// The kinds of RESP2 and RESP3 (https://redis.io/docs/latest/develop/reference/protocol-spec/).
const (
	Null    Kind = '_' // every form of null
	Status  Kind = '+'
	Error   Kind = '-' // bulk errors too
	Integer Kind = ':' // big numbers too
	Bulk    Kind = '$' // verbatim strings too, without their format
	Double  Kind = ','
	Bool    Kind = '#' // Text is "t" or "f"
	Array   Kind = '*' // sets too
	Map     Kind = '%' // keys and values in turn
)

// Value is a whole reply, or an element of one. The zero Value is none. Immutable.
type Value struct {
	Kind  Kind
	Text  string  // of everything that has no elements
	Elems []Value // of an Array or a Map
}

// longestError is how many bytes of a server's error are kept, and longestShown how many of a value that an error shows.
const (
	longestError = 512
	longestShown = 128
)

// ReplyError is an error that a server has answered, in its words.
type ReplyError string

// Error implements error.
func (e ReplyError) Error() string { return string(e) }

// Err is the ReplyError that v is, or nil.
func (v Value) Err() error {
	if v.Kind != Error {
		return nil
	}
	return ReplyError(cut(v.Text, longestError))
}

// IsNull reports whether v is a null.
func (v Value) IsNull() bool { return v.Kind == Null }

// IsList reports whether v has elements, be it none.
func (v Value) IsList() bool { return v.Kind == Array || v.Kind == Map }

// At is an element, the zero Value when there are not so many.
func (v Value) At(i int) Value {
	if i < len(v.Elems) {
		return v.Elems[i]
	}
	return Value{}
}

// List returns the elements of an Array or a Map. Of anything else it is an error, the server's if v is one.
func (v Value) List() ([]Value, error) {
	if !v.IsList() {
		return nil, v.Unexpected()
	}
	return v.Elems, nil
}

// Fields returns the values of a Map, or of an Array that has names and values in turn, by name. The last of equal names counts.
func (v Value) Fields() (map[string]Value, error) {
	elems, err := v.List()
	if err != nil {
		return nil, err
	}
	if len(elems)%2 != 0 {
		return nil, fmt.Errorf("no names and values: %q", v)
	}
	fields := make(map[string]Value, len(elems)/2)
	for i := 0; i < len(elems); i += 2 {
		fields[elems[i].Text] = elems[i+1]
	}
	return fields, nil
}

// Unexpected says that v came instead of what was expected. An error reply speaks for itself.
func (v Value) Unexpected() error {
	switch v.Kind {
	case Error:
		return v.Err()
	case Null:
		return errors.New("unexpected null")
	default:
		return fmt.Errorf("unexpected %s %q", v.Kind, v)
	}
}

// String returns the word for a kind.
func (k Kind) String() string {
	switch k {
	case Null:
		return "null"
	case Status:
		return "status"
	case Error:
		return "error"
	case Integer:
		return "integer"
	case Bulk:
		return "string"
	case Double:
		return "double"
	case Bool:
		return "boolean"
	case Array:
		return "array"
	case Map:
		return "map"
	default:
		return "nothing"
	}
}

// String shows the beginning of v.
func (v Value) String() string {
	var b strings.Builder
	v.show(&b)
	return cut(b.String(), longestShown)
}

// show writes the beginning of v. It recurses no deeper than a Reader lets values be, and ends soon.
func (v Value) show(b *strings.Builder) {
	if !v.IsList() {
		b.WriteString(v.Text[:min(len(v.Text), longestShown+1)])
		return
	}
	b.WriteByte('[')
	for i, e := range v.Elems {
		if b.Len() > longestShown {
			return
		}
		if i > 0 {
			b.WriteByte(' ')
		}
		e.show(b)
	}
	b.WriteByte(']')
}

func cut(s string, n int) string {
	if len(s) > n {
		return s[:n] + "…"
	}
	return s
}
