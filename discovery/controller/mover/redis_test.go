package mover

import (
	"fmt"
	"strings"
	"testing"

	"sluice/discovery/controller"
	"sluice/internal/testbed"
)

// Keys of the slots travel, in every database and of every type; all others stay.
func TestRedisMovesTheSlots(t *testing.T) {
	t.Parallel()
	source, target := testbed.Redis(t), testbed.Redis(t)
	b := batch(source.Addr(), target.Addr())
	b.Pace.Keys = 7
	keys := b.keysOf(50)
	for i, key := range keys {
		switch i % 5 {
		case 0:
			source.Do("SET", key, "v", "PX", "500000")
		case 1:
			source.Do("RPUSH", key, "a", "b")
		case 2:
			source.Do("HSET", key, "f", "v")
		case 3:
			source.Do("ZADD", key, "1e-9", "m")
		case 4:
			source.Do("XADD", key, "*", "f", "v")
		}
	}
	source.Do("SET", "stays", "v")
	for b.Model.Slot([]byte("stays")) < 8 {
		t.Fatal("the key that is to stay is one of the slots'")
	}
	raw(t, source.Addr(), "+OK\r\n+OK\r\n", []string{"SELECT", "3"}, []string{"SET", keys[0], "in 3"})
	m := redis{}
	if err := m.Check(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	var last controller.Progress
	if err := m.Copy(t.Context(), b, func(p controller.Progress) { last = p }); err != nil {
		t.Fatal(err)
	}
	if err := m.Verify(t.Context(), b); err != nil {
		t.Error(err)
	}
	if last.Keys != 51 {
		t.Errorf("%d keys were reported, want 51", last.Keys)
	}
	for _, key := range keys {
		if n := target.Do("EXISTS", key).Integer(); n != 1 {
			t.Errorf("the target lacks %s", key)
		}
	}
	if ttl := target.Do("PTTL", keys[0]).Integer(); ttl < 1 {
		t.Errorf("the TTL has become %d", ttl)
	}
	if got := target.Do("ZSCORE", keys[3], "m").String(); got != "1e-09" && got != "1.0000000000000001e-09" {
		t.Errorf("the score has become %s", got)
	}
	if got := source.Do("GET", "stays").String(); got != "v" {
		t.Error("a key of another slot is gone")
	}
	raw(t, target.Addr(), "+OK\r\n$4\r\nin 3\r\n", []string{"SELECT", "3"}, []string{"GET", keys[0]})
}

// A key that both sides have, because a MIGRATE could not delete it, is deleted at the source if it is the same; if it
// is not, nothing is deleted, and the error names both.
func TestRedisKeyOnBothSides(t *testing.T) {
	t.Parallel()
	source, target := testbed.Redis(t), testbed.Redis(t)
	b := batch(source.Addr(), target.Addr())
	keys := b.keysOf(20)
	for _, key := range keys {
		source.Do("SET", key, "v")
	}
	target.Do("SET", keys[3], "v")
	m := redis{}
	wantFinal(t, m.Check(t.Context(), b), fmt.Sprintf("has 1 keys of them already, such as %q", keys[3]))
	if err := m.Copy(t.Context(), b, ignore); err != nil {
		t.Fatal(err)
	}
	if err := m.Verify(t.Context(), b); err != nil {
		t.Error(err)
	}
	source.Do("SET", keys[3], "newer")
	wantFinal(t, m.Verify(t.Context(), b), "somebody has written to it past the proxies")
	err := m.Copy(t.Context(), b, ignore)
	both := `the key %q is at %s (a string of 5, "newer") and at %s (a string of 1, "v")`
	wantFinal(t, err, fmt.Sprintf(both, keys[3], b.Source, b.Target))
	if a, c := source.Do("GET", keys[3]).String(), target.Do("GET", keys[3]).String(); a != "newer" || c != "v" {
		t.Errorf("the source has %q, the target %q", a, c)
	}
}

// The password of the servers goes with MIGRATE.
func TestRedisWithAPassword(t *testing.T) {
	t.Parallel()
	source, target := testbed.Redis(t, "--requirepass", "secret"), testbed.Redis(t, "--requirepass", "secret")
	b := batch(source.Addr(), target.Addr())
	m := redis{}
	if err := m.Check(t.Context(), b); err == nil || !strings.Contains(err.Error(), "NOAUTH") {
		t.Errorf("without the password: %v", err)
	}
	b.Access.Password = "secret"
	key := b.keysOf(1)[0]
	raw(t, source.Addr(), "+OK\r\n+OK\r\n", []string{"AUTH", "secret"}, []string{"SET", key, "v"})
	if err := m.Copy(t.Context(), b, ignore); err != nil {
		t.Fatal(err)
	}
	raw(t, target.Addr(), "+OK\r\n$1\r\nv\r\n", []string{"AUTH", "secret"}, []string{"GET", key})
}

// After a MIGRATE that nobody has answered, the connections that it has opened are ended at the target, and others are
// not.
func TestRedisEndsWhatMayStillArrive(t *testing.T) {
	t.Parallel()
	source, target := testbed.Redis(t), testbed.Redis(t)
	b := batch(source.Addr(), target.Addr())
	key := b.keysOf(1)[0]
	source.Do("SET", key, "v")
	m := redis{}
	if err := m.Copy(t.Context(), b, ignore); err != nil {
		t.Fatal(err)
	}
	imports := func() int { return strings.Count(target.Do("CLIENT", "LIST").String(), "cmd=restore") }
	if imports() != 1 {
		t.Fatalf("the source keeps %d connections to the target", imports())
	}
	w := &redisWork{b: b}
	var err error
	if w.source, err = b.dial(t.Context(), b.Source); err != nil {
		t.Fatal(err)
	}
	defer w.source.Close()
	if err := w.endImports(t.Context()); err != nil {
		t.Fatal(err)
	}
	if imports() != 0 {
		t.Error("the connection of MIGRATE is still there")
	}
}
