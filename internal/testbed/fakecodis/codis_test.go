package fakecodis

import (
	"strings"
	"testing"
)

// TestCodisBatchHoldsItsKeys: while a batch runs its client waits; the wrapper serves reads and refuses writes to its
// keys and their tags; direct writes are done and lost.
func TestCodisBatchHoldsItsKeys(t *testing.T) {
	s, target := StartCodisServer(t, Options{}), StartCodisServer(t, Options{})
	s.Do("HSET", "{big}h", "f1", "v")
	s.Do("SET", "{big}s", "old")
	s.Do("SET", "{other}s", "1")
	hold := s.Faults.Hold(AsyncDelete)
	moved := later(t, s, batchOf(s, target, "{big}", 10)...)
	arrived(t, hold)
	c := connect(t, s)
	c.expect(t, "*2\r\n:2\r\n$1\r\nv\r\n", wrapped("{big}h", "HGET", "{big}h", "f1")...)
	busy := "*2\r\n:1\r\n-ERR the specified key is being migrated\r\n"
	c.expect(t, busy, wrapped("{big}h", "HSET", "{big}h", "f1", "x")...)
	c.expect(t, busy, wrapped("{big}s", "SET", "{big}s", "2")...)
	c.expect(t, "*2\r\n:0\r\n-ERR the specified key doesn't exist\r\n", wrapped("{big}new", "SET", "{big}new", "2")...)
	c.expect(t, "*2\r\n:2\r\n+OK\r\n", wrapped("{other}s", "SET", "{other}s", "2")...)
	s.Do("SET", "{big}late", "1") // Not in the batch, but of its tag.
	c.expect(t, busy, wrapped("{big}late", "SET", "{big}late", "2")...)
	c.expect(t, "+OK\r\n", "SET", "{big}s", "direct")
	c.expect(t, CodisBusy, "SLOTSMGRTTAGONE-ASYNC", host, port(target), "1000", "200", "1000", "{other}s")
	if status := c.mustAsk(t, "SLOTSMGRT-ASYNC-STATUS"); !strings.HasPrefix(status, "*18\r\n$4\r\nhost\r\n") {
		t.Errorf("status %q", status)
	}
	fence := later(t, s, "SLOTSMGRT-ASYNC-FENCE")
	running(t, s, "SLOTSMGRT-ASYNC-FENCE", 1)
	hold.Release()
	for _, reply := range []func() string{moved, fence} {
		if got := reply(); got != pairReply(2, 3) {
			t.Errorf("got %q", got)
		}
	}
	c.expect(t, "*2\r\n:0\r\n-ERR the specified key doesn't exist\r\n", wrapped("{big}h", "HGET", "{big}h", "f1")...)
	has(t, of(target), "{big}s", "old")
}

func TestCodisCancel(t *testing.T) {
	s, target := StartCodisServer(t, Options{}), StartCodisServer(t, Options{})
	s.Do("SET", "a", "1")
	target.Faults.Freeze()
	moved := later(t, s, batchOf(s, target, "a", 10)...)
	running(t, s, "SLOTSMGRTTAGSLOT-ASYNC", 1)
	c := connect(t, s)
	fence := later(t, s, "SLOTSMGRT-ASYNC-FENCE")
	running(t, s, "SLOTSMGRT-ASYNC-FENCE", 1)
	c.expect(t, ":1\r\n", "SLOTSMGRT-ASYNC-CANCEL")
	if a, b := moved(), fence(); a != CodisCanceled || b != CodisCanceled {
		t.Errorf("got %q and %q", a, b)
	}
	c.expect(t, ":0\r\n", "SLOTSMGRT-ASYNC-CANCEL")
	c.expect(t, "$1\r\n1\r\n", "GET", "a")
}

// TestCodisSyncMoveStopsTheServer: with one thread nothing else is answered meanwhile.
func TestCodisSyncMoveStopsTheServer(t *testing.T) {
	s, target := StartCodisServer(t, Options{}), StartCodisServer(t, Options{})
	s.Do("SET", "a", "1")
	s.Do("SET", "b", "2")
	hold := s.Faults.Hold(SyncDelete)
	moved := later(t, s, tagOne(target, 1000, "a")...)
	arrived(t, hold)
	get := later(t, s, "GET", "a")
	running(t, s, "GET", 1)
	hold.Release()
	if m, g := moved(), get(); m != ":1\r\n" || g != "$-1\r\n" {
		t.Errorf("moved %q, then GET %q: it must have waited", m, g)
	}
}

// TestCodisOlderCopyAfterTagOne: a synchronous move does not look at the batch that runs.
func TestCodisOlderCopyAfterTagOne(t *testing.T) {
	s, target := StartCodisServer(t, Options{}), StartCodisServer(t, Options{})
	s.Do("SET", "a", "old")
	hold := s.Faults.Hold(AsyncSend)
	moved := later(t, s, batchOf(s, target, "a", 10)...)
	arrived(t, hold)
	connect(t, s).expect(t, ":1\r\n", tagOne(target, 1000, "a")...)
	connect(t, target).expect(t, "+OK\r\n", "SET", "a", "new")
	hold.Release()
	moved()
	has(t, of(target), "a", "old")
}

// TestCodisDatabases: slots and batches belong to a database.
func TestCodisDatabases(t *testing.T) {
	s, target := StartCodisServer(t, Options{}), StartCodisServer(t, Options{})
	c := connect(t, s)
	c.expect(t, "+OK\r\n", "SELECT", "3")
	c.expect(t, "+OK\r\n", "SET", "a", "1")
	c.expect(t, "*1\r\n*2\r\n:579\r\n:1\r\n", "SLOTSINFO")
	connect(t, s).expect(t, "*0\r\n", "SLOTSINFO")
	c.expect(t, ":1\r\n", tagOne(target, 1000, "a")...)
	if n := len(target.Keys()); n != 0 {
		t.Errorf("%d keys in database 0", n)
	}
	d := connect(t, target)
	d.expect(t, "+OK\r\n", "SELECT", "3")
	d.expect(t, "$1\r\n1\r\n", "GET", "a")
}

// TestCodisBatchSkipsKeysThatHaveGone: of a key that is gone when a batch comes to it nothing is sent, so what the target has
// meanwhile stays.
func TestCodisBatchSkipsKeysThatHaveGone(t *testing.T) {
	s, target := StartCodisServer(t, Options{}), StartCodisServer(t, Options{})
	s.Do("SET", "{a}1", "old")
	hold := s.Faults.Hold(AsyncRead)
	moved := later(t, s, batchOf(s, target, "{a}", 10)...)
	arrived(t, hold)
	s.Do("DEL", "{a}1")
	target.Do("SET", "{a}1", "new")
	hold.Release()
	moved()
	has(t, of(target), "{a}1", "new")
}
