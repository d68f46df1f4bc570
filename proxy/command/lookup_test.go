package command

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

func TestLookupFindsEveryNameInAnyCase(t *testing.T) {
	f := func(name string, want *Command) {
		t.Helper()
		if got := Lookup([]byte(name)); got != want {
			t.Errorf("Lookup(%q) = %v, want %v", name, got, want)
		}
	}
	for _, c := range topLevel {
		f(c.Name, c)
		f(strings.ToUpper(c.Name), c)
		f(strings.ToUpper(c.Name[:1])+c.Name[1:], c)
		mixed := []byte(c.Name)
		for i := 0; i < len(mixed); i += 2 {
			mixed[i] = bytes.ToUpper(mixed[i : i+1])[0]
		}
		f(string(mixed), c)
	}
	for _, c := range commands {
		if c.Parent != nil {
			f(c.Name, nil)
		}
	}
	f("", nil)
	f("nosuch", nil)
	f("sentinel", nil) // exists in a Sentinel process alone
	f(strings.Repeat("x", maxLong), nil)
	f(strings.Repeat("x", 1000), nil)
}

// TestLookupIsExactButForLetters changes every byte of every name to every
// other value: only the other case of a letter may still be the command.
func TestLookupIsExactButForLetters(t *testing.T) {
	for _, c := range topLevel {
		for i := range len(c.Name) {
			name := []byte(c.Name)
			for b := range 256 {
				name[i] = byte(b)
				want := reference(name)
				if got := Lookup(name); got != want {
					t.Fatalf("Lookup(%q) = %v, want %v", name, got, want)
				}
			}
		}
	}
}

// TestLookupTellsLengths adds bytes at the end, NUL first: a name and the same
// name with NULs pack into the same word.
func TestLookupTellsLengths(t *testing.T) {
	for _, c := range topLevel {
		for n := 1; n <= 8; n++ {
			name := append([]byte(c.Name), make([]byte, n)...)
			if got := Lookup(name); got != nil {
				t.Errorf("Lookup(%q) = %s", name, got.Name)
			}
		}
		if got, want := Lookup([]byte(c.Name[1:])), reference([]byte(c.Name[1:])); got != want {
			t.Errorf("Lookup(%q) = %v", c.Name[1:], got)
		}
	}
	for n := range 12 {
		if got := Lookup(make([]byte, n)); got != nil {
			t.Errorf("Lookup of %d NULs = %s", n, got.Name)
		}
	}
}

// byName is the names as the table has them.
var byName = func() map[string]*Command {
	out := make(map[string]*Command)
	for _, c := range topLevel {
		out[c.Name] = c
	}
	return out
}()

// reference is Lookup without any of its means.
func reference(name []byte) *Command {
	folded := make([]byte, len(name))
	for i, b := range name {
		if b >= 'A' && b <= 'Z' {
			b += 'a' - 'A'
		}
		folded[i] = b
	}
	return byName[string(folded)]
}

func TestSubIsExactButForLetters(t *testing.T) {
	f := func(container, sub, want string) {
		t.Helper()
		got := "none"
		if c := Lookup([]byte(container)).Sub([]byte(sub)); c != nil {
			got = c.Name
		}
		if got != want {
			t.Errorf("%s.Sub(%q) = %s, want %s", container, sub, got, want)
		}
	}
	f("client", "setname", "client|setname")
	f("client", "SETNAME", "client|setname")
	f("client", "no-EVICT", "client|no-evict")
	f("client", "no\revict", "none") // "-" without bit 5
	f("client", "setname\x00", "none")
	f("client", "", "none")
	f("client", "client|setname", "none")
	f("get", "get", "none")
	for _, c := range commands {
		if c.Parent != nil {
			f(c.Parent.Name, strings.ToUpper(c.verb), c.Name)
		}
	}
}

func TestResolve(t *testing.T) {
	f := func(call, want string) {
		t.Helper()
		got := "none"
		if c := Resolve(bytes.Fields([]byte(call))); c != nil {
			got = c.Name
		}
		if got != want {
			t.Errorf("Resolve(%q) = %s, want %s", call, got, want)
		}
	}
	f("", "none")
	f("get k", "get")
	f("GET", "get")
	f("CONFIG", "config")
	f("CONFIG get maxmemory", "config|get")
	f("config nosuch", "none")
	f("config|get x", "none")
	f("nosuch get", "none")
}

func TestLookupDoesNotAllocate(t *testing.T) {
	names := [][]byte{[]byte("GET"), []byte("set"), []byte("HGETALL"), []byte("ZREVRANGEBYSCORE"),
		[]byte("nosuch"), []byte("nosuchcommand"), bytes.Repeat([]byte("x"), 500)}
	got := testing.AllocsPerRun(100, func() {
		for _, name := range names {
			sink = Lookup(name)
		}
		sink = Lookup([]byte("client")).Sub([]byte("SETNAME"))
	})
	if got != 0 {
		t.Errorf("%v allocations", got)
	}
}

var sink *Command

// TestShortNamesProbeLittle keeps the hash worth its name.
func TestShortNamesProbeLittle(t *testing.T) {
	worst, displaced := 0, 0
	for i, s := range shortNames {
		if s.cmd == nil {
			continue
		}
		d := (i - int(home(s.key))) & (1<<slotBits - 1)
		worst = max(worst, d)
		if d > 0 {
			displaced++
		}
	}
	if worst > 4 || displaced > 50 {
		t.Errorf("%d names are not in their first slot, one is %d away", displaced, worst)
	}
	for _, name := range []string{"get", "set", "del", "mget", "hget", "expire", "ping"} {
		if got := shortNames[home(pack([]byte(name)))].key; got != pack([]byte(name)) {
			t.Errorf("%s is not in its first slot", name)
		}
	}
}

func FuzzLookup(f *testing.F) {
	for _, c := range topLevel {
		f.Add([]byte(c.Name))
	}
	f.Add([]byte("\x00\x00"))
	f.Add([]byte("gE\xf4"))
	f.Fuzz(func(t *testing.T, name []byte) {
		if got, want := Lookup(name), reference(name); got != want {
			t.Errorf("Lookup(%q) = %v, want %v", name, got, want)
		}
	})
}

// String keeps failures readable.
func (c *Command) String() string {
	if c == nil {
		return "none"
	}
	return fmt.Sprintf("%s#%d", c.Name, c.ID)
}
