package learn

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
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

func replyOf(entries ...string) *control.Value {
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
		if err != nil || !slices.Equal(slices.Collect(maps.Values(got)), want) {
			t.Errorf("%q: %+v, %v", e, got, err)
		}
	}
	f(entry("BF.ADD", 3, "write denyoom module", 1, 1, 1), command.Declaration{Name: "bf.add", Arity: 3, FirstKey: 1, LastKey: 1, KeyStep: 1, Write: true})
	f(entry("json.mget", -3, "readonly module", 1, -2, 1), command.Declaration{Name: "json.mget", Arity: -3, FirstKey: 1, LastKey: -2, KeyStep: 1})
	f(entry("neither", 2, "module", 1, 1, 1), command.Declaration{Name: "neither", Arity: 2, FirstKey: 1, LastKey: 1, KeyStep: 1, Write: true})
	f(entry("get", 2, "readonly", 1, 1, 1))
	f(entry("ft._list", 1, "readonly module", 0, 0, 0))
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
	for _, reply := range []string{"+OK\r\n", "-ERR unknown command\r\n", "_\r\n"} {
		if got, err := parse(read(reply)); err == nil {
			t.Errorf("%q: %v", reply, got)
		}
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
	if got, err := parse(reply); err != nil || len(got) > 0 {
		t.Errorf("%v, %v", got, err)
	}
}

func TestLearnerFollowsTheServers(t *testing.T) {
	var published []string
	servers := map[string]*struct {
		up    bool
		reply *control.Value
		asked int
	}{"a": {up: true}, "b": {}}
	l := New(Config{
		Log:     slog.New(slog.DiscardHandler),
		Publish: func(d command.Declarations) { published = slices.Sorted(maps.Keys(d)) },
		Servers: func() (list []Server) {
			for _, addr := range slices.Sorted(maps.Keys(servers)) {
				s := servers[addr]
				list = append(list, Server{Addr: addr, Up: s.up, Ask: func(context.Context, ...string) (control.Value, error) {
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
	l.Enable(false)
	step(time.Second, 0, 0, "")
	l.Enable(true)
	step(time.Second, 1, 0, "m.y")
}
