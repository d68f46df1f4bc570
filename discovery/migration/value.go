package migration

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// value is one reply in RESP2 or RESP3. Attributes are read and forgotten.
type value struct {
	kind byte // The first byte of it on the wire; '*' for sets and pushes as well, '_' for every kind of null.
	text string
	list []value // Elements; of a map keys and values in turn.
}

// What a reply may have at most. A full log of 1000 migrations, each in a thousand ranges, is below that.
const (
	maxReply    = 16 << 20
	maxElements = 1 << 20
	maxDepth    = 16
)

var errReply = errors.New("the reply is not RESP")

// readValue reads one reply.
func readValue(r *bufio.Reader, depth int) (value, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return value{}, err
	}
	line = strings.TrimRight(line, "\r\n")
	if line == "" || depth > maxDepth {
		return value{}, errReply
	}
	kind, rest := line[0], line[1:]
	switch kind {
	case '+', '-', ':', ',', '#', '(':
		return value{kind: kind, text: rest}, nil
	case '_':
		return value{kind: '_'}, nil
	case '$', '=', '!':
		return readBulk(r, kind, rest)
	case '*', '~', '>':
		return readList(r, '*', rest, 1, depth)
	case '%':
		return readList(r, '%', rest, 2, depth)
	case '|':
		if _, err := readList(r, '%', rest, 2, depth); err != nil {
			return value{}, err
		}
		return readValue(r, depth+1)
	}
	return value{}, errReply
}

func readBulk(r *bufio.Reader, kind byte, size string) (value, error) {
	n, err := strconv.Atoi(size)
	if err != nil || n > maxReply {
		return value{}, errReply
	}
	if n < 0 {
		return value{kind: '_'}, nil
	}
	buf := make([]byte, n+2)
	if _, err := io.ReadFull(r, buf); err != nil {
		return value{}, err
	}
	text := string(buf[:n])
	switch kind {
	case '=':
		_, text, _ = strings.Cut(text, ":") // "txt:" or "mkd:" comes first.
	case '!':
		return value{kind: '-', text: text}, nil
	}
	return value{kind: '$', text: text}, nil
}

func readList(r *bufio.Reader, kind byte, size string, per, depth int) (value, error) {
	n, err := strconv.Atoi(size)
	if err != nil || n > maxElements {
		return value{}, errReply
	}
	if n < 0 {
		return value{kind: '_'}, nil
	}
	v := value{kind: kind}
	for range n * per {
		element, err := readValue(r, depth+1)
		if err != nil {
			return value{}, err
		}
		v.list = append(v.list, element)
	}
	return v, nil
}

// isList reports whether v has elements, be it none.
func (v value) isList() bool { return v.kind == '*' || v.kind == '%' }

// err is the error reply that v is, or nil.
func (v value) err() error {
	if v.kind == '-' {
		return errors.New(v.text)
	}
	return nil
}

// number is v as an integer, -1 when it is none.
func (v value) number() int64 {
	n, err := strconv.ParseInt(strings.TrimSpace(v.text), 10, 64)
	if err != nil {
		return -1
	}
	return n
}

// at is an element, the zero value when there are not so many.
func (v value) at(i int) value {
	if i < len(v.list) {
		return v.list[i]
	}
	return value{}
}

// fields are names and values of a map, or of a list that has them in turn.
func (v value) fields() (map[string]value, error) {
	if !v.isList() || len(v.list)%2 != 0 {
		return nil, fmt.Errorf("no names and values: %.80q", v.String())
	}
	m := make(map[string]value, len(v.list)/2)
	for i := 0; i < len(v.list); i += 2 {
		m[v.list[i].text] = v.list[i+1]
	}
	return m, nil
}

// String shows v for errors.
func (v value) String() string {
	if !v.isList() {
		return v.text
	}
	parts := make([]string, len(v.list))
	for i, e := range v.list {
		parts[i] = e.String()
	}
	return "[" + strings.Join(parts, " ") + "]"
}
