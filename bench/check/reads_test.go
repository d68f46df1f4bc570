package check

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/bench/load"
	"sluice/internal/testbed"
)

// promises are the kinds of findings that a lie must lead to, and may, under each
// consistency; none: it is allowed.
type promises map[Consistency][]Kind

func readsConfig(addr, mix string, c Consistency, observed bool) Config {
	cfg := testConfig(addr, mix)
	cfg.Profile, cfg.Consistency, cfg.EndLimit = Reads, c, 5*time.Second
	if observed {
		cfg.ObservedPercent, cfg.ObservedKeys = 100, 6
	}
	return cfg
}

// TestStaleReadsAreJudgedByTheConsistency has one lie in each case, told under
// every consistency.
func TestStaleReadsAreJudgedByTheConsistency(t *testing.T) {
	t.Parallel()
	server := testbed.Redis(t)
	const requests = 40 * pipeline
	f := func(name, mix string, maxAge time.Duration, act func() func(*exchange) []string, want promises, count func(*Report) uint64) {
		t.Helper()
		for c := range consistencies {
			t.Run(name+", "+c.String(), func(t *testing.T) {
				l := newLiar(t, server.Addr(), act())
				cfg := readsConfig(l.addr(), mix, c, strings.HasPrefix(name, "observed"))
				cfg.MaxAge, cfg.EndLimit = maxAge, 2*time.Minute // What lags is there at the end, however slow that is.
				rep := judge(t, cfg)
				if l.fired == 0 {
					t.Fatal("the proxy has told no lie")
				}
				kinds := want[c]
				if len(kinds) > 0 && rep.Counts[kinds[0]] == 0 {
					t.Errorf("not found, %d lies\n%s", l.fired, rep)
				}
				if err := rep.Err(); (err != nil) != (len(kinds) > 0) {
					t.Errorf("%v\n%s", err, rep)
				}
				for kind := range rep.Counts {
					if !slices.Contains(kinds, kind) {
						t.Errorf("a finding of kind %s\n%s", kind, rep)
					}
				}
				if count != nil && count(rep) == 0 {
					t.Errorf("not counted\n%s", rep)
				}
			})
		}
	}
	staleOwn := func(r *Report) uint64 { return min(r.StaleOwn, r.Own.Stale, uint64(r.Own.Oldest)) }
	staleOthers := func(r *Report) uint64 { return min(r.Others.Stale, uint64(r.Others.Oldest)) }
	older := func(kinds ...Kind) promises {
		return promises{Linearizable: {Stale, Lost}, ReadYourWrites: {Stale}, Monotonic: kinds}
	}

	lag := func(command string) func() func(*exchange) []string {
		return func() func(*exchange) []string { return lagging(command, 12) }
	}
	f("GET lags", "get=1,set=1", 0, lag("GET"), older(), staleOwn)
	f("count lags", "count=1,incr=1", 0, lag("GET"), older(), staleOwn)
	f("HGET lags", "hget=1,hset=1", 0, lag("HGET"), promises{
		Linearizable: {Stale, Lost, Wrong}, ReadYourWrites: {Stale}, // HSET is judged by what was read before it.
	}, staleOwn)
	f("observed GET lags", "get=1,set=1", 0, lag("GET"), promises{Linearizable: {Stale, Lost}}, staleOthers)

	back := func(command string) func() func(*exchange) []string {
		return func() func(*exchange) []string { return goingBack(command) }
	}
	f("GET goes back", "get=1,set=1", 0, back("GET"), older(Back), func(r *Report) uint64 { return min(r.Own.Back, r.StaleOwn) })
	f("count goes back", "count=1,incr=1", 0, back("GET"), older(Back), func(r *Report) uint64 { return min(r.Own.Back, r.StaleOwn) })
	f("observed GET goes back", "get=1,set=1", 0, back("GET"), promises{Linearizable: {Stale, Lost}, Monotonic: {Back}},
		func(r *Report) uint64 { return r.Others.Back })

	nothing := func(own bool) func() func(*exchange) []string {
		return func() func(*exchange) []string { return forgetful("GET", own) }
	}
	f("GET returns nothing", "get=1,set=1", 0, nothing(true), older(Back), staleOwn)
	f("count returns nothing", "count=1,incr=1", 0, nothing(true), older(Back), staleOwn)
	f("observed GET returns nothing", "get=1,set=1", 0, nothing(false), promises{Linearizable: {Stale, Lost}, Monotonic: {Back}}, staleOthers)

	freeze := func(command string) func() func(*exchange) []string {
		return func() func(*exchange) []string { return frozen(command, requests) }
	}
	f("GET is frozen", "get=1,set=1", 0, freeze("GET"), older(), staleOwn)
	f("GET is frozen within the bound", "get=1,set=1", time.Hour, freeze("GET"), older(), staleOwn)
	f("GET is frozen beyond the bound", "get=1,set=1", time.Microsecond, freeze("GET"), promises{
		Linearizable: {Stale, Old, Lost}, ReadYourWrites: {Stale, Old}, Monotonic: {Old}, Eventual: {Old},
	}, func(r *Report) uint64 { return r.Own.TooOld })
	f("MGET is frozen", "mget=1,set=1", 0, freeze("MGET"), older(Back), staleOwn) // Each set of keys froze at another time.
	f("STRLEN is frozen", "strlen=1,set=3", 0, freeze("STRLEN"), older(), staleOwn)
	f("observed GET is frozen", "get=1,set=1", 0, freeze("GET"), promises{Linearizable: {Stale, Lost}}, staleOthers)
	f("observed GET is frozen beyond the bound", "get=1,set=1", time.Microsecond, freeze("GET"), promises{
		Linearizable: {Stale, Lost}, ReadYourWrites: {Old}, Monotonic: {Old}, Eventual: {Old},
	}, func(r *Report) uint64 { return r.Others.TooOld })
}

// TestWhatNoConsistencyAllows is about replies that no replica has, and about
// writes.
func TestWhatNoConsistencyAllows(t *testing.T) {
	server := testbed.Redis(t)
	version := regexp.MustCompile(`:(\d+)`)
	f := func(name, mix string, act func() func(*exchange) []string, want ...Kind) {
		t.Helper()
		for c := range consistencies {
			t.Run(name+", "+c.String(), func(t *testing.T) {
				l := newLiar(t, server.Addr(), act())
				cfg := readsConfig(l.addr(), mix, c, strings.HasPrefix(name, "observed"))
				cfg.EndLimit = 500 * time.Millisecond // What is lost is waited for.
				rep := judge(t, cfg)
				if err := rep.Err(); l.fired == 0 || !errors.Is(err, ErrViolation) || len(want) > 0 && rep.Counts[want[0]] == 0 {
					t.Fatalf("not found, %d lies: %v\n%s", l.fired, err, rep)
				}
				for kind := range rep.Counts {
					if !slices.Contains(want, kind) {
						t.Errorf("a finding of kind %s\n%s", kind, rep)
					}
				}
			})
		}
	}
	// once lies to one request, unless act returns nothing.
	once := func(command string, act func(x *exchange) string) func() func(*exchange) []string {
		return func() func(*exchange) []string {
			fired := false
			return func(x *exchange) []string {
				if fired || !x.is(command) || x.number < 30 {
					return nil
				}
				reply := act(x)
				if fired = reply != ""; !fired {
					return nil
				}
				return []string{reply}
			}
		}
	}
	future := func(x *exchange) string {
		reply := x.do(x.args...)
		if reply[:2] == "$-" {
			return ""
		}
		value := version.ReplaceAllString(strings.Split(reply, "\r\n")[1], ":999999999")
		return fmt.Sprintf("$%d\r\n%s\r\n", len(value), value)
	}
	both := func(name, mix string, act func() func(*exchange) []string, want ...Kind) {
		t.Helper()
		f(name, mix, act, want...)
		f("observed: "+name, mix, act, want...)
	}
	both("a GET returns what was never written", "get=1,set=1", once("GET", future), Wrong)
	both("a GET returns another key's value", "get=1,set=1", once("GET", func(*exchange) string { return "$7\r\nc9k99:1\r\n" }), Wrong)
	both("a SET is dropped", "get=1,set=1", func() func(*exchange) []string {
		victim := ""
		return func(x *exchange) []string {
			if victim == "" && x.is("SET") && x.number > 10 {
				victim = x.args[1]
			}
			if !x.is("SET") || x.args[1] != victim {
				return nil
			}
			return []string{"+OK\r\n"}
		}
	}, Lost, Stale)
	both("a refused SET runs", "get=1,set=1", func() func(*exchange) []string {
		return func(x *exchange) []string {
			if !x.is("SET") || x.number < 20 {
				return nil
			}
			x.do(x.args...)
			return []string{"-TRYAGAIN slot 1 is locked\r\n"}
		}
	}, Ran, Stale, Lost)
	f("an INCR runs twice", "incr=1,count=1", func() func(*exchange) []string {
		fired := false
		return func(x *exchange) []string {
			if fired || !x.is("INCR") || x.number < 20 {
				return nil
			}
			fired = true
			x.do(x.args...)
			return []string{x.do(x.args...)}
		}
	}, Twice)
	f("a length is none of the key's", "strlen=1,set=1", once("STRLEN", func(*exchange) string { return ":3\r\n" }), Wrong)
}

// TestANewConnectionHasWrittenNothing: a client that lost its connection after its
// writes may read older values then, unless reads are linearizable.
func TestANewConnectionHasWrittenNothing(t *testing.T) {
	server := testbed.Redis(t)
	for c := range consistencies {
		m, written := make(memory), make(map[string]bool)
		l := newLiar(t, server.Addr(), func(x *exchange) []string {
			first := x.conn <= 3 // connections before the loss
			switch {
			case first && x.number == 20*pipeline:
				return []string{hangUp}
			case x.is("SET"):
				written[x.args[1]] = written[x.args[1]] || !first
				return nil
			case first:
				m.recall(x)
				return nil
			case written[x.args[1]] || x.number >= 19*pipeline: // The rest of the load, and the final reads.
				return nil
			}
			return []string{m.recall(x)[0]}
		})
		cfg := readsConfig(l.addr(), "get=9,set=1", c, false)
		cfg.Tolerate = func(text string) bool { return strings.HasPrefix(text, "connection lost") }
		rep := judge(t, cfg)
		if err := rep.Err(); (err != nil) != (c == Linearizable) {
			t.Errorf("%s: %v\n%s", c, err, rep)
		}
		if rep.StaleOwn == 0 {
			t.Errorf("%s: no stale read", c)
		}
	}
}

// TestUnknownOutcomesUnderEveryConsistency answers writes so, and lets them run now,
// later or never.
func TestUnknownOutcomesUnderEveryConsistency(t *testing.T) {
	server := testbed.Redis(t)
	for c := range consistencies {
		n := 0
		var late []string
		l := newLiar(t, server.Addr(), func(x *exchange) []string {
			if !x.is("SET") && !x.is("INCR") {
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
			return []string{"-ERR outcome unknown: backend went away\r\n"}
		})
		cfg := readsConfig(l.addr(), "get=2,mget=1,strlen=1,set=2,count=2,incr=1", c, false)
		cfg.ObservedPercent, cfg.ObservedKeys = 40, 6
		rep := judge(t, cfg)
		if err := rep.Err(); err != nil || rep.Unknown == 0 {
			t.Errorf("%s: %v\n%s", c, err, rep)
		}
	}
}

// TestARealReplicaIsAllowed reads at a replica whatever it has.
func TestARealReplicaIsAllowed(t *testing.T) {
	server := testbed.Redis(t)
	replica := testbed.Replica(t, server)
	back := wire{addr: replica.Addr()}
	if err := back.dial(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer back.hangUp()
	for _, c := range []Consistency{Monotonic, Eventual} { // One replica does not go back.
		l := newLiar(t, server.Addr(), func(x *exchange) []string {
			if x.is("SET") || x.is("INCR") {
				return nil
			}
			var reply string
			if err := back.exchange([][]string{x.args}, func(int, load.Reply) { reply = string(back.in) }); err != nil {
				return []string{hangUp}
			}
			return []string{reply}
		})
		cfg := Defaults(Reads)
		cfg.Addr, cfg.Consistency, cfg.Rate, cfg.Requests, cfg.Keys = l.addr(), c, 0, 50*cfg.Pipeline, 64
		rep := judge(t, cfg)
		if err := rep.Err(); err != nil || rep.Own.Reads == 0 || rep.Others.Reads == 0 {
			t.Errorf("%s: %v\n%s", c, err, rep)
		}
	}
}

func TestHonestServerIsNeverStale(t *testing.T) {
	server := testbed.Redis(t)
	for c := range consistencies {
		cfg := Defaults(Reads)
		cfg.Addr, cfg.Consistency, cfg.Rate, cfg.Requests, cfg.MaxAge = server.Addr(), c, 0, 50*cfg.Pipeline, time.Nanosecond
		rep := judge(t, cfg)
		own, others := rep.Own, rep.Others
		if err := rep.Err(); err != nil || rep.StaleOwn+own.Stale+others.Stale+own.Back+others.Back+own.Ahead+own.Beyond > 0 {
			t.Errorf("%s: %v\n%s", c, err, rep)
		}
		if share := float64(own.Reads) / float64(rep.Requests); share < 0.4 || others.Reads < rep.Requests/5 {
			t.Errorf("%s: %d reads of own keys, %d of others'", c, own.Reads, others.Reads)
		}
		if text := rep.String(); !strings.Contains(text, "reads are to be "+c.String()) {
			t.Errorf("the report lacks the reads:\n%s", text)
		}
	}
}

func TestReadsRefuse(t *testing.T) {
	f := func(want string, change func(*Config)) {
		t.Helper()
		cfg := Defaults(Reads)
		change(&cfg)
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	f("shared keys are only judged as linear", func(c *Config) {
		c.Consistency, c.SharedPercent, c.SharedKeys = Eventual, 1, 1
	})
	f("push in the mix", func(c *Config) { c.Consistency, c.Mix = Eventual, mustMix("push=1,get=1,set=1") })
	f("the mix has no write", func(c *Config) { c.Mix = mustMix("get=1") })
	f("the mix has no read", func(c *Config) { c.Mix = mustMix("set=1") })
	f("write share", func(c *Config) { c.WriteShare = 2 })
	f("observed keys", func(c *Config) { c.ObservedKeys = 1 })
	f("one connection", func(c *Config) { c.Clients = 1 })
	f("window", func(c *Config) { c.Window = 1 })
	f("max age", func(c *Config) { c.MaxAge = -1 })
	if _, err := ParseConsistency("strong"); err == nil {
		t.Error("ParseConsistency(strong) has no error")
	}
}
