package load

import (
	"bytes"
	"errors"
	"fmt"
)

// Bounds of a reply. A proxy that sends something beyond them is broken, and
// the connection is given up.
const (
	maxBulkBytes  = 512 << 20
	maxElements   = 1 << 20
	maxLineBytes  = 64 << 10
	maxReplyDepth = 8
)

var errMalformed = errors.New("malformed reply")

// Reply is one framed RESP2 reply.
type Reply struct {
	// Kind is the first byte: one of + - : $ *
	Kind byte
	// Null is true for a null bulk string and a null array.
	Null bool
	// Body is the text of a line, the body of a bulk string or the raw elements
	// of an array. It aliases the buffer given to Frame.
	Body []byte
	// Elements is the length of an array.
	Elements int
}

// Frame finds the first reply in buf. It returns its length, or 0 when buf ends
// before the reply does. It keeps no state: a caller that got 0 calls again with
// the same bytes and more.
func Frame(buf []byte) (n int, r Reply, err error) {
	return frameAt(buf, 0)
}

func frameAt(buf []byte, depth int) (int, Reply, error) {
	if len(buf) == 0 {
		return 0, Reply{}, nil
	}
	kind := buf[0]
	switch kind {
	case '+', '-', ':':
		end := bytes.IndexByte(buf, '\n')
		if end < 0 {
			if len(buf) > maxLineBytes {
				return 0, Reply{}, fmt.Errorf("%w: line without an end", errMalformed)
			}
			return 0, Reply{}, nil
		}
		if buf[end-1] != '\r' {
			return 0, Reply{}, fmt.Errorf("%w: bare line feed", errMalformed)
		}
		return end + 1, Reply{Kind: kind, Body: buf[1 : end-1]}, nil

	case '$':
		length, at, err := number(buf, maxBulkBytes)
		if at == 0 || err != nil {
			return 0, Reply{}, err
		}
		if length < 0 {
			return at, Reply{Kind: kind, Null: true}, nil
		}
		end := at + length
		if len(buf) < end+2 {
			return 0, Reply{}, nil
		}
		if buf[end] != '\r' || buf[end+1] != '\n' {
			return 0, Reply{}, fmt.Errorf("%w: bulk string longer than announced", errMalformed)
		}
		return end + 2, Reply{Kind: kind, Body: buf[at:end]}, nil

	case '*':
		count, at, err := number(buf, maxElements)
		if at == 0 || err != nil {
			return 0, Reply{}, err
		}
		if count < 0 {
			return at, Reply{Kind: kind, Null: true}, nil
		}
		if depth == maxReplyDepth {
			return 0, Reply{}, fmt.Errorf("%w: nested too deep", errMalformed)
		}
		end := at
		for range count {
			n, _, err := frameAt(buf[end:], depth+1)
			if n == 0 || err != nil {
				return 0, Reply{}, err
			}
			end += n
		}
		return end, Reply{Kind: kind, Body: buf[at:end], Elements: count}, nil
	}
	return 0, Reply{}, fmt.Errorf("%w: unknown type %q", errMalformed, kind)
}

// number reads the length behind the type byte. at is the offset behind its line
// end, or 0 when buf ends too early. A length of -1 stands for null.
func number(buf []byte, limit int) (value, at int, err error) {
	i := 1
	if i < len(buf) && buf[i] == '-' {
		i++
	}
	negative, first := i == 2, i
	for ; i < len(buf) && buf[i] >= '0' && buf[i] <= '9'; i++ {
		value = value*10 + int(buf[i]-'0')
		if value > limit || i-first > 10 {
			return 0, 0, fmt.Errorf("%w: length above %d", errMalformed, limit)
		}
	}
	if i == len(buf) {
		return 0, 0, nil
	}
	if i == first || buf[i] != '\r' || negative && value != 1 {
		return 0, 0, fmt.Errorf("%w: bad length", errMalformed)
	}
	if i+1 == len(buf) {
		return 0, 0, nil
	}
	if buf[i+1] != '\n' {
		return 0, 0, fmt.Errorf("%w: bad length", errMalformed)
	}
	if negative {
		value = -1
	}
	return value, i + 2, nil
}
