package load

import (
	"errors"
	"strings"
	"testing"
)

func TestFrameFindsReplies(t *testing.T) {
	f := func(in string, want Reply) {
		t.Helper()
		n, r, err := Frame([]byte(in + "+next\r\n"))
		if err != nil || n != len(in) {
			t.Fatalf("Frame(%q) = %d, %v; want %d bytes", in, n, err, len(in))
		}
		if r.Kind != want.Kind || r.Null != want.Null || r.Elements != want.Elements || string(r.Body) != string(want.Body) {
			t.Fatalf("Frame(%q) = %+v, want %+v", in, r, want)
		}
	}
	f("+OK\r\n", Reply{Kind: '+', Body: []byte("OK")})
	f("+\r\n", Reply{Kind: '+'})
	f("-ERR no\r\n", Reply{Kind: '-', Body: []byte("ERR no")})
	f(":-12\r\n", Reply{Kind: ':', Body: []byte("-12")})
	f("$3\r\nabc\r\n", Reply{Kind: '$', Body: []byte("abc")})
	f("$4\r\n\r\n\r\n\r\n", Reply{Kind: '$', Body: []byte("\r\n\r\n")})
	f("$0\r\n\r\n", Reply{Kind: '$'})
	f("$-1\r\n", Reply{Kind: '$', Null: true})
	f("*-1\r\n", Reply{Kind: '*', Null: true})
	f("*0\r\n", Reply{Kind: '*'})
	f("*2\r\n$1\r\na\r\n$-1\r\n", Reply{Kind: '*', Elements: 2, Body: []byte("$1\r\na\r\n$-1\r\n")})
	f("*1\r\n*1\r\n:1\r\n", Reply{Kind: '*', Elements: 1, Body: []byte("*1\r\n:1\r\n")})
}

func TestFrameWaitsAtEveryCut(t *testing.T) {
	for _, in := range []string{
		"+OK\r\n", "-ERR no\r\n", ":7\r\n", "$3\r\nabc\r\n", "$-1\r\n", "*-1\r\n", "*2\r\n$1\r\na\r\n*1\r\n:1\r\n",
	} {
		for cut := range len(in) {
			if n, _, err := Frame([]byte(in[:cut])); n != 0 || err != nil {
				t.Errorf("Frame(%q) = %d, %v; want to wait for more", in[:cut], n, err)
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
		if n, _, err := Frame([]byte(in)); n != 0 || !errors.Is(err, errMalformed) {
			t.Errorf("Frame(%.40q) = %d, %v; want a malformed reply", in, n, err)
		}
	}
}

func FuzzFrame(f *testing.F) {
	for _, seed := range []string{"+OK\r\n", "$-1\r\n", "$3\r\nabc\r\n", "*2\r\n:1\r\n$1\r\na\r\n", "*1\r\n*-1\r\n", "$-"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		n, r, err := Frame(in)
		if n < 0 || n > len(in) || len(r.Body) > n || err != nil && n != 0 {
			t.Fatalf("Frame(%q) = %d, %+v, %v", in, n, r, err)
		}
		for cut := range n { // a reply that is there at the end is not there before
			if m, _, err := Frame(in[:cut]); m != 0 || err != nil {
				t.Fatalf("Frame(%q) cut at %d = %d, %v", in[:n], cut, m, err)
			}
		}
	})
}

func BenchmarkFrame(b *testing.B) {
	buf := []byte(strings.Repeat("$3\r\nxxx\r\n", 64))
	b.ReportAllocs()
	for b.Loop() {
		for rest := buf; len(rest) > 0; {
			n, _, err := Frame(rest)
			if err != nil {
				b.Fatal(err)
			}
			rest = rest[n:]
		}
	}
}
