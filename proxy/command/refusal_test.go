package command

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

func TestRefusalTexts(t *testing.T) {
	f := func(got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
	words := func(s string) [][]byte { return bytes.Fields([]byte(s)) }
	x := func(n int) string { return strings.Repeat("x", n) }

	f(ErrUnknownCommand([]byte("foo"), words("a b")),
		"ERR unknown command 'foo', with args beginning with: 'a' 'b' ")
	f(ErrUnknownCommand([]byte("FOO"), nil),
		"ERR unknown command 'FOO', with args beginning with: ")
	f(ErrUnknownCommand(nil, words("a")),
		"ERR unknown command '', with args beginning with: 'a' ")
	f(ErrUnknownCommand([]byte("a\r\nb"), [][]byte{[]byte("c\n"), []byte("d\x00e")}),
		"ERR unknown command 'a  b', with args beginning with: 'c ' 'd' ")
	f(ErrUnknownCommand([]byte(x(129)), [][]byte{[]byte(x(129)), []byte("y")}),
		"ERR unknown command '"+x(128)+"', with args beginning with: '"+x(128)+"' ")
	f(ErrUnknownCommand([]byte("f"), words(strings.Repeat("abcde ", 20))),
		"ERR unknown command 'f', with args beginning with: "+strings.Repeat("'abcde' ", 16))
	f(ErrUnknownCommand([]byte("f"), [][]byte{[]byte(x(124)), []byte("yz"), []byte("w")}),
		"ERR unknown command 'f', with args beginning with: '"+x(124)+"' 'y' ")

	f(ErrUnknownSubcommand(Lookup([]byte("client")), []byte("x")),
		"ERR unknown subcommand 'x'. Try CLIENT HELP.")
	f(ErrUnknownSubcommand(Lookup([]byte("OBJECT")), []byte("a\nb\x00c")),
		"ERR unknown subcommand 'a b'. Try OBJECT HELP.")
	f(ErrArity(Lookup([]byte("GET"))), "ERR wrong number of arguments for 'get' command")
	f(ErrArity(Lookup([]byte("client")).Sub([]byte("setname"))),
		"ERR wrong number of arguments for 'client|setname' command")
	f(ErrArity(Lookup([]byte("exec"))), "EXECABORT Transaction discarded because of: "+
		"wrong number of arguments for 'exec' command")
}

// TestRefusalsLive sends what a server refuses before it runs anything, and
// compares the texts.
func TestRefusalsLive(t *testing.T) {
	s := startRedis(t)
	f := func(args ...string) {
		t.Helper()
		raw := make([][]byte, len(args))
		for i := range args {
			raw[i] = []byte(args[i])
		}
		theirs := s.askBytes(t, raw)
		if got := refusalOf(raw); theirs.kind != '-' || theirs.text != got {
			t.Errorf("%.60q:\n theirs %q\n ours   %q", args, theirs.text, got)
		}
	}
	x := func(n int) string { return strings.Repeat("x", n) }
	f("foo")
	f("foo", "a", "b")
	f("")
	f("", "")
	f("FoO", "", "", "a")
	f("config|get", "x")
	f("foo\x00bar", "a\x00b", "\x00")
	f("fo\r\no", "a\nb", "c\rd", "\r\n")
	f("\xff\xfe", "\x80\xc3\x28")
	f("%s%n%d", "%s", "%.*s")
	for n := 118; n <= 134; n++ {
		f("cmd"+x(n), x(n))
		f("cmd", x(n), "second", "third")
		f("cmd", x(n-10), "abcdefghijkl", "third")
		f("client", "sub"+x(n))
	}
	for n := range 60 {
		f(append([]string{"cmd"}, strings.Fields(strings.Repeat("ab ", n))...)...)
	}
	f(append([]string{"cmd"}, make([]string, 200)...)...)
	f("cmd", x(5000))
	f("client", "x")
	f("CLIENT", "")
	f("Config", "a\r\nb\x00c", "more")
	f("object", "nosuch", "k")
	f("xgroup", "\xff")
	version := s.version(t)
	for _, c := range commands {
		if c.Name == "quit" { // the server closes the connection whatever follows
			continue
		}
		if lacks(version, c) || version == "7.0" && hasOtherArity(c.Name) {
			continue
		}
		for _, n := range wrongCounts(c) {
			args := strings.Split(c.Name, "|")
			for len(args) < n {
				args = append(args, "x")
			}
			f(args...)
		}
	}
}

// hasOtherArity reports whether 7.0 counts the arguments of a command differently.
func hasOtherArity(name string) bool {
	return slices.ContainsFunc(differences, func(d difference) bool {
		return d.name == name && d.field == "arity"
	})
}

// wrongCounts returns numbers of arguments the command must refuse, at least
// as many as its name takes.
func wrongCounts(c *Command) []int {
	var out []int
	for n := 1 + strings.Count(c.Name, "|"); n <= max(c.Arity, -c.Arity)+1; n++ {
		if !c.ArityOK(n) && (c.Parent != nil || len(c.Subcommands) == 0 || n == 1) {
			out = append(out, n)
		}
	}
	return out
}

// refusalOf composes the refusal the way a proxy does.
func refusalOf(args [][]byte) string {
	top := Lookup(args[0])
	if top == nil {
		return ErrUnknownCommand(args[0], args[1:])
	}
	c := Resolve(args)
	if c == nil {
		return ErrUnknownSubcommand(top, args[1])
	}
	if c.ArityOK(len(args)) {
		return "accepted"
	}
	return ErrArity(c)
}
