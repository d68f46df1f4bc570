package control

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"sluice/proxy/resp"
)

// Limits are what the replies to one question, be it of several commands, may have together. A zero stands for the default:
// 16 MiB, 1048576 elements, 16 levels.
type Limits struct {
	Bytes    int // on the wire
	Elements int // of arrays, sets, maps (two for each pair); an attribute or a push counts as 64 more
	Depth    int // levels of arrays, sets, maps and attributes
}

// defaultLimits are for questions that don't know better. The largest true answer to one is COMMAND of a server with
// 600 commands of modules: half a megabyte, 40000 elements, 8 levels. An element takes 48 bytes of memory.
var defaultLimits = Limits{Bytes: 16 << 20, Elements: 1 << 20, Depth: 16}

func (l Limits) withDefaults() Limits {
	if l.Bytes == 0 {
		l.Bytes = defaultLimits.Bytes
	}
	if l.Elements == 0 {
		l.Elements = defaultLimits.Elements
	}
	if l.Depth == 0 {
		l.Depth = defaultLimits.Depth
	}
	return l
}

// LimitError says which limit an answer passes. What follows on the connection is of no use.
type LimitError struct {
	What  string // "bytes", "elements" or "levels"
	Limit int
}

// Error implements error.
func (e *LimitError) Error() string {
	return fmt.Sprintf("the answer has more than %d %s, which is the limit", e.Limit, e.What)
}

// Reader reads replies in RESP2 and RESP3. Attributes are read and forgotten, and so are pushes, which answer no request.
// It belongs to one goroutine.
type Reader struct {
	in     *bufio.Reader
	limits Limits

	bytes, elements int // that may still come
}

// NewReader returns a Reader of in that has a whole budget.
func NewReader(in io.Reader, limits Limits) *Reader {
	r := &Reader{in: bufio.NewReader(in), limits: limits.withDefaults()}
	r.Refill()
	return r
}

// Refill begins another answer: what is read from now on counts against the limits anew.
func (r *Reader) Refill() { r.bytes, r.elements = r.limits.Bytes, r.limits.Elements }

// Buffered is how many bytes were received and are not part of a reply that Read has returned.
func (r *Reader) Buffered() int { return r.in.Buffered() }

const (
	push      Kind = '>'
	attribute Kind = '|'
)

// asideCost is what is read for nothing counts on top of its elements. No true answer to the proxy has any.
const asideCost = 64

// level is an aggregate that is being read.
type level struct {
	Value
	left int // elements to come
}

// Read returns the next reply. After an error the Reader is of no use any more.
func (r *Reader) Read() (Value, error) {
	var open []level
	for {
		v, left, err := r.next()
		if errors.Is(err, io.EOF) && len(open) > 0 {
			err = io.ErrUnexpectedEOF
		}
		switch {
		case err != nil:
			return Value{}, err
		case v.Kind == push && len(open) > 0:
			return Value{}, resp.ProtocolError("a push inside of a reply")
		case left > 0 && len(open) == r.limits.Depth:
			return Value{}, &LimitError{"levels", r.limits.Depth}
		case left > 0:
			open = append(open, level{v, left})
			continue
		}
		for v.Kind != attribute && len(open) > 0 { // v is whole, and may be the last element of others.
			top := &open[len(open)-1]
			if top.Kind == Array || top.Kind == Map {
				top.Elems = append(top.Elems, v)
			}
			if top.left--; top.left > 0 {
				break
			}
			v, open = top.Value, open[:len(open)-1]
		}
		if len(open) == 0 && v.Kind != push && v.Kind != attribute {
			return v, nil
		}
	}
}

// next reads a value without elements, or what an aggregate begins with and how many are to come.
func (r *Reader) next() (v Value, elements int, err error) {
	line, err := r.line()
	if err != nil {
		return Value{}, 0, err
	}
	kind, rest := Kind(line[0]), line[1:]
	switch kind {
	case Status, Error, Integer, Double, Bool:
		return Value{Kind: kind, Text: string(rest)}, 0, nil
	case '(':
		return Value{Kind: Integer, Text: string(rest)}, 0, nil
	case Null:
		return Value{Kind: Null}, 0, nil
	case Bulk, '=', '!':
		v, err = r.bulk(kind, rest)
		return v, 0, err
	case Array, '~', Map, push, attribute:
		return r.aggregate(kind, rest)
	}
	return Value{}, 0, resp.ProtocolError(fmt.Sprintf("unknown reply type %q", rune(kind)))
}

// line reads one line, without its end. It is valid until the next read. A lone CR or LF is data.
func (r *Reader) line() ([]byte, error) {
	var long []byte
	for {
		part, err := r.in.ReadSlice('\n')
		if r.bytes -= len(part); r.bytes < 0 {
			return nil, r.tooLong()
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			if errors.Is(err, io.EOF) && len(long)+len(part) > 0 {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		line := part
		if long != nil {
			long = append(long, part...)
			line = long
		}
		if body, ended := bytes.CutSuffix(line, []byte("\r\n")); ended && len(body) > 0 {
			return body, nil
		}
		if len(line) == 2 && line[0] == '\r' {
			return nil, resp.ProtocolError("an empty line in a reply")
		}
		if long == nil {
			long = append(long, part...)
		}
	}
}

// bulk reads a string that announces its length.
func (r *Reader) bulk(kind Kind, size []byte) (Value, error) {
	announced, ok := length(size)
	switch {
	case !ok:
		return Value{}, resp.ProtocolError("invalid bulk length in a reply")
	case announced < 0:
		return Value{Kind: Null}, nil
	case announced+2 > int64(r.bytes):
		return Value{}, r.tooLong()
	}
	n := int(announced)
	r.bytes -= n + 2
	text, err := r.take(n + 2)
	if err != nil {
		return Value{}, err
	}
	text, ended := strings.CutSuffix(text, "\r\n")
	switch {
	case !ended:
		return Value{}, resp.ProtocolError("bulk of a reply is not followed by CRLF")
	case kind == '!':
		return Value{Kind: Error, Text: text}, nil
	case kind == '=' && len(text) >= 4 && text[3] == ':':
		text = text[4:] // "txt:" or "mkd:" comes first.
	}
	return Value{Kind: Bulk, Text: text}, nil
}

// take reads n bytes. Memory is taken as they come.
func (r *Reader) take(n int) (string, error) {
	var b strings.Builder
	for b.Len() < n {
		part, err := r.in.Peek(min(n-b.Len(), r.in.Size()))
		b.Write(part)
		_, _ = r.in.Discard(len(part))
		if errors.Is(err, io.EOF) {
			return "", io.ErrUnexpectedEOF
		}
		if err != nil {
			return "", err
		}
	}
	return b.String(), nil
}

// aggregate reads what an array or the like begins with.
func (r *Reader) aggregate(kind Kind, count []byte) (v Value, elements int, err error) {
	n, ok := length(count)
	if !ok {
		return Value{}, 0, resp.ProtocolError("invalid multibulk length in a reply")
	}
	if kind == Map || kind == attribute {
		n *= 2
	}
	cost := max(n, 0)
	if kind == push || kind == attribute {
		cost += asideCost
	}
	if cost > int64(r.elements) {
		return Value{}, 0, &LimitError{"elements", r.limits.Elements}
	}
	r.elements -= int(cost)
	switch {
	case n < 0 && kind != push && kind != attribute:
		kind = Null
	case kind == '~':
		kind = Array
	}
	return Value{Kind: kind}, int(max(n, 0)), nil
}

func (r *Reader) tooLong() error { return &LimitError{"bytes", r.limits.Bytes} }

// length reads a decimal number or "-1". It is far from overflow, twice it too, whatever an int has.
func length(digits []byte) (int64, bool) {
	if string(digits) == "-1" {
		return -1, true
	}
	if len(digits) == 0 || len(digits) > 18 || bytes.ContainsFunc(digits, func(c rune) bool { return c < '0' || c > '9' }) {
		return 0, false
	}
	n, err := strconv.ParseInt(string(digits), 10, 64)
	return n, err == nil
}
