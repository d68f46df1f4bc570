package resp

import (
	"bytes"
	"math"
)

// maxLine is the longest inline request or length line; Redis calls it PROTO_INLINE_MAX_SIZE.
const maxLine = 64 << 10

// What Redis lets a client announce before it has authenticated.
const (
	unauthenticatedArgs = 10
	unauthenticatedBulk = 16 << 10
)

// ProtocolError is a request that can't be framed, in Redis' words. The connection has to be closed after
// it is reported, since nobody knows where the next request starts.
type ProtocolError string

func (e ProtocolError) Error() string { return "Protocol error: " + string(e) }

// Limits bounds what one request may announce.
type Limits struct {
	MaxArgs int // arguments of a request
	MaxBulk int // bytes of one argument
}

// Partial remembers how much of an incomplete request is known to be well formed, so that a request that
// arrives in many pieces is checked once and not once per piece. The zero Partial stands at the start of a
// request. It belongs to the connection whose bytes it describes.
type Partial struct {
	pos  int // bytes of the request that were checked
	left int // arguments still to come; 0 while the header itself is incomplete
	need int // no use to look again before the buffer holds this many bytes
}

// Parser cuts requests out of a byte stream. The zero value refuses everything; set Limits.
type Parser struct {
	Limits Limits

	// Args are the arguments of the last complete request and Raw its canonical bytes, ready to be sent
	// to a server. Both alias the parsed buffer (or the parser's own memory for an inline request) and are
	// valid until the next call of Parse.
	Args [][]byte
	Raw  []byte

	inline []byte // Raw of an inline request
}

// Parse looks at the request that starts at buf[0]. It returns the number of bytes the request takes, 0
// while more are needed. A request without arguments (an empty line, "*0") leaves Args empty and asks for
// no reply. With authenticated false the announced sizes are bounded as Redis bounds them for clients that have not
// authenticated. An error is always a ProtocolError.
func (p *Parser) Parse(buf []byte, at *Partial, authenticated bool) (int, error) {
	p.Args = p.Args[:0]
	if len(buf) < at.need || len(buf) == 0 {
		return 0, nil
	}
	if buf[0] != '*' {
		return p.parseInline(buf)
	}
	collect := at.left == 0
	n, err := p.scan(buf, at, authenticated, collect)
	if n == 0 || err != nil {
		return n, err
	}
	if !collect { // The pieces are complete now: one more walk to note where the arguments lie.
		*at = Partial{}
		n, err = p.scan(buf[:n], at, authenticated, true)
	}
	*at = Partial{}
	p.Raw = buf[:n]
	return n, err
}

// scan walks over a multibulk request from where at stands.
func (p *Parser) scan(buf []byte, at *Partial, authenticated, collect bool) (int, error) {
	pos, left := at.pos, at.left
	if left == 0 {
		count, next, ok := lengthLine(buf, 1)
		switch {
		case next < 0:
			return 0, ProtocolError("invalid multibulk length")
		case next == 0 && len(buf) > maxLine:
			return 0, ProtocolError("too big mbulk count string")
		case next == 0:
			return 0, nil
		case !ok || count > p.Limits.MaxArgs:
			return 0, ProtocolError("invalid multibulk length")
		case count <= 0:
			return next, nil
		case !authenticated && count > unauthenticatedArgs:
			return 0, ProtocolError("unauthenticated multibulk length")
		}
		pos, left = next, count
	}
	for ; left > 0; left-- {
		if pos >= len(buf) {
			*at = Partial{pos: pos, left: left, need: pos + 1}
			return 0, nil
		}
		if buf[pos] != '$' {
			return 0, ProtocolError("expected '$', got '" + string(buf[pos:pos+1]) + "'")
		}
		size, start, ok := lengthLine(buf, pos+1)
		switch {
		case start < 0:
			return 0, ProtocolError("invalid bulk length")
		case start == 0 && len(buf)-pos > maxLine:
			return 0, ProtocolError("too big bulk count string")
		case start == 0:
			*at = Partial{pos: pos, left: left, need: len(buf) + 1}
			return 0, nil
		case !ok || size < 0 || size > p.Limits.MaxBulk:
			return 0, ProtocolError("invalid bulk length")
		case !authenticated && size > unauthenticatedBulk:
			return 0, ProtocolError("unauthenticated bulk length")
		}
		end := start + size
		if end+2 > len(buf) {
			*at = Partial{pos: pos, left: left, need: end + 2}
			return 0, nil
		}
		if buf[end] != '\r' || buf[end+1] != '\n' {
			return 0, ProtocolError("expected CRLF after an argument")
		}
		if collect {
			p.Args = append(p.Args, buf[start:end:end])
		}
		pos = end + 2
	}
	return pos, nil
}

// lengthLine reads the decimal number at buf[pos:] and its CRLF. It returns the number and the position
// behind the line; 0 while the line is incomplete, -1 when CR is not followed by LF. ok is false when the
// text is no canonical number (Redis' string2ll: no sign but '-', no leading zeros, no blanks), or no int.
func lengthLine(buf []byte, pos int) (n, next int, ok bool) {
	start, number := pos, int64(0)
	for ; pos < len(buf); pos++ {
		c := buf[pos]
		if c-'0' <= 9 && pos-start < 18 {
			number = number*10 + int64(c-'0')
			continue
		}
		if c == '\r' {
			break
		}
		return badLength(buf, pos)
	}
	if pos+1 >= len(buf) {
		return 0, 0, false
	}
	if buf[pos+1] != '\n' {
		return 0, -1, false
	}
	digits := pos - start
	return int(number), pos + 2, (digits == 1 || digits > 1 && buf[start] != '0') && number <= math.MaxInt
}

// badLength finds the end of a length line that is not made of digits only. Negative numbers are told
// apart from nonsense, because "*-1" is an empty request.
func badLength(buf []byte, pos int) (n, next int, ok bool) {
	cr := bytes.IndexByte(buf[pos:], '\r')
	if cr < 0 || pos+cr+1 >= len(buf) {
		return 0, 0, false
	}
	end := pos + cr
	if buf[end+1] != '\n' {
		return 0, -1, false
	}
	digits := buf[pos+1 : end]
	if buf[pos] != '-' || len(digits) == 0 || len(digits) > 18 || digits[0] == '0' || buf[pos-1] != '*' && buf[pos-1] != '$' {
		return 0, end + 2, false
	}
	for _, c := range digits {
		if c-'0' > 9 {
			return 0, end + 2, false
		}
	}
	return -1, end + 2, true
}
