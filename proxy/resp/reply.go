package resp

import "bytes"

// maxReplyLine bounds a line of a reply: lengths, integers, status and error texts.
const maxReplyLine = 1 << 20

// Framer finds the ends of replies in the byte stream of one server connection, wherever the stream is
// cut. It counts instead of nesting: items is how many values must still be read before the reply ends, an
// aggregate of n adds n. The zero value stands between two replies.
type Framer struct {
	items int64 // values still to come; 0 between replies
	bulk  int64 // bytes of the current bulk still to come, its CRLF included
	push  bool
}

// Push reports whether the reply that Next is in, or has just finished, is an out-of-band push of RESP3,
// which answers no request.
func (f *Framer) Push() bool { return f.push }

// Next consumes a prefix of buf that belongs to the current reply. It returns the prefix' length and
// whether the reply ends with it. When the reply is not done, buf[n:] is the start of a line and has to be
// presented again together with what follows it; the first line of a reply is thus always given whole.
func (f *Framer) Next(buf []byte) (n int, done bool, err error) {
	for {
		if f.bulk > 0 {
			n, err = f.takeBulk(buf, n)
			if err != nil || f.bulk > 0 {
				return n, false, err
			}
			if f.items == 0 {
				return n, true, nil
			}
		}
		line := buf[n:]
		if len(line) < 3 {
			return n, false, nil
		}
		end := lineEnd(line)
		if end < 0 {
			if len(line) > maxReplyLine {
				return n, false, ProtocolError("reply line too long")
			}
			return n, false, nil
		}
		if f.items == 0 {
			f.items = 1
			f.push = line[0] == '>'
		}
		if err = f.takeLine(line[:end]); err != nil {
			return n, false, err
		}
		n += end + 2
		if f.items == 0 && f.bulk == 0 {
			return n, true, nil
		}
	}
}

// lineEnd is the position of the CRLF that ends line, -1 while it is incomplete. A lone CR is data.
func lineEnd(line []byte) int {
	for from := 1; ; {
		cr := bytes.IndexByte(line[from:], '\r')
		if cr < 0 || from+cr+1 >= len(line) {
			return -1
		}
		if line[from+cr+1] == '\n' {
			return from + cr
		}
		from += cr + 1
	}
}

// takeLine accounts for the value that line (without CRLF) starts.
func (f *Framer) takeLine(line []byte) error {
	switch line[0] {
	case '+', '-', ':', '_', ',', '#', '(':
		f.items--
		return nil
	case '$', '=', '!':
		size, ok := replyLength(line[1:])
		if !ok {
			return ProtocolError("invalid bulk length in a reply")
		}
		f.items--
		if size >= 0 {
			f.bulk = size + 2
		}
		return nil
	case '*', '~', '>', '%', '|':
		count, ok := replyLength(line[1:])
		if !ok {
			return ProtocolError("invalid multibulk length in a reply")
		}
		if line[0] == '|' { // Attributes come before the value they describe.
			f.items += 2 * max(count, 0)
			return nil
		}
		if line[0] == '%' {
			count *= 2
		}
		f.items += max(count, 0) - 1
		return nil
	}
	return ProtocolError("unknown reply type '" + string(line[:1]) + "'")
}

// takeBulk consumes what buf[n:] has of the current bulk and checks its CRLF.
func (f *Framer) takeBulk(buf []byte, n int) (int, error) {
	take := min(f.bulk, int64(len(buf)-n))
	payload := f.bulk - 2 // -1 when only the LF is still to come
	for i := max(0, payload); i < take; i++ {
		if buf[n+int(i)] != "\r\n"[i-payload] {
			return n, ProtocolError("bulk of a reply is not followed by CRLF")
		}
	}
	f.bulk -= take
	return n + int(take), nil
}

// replyLength reads a length of a reply: a decimal number or "-1".
func replyLength(digits []byte) (int64, bool) {
	if len(digits) == 2 && digits[0] == '-' && digits[1] == '1' {
		return -1, true
	}
	if len(digits) == 0 || len(digits) > 18 {
		return 0, false
	}
	n := int64(0)
	for _, c := range digits {
		if c-'0' > 9 {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, n < 1<<40 // keeps the sum of nested lengths far from overflow
}
