package resp

import (
	"bytes"
	"testing"
)

func TestCutBulk(t *testing.T) {
	f := func(buf, value, rest string, ok bool) {
		t.Helper()
		gotValue, gotRest, gotOK := CutBulk([]byte(buf))
		if gotOK != ok || ok && (string(gotValue) != value || string(gotRest) != rest) {
			t.Errorf("%q: %q, %q, %v", buf, gotValue, gotRest, gotOK)
		}
	}
	f("$1\r\na\r\n$0\r\n\r\n", "a", "$0\r\n\r\n", true)
	f("$0\r\n\r\n", "", "", true)
	for _, buf := range []string{
		"", "$", "$1", "$1\r", "$1\r\n", "$1\r\na", "$-1\r\n", "$-0\r\n\r\n", "$+1\r\na\r\n", "$x\r\n", ":1\r\n",
		"+$1\r\na\r\n",
		"$99999999999999999999\r\na\r\n",
	} {
		f(buf, "", "", false)
	}
}

func TestElements(t *testing.T) {
	list, ok := Elements([]byte("*3\r\n:1\r\n*1\r\n$1\r\na\r\n$-1\r\n"))
	if got := bytes.Join(list, []byte("|")); !ok || string(got) != ":1\r\n|*1\r\n$1\r\na\r\n|$-1\r\n" {
		t.Errorf("%q, %v", got, ok)
	}
	for _, reply := range []string{"*2\r\n:1\r\n", "$1\r\na\r\n", "*-1\r\n", "*1\r\n!\r\n"} {
		if list, ok := Elements([]byte(reply)); ok {
			t.Errorf("%q: %q", reply, list)
		}
	}
}

func TestInteger(t *testing.T) {
	f := func(reply string, want int64, ok bool) {
		t.Helper()
		if n, got := Integer([]byte(reply)); got != ok || ok && n != want {
			t.Errorf("%q: %d, %v", reply, n, got)
		}
	}
	f(":0\r\n", 0, true)
	f(":120\r\n", 120, true)
	for _, reply := range []string{"", ":", ":\r\n", ":-1\r\n", ":1x\r\n", "$1\r\n", "+1\r\n"} {
		f(reply, 0, false)
	}
}

func TestBulks(t *testing.T) {
	f := func(reply, want string) {
		t.Helper()
		if got := bytes.Join(Bulks([]byte(reply)), []byte("|")); string(got) != want {
			t.Errorf("%q: %q, want %q", reply, got, want)
		}
	}
	f("*3\r\n$1\r\na\r\n$0\r\n\r\n$2\r\nbc\r\n", "a||bc")
	f("*3\r\n$1\r\na\r\n:1\r\n$2\r\nbc\r\n", "a")
	f("*2\r\n$1\r\na\r\n$2\r\nb", "a")
	f("*0\r\n", "")
	f("-ERR\r\n", "")
}
