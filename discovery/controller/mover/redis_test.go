package mover

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"sluice/discovery/controller"
	"sluice/internal/control"
	"sluice/internal/testbed"
)

// Keys of the slots travel, in every database and of every type; all others stay.
func TestRedisMovesTheSlots(t *testing.T) {
	t.Parallel()
	source, target, b := redisPair(t)
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

// A key that both sides have was brought before and could not be deleted at the source: what the target has stays.
func TestRedisKeyOnBothSides(t *testing.T) {
	t.Parallel()
	source, target, b := redisPair(t)
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
	wantError(t, m.Verify(t.Context(), b), "somebody may have written to it past the proxies")
}

// The sample of a command is compared before the source forgets it: what is different stops the move, and stays.
func TestRedisDifferentSample(t *testing.T) {
	t.Parallel()
	source, target, b := redisPair(t)
	key := b.keysOf(1)[0]
	for name, make := range map[string][2][]string{
		"string": {{"SET", key, "newer"}, {"SET", key, "v"}},
		"type":   {{"SET", key, "v"}, {"RPUSH", key, "v"}},
		"list":   {{"RPUSH", key, "a", "b"}, {"RPUSH", key, "a", "c"}},
		"hash":   {{"HSET", key, "a", "1", "b", "2"}, {"HSET", key, "a", "2", "b", "1"}},
		"set":    {{"SADD", key, "a", "b"}, {"SADD", key, "a", "c"}},
		"zset":   {{"ZADD", key, "1", "a"}, {"ZADD", key, "2", "a"}},
		"stream": {{"XADD", key, "1-1", "f", "v"}, {"XADD", key, "1-2", "f", "v"}},
		"end":    {{"SET", key, "v"}, {"SET", key, "v", "EX", "1000"}},
	} {
		source.Do("DEL", key)
		target.Do("DEL", key)
		source.Do(make[0]...)
		target.Do(make[1]...)
		err := redis{}.Copy(t.Context(), b, ignore)
		wantFinal(t, err, fmt.Sprintf("the key %q is at %s (a ", key, b.Source))
		if source.Do("EXISTS", key).Integer() != 1 || target.Do("EXISTS", key).Integer() != 1 {
			t.Errorf("%s: one of them is gone", name)
		}
	}
}

// What was brought once is not brought again when a client has deleted it, however late a request comes; and behind the
// end of the move nothing is brought at all.
func TestRedisLateRequests(t *testing.T) {
	t.Parallel()
	source, target, b := redisPair(t)
	keys := b.keysOf(2)
	source.Do("SET", keys[0], "old")
	w, err := b.begin(t.Context(), ignore)
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	late := func(key string) error {
		return w.restore(t.Context(), 0, []restored{{key: key, dump: dumpOf(source, keys[0])}})
	}
	old := dumpOf(source, keys[0])
	if err := w.keys(t.Context(), 0, keys[:1]); err != nil {
		t.Fatal(err)
	}
	target.Do("DEL", keys[0])
	if err := w.restore(t.Context(), 0, []restored{{key: keys[0], dump: old}}); err != nil {
		t.Fatal(err)
	}
	if target.Do("EXISTS", keys[0]).Integer() != 0 {
		t.Error("a key that a client has deleted is back")
	}
	source.Do("SET", keys[0], "past the proxies")
	if err := (redis{}).Clean(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{"bring": late(keys[1]), "drop": w.drop(t.Context(), 0, keys[:1])} {
		if lost := (Lost{}); !errors.As(err, &lost) || !strings.Contains(err.Error(), "knows of no such move") {
			t.Errorf("%s behind the end: %v", what, err)
		}
	}
	if source.Do("EXISTS", keys[0]).Integer() != 1 || target.Do("EXISTS", keys[1]).Integer() != 0 {
		t.Error("a request behind the end of the move has done something")
	}
}

func dumpOf(r *testbed.Server, key string) string { return r.Do("DUMP", key).String() }

// A key that ends does not live longer because its way takes long.
func TestRedisTimeToLive(t *testing.T) {
	t.Parallel()
	source, target, b := redisPair(t)
	keys := b.keysOf(2)
	source.Do("SET", keys[0], "v", "PX", "500000")
	source.Do("SET", keys[1], "v", "PX", "500000")
	w, err := b.begin(t.Context(), ignore)
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	clock, err := w.clock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i, late := range []int64{400000, 600000} { // As if it was read so long ago.
		life := control.Value{Kind: control.Integer, Text: "500000"}
		r, err := w.restored(keys[i], control.Value{Kind: control.Bulk, Text: dumpOf(source, keys[i])}, life, clock-late)
		if err == nil {
			err = w.restore(t.Context(), 0, []restored{r})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if ttl := target.Do("PTTL", keys[0]).Integer(); ttl < 1 || ttl > 100000 {
		t.Errorf("a key has %d ms left of 100 s", ttl)
	}
	if target.Do("EXISTS", keys[1]).Integer() != 0 {
		t.Error("a key that has ended is alive again")
	}
}

// A mover that may have been deposed sends nothing.
func TestFencedMoverSendsNothing(t *testing.T) {
	t.Parallel()
	source, target, b := redisPair(t)
	key := b.keysOf(1)[0]
	source.Do("SET", key, "v")
	b.Fence = func() error { return errors.New("deposed") }
	if err := (redis{}).Copy(t.Context(), b, ignore); err == nil || err.Error() != "deposed" {
		t.Errorf("the error is %v", err)
	}
	if source.Do("EXISTS", key).Integer() != 1 || target.Do("EXISTS", key).Integer() != 0 {
		t.Error("the key was moved")
	}
}

// A batch that is turned round: the former source is the target now, and a request of the way there to delete a key that
// has come back is not obeyed.
func TestRedisLateDropBehindATurn(t *testing.T) {
	t.Parallel()
	source, target, b := redisPair(t)
	key := b.keysOf(1)[0]
	source.Do("SET", key, "v")
	there, err := b.begin(t.Context(), ignore)
	if err != nil {
		t.Fatal(err)
	}
	defer there.close()
	if _, _, err := there.bring(t.Context(), 0, []string{key}, []string{key}, maxBring); err != nil {
		t.Fatal(err)
	}
	back := b
	back.Source, back.Target, back.Token, back.Tokens = b.Target, b.Source, 9, []uint64{7, 9}
	if err := (redis{}).Prepare(t.Context(), back); err != nil {
		t.Fatal(err)
	}
	if err := (redis{}).Copy(t.Context(), back, ignore); err != nil {
		t.Fatal(err)
	}
	if lost := (Lost{}); !errors.As(there.drop(t.Context(), 0, []string{key}), &lost) {
		t.Error("the late request was obeyed")
	}
	if source.Do("GET", key).String() != "v" || target.Do("EXISTS", key).Integer() != 0 {
		t.Error("the key is not where it was")
	}
	if err := (redis{}).Clean(t.Context(), back); err != nil {
		t.Fatal(err)
	}
	if n := source.Do("DBSIZE").Integer() + target.Do("DBSIZE").Integer(); n != 1 {
		t.Errorf("there are %d keys, want 1", n)
	}
}

// A server that loses the marker says so, and nothing is deleted at the source.
func TestRedisFlushedTarget(t *testing.T) {
	t.Parallel()
	source, target, b := redisPair(t)
	key := b.keysOf(1)[0]
	source.Do("SET", key, "v")
	target.Do("FLUSHALL")
	err := redis{}.Copy(t.Context(), b, ignore)
	if lost := (Lost{}); !errors.As(err, &lost) || !strings.Contains(err.Error(), b.Target) {
		t.Errorf("the error is %v", err)
	}
	if source.Do("EXISTS", key).Integer() != 1 {
		t.Error("the source has lost the key")
	}
}

// A target that is full names the key that it refuses; and the move goes on when there is room.
func TestRedisFullTarget(t *testing.T) {
	t.Parallel()
	source, target, b := redisPair(t)
	keys := b.keysOf(30)
	for _, key := range keys {
		source.Do("SET", key, strings.Repeat("v", 1000))
	}
	target.Do("CONFIG", "SET", "maxmemory", "1")
	w, err := b.begin(t.Context(), ignore)
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	err = w.keys(t.Context(), 0, keys)
	if final := (Final{}); err == nil || errors.As(err, &final) || !strings.Contains(err.Error(), "has refused the key") ||
		!strings.Contains(err.Error(), "OOM") {
		t.Errorf("the error is %v", err)
	}
	target.Do("CONFIG", "SET", "maxmemory", "0")
	if err := (redis{}).Copy(t.Context(), b, ignore); err != nil {
		t.Error(err)
	}
	if n := target.Do(append([]string{"EXISTS"}, keys...)...).Integer(); n != 30 {
		t.Errorf("the target has %d of 30 keys", n)
	}
}

// A user who may not do what a move needs is told before the move, and nothing of the try is left.
func TestRedisCheckTriesWhatAMoveNeeds(t *testing.T) {
	t.Parallel()
	source, target, b := redisPair(t)
	if err := (redis{}).Clean(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	target.Do("ACL", "SETUSER", "mover", "on", "nopass", "~*", "+@all", "-restore")
	source.Do("ACL", "SETUSER", "mover", "on", "nopass", "~*", "+@all")
	b.Access.User, b.Access.Password = "mover", "x"
	wantFinal(t, redis{}.Check(t.Context(), b), "a move needs DUMP, PTTL, RESTORE")
	target.Do("ACL", "SETUSER", "mover", "+restore", "-eval")
	wantFinal(t, redis{}.Check(t.Context(), b), "NOPERM")
	target.Do("ACL", "SETUSER", "mover", "+eval")
	if err := (redis{}).Check(t.Context(), b); err != nil {
		t.Error(err)
	}
	for _, r := range []*testbed.Server{source, target} {
		if n := r.Do("DBSIZE").Integer(); n != 0 {
			t.Errorf("%d keys are left of it at %s", n, r.Addr())
		}
	}
}

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
	if err := m.Prepare(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if err := m.Copy(t.Context(), b, ignore); err != nil {
		t.Fatal(err)
	}
	raw(t, target.Addr(), "+OK\r\n$1\r\nv\r\n", []string{"AUTH", "secret"}, []string{"GET", key})
}

// redisPair is a batch between two servers that is prepared.
func redisPair(t *testing.T) (source, target *testbed.Server, b Batch) {
	t.Helper()
	source, target = testbed.Redis(t), testbed.Redis(t)
	b = batch(source.Addr(), target.Addr())
	b.Token, b.Tokens = 7, []uint64{7}
	if err := (redis{}).Prepare(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	return source, target, b
}
