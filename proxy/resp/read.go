package resp

import "bytes"

// Reading of replies that are there as a whole, as a Framer has cut them. What is returned are views into them.

// CutHeader cuts the line off that says how long an array, a map or a bulk string is; kind is its first byte. It
// reports false for anything else, and for a null.
func CutHeader(buf []byte, kind byte) (n int, rest []byte, ok bool) {
	end := bytes.IndexByte(buf, '\r')
	if end < 2 || buf[0] != kind || len(buf) < end+2 {
		return 0, nil, false
	}
	length, ok := replyLength(buf[1:end])
	if !ok || length < 0 {
		return 0, nil, false
	}
	return int(length), buf[end+2:], true
}

// CutBulk cuts a bulk string off. It reports false for anything else, and for a null.
func CutBulk(buf []byte) (value, rest []byte, ok bool) {
	n, rest, ok := CutHeader(buf, '$')
	if !ok || len(rest) < n+2 {
		return nil, nil, false
	}
	return rest[:n], rest[n+2:], true
}

// Elements are the elements of an array in wire form.
func Elements(reply []byte) (list [][]byte, ok bool) {
	n, rest, ok := CutHeader(reply, '*')
	for range n {
		var f Framer
		size, done, err := f.Next(rest)
		if !done || err != nil {
			return nil, false
		}
		list, rest = append(list, rest[:size]), rest[size:]
	}
	return list, ok
}

// Bulks are the bulk strings that an array in wire form begins with: all elements before the first that is none.
func Bulks(reply []byte) (list [][]byte) {
	_, rest, _ := CutHeader(reply, '*')
	for len(rest) > 0 {
		var value []byte
		if value, rest, _ = CutBulk(rest); value == nil {
			break
		}
		list = append(list, value)
	}
	return list
}

// Integer reads ":12\r\n". It reports false for anything else, and below 0.
func Integer(reply []byte) (int64, bool) {
	if len(reply) < 4 || reply[0] != ':' {
		return 0, false
	}
	var n int64
	for _, c := range reply[1 : len(reply)-2] {
		if c-'0' > 9 {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}

// TrimLine cuts the line end off a reply of one line.
func TrimLine(line []byte) []byte { return bytes.TrimRight(line, "\r\n") }

// IsNull reports whether a value that buf begins with is a null, of either version of the protocol.
func IsNull(buf []byte) bool {
	return bytes.HasPrefix(buf, []byte("_")) || bytes.HasPrefix(buf, []byte("$-1")) ||
		bytes.HasPrefix(buf, []byte("*-1"))
}
