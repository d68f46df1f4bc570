package control

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"sluice/proxy/resp"
)

// shape writes a value in full: its kind, and its text or elements.
func shape(v Value) string {
	if !v.IsList() {
		return string(v.Kind) + v.Text
	}
	parts := make([]string, len(v.Elems))
	for i, e := range v.Elems {
		parts[i] = shape(e)
	}
	return string(v.Kind) + "[" + strings.Join(parts, " ") + "]"
}

// readAll reads until an error, which comes last.
func readAll(in io.Reader, limits Limits) (got []string) {
	r := NewReader(in, limits)
	for {
		v, err := r.Read()
		if err != nil {
			return append(got, err.Error())
		}
		got = append(got, shape(v))
		r.Refill()
	}
}

func TestValues(t *testing.T) {
	f := func(stream string, want ...string) {
		t.Helper()
		want = append(want, "EOF")
		for name, in := range map[string]io.Reader{"whole": strings.NewReader(stream), "byte by byte": iotest.OneByteReader(strings.NewReader(stream))} {
			if got := readAll(in, Limits{}); fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
				t.Errorf("%q %s: %q, want %q", stream, name, got, want)
			}
		}
	}
	f("+OK\r\n-ERR no\r\n:-12\r\n", "+OK", "-ERR no", ":-12")
	f("$5\r\na\r\nbc\r\n$0\r\n\r\n$-1\r\n*-1\r\n_\r\n%-1\r\n~-1\r\n=-1\r\n", "$a\r\nbc", "$", "_", "_", "_", "_", "_", "_")
	f("*0\r\n%0\r\n~0\r\n*2\r\n*0\r\n*1\r\n:1\r\n", "*[]", "%[]", "*[]", "*[*[] *[:1]]")
	f("*3\r\n:1\r\n*2\r\n$1\r\na\r\n$-1\r\n+x\r\n", "*[:1 *[$a _] +x]")
	f(",3.140\r\n#t\r\n(123456789012345678901\r\n", ",3.140", "#t", ":123456789012345678901")
	f("=7\r\ntxt:abc\r\n=3\r\nabc\r\n!5\r\nERR x\r\n", "$abc", "$abc", "-ERR x")
	f("%2\r\n+a\r\n:1\r\n+b\r\n~1\r\n_\r\n", "%[+a :1 +b *[_]]")
	f("+a\rb\nc\r\n", "+a\rb\nc")
	f("+"+strings.Repeat("x", 10000)+"\r\n", "+"+strings.Repeat("x", 10000))
	f("|1\r\n+ttl\r\n:9\r\n$1\r\nv\r\n|0\r\n+x\r\n", "$v", "+x")
	f("*2\r\n|1\r\n+a\r\n*1\r\n+b\r\n:1\r\n|0\r\n:2\r\n", "*[:1 :2]")
	f(">2\r\n+invalidate\r\n*1\r\n$1\r\na\r\n+OK\r\n>0\r\n>-1\r\n|1\r\n+a\r\n+b\r\n>1\r\n+x\r\n:1\r\n", "+OK", ":1")
}

func TestReaderRefuses(t *testing.T) {
	f := func(stream, want string) {
		t.Helper()
		got := readAll(strings.NewReader(stream), Limits{Bytes: 100, Elements: 100, Depth: 3})
		if len(got) != 1 || got[0] != want {
			t.Errorf("%q: %q, want %s", stream, got, want)
		}
	}
	const levels, elements, bytes = "the answer has more than 3 levels, which is the limit", "the answer has more than 100 elements, which is the limit",
		"the answer has more than 100 bytes, which is the limit"
	f("*1\r\n*1\r\n*1\r\n*1\r\n", levels)
	f("*1\r\n*1\r\n*1\r\n|1\r\n", levels)
	f("*101\r\n", elements)
	f("%51\r\n", elements)
	f("*100\r\n:1\r\n*1\r\n", elements)
	f("|19\r\n", elements)
	f("$97\r\n", bytes)
	f("$536870912\r\n", bytes)
	f("$100000000000000000\r\n", bytes)
	f("+"+strings.Repeat("x", 100), bytes)
	f("|0\r\n|0\r\n", elements)
	f(">1\r\n+x\r\n>1\r\n+x\r\n", elements)
	f("hello\r\n", "Protocol error: unknown reply type 'h'")
	f("\r\n", "Protocol error: an empty line in a reply")
	f("$1x\r\n", "Protocol error: invalid bulk length in a reply")
	f("$-2\r\n", "Protocol error: invalid bulk length in a reply")
	f("$?\r\n", "Protocol error: invalid bulk length in a reply")
	f("*\r\n", "Protocol error: invalid multibulk length in a reply")
	f("*9999999999999999999\r\n", "Protocol error: invalid multibulk length in a reply")
	f("$1\r\nabc\r\n", "Protocol error: bulk of a reply is not followed by CRLF")
	f("*1\r\n>1\r\n+x\r\n", "Protocol error: a push inside of a reply")
	f("$5\r\nab", "unexpected EOF")
	f("*1\r\n", "unexpected EOF")
	f("+x", "unexpected EOF")
}

// What is within the limits by a hair is read; the budget is for one answer, and for all of it.
func TestLimitsAreThoseOfOneAnswer(t *testing.T) {
	r := NewReader(strings.NewReader(strings.Repeat("*2\r\n*1\r\n$1\r\na\r\n_\r\n", 4)), Limits{Bytes: 40, Elements: 6, Depth: 2})
	read := func(want error) {
		t.Helper()
		_, err := r.Read()
		if fmt.Sprint(err) != fmt.Sprint(want) {
			t.Errorf("%v, want %v", err, want)
		}
	}
	read(nil)
	read(nil) // 36 bytes and 6 elements so far.
	r.Refill()
	read(nil)
	r.elements = 3
	read(nil)
	r.Refill()
	read(io.EOF)
}

func TestErrorsShowTheBeginningOnly(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	deep := Value{Kind: Bulk, Text: long}
	for range defaultLimits.Depth {
		deep = Value{Kind: Array, Elems: []Value{deep, deep}}
	}
	for _, text := range []string{deep.String(), deep.Unexpected().Error(), Value{Kind: Error, Text: long}.Err().Error()} {
		if len(text) > 2*longestError {
			t.Errorf("%d bytes: %.100s", len(text), text)
		}
	}
}

// encode writes a value in the forms of RESP3.
func encode(dst []byte, v Value) []byte {
	switch v.Kind {
	case Array, Map:
		n := len(v.Elems)
		if v.Kind == Map {
			n /= 2
		}
		dst = fmt.Appendf(dst, "%c%d\r\n", v.Kind, n)
		for _, e := range v.Elems {
			dst = encode(dst, e)
		}
		return dst
	case Bulk:
		return resp.AppendBulk(dst, v.Text)
	case Error:
		return fmt.Appendf(dst, "!%d\r\n%s\r\n", len(v.Text), v.Text)
	default:
		return fmt.Appendf(dst, "%c%s\r\n", v.Kind, v.Text)
	}
}

// FuzzReader reads what the data path frames: where both take a reply it ends at the same byte, and where the reader refuses
// one, that is for a limit or for one of the forms that it alone looks at.
func FuzzReader(f *testing.F) {
	for _, a := range []string{
		"*3\r\n:1\r\n*2\r\n$1\r\na\r\n$-1\r\n+x\r\n", "%1\r\n+a\r\n~1\r\n_\r\n", "|1\r\n+a\r\n+b\r\n*1\r\n=7\r\ntxt:abc\r\n",
		">1\r\n+x\r\n,1\r\n", "!3\r\nERR\r\n", "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n", "+a\nb\rc\r\n", "$-1\r\n", "*2147483647\r\n", "$536870912\r\n",
	} {
		f.Add(a)
	}
	limits := Limits{Bytes: 1 << 12, Elements: 512, Depth: 4}
	f.Fuzz(func(t *testing.T, stream string) {
		var framer resp.Framer
		n, done, framed := framer.Next([]byte(stream))
		if done {
			stream = stream[:n]
		}
		in := strings.NewReader(stream)
		r := NewReader(in, limits)
		v, err := r.Read()
		var limit *LimitError
		refused := errors.As(err, &limit) || err != nil && (strings.Contains(err.Error(), "push inside") || strings.Contains(err.Error(), "empty line"))
		isPush := errors.Is(err, io.EOF) && done && (stream[0] == '>' || stream[0] == '|')
		switch {
		case refused, isPush:
			return
		case (err == nil) != done:
			t.Fatalf("%q: read %v, framed %v, %v", stream, err, done, framed)
		case err != nil:
			return
		case in.Len()+r.Buffered() > 0:
			t.Errorf("%q: read, but %d bytes are left", stream, in.Len()+r.Buffered())
		}
		again, err := NewReader(strings.NewReader(string(encode(nil, v))), Limits{}).Read()
		if err != nil || shape(again) != shape(v) {
			t.Errorf("%q: %s, and written and read again %s, %v", stream, shape(v), shape(again), err)
		}
	})
}
