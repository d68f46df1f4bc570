package proxy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice/internal/testbed"
	"sluice/router"
)

// scenarios are run by every client. A client that is a program of its own goes by these names.
var scenarios = []struct {
	name string
	run  func(*stage)
}{
	{"connect", (*stage).connect},
	{"many keys", (*stage).manyKeys},
	{"pipeline", (*stage).pipeline},
	{"transaction", (*stage).transaction},
	{"watch", (*stage).watch},
	{"publish and subscribe", (*stage).publishAndSubscribe},
	{"sharded publish", (*stage).shardedPublish},
	{"blocking pop", (*stage).blockingPop},
	{"blocking move", (*stage).blockingMove},
	{"blocking stream", (*stage).blockingStream},
	{"script", (*stage).script},
	{"loaded script", (*stage).loadedScript},
	{"scan", (*stage).scan},
}

// stage is what one scenario is played on.
type stage struct {
	*testing.T
	ctx   context.Context
	site  *site
	c     library
	other library // a connection of its own
}

// scenariosOf returns a function that runs all scenarios with clients that open makes.
func scenariosOf(open func(ctx context.Context, addr string) (library, error)) func(*testing.T, *site) {
	return func(t *testing.T, to *site) {
		play := func(name string, run func(*stage)) {
			t.Run(name, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), scenarioWait)
				defer cancel()
				s := &stage{T: t, ctx: ctx, site: to}
				for _, c := range []*library{&s.c, &s.other} {
					opened, err := open(ctx, to.addr)
					if err != nil {
						t.Fatal(err)
					}
					defer opened.close()
					*c = opened
				}
				run(s)
			})
		}
		caching := false
		for _, scenario := range scenarios {
			play(scenario.name, func(s *stage) {
				_, caching = s.c.(cachingLibrary)
				scenario.run(s)
			})
		}
		if caching {
			play("cached read", (*stage).cachedRead)
		}
	}
}

func (s *stage) check(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *stage) wantValue(key, want string) {
	s.Helper()
	if got, err := s.c.get(s.ctx, key); got != want || err != nil {
		s.Fatalf("%s is %q, %v, want %q", key, got, err, want)
	}
}

// manyNames differ enough that every server has some: names that end in 0, 1, 2 are all of one half of Codis' slots.
func manyNames(format string, n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf(format, i*nameStep)
	}
	return names
}

// nameStep is the one in testdata/ioredis/scenarios.js.
const nameStep = 7919

func TestManyNamesAreOnEveryServer(t *testing.T) {
	f := func(model router.Model, servers int) {
		t.Helper()
		for _, format := range []string{
			"many:%d", "pipeline:%d", "transaction:%d", "{watch:%d}", "{move:%d}", "queue:%d", "stream:%d", "script:%d",
			"loaded:%d", "scan:%d", "news:%d", "shard:%d",
		} {
			seen := make(map[int]bool)
			for _, name := range manyNames(format, 8) {
				seen[int(model.Slot([]byte(name)))*servers/model.Slots()] = true
			}
			if len(seen) < servers {
				t.Errorf("%s: %d servers of %d", format, len(seen), servers)
			}
		}
	}
	f(codisModel, 2)
	f(router.ClusterModel(), 3)
}

func (s *stage) connect() {
	s.check(s.c.ping(s.ctx))
	s.check(s.c.set(s.ctx, "connect", "a value"))
	s.wantValue("connect", "a value")
	if got, err := s.c.get(s.ctx, "connect:none"); !errors.Is(err, errMissing) {
		s.Fatalf("a missing key is %q, %v", got, err)
	}
}

func (s *stage) manyKeys() {
	keys := manyNames("many:%d", 40)
	values := make(map[string]string)
	for _, key := range keys {
		values[key] = "value of " + key
	}
	s.check(s.c.mset(s.ctx, values))
	got, err := s.c.mget(s.ctx, append(slices.Clone(keys), "many:none")...)
	s.check(err)
	if len(got) != len(keys)+1 || got[len(keys)] != "" {
		s.Fatalf("MGET: %q", got)
	}
	for i, key := range keys {
		if got[i] != values[key] {
			s.Fatalf("MGET: %s is %q", key, got[i])
		}
	}
	s.check(s.c.del(s.ctx, keys...))
	got, err = s.c.mget(s.ctx, keys...)
	s.check(err)
	if strings.Join(got, "") != "" {
		s.Fatalf("after DEL: %q", got)
	}
}

func (s *stage) pipeline() {
	results, err := s.c.countUp(s.ctx, 7, manyNames("pipeline:%d", 40))
	s.check(err)
	if !slices.Equal(results, slices.Repeat([]int64{8}, 40)) {
		s.Fatalf("the results are %d", results)
	}
}

func (s *stage) transaction() {
	for _, key := range manyNames("transaction:%d", 10) {
		results, err := s.c.transaction(s.ctx, key)
		s.check(err)
		if !slices.Equal(results, []int64{1, 2}) {
			s.Fatalf("the results are %d", results)
		}
	}
}

func (s *stage) watch() {
	for _, name := range manyNames("{watch:%d}", 10) {
		first, second := name+":first", name+":second"
		s.check(s.other.set(s.ctx, first, "1"))
		raced := false
		attempts, err := s.c.increment(s.ctx, first, second, func() {
			if !raced {
				raced = true
				s.check(s.other.set(s.ctx, first, "10"))
			}
		})
		s.check(err)
		if attempts != 2 {
			s.Errorf("%d attempts, want one that fails and one that does not", attempts)
		}
		s.wantValue(first, "11")
		s.wantValue(second, "1")
		attempts, err = s.c.increment(s.ctx, first, second, func() {})
		s.check(err)
		if attempts != 1 {
			s.Errorf("%d attempts with nobody else there", attempts)
		}
		s.wantValue(second, "2")
	}
}

// wantNext checks what arrives. Messages of one publisher come in order, so one that is delivered twice, or after
// the end, stands where another is expected.
func (s *stage) wantNext(from librarySubscription, channel, message string) {
	s.Helper()
	got, err := from.next(s.ctx)
	if err != nil {
		s.Fatalf("waiting for %q: %v", message, err)
	}
	if got != (delivery{channel, message}) {
		s.Fatalf("received %q, want %q on %q", got, message, channel)
	}
}

func (s *stage) publishAndSubscribe() {
	pattern, err := s.c.subscribe(s.ctx, byPattern, "news:*")
	s.check(err)
	for _, channel := range manyNames("news:%d", 8) {
		subscribe := func(c library) librarySubscription {
			named, err := c.subscribe(s.ctx, byChannel, channel)
			s.check(err)
			return named
		}
		publish := func(message string, to ...librarySubscription) {
			s.check(s.c.publish(s.ctx, byChannel, channel, message))
			for _, received := range append(to, pattern) {
				s.wantNext(received, channel, message)
			}
		}
		named, witness := subscribe(s.other), subscribe(s.c)
		publish("one", named, witness)
		publish("two", named, witness)
		s.check(named.end(s.ctx))
		publish("three", witness)
		again := subscribe(s.other)
		publish("four", again, witness)
		s.check(again.end(s.ctx))
		s.check(witness.end(s.ctx))
	}
	s.check(pattern.end(s.ctx))
	s.check(s.c.ping(s.ctx))
	s.check(s.other.ping(s.ctx))
}

func (s *stage) shardedPublish() {
	for _, channel := range manyNames("shard:%d", 8) {
		named, err := s.c.subscribe(s.ctx, byShard, channel)
		s.check(err)
		for _, message := range []string{"one", "two"} {
			s.check(s.other.publish(s.ctx, byShard, channel, message))
			s.wantNext(named, channel, message)
		}
		s.check(named.end(s.ctx))
	}
	s.check(s.c.ping(s.ctx))
}

// whileBlocked runs a command that blocks, calls release when it does, and returns the result.
func (s *stage) whileBlocked(command func() (string, error), release func() error) string {
	s.Helper()
	var value string
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		value, err = command()
	}()
	testbed.Eventually(s.T, func() error {
		select {
		case <-done:
			return nil
		default:
			return s.site.oneBlocked()
		}
	}, scenarioWait)
	select {
	case <-done:
		s.Fatalf("not blocked: %q, %v", value, err)
	default:
	}
	s.check(s.c.ping(s.ctx)) // The client is not blocked as a whole.
	s.check(release())
	<-done
	s.check(err)
	return value
}

func (s *stage) blockingPop() {
	for _, key := range manyNames("queue:%d", 8) {
		got := s.whileBlocked(
			func() (string, error) { return s.c.blpop(s.ctx, key, scenarioWait) },
			func() error { return s.other.push(s.ctx, key, "job") },
		)
		if got != "job" {
			s.Fatalf("BLPOP %s: %q", key, got)
		}
	}
	s.check(s.other.push(s.ctx, "queue:full", "waiting"))
	if got, err := s.c.blpop(s.ctx, "queue:full", scenarioWait); got != "waiting" || err != nil {
		s.Fatalf("BLPOP of what is there: %q, %v", got, err)
	}
	if got, err := s.c.blpop(s.ctx, "queue:none", 100*time.Millisecond); !errors.Is(err, errMissing) {
		s.Fatalf("BLPOP after its timeout: %q, %v", got, err)
	}
	s.check(s.c.ping(s.ctx))
}

func (s *stage) blockingMove() {
	for _, name := range manyNames("{move:%d}", 8) {
		got := s.whileBlocked(
			func() (string, error) { return s.c.blmove(s.ctx, name+":from", name+":to") },
			func() error { return s.other.push(s.ctx, name+":from", "job") },
		)
		if got != "job" {
			s.Fatalf("BLMOVE: %q", got)
		}
		if moved, err := s.c.blpop(s.ctx, name+":to", scenarioWait); moved != "job" || err != nil {
			s.Fatalf("BLMOVE has moved %q, %v", moved, err)
		}
	}
}

func (s *stage) blockingStream() {
	for _, stream := range manyNames("stream:%d", 8) {
		got := s.whileBlocked(
			func() (string, error) { return s.c.xread(s.ctx, stream, scenarioWait) },
			func() error { return s.other.xadd(s.ctx, stream, "event") },
		)
		if got != "event" {
			s.Fatalf("XREAD %s: %q", stream, got)
		}
	}
	if got, err := s.c.xread(s.ctx, "stream:0", 100*time.Millisecond); !errors.Is(err, errMissing) {
		s.Fatalf("XREAD after its timeout: %q, %v", got, err)
	}
	s.check(s.c.ping(s.ctx))
}

// script runs one that no server knows, on every server.
func (s *stage) script() {
	const source = "return redis.call('INCRBY', KEYS[1], ARGV[1])"
	for i, want := range []int64{3, 6} {
		for _, key := range manyNames("script:%d", 10) {
			got, err := s.c.runScript(s.ctx, source, key, "3")
			s.check(err)
			if got != want {
				s.Fatalf("run %d with %s: %d, want %d", i+1, key, got, want)
			}
		}
	}
	_, err := s.c.runScript(s.ctx, "return redis.error_reply('MINE is an error')", "script:0", "3")
	if err == nil || !strings.Contains(err.Error(), "MINE is an error") {
		s.Fatalf("a script with an error: %v", err)
	}
}

func (s *stage) loadedScript() {
	sha, err := s.c.loadScript(s.ctx, "return redis.call('DECRBY', KEYS[1], ARGV[1])")
	s.check(err)
	unknown := strings.Repeat("f", 40)
	have, err := s.c.haveScripts(s.ctx, sha, unknown)
	s.check(err)
	if !slices.Equal(have, []bool{true, false}) {
		s.Fatalf("SCRIPT EXISTS: %t", have)
	}
	for _, key := range manyNames("loaded:%d", 10) {
		got, err := s.other.runLoaded(s.ctx, sha, key, "3")
		s.check(err)
		if got != -3 {
			s.Fatalf("%s: %d", key, got)
		}
		if _, err := s.other.runLoaded(s.ctx, unknown, key, "3"); err == nil || !strings.Contains(err.Error(), "NOSCRIPT") {
			s.Fatalf("a script that is not there: %v", err)
		}
	}
}

func (s *stage) scan() {
	keys := manyNames("scan:%d", 300)
	_, err := s.c.countUp(s.ctx, 1, append(manyNames("not:%d", 20), keys...))
	s.check(err)
	found, err := s.c.scan(s.ctx, "scan:*")
	s.check(err)
	slices.Sort(found)
	slices.Sort(keys)
	if found = slices.Compact(found); !slices.Equal(found, keys) {
		s.Fatalf("%d keys of %d: %.300q", len(found), len(keys), found)
	}
}

// cachedRead lets the library keep what it has read. Either it learns that somebody has changed it, or it is told
// that there is no such thing, and goes on.
func (s *stage) cachedRead() {
	c := s.c.(cachingLibrary)
	s.check(s.other.set(s.ctx, "cached", "old"))
	got, err := c.cachedGet(s.ctx, "cached")
	if err != nil && (s.site.through == nil || s.ctx.Err() != nil) {
		s.Fatal(err)
	}
	if err != nil {
		s.check(c.ping(s.ctx))
		s.wantValue("cached", "old")
		return
	}
	if got != "old" {
		s.Fatalf("a cached read: %q", got)
	}
	s.check(s.other.set(s.ctx, "cached", "new"))
	testbed.Eventually(s.T, func() error {
		got, err := c.cachedGet(s.ctx, "cached")
		if err == nil && got != "new" {
			err = fmt.Errorf("the cache says %q for good", got)
		}
		return err
	}, scenarioWait)
}
