package command

import (
	"bytes"
	"errors"
	"slices"
	"testing"
)

func TestAppendKeysKeepsWhatIsThere(t *testing.T) {
	f := func(call string, want []int, wantErr error) {
		t.Helper()
		args := bytes.Fields([]byte(call))
		dst := make([]int, 1, 16)
		dst[0] = 99
		got, err := Resolve(args).AppendKeys(dst, args)
		if !errors.Is(err, wantErr) || !slices.Equal(got, want) {
			t.Errorf("%s: %v, %v; want %v, %v", call, got, err, want, wantErr)
		}
		if &got[0] != &dst[0] {
			t.Errorf("%s: moved although there was room", call)
		}
	}
	f("get k", []int{99, 1}, nil)
	f("mset a 1 b 2", []int{99, 1, 3}, nil)
	f("object freq k", []int{99, 2}, nil)
	f("zunionstore d 2 a b", []int{99, 1, 3, 4}, nil)
	f("eval s 0", []int{99}, nil)
	f("ping", []int{99}, ErrNoKeys)
	f("spublish c m", []int{99}, ErrNoKeys)
	f("get", []int{99}, ErrKeyArity)
	f("get a b", []int{99}, ErrKeyArity)
	f("zunion 0 a", []int{99}, ErrKeyArguments)
}

func TestFirstKeyIndex(t *testing.T) {
	f := func(call string, want int) {
		t.Helper()
		args := bytes.Fields([]byte(call))
		if got := Resolve(args).FirstKeyIndex(args); got != want {
			t.Errorf("%s: %d, want %d", call, got, want)
		}
	}
	f("get k", 1)
	f("get", 0)
	f("mget a b", 1)
	f("ping", 0)
	f("spublish c m", 0)
	f("object freq k", 2)
	f("bitop and d a", 2)
	f("eval s 1 a", 3)
	f("eval s 0", 0)
	f("eval s", 0)
	f("eval s 2 a", 0)
	f("xread count 1 streams a 0", 4)
	f("xreadgroup count 1 group g streams streams a >", 7)
	f("zunionstore d 0 a", 1)
	f("zunion 1 a", 2)
	f("sort k store d", 1)
	f("migrate h 1 k 0 9", 3)
	f("migrate h 1 k 0 9 keys a", 0)
}

func TestKeyAt(t *testing.T) {
	f := func(name string, want int) {
		t.Helper()
		if got := lookupFull([]byte(name)).KeyAt; got != want {
			t.Errorf("%s: %d, want %d", name, got, want)
		}
	}
	f("get", 1)
	f("set", 1)
	f("bitfield", 1)
	f("object|freq", 2)
	f("xgroup|create", 2)
	f("del", 0)
	f("rename", 0)
	f("sort", 0)
	f("sort_ro", 0)
	f("georadius", 0)
	f("eval", 0)
	f("ping", 0)
	f("spublish", 0)
}

func TestKeysDoNotAllocate(t *testing.T) {
	calls := [][][]byte{}
	for _, call := range []string{
		"get k", "set k v", "mget a b c d", "mset a 1 b 2", "zunionstore d 2 a b", "eval s 2 a b",
		"eval s 2x a b", "sort k by w store d", "xreadgroup group g c streams a b > >",
		"georadius k 1 2 3 m store d", "migrate h 1 k 0 9 keys a", "ping", "get",
	} {
		calls = append(calls, bytes.Fields([]byte(call)))
	}
	dst := make([]int, 0, 8)
	got := testing.AllocsPerRun(100, func() {
		for _, args := range calls {
			c := Resolve(args)
			found, err := c.AppendKeys(dst[:0], args)
			positions, failure, position = found, err, c.FirstKeyIndex(args)
		}
	})
	if got != 0 {
		t.Errorf("%v allocations", got)
	}
}

var (
	positions []int
	failure   error
	position  int
)

// FuzzAppendKeys runs every command over arbitrary arguments, which the input
// separates by blanks.
func FuzzAppendKeys(f *testing.F) {
	_, list := readInvocations(f)
	for _, inv := range list {
		f.Add(bytes.Join(inv.args, []byte(" ")))
	}
	f.Add([]byte("x -9223372036854775808 9223372036854775807 2147483647 -2147483648"))
	f.Fuzz(func(t *testing.T, input []byte) {
		args := bytes.Split(input, []byte(" "))
		for _, c := range commands {
			checkAnyKeys(t, c, args)
			if c.Parent == nil && len(args) > 1 {
				checkAnyKeys(t, c, args[1:])
			}
		}
		if reply := AppendGetKeys(nil, args); len(reply) == 0 {
			t.Error("no reply")
		}
		decode(t, AppendGetKeysAndFlags(nil, args, true))
	})
}

// checkAnyKeys states what holds for any arguments at all.
func checkAnyKeys(t *testing.T, c *Command, args [][]byte) {
	t.Helper()
	got, err := c.AppendKeys(nil, args)
	if err != nil && len(got) > 0 {
		t.Fatalf("%s %q: keys %v with the error %v", c.Name, args, got, err)
	}
	for _, p := range got {
		if p < 1 || p >= len(args) {
			t.Fatalf("%s %q: key at %d", c.Name, args, p)
		}
	}
	first := c.FirstKeyIndex(args)
	if first < 0 || first > 0 && first >= len(args) {
		t.Fatalf("%s %q: first key at %d", c.Name, args, first)
	}
	if len(got) > 0 && !slices.Contains(got, first) {
		t.Fatalf("%s %q: first key at %d is not among %v", c.Name, args, first, got)
	}
	if len(got) > len(args) {
		t.Fatalf("%s %q: %d keys", c.Name, args, len(got))
	}
}
