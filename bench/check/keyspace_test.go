package check

import (
	"slices"
	"strings"
	"testing"
)

func TestSlots(t *testing.T) {
	f := func(slot func([]byte) int, key string, want int) {
		t.Helper()
		if got := slot([]byte(key)); got != want {
			t.Errorf("%q: slot %d, want %d", key, got, want)
		}
	}
	f(ClusterSlot, "123456789", 0x31c3)
	f(ClusterSlot, "a{123456789}b", 0x31c3)
	f(ClusterSlot, "{}a", ClusterSlot([]byte("{}a")))
	f(CodisSlot, "123456789", 0xcbf43926%1024)
	f(CodisSlot, "a{123456789}b", 0xcbf43926%1024)
	f(CodisSlot, "{}a", 0)

	s, err := ParseSlots("0-3, 9")
	if err != nil || !s.Contains(0) || !s.Contains(3) || s.Contains(4) || !s.Contains(9) {
		t.Errorf("got %+v, %v", s, err)
	}
	for _, bad := range []string{"x", "3-1", "-1", "1-99999", "1,"} {
		if _, err := ParseSlots(bad); err == nil {
			t.Errorf("ParseSlots(%q) has no error", bad)
		}
	}
}

func TestMix(t *testing.T) {
	m, err := ParseMix("set=3, get")
	if err != nil || m.String() != "get=1,set=3" {
		t.Errorf("got %s, %v", m, err)
	}
	for _, bad := range []string{"", "set=-1", "blpop=1", "set=0"} {
		if _, err := ParseMix(bad); err == nil {
			t.Errorf("ParseMix(%q) has no error", bad)
		}
	}
}

// unconnected makes the clients of a run with their keys.
func unconnected(t *testing.T, cfg Config) *Run {
	t.Helper()
	r := &Run{cfg: cfg, journal: newJournal(&cfg)}
	r.space = newKeyspace(&r.cfg)
	for i := range cfg.Clients {
		r.clients = append(r.clients, newClient(i, r))
	}
	if err := r.space.fill(r.clients); err != nil {
		t.Fatal(err)
	}
	for _, c := range r.clients {
		c.begin(nil)
	}
	return r
}

func TestSeedDecidesOperations(t *testing.T) {
	draw := func(seed uint64) (out []string) {
		cfg := Defaults(Baseline)
		cfg.Seed, cfg.Keys = seed, 200
		cfg.Mix = mustMix("get=1,set=1,incr=1,mset=1,hset=1,del=1")
		for _, c := range unconnected(t, cfg).clients {
			for range 50 {
				out = append(out, strings.Join(c.request(cfg.Mix.draw(c.rng), false).args, " "))
			}
		}
		return out
	}
	if a, b := draw(1), draw(1); !slices.Equal(a, b) {
		t.Error("the same seed draws other requests")
	}
	if a, b := draw(1), draw(2); slices.Equal(a, b) {
		t.Error("another seed draws the same requests")
	}
}

func TestBaselineKeys(t *testing.T) {
	cfg := Defaults(Baseline)
	cfg.Watch = func(key []byte) bool { return CodisSlot(key) < 16 }
	cfg.WatchShare, cfg.Filler = 0.25, 50
	r := unconnected(t, cfg)
	all, capitals, loaded, watched, counters := 0, 0, 0, 0, 0
	seen := make(map[string]bool)
	note := func(key string, isLoaded, isWatched bool) {
		if seen[key] || isWatched != cfg.Watch([]byte(key)) {
			t.Errorf("key %s: twice = %t, watched = %t", key, seen[key], isWatched)
		}
		seen[key] = true
		all++
		capitals += count(strings.Contains(key, ":User:Name"))
		loaded += count(isLoaded)
		watched += count(isWatched)
	}
	for _, c := range r.clients {
		for _, k := range c.values {
			note(k.key, k.base != "", k.watched)
		}
		for _, k := range c.counters {
			note(k.key, k.loaded, k.watched)
			counters++
		}
	}
	if all != 20_000 || counters != 10_000 || watched != 5000 {
		t.Errorf("%d keys, %d counters, %d watched", all, counters, watched)
	}
	if capitals < 9500 || capitals > 10_500 || loaded < 17_700 || loaded > 18_300 {
		t.Errorf("%d keys with capitals, %d loaded", capitals, loaded)
	}
	for _, key := range r.space.filler {
		if !cfg.Watch([]byte(key)) {
			t.Errorf("filler %s is not in a watched slot", key)
		}
	}
}

func count(yes bool) int {
	if yes {
		return 1
	}
	return 0
}
