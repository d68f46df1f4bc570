package check

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"sluice/internal/testbed"
)

// pipeline is that of every test here; requests are a multiple of it.
const pipeline = 8

func testConfig(addr, mix string) Config {
	cfg := Defaults(Mixed)
	cfg.Addr, cfg.Mix, cfg.Rate, cfg.Pipeline = addr, mustMix(mix), 0, pipeline
	cfg.Clients, cfg.Keys, cfg.Requests, cfg.TagGroup = 3, 15, 40*pipeline, 1
	cfg.SharedPercent = 0
	cfg.Slot = ClusterSlot
	return cfg
}

// judge runs a load to its end.
func judge(t *testing.T, cfg Config) *Report {
	t.Helper()
	run, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-run.Done():
	case <-time.After(time.Minute):
		t.Error("the clients have not ended within a minute")
	}
	rep := run.Stop()
	if want := uint64(cfg.Clients * cfg.Requests); rep.Requests != want {
		t.Errorf("%d requests, want %d", rep.Requests, want)
	}
	return rep
}

func TestHonestServerHasNoFindings(t *testing.T) {
	server := testbed.Redis(t)
	for _, p := range []Profile{Baseline, Hard, Mixed} {
		cfg := Defaults(p)
		cfg.Addr, cfg.Rate, cfg.Requests, cfg.Keys, cfg.Filler = server.Addr(), 0, 160, 2000, 100
		cfg.Slot = CodisSlot
		cfg.Watch = func(key []byte) bool { return CodisSlot(key) < 256 }
		cfg.WatchShare = 0.5
		cfg.KeyHistory = 40
		run, err := Start(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		run.Mark("during")
		<-run.Done()
		run.Mark("after")
		rep := run.Stop()
		if err := rep.Err(); err != nil || rep.Unknown > 0 || len(rep.Errors) > 0 || rep.Linear.Unknown > 0 {
			t.Errorf("%s: %v\n%s", p, err, rep)
		}
		if p == Mixed && rep.Linear.Good < 16 {
			t.Errorf("shared keys were not used: %+v", rep.Linear)
		}
		if replies, watched := run.Progress(); replies != rep.Requests || watched == 0 {
			t.Errorf("%s: %d replies (%d watched) of %d requests", p, replies, watched, rep.Requests)
		}
		if len(rep.Phases) != 3 || rep.Phases[1].Name != "during" || rep.Phases[1].Watched.Count == 0 || rep.Phases[1].Stall == 0 {
			t.Errorf("%s: phases %+v", p, rep.Phases)
		}
		if again := run.Stop(); again != rep {
			t.Error("the second Stop returns another report")
		}
	}
}

func TestStopEndsAnEndlessLoad(t *testing.T) {
	cfg := testConfig(testbed.Redis(t).Addr(), "set=1,get=1")
	cfg.Requests, cfg.Rate = 0, 5000
	run, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	testbed.Eventually(t, func() error {
		if n, _ := run.Progress(); n < 100 {
			return fmt.Errorf("%d replies", n)
		}
		return nil
	}, 30*time.Second)
	if err := run.Stop().Err(); err != nil {
		t.Error(err)
	}
}

// TestLiesAreFound has one kind of misbehaviour in each case, and the kinds of
// findings that it may lead to; the first one must be there.
func TestLiesAreFound(t *testing.T) {
	server := testbed.Redis(t)
	f := func(name, mix string, act func(x *exchange) []string, want ...Kind) *Report {
		t.Helper()
		var rep *Report
		t.Run(name, func(t *testing.T) {
			l := newLiar(t, server.Addr(), act)
			cfg := testConfig(l.addr(), mix)
			if strings.HasPrefix(name, "shared") {
				// One client, because with several an old value may be one of a legal order.
				cfg.SharedPercent, cfg.SharedKeys, cfg.Clients = 100, 1, 1
			}
			rep = judge(t, cfg)
			if l.fired == 0 {
				t.Fatal("the proxy has told no lie")
			}
			if err := rep.Err(); !errors.Is(err, ErrViolation) || len(want) > 0 && rep.Counts[want[0]] == 0 {
				t.Fatalf("not found, %d lies: %v\n%s", l.fired, err, rep)
			}
			for kind := range rep.Counts {
				found := false
				for _, w := range want {
					found = found || w == kind
				}
				if !found {
					t.Errorf("a finding of kind %s\n%s", kind, rep)
				}
			}
		})
		return rep
	}
	once := func(act func(x *exchange) []string) func(*exchange) []string {
		fired := false
		return func(x *exchange) []string {
			if fired {
				return nil
			}
			replies := act(x)
			fired = replies != nil
			return replies
		}
	}
	twice := func(command string) func(*exchange) []string {
		return once(func(x *exchange) []string {
			if !x.is(command) || x.number < 20 {
				return nil
			}
			x.do(x.args...)
			return []string{x.do(x.args...)}
		})
	}
	f("INCR runs twice", "incr=1,count=1", twice("INCR"), Twice)
	f("RPUSH runs twice", "push=1,range=1", twice("RPUSH"), Twice)
	f("APPEND runs twice", "append=1,text=1", twice("APPEND"), Twice)
	f("shared INCR runs twice", "incr=1,count=1", twice("INCR"), Unordered)
	f("shared RPUSH runs twice", "push=1,range=1", twice("RPUSH"), Unordered)
	f("INCR runs twice, the first reply is given", "incr=1,count=1", once(func(x *exchange) []string {
		if !x.is("INCR") {
			return nil
		}
		reply := x.do(x.args...)
		x.do(x.args...)
		return []string{reply}
	}), Twice)

	// pairs calls act with two requests of one pipeline.
	pairs := func(act func(x *exchange, a, b []string) []string) func(*exchange) []string {
		return func(x *exchange) []string {
			if x.number%pipeline == pipeline-1 || x.number >= 40*pipeline {
				return nil
			}
			a := x.args
			b := x.next()
			if replies := act(x, a, b); replies != nil {
				return replies
			}
			return []string{x.do(a...), x.do(b...)}
		}
	}
	reorder := func(command string) func(*exchange) []string {
		return pairs(func(x *exchange, a, b []string) []string {
			if a[0] != command || b[0] != command || a[1] != b[1] {
				return nil
			}
			second := x.do(b...)
			return []string{x.do(a...), second}
		})
	}
	f("SETs change places", "set=1,get=1", reorder("SET"), Stale, Lost)
	f("RPUSHes change places", "push=1,range=1", reorder("RPUSH"), Wrong, Stale, Twice)
	f("shared SETs change places", "set=1,get=1", reorder("SET"), Unordered)
	f("SET and GET change places", "set=1,get=1", pairs(func(x *exchange, a, b []string) []string {
		if a[0] != "SET" || b[0] != "GET" || a[1] != b[1] {
			return nil
		}
		second := x.do(b...)
		return []string{x.do(a...), second}
	}), Stale)
	swapped := func(command string) func(*exchange) []string {
		done := false
		return pairs(func(x *exchange, a, b []string) []string {
			if done || a[0] != command || b[0] != command || a[1] == b[1] {
				return nil
			}
			first, second := x.do(a...), x.do(b...)
			done = first != second
			return []string{second, first}
		})
	}
	f("replies of GET are swapped", "set=1,get=1", swapped("GET"), Wrong)
	f("replies of INCR are swapped", "incr=1,count=1", swapped("INCR"), Wrong)

	victim := ""
	f("SETs are dropped", "set=1,get=1", func(x *exchange) []string {
		if victim == "" && x.is("SET") && x.number > 10 {
			victim = x.args[1]
		}
		if !x.is("SET") || x.args[1] != victim {
			return nil
		}
		return []string{"+OK\r\n"}
	}, Lost, Stale)
	f("an increment vanishes", "incr=1,count=1", once(func(x *exchange) []string {
		if !x.is("INCR") || x.number < 20 {
			return nil
		}
		reply := x.do(x.args...)
		x.do("DECR", x.args[1])
		return []string{reply}
	}), Lost, Stale)
	f("an element vanishes", "push=1,range=1", once(func(x *exchange) []string {
		if !x.is("RPUSH") || x.number < 20 {
			return nil
		}
		reply := x.do(x.args...)
		x.do("RPOP", x.args[1])
		return []string{reply}
	}), Lost, Stale, Wrong)

	stale := func(command string) func(*exchange) []string {
		seen := make(map[string]string)
		return once(func(x *exchange) []string {
			if !x.is(command) || x.number < 20 {
				return nil
			}
			key := strings.Join(x.args, " ")
			now, old := x.do(x.args...), seen[key]
			seen[key] = now
			if old == "" || old == now {
				return nil
			}
			return []string{old}
		})
	}
	f("a GET is stale", "set=1,get=1", stale("GET"), Stale)
	f("a count is stale", "incr=1,count=1", stale("GET"), Stale)
	f("a HGET is stale", "hset=1,hget=1", stale("HGET"), Stale)
	f("a range is stale", "push=1,range=1", stale("LRANGE"), Stale)
	f("shared GET is stale", "set=1,get=1", stale("GET"), Unordered)

	const refusal = "-TRYAGAIN slot 1 is locked\r\n"
	rep := f("an error", "set=1,get=1", once(func(x *exchange) []string {
		if !x.is("SET") {
			return nil
		}
		return []string{refusal}
	}))
	if rep.Failed != 1 || len(rep.Errors) != 1 || rep.Errors[0].Text != "TRYAGAIN slot 1 is locked" || rep.Errors[0].Slot < 0 {
		t.Errorf("errors %+v", rep.Errors)
	}
	despite := func(command string) func(*exchange) []string {
		return func(x *exchange) []string {
			if !x.is(command) || x.number < 20 {
				return nil
			}
			x.do(x.args...)
			return []string{refusal}
		}
	}
	f("a refused SET runs", "set=1,get=1", despite("SET"), Ran)
	f("a refused INCR runs", "incr=1,count=1", despite("INCR"), Ran)
	f("a refused RPUSH runs", "push=1,range=1", despite("RPUSH"), Ran)
}

// TestOutcomesUnknownAreAccepted answers every ninth write so; a third of those
// runs at once, a third later, when others have been acknowledged, the rest never.
func TestOutcomesUnknownAreAccepted(t *testing.T) {
	server := testbed.Redis(t)
	f := func(reply string) {
		t.Helper()
		n := 0
		var late []string
		l := newLiar(t, server.Addr(), func(x *exchange) []string {
			if x.is("GET") || x.is("LRANGE") || x.is("HGET") || x.is("MGET") {
				return nil
			}
			if n++; n%9 == 5 && late != nil {
				x.do(late...)
				late = nil
			}
			if n%9 != 0 {
				return nil
			}
			switch n / 9 % 3 {
			case 0:
				x.do(x.args...)
			case 1:
				late = x.args
			}
			return []string{reply}
		})
		cfg := testConfig(l.addr(), Defaults(Mixed).Mix.String())
		cfg.SharedPercent, cfg.SharedKeys, cfg.Keys, cfg.KeyHistory = 30, 2, 60, 40
		cfg.Tolerate = func(text string) bool { return strings.HasPrefix(text, "connection lost") }
		rep := judge(t, cfg)
		if err := rep.Err(); err != nil {
			t.Errorf("%v\n%s", err, rep)
		}
		if rep.Unknown < uint64(l.fired) || l.fired == 0 {
			t.Errorf("%d outcomes unknown, %d were", rep.Unknown, l.fired)
		}
	}
	f("-ERR outcome unknown: backend went away\r\n")
	f(hangUp)
}

// TestToleratedErrorsAreCounted refuses writes, which then don't run.
func TestToleratedErrorsAreCounted(t *testing.T) {
	n := 0
	l := newLiar(t, testbed.Redis(t).Addr(), func(x *exchange) []string {
		if n++; n%5 != 0 {
			return nil
		}
		return []string{"-CLUSTERDOWN The cluster is down\r\n"}
	})
	cfg := testConfig(l.addr(), Defaults(Mixed).Mix.String())
	cfg.SharedPercent, cfg.SharedKeys = 20, 2
	cfg.Tolerate = func(text string) bool { return strings.HasPrefix(text, "CLUSTERDOWN") }
	rep := judge(t, cfg)
	if err := rep.Err(); err != nil {
		t.Errorf("%v\n%s", err, rep)
	}
	if len(rep.Errors) != 1 || !rep.Errors[0].Tolerated || rep.Errors[0].Count == 0 || rep.Failed != 0 {
		t.Errorf("errors %+v", rep.Errors)
	}
}

func TestStartRefuses(t *testing.T) {
	f := func(want string, change func(*Config)) {
		t.Helper()
		cfg := Defaults(Baseline)
		change(&cfg)
		if _, err := Start(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	f("loopback", func(c *Config) { c.Addr = "192.0.2.1:6379" })
	f("clients", func(c *Config) { c.Clients = 0 })
	f("profile", func(c *Config) { c.Profile = "soft" })
	f("watched slots", func(c *Config) { c.WatchShare = 0.5 })
	f("no key", func(c *Config) {
		c.WatchShare = 0.5
		c.Watch = func([]byte) bool { return false }
	})
}
