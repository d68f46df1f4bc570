package check

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"sluice/internal/testbed"
)

// sessionConfig has no load but sessions, as fast as they can.
func sessionConfig(addr string, s Sessions) Config {
	cfg := testConfig(addr, "get=1")
	cfg.Clients, cfg.Keys, cfg.Requests = 1, 8, 120
	cfg.KeyHistory = 60
	s.BlockTime, s.Slack = 200*time.Millisecond, 20*time.Second
	cfg.Sessions = s
	return cfg
}

func runSessions(t *testing.T, cfg Config) *Report {
	t.Helper()
	run, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-run.Done():
	case <-time.After(time.Minute):
		t.Error("the sessions have not ended within a minute")
	}
	return run.Stop()
}

func TestHonestServerPassesSessions(t *testing.T) {
	cfg := Defaults(Full)
	cfg.Addr, cfg.Requests, cfg.Keys, cfg.Rate, cfg.Slot = testbed.Redis(t).Addr(), 160, 1000, 0, ClusterSlot
	cfg.Sessions.Rate, cfg.Sessions.BlockTime = 0, 200*time.Millisecond
	rep := runSessions(t, cfg)
	if err := rep.Err(); err != nil || rep.Unknown > 0 || len(rep.Errors) > 0 || rep.Linear.Unknown > 0 {
		t.Errorf("%v\n%s", err, rep)
	}
	if len(rep.Steps) != int(stepKinds) {
		t.Errorf("some steps were not done:\n%s", rep)
	}
	for _, s := range rep.Steps {
		if s.Done == 0 {
			t.Errorf("%s was not done:\n%s", s.Name, rep)
		}
	}
}

// TestSessionLiesAreFound breaks transactions, scripts, pops and streams; the first kind of finding must be there, the
// others may be.
func TestSessionLiesAreFound(t *testing.T) {
	server := testbed.Redis(t)
	f := func(name string, s Sessions, act func(x *exchange) []string, want ...Kind) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLiar(t, server.Addr(), act)
			cfg := sessionConfig(l.addr(), s)
			if want[0] == Untimely {
				cfg.Sessions.Slack = 100 * time.Millisecond
				cfg.Tolerate = func(text string) bool { return strings.HasPrefix(text, "no reply within") }
			} else if want[0] == Ran {
				cfg.Tolerate = func(text string) bool { return strings.HasPrefix(text, "TRYAGAIN") }
			}
			rep := runSessions(t, cfg)
			if l.fired == 0 {
				t.Fatal("the proxy has told no lie")
			}
			if err := rep.Err(); !errors.Is(err, ErrViolation) || rep.Counts[want[0]] == 0 {
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
	}
	once := func(act func(x *exchange) []string) func(*exchange) []string {
		fired := false
		return func(x *exchange) []string {
			if fired || x.number < 20 {
				return nil
			}
			replies := act(x)
			fired = replies != nil
			return replies
		}
	}
	on := func(command string, act func(x *exchange) []string) func(*exchange) []string {
		return once(func(x *exchange) []string {
			if !x.is(command) {
				return nil
			}
			return act(x)
		})
	}
	again := func(x *exchange) []string {
		x.do(x.args...)
		return []string{x.do(x.args...)}
	}
	const refusal = "-TRYAGAIN slot 1 is locked\r\n"
	despite := func(x *exchange) []string {
		x.do(x.args...)
		return []string{refusal}
	}

	tx := Sessions{Transactions: 3}
	pairKey := func(x *exchange) bool { return len(x.args) > 1 && strings.HasSuffix(x.args[1], ".b") }
	f("half of a transaction runs", tx, on("SET", func(x *exchange) []string {
		if !pairKey(x) {
			return nil
		}
		return []string{x.do("SET", x.args[1]+"x", x.args[2])}
	}), Wrong)
	pairs := make(map[int]bool) // connections whose transaction is one of a pair
	f("a transaction is lost", tx, once(func(x *exchange) []string {
		if !x.is("EXEC") || !pairs[x.conn] {
			pairs[x.conn] = x.is("SET") && pairKey(x)
			return nil
		}
		x.do("DISCARD")
		return []string{"*4\r\n$-1\r\n$-1\r\n+OK\r\n+OK\r\n"}
	}), Unordered)
	f("WATCH is ignored", tx, func(x *exchange) []string {
		if !x.is("WATCH") {
			return nil
		}
		return []string{"+OK\r\n"}
	}, Unordered)
	f("a refused transaction runs", tx, func(x *exchange) []string {
		if !x.is("EXEC") || x.number%7 != 0 {
			return nil
		}
		return despite(x)
	}, Ran, Unordered)

	lua := Sessions{Scripts: 3}
	f("a script runs twice", lua, on("EVALSHA", func(x *exchange) []string {
		if x.args[1] == swapScript.sha || strings.HasPrefix(x.do(x.args...), "-") {
			return nil
		}
		return []string{x.do(x.args...)}
	}), Unordered)
	f("a script is dropped", lua, on("EVALSHA", func(x *exchange) []string {
		if x.args[1] != swapScript.sha {
			return nil
		}
		return []string{":1\r\n"}
	}), Unordered)
	f("a refused script runs", lua, func(x *exchange) []string {
		if !strings.HasPrefix(x.args[0], "EVAL") || x.number%7 != 0 {
			return nil
		}
		return despite(x)
	}, Ran, Unordered)

	pops := Sessions{Pops: 1, Moves: true}
	f("an element is dropped", pops, on("RPUSH", func(x *exchange) []string { return []string{":1\r\n"} }), Lost)
	f("an element comes twice", pops, on("RPUSH", again), Twice, Wrong)
	f("a refused element is there", pops, on("RPUSH", despite), Ran)
	f("a pop finds nothing", pops, on("BLPOP", func(x *exchange) []string { return []string{"*-1\r\n"} }), Untimely, Stale)
	f("a pop does not come back", pops, on("BLMOVE", func(x *exchange) []string { return []string{} }), Untimely)
	f("elements change places", pops, func(x *exchange) []string {
		if !x.is("RPUSH") {
			return nil
		}
		return []string{x.do("LPUSH", x.args[1], x.args[2])}
	}, Wrong)
	done := ""
	f("a moved element is gone", pops, once(func(x *exchange) []string {
		if x.is("BLMOVE") {
			done = x.args[2]
		}
		if !x.is("RPUSH") || done == "" || strings.HasPrefix(x.do("RPOP", done), "$-1") {
			return nil
		}
		return []string{x.do(x.args...)}
	}), Lost)

	streams := Sessions{Streams: 1}
	f("an entry is dropped", streams, on("XADD", func(x *exchange) []string {
		return []string{fmt.Sprintf("$%d\r\n%s\r\n", len(x.args[2]), x.args[2])}
	}), Lost)
	skipped := false
	f("an entry is left out", streams, func(x *exchange) []string {
		if last := len(x.args) - 1; x.is("XREAD") && !skipped {
			n, _ := strconv.Atoi(strings.TrimSuffix(x.args[last], "-0"))
			x.args[last] = entryID(n + 1)
			skipped, x.twisted = true, true
		}
		return nil
	}, Lost)
	// give has the group give an entry to one who does not ask, and returns the replies to the XADD and to that one.
	give := func(x *exchange, consumer string) (added, given string) {
		x.do("MULTI")
		x.do(x.args...)
		x.do("XREADGROUP", "GROUP", groupName, consumer, "STREAMS", x.args[1], ">")
		replies := strings.TrimPrefix(x.do("EXEC"), "*2\r\n")
		at := strings.Index(replies, "*")
		return replies[:at], replies[at:]
	}
	both, told := "", make(map[string]bool)
	f("a group gets an entry twice", streams, func(x *exchange) []string {
		const isNew = 11 // arguments of an XREADGROUP that asks for new entries
		switch {
		case x.is("XADD") && both == "":
			added, given := give(x, consumerName(0))
			both = given
			return []string{added}
		case x.is("XREADGROUP") && len(x.args) == isNew && both != "" && !told[x.args[3]]:
			told[x.args[3]] = true
			return []string{both}
		}
		return nil
	}, Twice, Wrong)
	f("a group loses an entry", streams, on("XADD", func(x *exchange) []string {
		added, _ := give(x, "thief")
		return []string{added}
	}), Lost)
	f("a group's read finds nothing", streams, on("XREADGROUP", func(x *exchange) []string { return []string{"*-1\r\n"} }), Untimely, Stale)
	f("a refused entry is there", streams, on("XADD", despite), Ran)
}
