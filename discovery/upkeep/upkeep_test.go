package upkeep

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sluice/internal/control"
	"sluice/internal/leaktest"
	"sluice/internal/testbed"
)

func TestMain(m *testing.M) { leaktest.Main(testbed.RunWithSpares{M: m}) }

// bed is an Upkeep of real servers whose time a test makes.
type bed struct {
	*Upkeep
	t         *testing.T
	now       time.Time
	servers   []Server
	list      []Parameter
	version   uint64
	adopted   []string
	functions uint64
	asked     atomic.Int64
}

func newBed(t *testing.T) *bed {
	b := &bed{t: t, now: time.Unix(1000, 0)}
	b.Upkeep = New(Config{
		Servers:    func() []Server { return b.servers },
		Parameters: func() ([]Parameter, uint64) { return b.list, b.version },
		Adopt: func(name, value string, version uint64) {
			i := slices.IndexFunc(b.list, func(p Parameter) bool { return p.Name == name })
			b.list[i].Value = value
			b.adopted = append(b.adopted, fmt.Sprint(name, "=", value, " ", version))
		},
		Functions: func() uint64 { return b.functions },
		Log:       slog.New(slog.DiscardHandler),
	})
	return b
}

// add makes a real server one of the masters.
func (b *bed) add(s *testbed.Server) *Server {
	process := uint64(s.PID())
	b.servers = append(b.servers, Server{
		Addr: s.Addr(), Up: true, Slots: true, Process: process,
		Ask: func(ctx context.Context, commands ...[]string) ([]control.Value, uint64, error) {
			b.asked.Add(1)
			c, err := control.Dial(ctx, s.Addr(), control.Options{})
			if err != nil {
				return nil, 0, err
			}
			defer c.Close()
			replies, err := c.Pipe(ctx, commands...)
			return replies, process, err
		},
	})
	return &b.servers[len(b.servers)-1]
}

func (b *bed) set(name, value string) {
	b.list = append(b.list, Parameter{name, value})
	b.version++
}

func (b *bed) step(after time.Duration) {
	b.now = b.now.Add(after)
	b.look(b.t.Context(), b.now)
}

// wantAt checks what servers show.
func (b *bed) wantAt(name, value string, servers ...*testbed.Server) {
	b.t.Helper()
	for _, s := range servers {
		if got := s.Do("CONFIG", "GET", name).Array()[1].String(); got != value {
			b.t.Errorf("%s of %s is %q, want %q", name, s.Addr(), got, value)
		}
	}
}

func (b *bed) wantProblems(parts ...string) {
	b.t.Helper()
	got := b.Problems()
	if len(got) != len(parts) {
		b.t.Fatalf("problems %q, want %q", got, parts)
	}
	for i, part := range parts {
		if !strings.Contains(got[i], part) {
			b.t.Errorf("problem %q, want %q", got[i], part)
		}
	}
}

// A master that comes later gets what was set before, in the order in which that was done, and nobody is asked while
// nothing is set.
func TestNewMastersGetTheParameters(t *testing.T) {
	b := newBed(t)
	first, second := testbed.Redis(t), testbed.Redis(t)
	b.add(first)
	b.step(0)
	b.asked.Store(0)
	b.step(time.Minute)
	if b.asked.Load() > 0 {
		t.Errorf("asked %d times for nothing", b.asked.Load())
	}
	b.set("notify-keyspace-events", "KEA")
	b.set("hash-max-listpack-entries", "7")
	b.set("hash-max-ziplist-entries", "8") // Its other name.
	b.step(time.Second)
	b.add(second)
	b.step(time.Second)
	b.wantAt("notify-keyspace-events", "AKE", first, second)
	b.wantAt("hash-max-listpack-entries", "8", first, second)
	b.asked.Store(0)
	b.servers[1].Up = false
	b.step(time.Second)
	if b.asked.Load() > 0 {
		t.Errorf("asked %d times although nothing has changed", b.asked.Load())
	}
	second.Do("CONFIG", "SET", "notify-keyspace-events", "") // As after a restart: another process, without the parameter.
	b.servers[1].Process, b.servers[1].Up = 1, true
	b.servers[1].Ask = asProcess(b.servers[1].Ask, 1)
	b.step(time.Second)
	b.wantAt("notify-keyspace-events", "AKE", first, second)
	b.wantProblems()
}

// asProcess lets a server say that it is another process.
func asProcess(ask func(context.Context, ...[]string) ([]control.Value, uint64, error), process uint64) func(context.Context, ...[]string) ([]control.Value, uint64, error) {
	return func(ctx context.Context, commands ...[]string) ([]control.Value, uint64, error) {
		replies, _, err := ask(ctx, commands...)
		return replies, process, err
	}
}

// What somebody else sets at all masters counts from then on; what he sets at some is named, and left alone.
func TestChangesByOthers(t *testing.T) {
	b := newBed(t)
	one, two := testbed.Redis(t), testbed.Redis(t)
	b.add(one)
	b.add(two)
	b.set("maxmemory", "100mb")
	b.step(checkEvery)
	two.Do("CONFIG", "SET", "maxmemory", "50mb")
	b.step(checkEvery)
	b.wantProblems() // It may be a CONFIG SET that is on its way.
	b.step(time.Second)
	b.wantProblems(fmt.Sprintf(`the parameter maxmemory was set to "100mb" at all masters, and somebody has changed it: it is "52428800" at %s`, two.Addr()))
	b.wantAt("maxmemory", "52428800", two)
	one.Do("CONFIG", "SET", "maxmemory", "50mb")
	b.step(checkEvery)
	b.wantProblems()
	if !slices.Equal(b.adopted, []string{"maxmemory=52428800 1"}) {
		t.Errorf("adopted %q", b.adopted)
	}
	b.step(checkEvery)
	three := testbed.Redis(t)
	b.add(three)
	b.step(time.Second)
	b.wantAt("maxmemory", "52428800", one, two, three)
	if len(b.adopted) != 1 {
		t.Errorf("adopted %q", b.adopted)
	}
}

// A master that does not take a parameter is named, and tried again.
func TestMasterThatDoesNotTakeAParameter(t *testing.T) {
	b := newBed(t)
	one, two := testbed.Redis(t), testbed.Redis(t, "--rename-command", "CONFIG", "")
	b.set("hz", "20")
	b.add(one)
	s := b.add(two)
	b.step(checkEvery)
	b.wantAt("hz", "20", one)
	b.wantProblems("master " + two.Addr() + " does not take the parameter hz: ERR unknown command 'CONFIG'")
	s.Ask = func(context.Context, ...[]string) ([]control.Value, uint64, error) { return nil, 0, errors.New("away") }
	b.step(checkEvery)
	b.wantProblems("does not take")
	b.list, b.version = nil, 9
	b.step(time.Second)
	b.wantProblems()
}

const library = "#!lua name=l\nredis.register_function('f', function() return 'here' end)"

// A group that joins gets the functions of the others: before it owns slots exactly those, and else if it has none.
func TestFunctionsFollow(t *testing.T) {
	b := newBed(t)
	old, joining, empty, own := testbed.Redis(t), testbed.Redis(t), testbed.Redis(t), testbed.Redis(t)
	old.Do("FUNCTION", "LOAD", library)
	joining.Do("FUNCTION", "LOAD", strings.ReplaceAll(library, "here", "stale"))
	own.Do("FUNCTION", "LOAD", strings.ReplaceAll(library, "here", "own"))
	b.add(old)
	b.add(joining).Slots = false
	b.add(empty)
	b.add(own)
	want := func(s *testbed.Server, answer string) {
		t.Helper()
		if got := s.Do("FCALL", "f", "0").String(); got != answer {
			t.Errorf("FCALL at %s: %q, want %q", s.Addr(), got, answer)
		}
	}
	b.step(0)
	want(joining, "here")
	want(empty, "here")
	want(own, "own")
	b.asked.Store(0)
	b.step(time.Minute)
	if b.asked.Load() > 0 {
		t.Errorf("asked %d times although nothing has changed", b.asked.Load())
	}
	old.Do("FUNCTION", "LOAD", "REPLACE", strings.ReplaceAll(library, "here", "new"))
	b.functions += 2
	b.step(time.Second)
	want(joining, "new")
	want(empty, "here") // It has some; a client's FUNCTION LOAD goes there.
}

// A thousand masters are asked some thousand times, whether there are functions or not, or nobody can tell.
func TestFunctionsOfManyMasters(t *testing.T) {
	const n = 1000
	f := func(name string, has int, fails int) {
		t.Helper()
		b := newBed(t)
		restored := 0
		for i := range n {
			b.servers = append(b.servers, Server{
				Addr: fmt.Sprint("192.0.2.1:", i), Up: true, Slots: true, Process: 1,
				Ask: func(_ context.Context, commands ...[]string) (replies []control.Value, _ uint64, err error) {
					b.asked.Add(1)
					if i == fails && len(commands) > 1 {
						return nil, 0, errors.New("out of order")
					}
					for _, c := range commands {
						switch {
						case c[1] == "LIST" && i == has:
							replies = append(replies, control.Value{Kind: control.Array, Elems: make([]control.Value, 1)})
						case c[1] == "LIST":
							replies = append(replies, control.Value{Kind: control.Array})
						case c[1] == "RESTORE":
							restored++
							fallthrough
						default:
							replies = append(replies, control.Value{Kind: control.Bulk, Text: "dump"})
						}
					}
					return replies, 1, nil
				},
			})
		}
		b.step(0)
		if asked := b.asked.Load(); asked > 3*n {
			t.Errorf("%s: asked %d times", name, asked)
		}
		if want := n - 1; has >= 0 && restored != want {
			t.Errorf("%s: %d masters were given functions, want %d", name, restored, want)
		}
	}
	f("none has any", -1, -1)
	f("the first has some", 0, -1)
	f("the last has some", n-1, -1)
	f("one fails", -1, n/2)
}

// Servers that do not know FUNCTION are left alone, and what others answer is not taken for functions.
func TestHostileMasters(t *testing.T) {
	t.Parallel()
	testbed.Survive(t, "CONFIG", map[string]string{"FUNCTION": "-ERR unknown command\r\n"}, func(ctx context.Context, addr string) error {
		var failed error
		u := New(Config{
			Servers: func() []Server {
				return []Server{{Addr: addr, Up: true, Slots: true, Ask: func(ctx context.Context, commands ...[]string) ([]control.Value, uint64, error) {
					c, err := control.Dial(ctx, addr, control.Options{})
					if err != nil {
						return nil, 0, err
					}
					defer c.Close()
					replies, err := c.Pipe(ctx, commands...)
					if err != nil {
						failed = err
					}
					return replies, 0, err
				}}}
			},
			Parameters: func() ([]Parameter, uint64) { return []Parameter{{"hz", "20"}}, 1 },
			Adopt:      func(string, string, uint64) { t.Error("adopted") },
			Functions:  func() uint64 { return 0 },
			Log:        slog.New(slog.DiscardHandler),
		})
		u.look(ctx, time.Unix(1000, 0))
		return failed
	})
}
