package resp

import (
	"bytes"
	"strconv"
)

// parseInline reads a request typed as a line, as with telnet: words divided by blanks, quoted words with
// the escapes of redis-cli. Raw becomes the same request as an array, since servers and the rest of Sluice
// only see that form.
func (p *Parser) parseInline(buf []byte) (int, error) {
	end := bytes.IndexByte(buf, '\n')
	if end < 0 {
		if len(buf) > maxLine {
			return 0, ProtocolError("too big inline request")
		}
		return 0, nil
	}
	line := bytes.TrimSuffix(buf[:end], []byte{'\r'})
	if len(line) > maxLine {
		return 0, ProtocolError("too big inline request")
	}
	words, err := splitWords(line)
	if err != nil {
		return 0, err
	}
	p.inline = AppendArray(p.inline[:0], len(words))
	for _, w := range words {
		p.inline = AppendBulk(p.inline, w)
	}
	p.Args = append(p.Args, words...)
	p.Raw = p.inline
	return end + 1, nil
}

// Trim forgets the last request and gives the memory of large ones back: Args would keep the buffer alive
// that they lie in.
func (p *Parser) Trim() {
	p.inline, p.Raw = nil, nil
	if cap(p.Args) > maxIdleArgs {
		p.Args = nil
	}
	clear(p.Args[:cap(p.Args)])
}

// maxIdleArgs is how many arguments an idle Parser keeps room for.
const maxIdleArgs = 1024

const errQuotes = ProtocolError("unbalanced quotes in request")

// splitWords follows Redis' sdssplitargs: a closing quote must be followed by a blank or the end, and the
// blanks that end a word are fewer than those skipped before one.
func splitWords(line []byte) ([][]byte, error) {
	var words [][]byte
	for i := 0; ; {
		for i < len(line) && isBlank(line[i]) {
			i++
		}
		if i == len(line) {
			return words, nil
		}
		word := []byte{}
	word:
		for i < len(line) {
			switch c := line[i]; {
			case c == ' ' || c == '\n' || c == '\r' || c == '\t' || c == 0:
				break word
			case c == '"' || c == '\'':
				part, n := unquote(line[i:])
				if n == 0 || i+n < len(line) && !isBlank(line[i+n]) {
					return nil, errQuotes
				}
				word = append(word, part...)
				i += n
				break word
			default:
				word = append(word, c)
				i++
			}
		}
		words = append(words, word)
		if i < len(line) && line[i] == 0 { // Redis works on C strings: a NUL ends the line.
			return words, nil
		}
	}
}

// unquote reads a quoted string at the start of s and the number of bytes it takes, 0 when it never ends.
func unquote(s []byte) ([]byte, int) {
	quote, out := s[0], []byte(nil)
	for i := 1; i < len(s); i++ {
		c := s[i]
		if c == quote {
			return out, i + 1
		}
		if c != '\\' || i+1 == len(s) {
			out = append(out, c)
			continue
		}
		if quote == '\'' {
			if s[i+1] == '\'' {
				i++
				c = '\''
			}
			out = append(out, c)
			continue
		}
		if s[i+1] == 'x' && i+3 < len(s) {
			if v, err := strconv.ParseUint(string(s[i+2:i+4]), 16, 8); err == nil {
				out = append(out, byte(v))
				i += 3
				continue
			}
		}
		i++
		out = append(out, escaped(s[i]))
	}
	return nil, 0
}

func escaped(c byte) byte {
	switch c {
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	case 'b':
		return '\b'
	case 'a':
		return '\a'
	}
	return c
}

func isBlank(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }
