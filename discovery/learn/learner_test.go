package learn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sluice/internal/control"
	"sluice/internal/leaktest"
	"sluice/internal/testbed"
	"sluice/proxy/command"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// entry is the entry of a command in a reply of COMMAND, of Redis 3.2 on.
func entry(name string, arity int, flags string, first, last, step int) string {
	words := strings.Fields(flags)
	all := fmt.Sprintf("*%d\r\n", len(words))
	for _, w := range words {
		all += "+" + w + "\r\n"
	}
	return fmt.Sprintf("*6\r\n$%d\r\n%s\r\n:%d\r\n%s:%d\r\n:%d\r\n:%d\r\n", len(name), name, arity, all, first, last, step)
}

// specced is entry as Redis 7 has it: with ACL categories and key specs, each a list of flags and the two steps.
func specced(name, flags, categories string, first, last, step int, specs ...string) string {
	e := strings.Replace(entry(name, -2, flags, first, last, step), "*6", "*10", 1)
	words := strings.Fields(categories)
	e += fmt.Sprintf("*%d\r\n", len(words))
	for _, w := range words {
		e += "+" + w + "\r\n"
	}
	return e + fmt.Sprintf("*0\r\n*%d\r\n%s*0\r\n", len(specs), strings.Join(specs, ""))
}

// spec is a key spec in RESP2.
func spec(flags, begin, find string) string {
	list := func(text string) string {
		words := strings.Fields(text)
		all := fmt.Sprintf("*%d\r\n", len(words))
		for _, w := range words {
			if _, err := strconv.Atoi(w); err == nil {
				all += ":" + w + "\r\n"
			} else {
				all += fmt.Sprintf("$%d\r\n%s\r\n", len(w), w)
			}
		}
		return all
	}
	step := func(text string) string {
		kind, fields, _ := strings.Cut(text, " ")
		return fmt.Sprintf("*4\r\n$4\r\ntype\r\n$%d\r\n%s\r\n$4\r\nspec\r\n%s", len(kind), kind, list(fields))
	}
	return "*6\r\n$5\r\nflags\r\n" + list(flags) + "$12\r\nbegin_search\r\n" + step(begin) + "$9\r\nfind_keys\r\n" + step(find)
}

// replyOf is a reply of COMMAND with GET and these.
func replyOf(entries ...string) *control.Value {
	entries = append(entries, entry("get", 2, "readonly fast", 1, 1, 1))
	v := read(fmt.Sprintf("*%d\r\n%s", len(entries), strings.Join(entries, "")))
	return &v
}

func read(reply string) control.Value {
	v, err := control.NewReader(strings.NewReader(reply), control.Limits{}).Read()
	if err != nil {
		panic(err)
	}
	return v
}

func TestOnlyWhatCanBeRoutedIsLearned(t *testing.T) {
	f := func(e string, want ...command.Declaration) {
		t.Helper()
		got, err := parse(*replyOf(e))
		if err != nil || !slices.EqualFunc(slices.Collect(maps.Values(got.found)), want, equal) {
			t.Errorf("%q: %+v, %v", e, got, err)
		}
	}
	f(entry("BF.ADD", 3, "write denyoom module", 1, 1, 1), command.Declaration{Learned: true, Name: "bf.add", Arity: 3, Keys: command.KeysAt(1, 1, 1), Write: true})
	f(entry("json.mget", -3, "readonly module", 1, -2, 1), command.Declaration{Learned: true, Name: "json.mget", Arity: -3, Keys: command.KeysAt(1, -2, 1)})
	f(entry("neither", 2, "module", 1, 1, 1), command.Declaration{Learned: true, Name: "neither", Arity: 2, Keys: command.KeysAt(1, 1, 1), Write: true})
	f(entry("get", 2, "readonly", 1, 1, 1))
	f(entry("ft._list", 1, "readonly module", 0, 0, 0), command.Declaration{Learned: true, Name: "ft._list", Arity: 1, Masters: command.OnlyMaster})
	f(entry("perflog", 1, "readonly", 0, 0, 0)) // It may be about the server itself.
	f(entry("ft.debug", 1, "admin module", 0, 0, 0))
	f(entry("m.config", 2, "admin module", 1, 1, 1))
	f(entry("m.wait", 3, "readonly blocking", 1, 1, 1))
	f(entry("m.counted", -3, "readonly movablekeys", 1, 1, 1))
	f(entry("slotsinfo", -1, "readonly", 1, 1, 1))
	f(entry("clusterx", -2, "readonly", 1, 1, 1))
	f(entry("not a name", 2, "readonly", 1, 1, 1))
	f(entry("m.last", 2, "readonly", 2, 1, 1))
	f(entry("m.step", 2, "readonly", 1, 1, 0))
	f(entry("m.far", 2, "readonly", 1, 1<<30, 1))
	f("*1\r\n$3\r\nm.x\r\n")
	f("*-1\r\n")
	f(":1\r\n")
	for _, reply := range []string{"+OK\r\n", "-ERR unknown command\r\n", "_\r\n", "*0\r\n", "*1\r\n" + entry("m.x", 2, "write", 1, 1, 1)} {
		if got, err := parse(read(reply)); err == nil {
			t.Errorf("%q: %v", reply, got)
		}
	}
}

// Where the keys are is taken from the key specs, as COMMAND GETKEYS does.
func TestKeySpecsAreLearned(t *testing.T) {
	f := func(e, call string, want ...int) {
		t.Helper()
		got, err := parse(*replyOf(e))
		if err != nil || len(got.found) > 1 {
			t.Fatalf("%q: %+v, %v", e, got, err)
		}
		for _, d := range got.found {
			args := bytes.Fields([]byte(call))
			keys, err := command.Declare(d).AppendKeys(nil, args)
			if err != nil || !slices.Equal(keys, want) {
				t.Errorf("%q: %v, %v; want %v", call, keys, err, want)
			}
			return
		}
		if want != nil {
			t.Errorf("%q is not learned", e)
		}
	}
	const first, keyNum = "index index 1", "keynum keynumidx 0 firstkey 1 keystep 2"
	const one, rest = "range lastkey 0 keystep 1 limit 0", "range lastkey -1 keystep 1 limit 0"
	f(specced("m.one", "write", "", 1, 1, 1, spec("RW access", first, one)), "m.one k v", 1)
	f(specced("m.counted", "write movablekeys", "", 0, 0, 0, spec("OW", first, keyNum)), "m.counted 2 a 1 b 2 EX 9", 2, 4)
	f(specced("m.word", "readonly movablekeys", "", 0, 0, 0, spec("RO", "keyword keyword KEYS startfrom 1", rest)), "m.word x keys a b", 3, 4)
	f(specced("m.two", "write movablekeys", "", 1, 1, 1, spec("RW", first, one), spec("RO", "index index 3", one)), "m.two a x b", 1, 3)
	// Not all is told.
	f(specced("m.own", "write movablekeys module", "", 1, 1, 1, spec("RW", first, one)), "m.own k")
	f(specced("m.part", "write", "", 1, 1, 1, spec("RW incomplete", first, one)), "m.part k")
	f(specced("m.channel", "write", "", 1, 1, 1, spec("not_key", first, one)), "m.channel k")
	f(specced("m.dark", "write", "", 0, 0, 0, spec("RW", "unknown", one)), "m.dark k")
	f(specced("m.dim", "write", "", 0, 0, 0, spec("RW", first, "unknown")), "m.dim k")
	f(specced("m.many", "write", "", 0, 0, 0, spec("RW", first, one), spec("RW", first, one), spec("RW", first, one), spec("RW", first, one)), "m.many k")
	// No server in order says that.
	f(specced("m.zero", "write", "", 0, 0, 0, spec("RW", "index index 0", one)), "m.zero k")
	f(specced("m.step", "write", "", 0, 0, 0, spec("RW", first, "range lastkey 0 keystep 0 limit 0")), "m.step k")
	f(specced("m.far", "write", "", 0, 0, 0, spec("RW", first, "keynum keynumidx 99999999 firstkey 1 keystep 1")), "m.far k")
	f(specced("m.minus", "write", "", 0, 0, 0, spec("RW", first, "keynum keynumidx -1 firstkey 1 keystep 1")), "m.minus k")
	f(specced("m.none", "write", "", 0, 0, 0, "*0\r\n"), "m.none k")
}

func TestCategoriesAreLearned(t *testing.T) {
	got, err := parse(*replyOf(specced("m.x", "readonly", "@read @hash @fast @m", 1, 1, 1)))
	d := got.found["m.x"]
	if c := command.Declare(d); err != nil || c.ACL != command.ACLRead|command.ACLHash|command.ACLFast {
		t.Errorf("%v, %v", c, err)
	}
}

// Of a Redis there is nothing to learn: the table has it all.
func TestNothingIsLearnedFromRedis(t *testing.T) {
	s := testbed.Redis(t)
	c, err := control.Dial(t.Context(), s.Addr(), control.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	reply, err := c.Do(t.Context(), "COMMAND")
	if err != nil || len(reply.Elems) < 200 {
		t.Fatalf("COMMAND: %v, %v", reply, err)
	}
	if got, err := parse(reply); err != nil || len(got.found) > 0 {
		t.Errorf("%v, %v", got, err)
	}
}

func TestLearnerFollowsTheServers(t *testing.T) {
	var published, absent []string
	servers := map[string]*struct {
		up      bool
		process uint64
		reply   *control.Value
		asked   int
	}{"a": {up: true}, "b": {}}
	l := New(Config{
		Log: slog.New(slog.DiscardHandler),
		Publish: func(d command.Declarations, lacking map[string]bool) {
			published, absent = slices.Sorted(maps.Keys(d)), slices.Sorted(maps.Keys(lacking))
		},
		Servers: func() (list []Server) {
			for _, addr := range slices.Sorted(maps.Keys(servers)) {
				s := servers[addr]
				list = append(list, Server{Addr: addr, Up: s.up, Process: s.process, Ask: func(context.Context, ...string) (control.Value, error) {
					s.asked++
					if s.reply == nil {
						return control.Value{}, errors.New("away")
					}
					return *s.reply, nil
				}})
			}
			return list
		},
	})
	now := time.Unix(1000, 0)
	step := func(after time.Duration, askedA, askedB int, want string) {
		t.Helper()
		now = now.Add(after)
		servers["a"].asked = 0
		if b := servers["b"]; b != nil {
			b.asked = 0
		}
		l.look(t.Context(), now)
		gotB := 0
		if b := servers["b"]; b != nil {
			gotB = b.asked
		}
		if got := strings.Join(published, " "); got != want || servers["a"].asked != askedA || gotB != askedB {
			t.Errorf("%q, asked %d and %d times; want %q, %d and %d", got, servers["a"].asked, gotB, want, askedA, askedB)
		}
	}
	x, y := entry("m.x", 2, "readonly", 1, 1, 1), entry("m.y", 2, "write", 1, 1, 1)
	step(0, 0, 0, "") // It is off.
	l.Enable(true)
	step(time.Second, 1, 0, "") // No answer: again, but not at once.
	servers["a"].reply = replyOf(x)
	step(time.Second, 0, 0, "")
	step(againAfter, 1, 0, "m.x")
	step(time.Second, 0, 0, "m.x")
	servers["b"].up, servers["b"].reply = true, replyOf(x, y)
	step(time.Second, 0, 1, "m.x m.y")
	servers["b"].up = false
	step(time.Second, 0, 0, "m.x m.y") // What is known stays known.
	servers["b"].up, servers["b"].reply = true, replyOf(entry("m.x", 3, "readonly", 2, 2, 1))
	step(time.Second, 0, 1, "") // They don't agree.
	servers["a"].reply = nil
	step(askEvery, 1, 1, "")
	servers["a"].reply = replyOf(y)
	step(againAfter, 1, 0, "m.x m.y")
	delete(servers, "b")
	step(time.Second, 0, 0, "m.y")
	servers["a"].process++
	servers["a"].reply = replyOf(x, entry("set", -3, "write", 1, 1, 1))
	step(time.Second, 1, 0, "m.x") // Another process is another server.
	if slices.Contains(absent, "get") || slices.Contains(absent, "set") || !slices.Contains(absent, "hset") || slices.Contains(absent, "m.x") {
		t.Errorf("said to lack: %v", absent)
	}
	l.Enable(false)
	step(time.Second, 0, 0, "")
	if absent != nil {
		t.Errorf("said to lack, while learning is off: %v", absent)
	}
	l.Enable(true)
	step(time.Second, 1, 0, "m.x")
}
