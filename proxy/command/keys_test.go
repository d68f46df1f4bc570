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
	f("msetex 2 a 1 b 2", 2)
	f("msetex 3 a 1 b 2", 0)
	f("xreadgroup group g claim claim 5 streams a >", 7)
	f("xreadgroup group g c claim 5 block 0 streams a >", 9)
	f("xreadgroup claim 5 group g streams streams a >", 7)
	f("xread maxcount 5 maxsize 6 streams a 0", 6)
	f("bless get k", 2)
	f("clusterscan k", 0)
}

func TestKeyAt(t *testing.T) {
	f := func(name string, want int) {
		t.Helper()
		if got := LookupFull([]byte(name)).KeyAt; got != want {
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
	f("hgetdel", 1)
	f("delex", 1)
	f("vsim", 1)
	f("bless|set", 2)
	f("msetex", 0)
	f("zmove", 0)
	f("clusterscan", 0)
}

func TestAppendKeyRefsSaysWhatIsDone(t *testing.T) {
	f := func(call string, want ...KeyRef) {
		t.Helper()
		args := bytes.Fields([]byte(call))
		got, err := Resolve(args).AppendKeyRefs(nil, args)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v, %v; want %v", call, got, err, want)
		}
	}
	f("get k", KeyRef{1, KeyRO | KeyAccess})
	f("set k v", KeyRef{1, KeyOW | KeyUpdate})
	f("set k v get", KeyRef{1, KeyRW | KeyAccess | KeyUpdate})
	f("set k v ifeq old", KeyRef{1, KeyRW | KeyAccess | KeyUpdate})
	f("set k v px 9 IFDNE 0", KeyRef{1, KeyRW | KeyAccess | KeyUpdate})
	f("delex k", KeyRef{1, KeyRM | KeyDelete})
	f("delex k ifne v", KeyRef{1, KeyRW | KeyAccess | KeyDelete})
	f("delifeq k v", KeyRef{1, KeyRM | KeyDelete})
	f("hsetex k fields 1 f v", KeyRef{1, KeyRW | KeyUpdate | KeyInsert}) // Redis: update, Valkey: insert.
	f("hgetdel k fields 1 f", KeyRef{1, KeyRW | KeyAccess | KeyDelete})
	f("msetex 2 a 1 b 2 ex 9", KeyRef{2, KeyOW | KeyUpdate}, KeyRef{4, KeyOW | KeyUpdate})
	f("blmovem s d left right 0", KeyRef{1, KeyRW | KeyAccess | KeyDelete}, KeyRef{2, KeyRW | KeyInsert})
	f("copy a b", KeyRef{1, KeyRO | KeyAccess}, KeyRef{2, KeyOW | KeyUpdate})
	f("eval s 1 k", KeyRef{3, KeyRW | KeyAccess | KeyUpdate})
	f("eval s 01 k", KeyRef{3, unknownUse}) // The spec does not read such a number, EVAL does.
	f("xreadgroup group g streams streams k >", KeyRef{5, KeyRO | KeyAccess})
}

func TestDeclaredCommandsFindTheirKeys(t *testing.T) {
	f := func(d Declaration, arity, keyAt int, call string, want ...int) {
		t.Helper()
		d.Name = "m.x"
		c := Declare(d)
		if c.Arity != arity || c.KeyAt != keyAt || c.ID != Count || c.Is(Write) != d.Write || c.Is(ReadOnly) == d.Write {
			t.Errorf("%+v: %+v", d, c)
		}
		args := bytes.Fields([]byte(call))
		got, err := c.AppendKeys(nil, args)
		if !slices.Equal(got, want) || (err != nil) != (want == nil) {
			t.Errorf("%+v, %s: %v, %v; want %v", d, call, got, err, want)
		}
	}
	f(Declaration{Arity: 3, Keys: KeysAt(1, 1, 1)}, 3, 1, "m.x k v", 1)
	f(Declaration{Arity: -1, Keys: KeysAt(2, 2, 1), Write: true}, -3, 2, "m.x a k", 2)
	f(Declaration{Arity: 1, Keys: KeysAt(1, 1, 1)}, -2, 1, "m.x k", 1)
	f(Declaration{Arity: -2, Keys: KeysAt(1, -2, 1)}, -2, 0, "m.x a b c path", 1, 2, 3)
	f(Declaration{Arity: -2, Keys: KeysAt(1, -1, 2)}, -2, 0, "m.x a 1 b 2", 1, 3)
	f(Declaration{Arity: -3, Keys: KeysAt(1, 2, 1)}, -3, 0, "m.x a b c", 1, 2)
	f(Declaration{Arity: -1, Keys: KeysCounted(2)}, -3, 0, "m.x o 2 a b c", 3, 4)
	f(Declaration{Arity: -1, Keys: KeysCounted(2)}, -3, 0, "m.x o 3 a b")
	f(Declaration{Arity: -1}, -1, 0, "m.x")
	keyword := KeySpec{Begin: Begin{Kind: BeginKeyword, Keyword: "KEYS", Pos: 1}, Find: Find{Kind: FindRange, Last: -1, Step: 1}}
	f(Declaration{Arity: -2, Keys: []KeySpec{keyword}}, -2, 0, "m.x o keys a b", 3, 4)
	f(Declaration{Arity: -2, Keys: append(KeysAt(1, 1, 1), keyword)}, -2, 0, "m.x k keys a", 1, 3)
	f(Declaration{Arity: -2, Keys: []KeySpec{keyword}}, -2, 0, "m.x o p")
}

func TestKeysDoNotAllocate(t *testing.T) {
	calls := [][][]byte{}
	for _, call := range []string{
		"get k", "set k v", "mget a b c d", "mset a 1 b 2", "zunionstore d 2 a b", "eval s 2 a b",
		"eval s 2x a b", "sort k by w store d", "xreadgroup group g c streams a b > >",
		"georadius k 1 2 3 m store d", "migrate h 1 k 0 9 keys a", "ping", "get",
		"msetex 2 a 1 b 2", "xreadgroup group g c claim 5 streams a >", "set k v ifeq w", "delex k ifeq v",
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
	for _, inv := range allInvocations(f) {
		f.Add(bytes.Join(inv.args, []byte(" ")))
	}
	f.Add([]byte("msetex 4611686018427387905 a 1 b 2"))
	f.Add([]byte("x -9223372036854775808 9223372036854775807 2147483647 -2147483648"))
	f.Fuzz(func(t *testing.T, input []byte) {
		args := bytes.Split(input, []byte(" "))
		for _, c := range commands {
			checkAnyKeys(t, c, args)
			if c.Parent == nil && len(args) > 1 {
				checkAnyKeys(t, c, args[1:])
			}
		}
		if reply := redis.AppendGetKeys(nil, args); len(reply) == 0 {
			t.Error("no reply")
		}
		decode(t, redis.AppendGetKeysAndFlags(nil, args, true))
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
