package load

import (
	"errors"
	"strings"
	"testing"
)

func TestFrameFindsReplies(t *testing.T) {
	f := func(in string, want reply) {
		t.Helper()
		n, r, err := frame([]byte(in + "+next\r\n"))
		if err != nil || n != len(in) {
			t.Fatalf("frame(%q) = %d, %v; want %d bytes", in, n, err, len(in))
		}
		if r.kind != want.kind || r.null != want.null || r.elements != want.elements || string(r.body) != string(want.body) {
			t.Fatalf("frame(%q) = %+v, want %+v", in, r, want)
		}
	}
	f("+OK\r\n", reply{kind: '+', body: []byte("OK")})
	f("+\r\n", reply{kind: '+'})
	f("-ERR no\r\n", reply{kind: '-', body: []byte("ERR no")})
	f(":-12\r\n", reply{kind: ':', body: []byte("-12")})
	f("$3\r\nabc\r\n", reply{kind: '$', body: []byte("abc")})
	f("$4\r\n\r\n\r\n\r\n", reply{kind: '$', body: []byte("\r\n\r\n")})
	f("$0\r\n\r\n", reply{kind: '$'})
	f("$-1\r\n", reply{kind: '$', null: true})
	f("*-1\r\n", reply{kind: '*', null: true})
	f("*0\r\n", reply{kind: '*'})
	f("*2\r\n$1\r\na\r\n$-1\r\n", reply{kind: '*', elements: 2, body: []byte("$1\r\na\r\n$-1\r\n")})
	f("*1\r\n*1\r\n:1\r\n", reply{kind: '*', elements: 1, body: []byte("*1\r\n:1\r\n")})
}

func TestFrameWaitsAtEveryCut(t *testing.T) {
	for _, in := range []string{
		"+OK\r\n", "-ERR no\r\n", ":7\r\n", "$3\r\nabc\r\n", "$-1\r\n", "*-1\r\n", "*2\r\n$1\r\na\r\n*1\r\n:1\r\n",
	} {
		for cut := range len(in) {
			if n, _, err := frame([]byte(in[:cut])); n != 0 || err != nil {
				t.Errorf("frame(%q) = %d, %v; want to wait for more", in[:cut], n, err)
			}
		}
	}
}

func TestFrameRefusesGarbage(t *testing.T) {
	for _, in := range []string{
		"hello\r\n", "%1\r\n", "+no return\n", "$x\r\n", "$\r\n", "$-2\r\n", "$-\r\n", "$3\rx", "$3\r\nabcd\r\n",
		"$536870913\r\n", "$99999999999999999999\r\n", "$00000000000000\r\n", "*1048577\r\n",
		strings.Repeat("*1\r\n", 20) + ":1\r\n", "+" + strings.Repeat("x", maxLineBytes+1),
	} {
		if n, _, err := frame([]byte(in)); n != 0 || !errors.Is(err, errMalformed) {
			t.Errorf("frame(%.40q) = %d, %v; want a malformed reply", in, n, err)
		}
	}
}

func FuzzFrame(f *testing.F) {
	for _, seed := range []string{"+OK\r\n", "$-1\r\n", "$3\r\nabc\r\n", "*2\r\n:1\r\n$1\r\na\r\n", "*1\r\n*-1\r\n", "$-"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		n, r, err := frame(in)
		if n < 0 || n > len(in) || len(r.body) > n || err != nil && n != 0 {
			t.Fatalf("frame(%q) = %d, %+v, %v", in, n, r, err)
		}
		for cut := range n { // a reply that is there at the end is not there before
			if m, _, err := frame(in[:cut]); m != 0 || err != nil {
				t.Fatalf("frame(%q) cut at %d = %d, %v", in[:n], cut, m, err)
			}
		}
	})
}

func BenchmarkFrame(b *testing.B) {
	buf := []byte(strings.Repeat("$3\r\nxxx\r\n", 64))
	b.ReportAllocs()
	for b.Loop() {
		for rest := buf; len(rest) > 0; {
			n, _, err := frame(rest)
			if err != nil {
				b.Fatal(err)
			}
			rest = rest[n:]
		}
	}
}
