package command

import "strconv"

// encoder appends replies in the protocol version of one client. RESP2 has no
// sets and maps: they are arrays there, a map with twice the length.
type encoder struct {
	out   []byte
	resp3 bool
	of    *Catalogue // of the commands that are told about
}

func (e *encoder) head(kind byte, n int) {
	e.out = append(e.out, kind)
	e.out = strconv.AppendInt(e.out, int64(n), 10)
	e.out = append(e.out, '\r', '\n')
}

func (e *encoder) array(n int) { e.head('*', n) }

func (e *encoder) set(n int) {
	if e.resp3 {
		e.head('~', n)
		return
	}
	e.head('*', n)
}

func (e *encoder) mapping(n int) {
	if e.resp3 {
		e.head('%', n)
		return
	}
	e.head('*', 2*n)
}

func (e *encoder) integer(n int) { e.head(':', n) }

func (e *encoder) bulk(s string) {
	e.head('$', len(s))
	e.out = append(e.out, s...)
	e.out = append(e.out, '\r', '\n')
}

func (e *encoder) bulkBytes(b []byte) {
	e.head('$', len(b))
	e.out = append(e.out, b...)
	e.out = append(e.out, '\r', '\n')
}

// status appends a simple string made of two parts.
func (e *encoder) status(prefix, s string) {
	e.out = append(e.out, '+')
	e.out = append(e.out, prefix...)
	e.out = append(e.out, s...)
	e.out = append(e.out, '\r', '\n')
}

// null is what stands for a missing command.
func (e *encoder) null() {
	if e.resp3 {
		e.out = append(e.out, "_\r\n"...)
		return
	}
	e.out = append(e.out, "$-1\r\n"...)
}

func (e *encoder) fail(text string) {
	e.out = append(e.out, "-ERR "...)
	e.out = append(e.out, text...)
	e.out = append(e.out, '\r', '\n')
}
